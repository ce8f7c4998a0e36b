/**
 * Words of the boot server for a machine whose image was loaded as one file (UEFI PXE, UEFI HTTP): its kernel was started with the image's own command line,
 * and nobody's parameters.
 *
 * Rules: what the command line says is not changed by what the network says; only words of ours are taken. So an image that is signed with its chain in it
 * belongs to that chain on any network; one that names none goes where the network sends it.
 */
import type { Mac } from "./addresses.ts";
import { CMDLINE_BYTES_MAX, PREFIX } from "./cmdline.ts";

const FETCH_MS_MAX = 5_000;

/** The command line with the words that it does not have. */
export function completedLine(line: string, words: string): string {
  const keyOf = (word: string): string => word.split("=", 1)[0] ?? "";
  const own = new Set(line.split(/\s+/).map(keyOf));
  const added = words.split(/\s+/).filter((word) => word.startsWith(PREFIX) && !own.has(keyOf(word)));
  return [line.trim(), ...added].join(" ");
}

/** Throws when the server does not answer with words. */
export async function fetchWords(bootServer: string, mac: Mac): Promise<string> {
  const from = `${bootServer}/v1/arguments?mac=${mac.replaceAll(":", "-")}`;
  const response = await fetch(from, { signal: AbortSignal.timeout(FETCH_MS_MAX), redirect: "error" });
  if (!response.ok) throw new Error(`Cannot fetch words from ${from}: it answers ${response.status}`);
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of response.body ?? []) {
    length += part.length;
    if (length > CMDLINE_BYTES_MAX) throw new Error(`Cannot use the words from ${from}: they are longer than ${CMDLINE_BYTES_MAX} bytes`);
    parts.push(part);
  }
  return new TextDecoder().decode(Buffer.concat(parts)).trim();
}
