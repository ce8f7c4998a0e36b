/** Looks for bytes in all that a process holds: its memory, page by page, and its files in memory. Needs root. */
import { closeSync, existsSync, openSync, readFileSync, readdirSync, readlinkSync, readSync } from "node:fs";
import { join } from "node:path";

const PAGE = 4_096;
const CHUNK_PAGES = 1_024;
const ENTRY_BYTES = 8;
const PRESENT_OR_SWAPPED = 0xc0;

export type Needle = { readonly name: string; readonly bytes: Uint8Array };

/** As text is kept by Rust and libc, and as AssemblyScript keeps it. */
export const needles = (name: string, text: string): Needle[] => (["utf8", "utf16le"] as const).map((encoding) => ({ name: `${name} (${encoding})`, bytes: Buffer.from(text, encoding) }));

/** Names of what was found, sorted. */
export function searchProcess(pid: number, wanted: readonly Needle[]): string[] {
  const found = new Set<string>();
  const memory = openSync(`/proc/${pid}/mem`, "r");
  const pagemap = openSync(`/proc/${pid}/pagemap`, "r");
  try {
    for (const [start, end] of regions(pid)) searchRegion({ memory, pagemap }, start, end, wanted, found);
  } finally {
    closeSync(memory);
    closeSync(pagemap);
  }
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    const path = `/proc/${pid}/fd/${fd}`;
    // What is gone meanwhile holds nothing.
    if (existsSync(`/proc/${pid}/fdinfo/${fd}`) && readlinkSync(path).startsWith("/memfd:")) searchBytes(readFileSync(path), wanted, found);
  }
  return [...found].toSorted();
}

export function searchFolder(folder: string, wanted: readonly Needle[]): string[] {
  const found = new Set<string>();
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) searchBytes(readFileSync(join(entry.parentPath, entry.name)), wanted, found);
  }
  return [...found].toSorted();
}

function regions(pid: number): [number, number][] {
  return readFileSync(`/proc/${pid}/maps`, "latin1").split("\n").flatMap((line) => {
    const match = /^([0-9a-f]+)-([0-9a-f]+) r.*?(\[\w+\])?$/.exec(line);
    return match === null || match[3] === "[vvar]" || match[3] === "[vsyscall]" ? [] : [[Number.parseInt(match[1] ?? "", 16), Number.parseInt(match[2] ?? "", 16)] as [number, number]];
  });
}

/** Only pages that are there: a region may be reserved, and large. */
function searchRegion(files: { memory: number; pagemap: number }, start: number, end: number, wanted: readonly Needle[], found: Set<string>): void {
  const entries = Buffer.alloc(CHUNK_PAGES * ENTRY_BYTES);
  for (let at = start; at < end; at += CHUNK_PAGES * PAGE) {
    const pages = Math.min(CHUNK_PAGES, (end - at) / PAGE);
    readSync(files.pagemap, entries, 0, pages * ENTRY_BYTES, (at / PAGE) * ENTRY_BYTES);
    const isThere = (page: number): boolean => ((entries[page * ENTRY_BYTES + 7] ?? 0) & PRESENT_OR_SWAPPED) !== 0;
    for (let page = 0; page < pages; page += 1) {
      if (!isThere(page)) continue;
      let last = page;
      while (last + 1 < pages && isThere(last + 1)) last += 1;
      const bytes = Buffer.alloc((last + 1 - page) * PAGE);
      try {
        readSync(files.memory, bytes, 0, bytes.length, at + page * PAGE);
        searchBytes(bytes, wanted, found);
      } catch {
        // Unmapped meanwhile.
      }
      page = last;
    }
  }
}

function searchBytes(bytes: Buffer, wanted: readonly Needle[], found: Set<string>): void {
  for (const { name, bytes: needle } of wanted) if (!found.has(name) && bytes.includes(needle)) found.add(name);
}
