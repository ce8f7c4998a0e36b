/**
 * A CD image for machines that are managed from afar: ISO 9660 with the EFI system partition as its one file, and El Torito (UEFI only) naming that as what to start.
 *
 *     sector 16 volume   17 boot record   18 end of descriptors   19, 20 path tables   21 root folder   22 boot catalogue   23 … the partition
 *
 * ECMA-119 and the El Torito specification 1.0; a sector count of 0 in the catalogue means the rest of the disc (UEFI 2.10, 13.3.2.1), as a count of its own has 32 MB at most.
 */
import { readFile } from "node:fs/promises";
import { writeFat } from "./disk.ts";

const SECTOR = 2_048;
const MIB = 1024 * 1024;
const AT = { volume: 16, boot: 17, end: 18, littleTable: 19, bigTable: 20, root: 21, catalogue: 22, file: 23 } as const;
const FILE_NAME = "EFI.IMG;1";
const VOLUME_NAME = "GODWIT";
/** All dates, as everything else, are the same at each build: 2026-01-01. */
const RECORDED = [126, 1, 1, 0, 0, 0, 0] as const;
const RECORDED_TEXT = "2026010100000000";
const TABLE_BYTES = 10;
const UEFI = 0xef;
const text = new TextEncoder();

export async function writeIso(cache: string, work: string, uki: Uint8Array): Promise<Uint8Array> {
  return isoOf(new Uint8Array(await readFile(await writeFat(cache, work, (Math.ceil(uki.length / MIB) + 34) * 2048, { "/EFI/BOOT/BOOTX64.EFI": uki }))));
}

export function isoOf(partition: Uint8Array): Uint8Array {
  const sectors = AT.file + Math.ceil(partition.length / SECTOR);
  const disc = new Uint8Array(sectors * SECTOR);
  const put = (sector: number, bytes: Uint8Array): void => disc.set(bytes, sector * SECTOR);
  put(AT.volume, volume(sectors));
  put(AT.boot, bootRecord());
  put(AT.end, descriptor(255));
  put(AT.littleTable, pathTable(true));
  put(AT.bigTable, pathTable(false));
  put(AT.root, Buffer.concat([record("\0", AT.root, SECTOR, true), record("\u0001", AT.root, SECTOR, true), record(FILE_NAME, AT.file, partition.length, false)]));
  put(AT.catalogue, catalogue());
  put(AT.file, partition);
  return disc;
}

function descriptor(kind: number): Uint8Array {
  const bytes = new Uint8Array(SECTOR);
  bytes.set([kind, ...text.encode("CD001"), 1]);
  return bytes;
}

/** A number in both byte orders, as ECMA-119 has them. */
const both32 = (view: DataView, at: number, value: number): void => {
  view.setUint32(at, value, true);
  view.setUint32(at + 4, value, false);
};
const both16 = (view: DataView, at: number, value: number): void => {
  view.setUint16(at, value, true);
  view.setUint16(at + 2, value, false);
};

function volume(sectors: number): Uint8Array {
  const bytes = descriptor(1);
  const view = new DataView(bytes.buffer);
  const words = (at: number, length: number, value = ""): void => bytes.set(text.encode(value.padEnd(length)), at);
  words(8, 32);
  words(40, 32, VOLUME_NAME);
  both32(view, 80, sectors);
  both16(view, 120, 1);
  both16(view, 124, 1);
  both16(view, 128, SECTOR);
  both32(view, 132, TABLE_BYTES);
  view.setUint32(140, AT.littleTable, true);
  view.setUint32(148, AT.bigTable, false);
  bytes.set(record("\0", AT.root, SECTOR, true), 156);
  for (const [at, length] of [[190, 128], [318, 128], [446, 128], [574, 128], [702, 37], [739, 37], [776, 37]] as const) words(at, length);
  for (const at of [813, 830]) words(at, 16, RECORDED_TEXT);
  for (const at of [847, 864]) words(at, 16, "0".repeat(16));
  bytes[881] = 1;
  return bytes;
}

/** A name of one character 0 or 1 is the folder itself and the one above. */
function record(name: string, sector: number, length: number, isFolder: boolean): Uint8Array {
  const bytes = new Uint8Array(33 + name.length + (name.length % 2 === 0 ? 1 : 0));
  const view = new DataView(bytes.buffer);
  bytes[0] = bytes.length;
  both32(view, 2, sector);
  both32(view, 10, length);
  bytes.set(RECORDED, 18);
  bytes[25] = isFolder ? 2 : 0;
  both16(view, 28, 1);
  bytes[32] = name.length;
  bytes.set(text.encode(name), 33);
  return bytes;
}

function pathTable(isLittle: boolean): Uint8Array {
  const bytes = new Uint8Array(TABLE_BYTES);
  const view = new DataView(bytes.buffer);
  bytes[0] = 1;
  view.setUint32(2, AT.root, isLittle);
  view.setUint16(6, 1, isLittle);
  return bytes;
}

function bootRecord(): Uint8Array {
  const bytes = descriptor(0);
  bytes.set(text.encode("EL TORITO SPECIFICATION"), 7);
  new DataView(bytes.buffer).setUint32(71, AT.catalogue, true);
  return bytes;
}

/** What is right of it is made so by a sum of all words that is 0; then one entry: no emulation, the whole rest of the disc. */
function catalogue(): Uint8Array {
  const bytes = new Uint8Array(SECTOR);
  const view = new DataView(bytes.buffer);
  bytes.set([1, UEFI], 0);
  bytes.set([0x55, 0xaa], 30);
  let sum = 0;
  for (let at = 0; at < 32; at += 2) sum += view.getUint16(at, true);
  view.setUint16(28, (0x10000 - (sum & 0xffff)) & 0xffff, true);
  bytes[32] = 0x88;
  view.setUint32(40, AT.file, true);
  return bytes;
}
