/**
 * Words of the boot server for a machine whose image was loaded as one file (UEFI PXE, UEFI HTTP): its kernel was started with the image's own command line,
 * and nobody's parameters.
 *
 * Rules: what the command line says is not changed by what the network says; only words of ours are taken. So an image that is signed with its chain in it
 * belongs to that chain on any network; one that names none goes where the network sends it.
 */
import type { Mac } from "./addresses.ts";
import { CMDLINE_BYTES_MAX, PREFIX, type Settings, parseCmdline } from "./cmdline.ts";
import type { Interface } from "./network.ts";

const FETCH_MS_MAX = 5_000;

/**
 * Whom to ask for words, and the interface to speak of; null: nobody. A machine that was told its boot server but has no token, as after an upgrade,
 * asks that one for another.
 */
export function wordsFrom({ bootServer, joinToken }: Pick<Settings, "bootServer" | "joinToken">, interfaces: readonly Pick<Interface, "name" | "lease">[]): { readonly bootServer: string; readonly name: string } | null {
  const leased = interfaces.find(({ lease }) => (lease?.bootServer ?? null) !== null);
  const [from, server] = bootServer === null ? [leased, leased?.lease?.bootServer ?? null] : [leased ?? interfaces[0], joinToken === null ? bootServer : null];
  return from === undefined || server === null ? null : { bootServer: server, name: from.name };
}

/** The command line with the words that it does not have. */
export function completedLine(line: string, words: string): string {
  const keyOf = (word: string): string => word.split("=", 1)[0] ?? "";
  const own = new Set(line.split(/\s+/).map(keyOf));
  const added = words.split(/\s+/).filter((word) => word.startsWith(PREFIX) && !own.has(keyOf(word)));
  return [line.trim(), ...added].join(" ");
}

/** Null: there is none among them. */
export function tokenIn(words: string): string | null {
  const parsed = parseCmdline(words);
  return parsed.ok ? parsed.settings.joinToken : null;
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
