/**
 * The archive that the kernel unpacks as its first file system (cpio, "newc"; Documentation/driver-api/early-userspace): the image's
 * is made by tools/image, and told again by a machine that runs it (carried.ts).
 *
 * Same entries, same bytes: sorted by path, no times, numbers of inodes by position, everything root's. Device nodes need no root.
 */
import assert from "node:assert/strict";

/** In the place of a file's bytes that are elsewhere. */
export type Hole = { readonly bytes: number };
export type CpioEntry =
  | { readonly kind: "file"; readonly path: string; readonly content: Uint8Array | Hole; readonly executable?: boolean }
  | { readonly kind: "folder"; readonly path: string }
  | { readonly kind: "device"; readonly path: string; readonly major: number; readonly minor: number; readonly mode: number };

const MODE = { file: 0o100644, executable: 0o100755, folder: 0o040755, device: 0o020000 } as const;
const BLOCK_BYTES = 512;

/** PID 1 and the root, as every image has them. */
export const initramfsEntries = (init: Uint8Array, root: Uint8Array | Hole): CpioEntry[] => [
  { kind: "device", path: "dev/console", major: 5, minor: 1, mode: 0o600 }, { kind: "folder", path: "root" },
  { kind: "file", path: "init", content: init, executable: true }, { kind: "file", path: "root.squashfs", content: root },
];

export function writeCpio(entries: readonly CpioEntry[]): Uint8Array {
  return Buffer.concat(cpioPieces(entries).map((piece) => {
    assert(piece instanceof Uint8Array);
    return piece;
  }));
}

/** The archive in order; holes are where their entries say. */
export function cpioPieces(entries: readonly CpioEntry[]): (Uint8Array | Hole)[] {
  const parts: (Uint8Array | Hole)[] = [];
  let length = 0;
  const push = (piece: Uint8Array | Hole): void => {
    parts.push(piece);
    length += lengthOf(piece);
  };
  const pad = (to: number): void => push(new Uint8Array((to - (length % to)) % to));
  const write = (inode: number, path: string, mode: number, links: number, content: Uint8Array | Hole, device: readonly [number, number]): void => {
    const name = new TextEncoder().encode(`${path}\0`);
    const fields = [inode, mode, 0, 0, links, 0, lengthOf(content), 0, 0, ...device, name.length, 0];
    push(new TextEncoder().encode(`070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`));
    push(name);
    pad(4);
    push(content);
    pad(4);
  };
  const sorted = [...withParents(entries)].toSorted((a, b) => (a.path < b.path ? -1 : 1));
  for (const [index, entry] of sorted.entries()) {
    const content = entry.kind === "file" ? entry.content : new Uint8Array();
    const mode = entry.kind === "file" ? (entry.executable === true ? MODE.executable : MODE.file) : entry.kind === "folder" ? MODE.folder : MODE.device | entry.mode;
    write(index + 1, entry.path, mode, entry.kind === "folder" ? 2 : 1, content, entry.kind === "device" ? [entry.major, entry.minor] : [0, 0]);
  }
  write(0, "TRAILER!!!", 0, 1, new Uint8Array(), [0, 0]);
  pad(BLOCK_BYTES);
  return parts;
}

const lengthOf = (piece: Uint8Array | Hole): number => (piece instanceof Uint8Array ? piece.length : piece.bytes);

function withParents(entries: readonly CpioEntry[]): Iterable<CpioEntry> {
  const all = new Map(entries.map((entry) => [entry.path, entry]));
  for (const { path } of entries) {
    const names = path.split("/").slice(0, -1);
    for (let depth = 1; depth <= names.length; depth++) {
      const folder = names.slice(0, depth).join("/");
      if (!all.has(folder)) all.set(folder, { kind: "folder", path: folder });
    }
  }
  return all.values();
}
