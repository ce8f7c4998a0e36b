/**
 * The archive that the kernel unpacks as its first file system (cpio, "newc"; Documentation/driver-api/early-userspace).
 *
 * Same entries, same bytes: sorted by path, no times, numbers of inodes by position, everything root's. Device nodes need no root.
 */
export type CpioEntry =
  | { readonly kind: "file"; readonly path: string; readonly content: Uint8Array; readonly executable?: boolean }
  | { readonly kind: "folder"; readonly path: string }
  | { readonly kind: "device"; readonly path: string; readonly major: number; readonly minor: number; readonly mode: number };

const MODE = { file: 0o100644, executable: 0o100755, folder: 0o040755, device: 0o020000 } as const;
const BLOCK_BYTES = 512;

export function writeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  let length = 0;
  const push = (bytes: Uint8Array): void => {
    parts.push(bytes);
    length += bytes.length;
  };
  const pad = (to: number): void => push(new Uint8Array((to - (length % to)) % to));
  const write = (inode: number, path: string, mode: number, links: number, content: Uint8Array, device: readonly [number, number]): void => {
    const name = new TextEncoder().encode(`${path}\0`);
    const fields = [inode, mode, 0, 0, links, 0, content.length, 0, 0, ...device, name.length, 0];
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
  return Buffer.concat(parts);
}

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
