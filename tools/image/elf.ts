/**
 * Takes from a program for Linux what only debuggers read: everything after the last byte that a segment is loaded from, and the
 * section table. Ours rather than `strip`, whose versions differ in the bytes they leave; a loader reads segments only.
 */
import { ImageError } from "./errors.ts";

const PT_LOAD = 1;

export function stripElf(file: Uint8Array): Uint8Array {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < 64 || view.getUint32(0, false) !== 0x7f454c46 || file[4] !== 2 || file[5] !== 1) throw new ImageError("elf_unknown", "Cannot strip a file that is no 64-bit little-endian ELF");
  const tableAt = Number(view.getBigUint64(32, true));
  const entryBytes = view.getUint16(54, true);
  const count = view.getUint16(56, true);
  let end = tableAt + entryBytes * count;
  for (let index = 0; index < count; index++) {
    const at = tableAt + index * entryBytes;
    if (view.getUint32(at, true) !== PT_LOAD) continue;
    end = Math.max(end, Number(view.getBigUint64(at + 8, true)) + Number(view.getBigUint64(at + 32, true)));
  }
  if (end > file.length) throw new ImageError("elf_unknown", "Cannot strip an ELF file whose segments end behind it");
  const stripped = file.slice(0, end);
  const out = new DataView(stripped.buffer);
  out.setBigUint64(40, 0n, true);
  out.setUint16(58, 0, true);
  out.setUint16(60, 0, true);
  out.setUint16(62, 0, true);
  return stripped;
}
