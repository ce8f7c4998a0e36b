/**
 * The newest release that this server has served, by who signed it: one that is started again with an older image (a folder that was put back, the wrong one of two) says so
 * instead of serving it. An old image has a good signature, and the holes that its successors closed.
 *
 * Rules: the number is on disk before anything is served; it falls never, also not where an older image is served because the operator said so. What machines say of themselves
 * does not count: anybody on that network could say it, and none would boot again.
 */
import { mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { codeOf } from "#os/error.ts";
import { writeWhole } from "#os/keys.ts";
import type { SignedManifest } from "#os/boot/manifest.ts";
import { CliError } from "../cli/command.ts";

const FORMAT = "godwit-releases-1";

/** Throws `image_older` for a release below the newest that was served by this signer, unless it may be. */
export async function admitRelease(file: string, { manifest: { release }, signer }: SignedManifest, mayBeOlder: boolean): Promise<void> {
  if (!Number.isSafeInteger(release) || release < 0) throw new CliError("image_refused", "Cannot serve this image: its manifest has no release");
  const newest = await readReleases(file);
  const served = newest.get(signer) ?? -1;
  if (release < served && !mayBeOlder) throw new CliError("image_older", `Cannot serve this image: it is release ${release}, and this server has served release ${served} of the same signer (--allow-older serves it all the same)`);
  if (release <= served) return;
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  await writeWhole(file, new TextEncoder().encode(`${JSON.stringify({ format: FORMAT, releases: Object.fromEntries([...newest, [signer, release]]) }, null, 1)}\n`));
}

async function readReleases(file: string): Promise<ReadonlyMap<string, number>> {
  const wrong = (why: string): CliError => new CliError("releases_invalid", `Cannot tell which releases this server has served: ${file} ${why}; move it away, and it begins anew`);
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if (codeOf(error) === "ENOENT") return new Map();
    throw wrong("cannot be read");
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw wrong("is not JSON");
  }
  const { format, releases } = (typeof value === "object" ? value : null) as { format?: unknown; releases?: unknown } | null ?? {};
  const rows = typeof releases === "object" && releases !== null ? Object.entries(releases as Record<string, unknown>) : null;
  if (format !== FORMAT || rows === null || !rows.every((row): row is [string, number] => /^[0-9a-f]{64}$/.test(row[0]) && Number.isSafeInteger(row[1]))) throw wrong("does not hold them");
  return new Map(rows);
}
