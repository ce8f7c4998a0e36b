/**
 * The symbols of what was built here, by the component's digest, in the user's cache: so that the trap of a deployment is told with
 * the lines of its sources, whichever folder and version it came from. Nobody else has them; without them a trap has offsets.
 */
import { mkdir, readFile, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { writeWhole } from "#os/keys.ts";
import { cacheDirectory } from "#sandbox/native/directory.mjs";
import { type Symbols, sourceLines } from "#workloads/sdk/symbols.ts";

/** Builds whose symbols are kept, the newest; some 20 to 200 KB each. */
const KEPT_MAX = 100;

const directory = (): string => join(cacheDirectory(), "symbols");
const fileOf = (digest: string): string => join(directory(), `${digest}.json`);

/** Keeps what a build came with. A cache that cannot be written costs lines in a trap, not the build. */
export async function keepSymbols(digest: string, symbols: Symbols | null): Promise<void> {
  if (symbols === null) return;
  try {
    await mkdir(directory(), { recursive: true });
    await writeWhole(fileOf(digest), new TextEncoder().encode(JSON.stringify(symbols)));
    await prune();
  } catch {
    return;
  }
}

/** Turns text with backtraces of the component `digest` (hex) into text with lines of its sources; as it is where nobody knows them. */
export async function sourceLinesOf(digest: string): Promise<(text: string) => string> {
  const text = await readFile(fileOf(digest), "utf8").catch(() => null);
  if (text === null) return (line) => line;
  try {
    const withLines = sourceLines(JSON.parse(text) as Symbols);
    withLines("0: 0x0 - ");
    return withLines;
  } catch {
    return (line) => line; // A file that somebody else wrote, or an older version.
  }
}

async function prune(): Promise<void> {
  const names = await readdir(directory());
  if (names.length <= KEPT_MAX) return;
  const aged = await Promise.all(names.map(async (name) => ({ name, writtenMs: (await stat(join(directory(), name))).mtimeMs })));
  for (const { name } of aged.toSorted((a, b) => b.writtenMs - a.writtenMs).slice(KEPT_MAX)) await rm(join(directory(), name), { force: true });
}
