/**
 * A disk image for a stick: a GPT with one EFI system partition (FAT32), which new firmware starts the unified image from, and old
 * firmware (BIOS) the same kernel by syslinux; and a blank one, which the machine keeps its key on. Without root and without loop
 * devices; same inputs, same bytes.
 */
import { readFile, rm, truncate, writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { crc32 } from "node:zlib";
import { KEY_PARTITION_NAME } from "#os/boot/keyPartition.ts";
import { unpacked } from "./packages.ts";
import { mtoolsCommands } from "./pinnedTools.ts";
import { LOADERS } from "./pins.ts";
import { run } from "./processes.ts";

const SECTOR = 512;
const MIB = 1024 * 1024;
const FIRST_SECTOR: number = MIB / SECTOR;
const ENTRIES = 128;
const ENTRY_BYTES = 128;
const TABLE_SECTORS: number = (ENTRIES * ENTRY_BYTES) / SECTOR;
const EFI_SYSTEM = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
/** Fixed, so that two builds are the same; machines do not look at them. */
const DISK_GUID = "676f6477-6974-4000-8000-000000000001";
const PARTITION_GUID = "676f6477-6974-4000-8000-000000000002";
/** A type of ours: no other system takes it for one of its own. */
const KEY_TYPE = "676f6477-6974-4000-8000-6b6579000000";
const KEY_GUID = "676f6477-6974-4000-8000-000000000003";
const LEGACY_BOOTABLE = 4n;
const BOOT_CODE_BYTES = 440;
/** FAT dates files: all of them to this second. */
const FAT_TIME: Readonly<Record<string, string>> = { SOURCE_DATE_EPOCH: "1767225600", MTOOLS_SKIP_CHECK: "1" };

export async function writeStick(cache: string, work: string, uki: Uint8Array, kernel: Uint8Array, initramfs: Uint8Array, cmdline: string): Promise<Uint8Array> {
  const sectors = (Math.ceil((uki.length + kernel.length + initramfs.length) / MIB) + 34) * FIRST_SECTOR;
  const files: Readonly<Record<string, Uint8Array>> = {
    "/EFI/BOOT/BOOTX64.EFI": uki, "/VMLINUZ": kernel, "/INITRD": initramfs,
    "/syslinux.cfg": new TextEncoder().encode(`DEFAULT godwit\nPROMPT 0\nTIMEOUT 1\nLABEL godwit\n  KERNEL /VMLINUZ\n  INITRD /INITRD\n  APPEND ${cmdline}\n`),
  };
  const partition = await writeFat(cache, work, sectors, files);
  const [programs, common] = await Promise.all([unpacked(LOADERS[1]!, cache), unpacked(LOADERS[2]!, cache)]);
  await run(join(programs, "usr/bin/syslinux"), ["--install", partition], { environment: await environment(cache, work) });
  const bootCode = await readFile(join(common, "usr/lib/syslinux/mbr/gptmbr.bin"));
  return withTable(await readFile(partition), bootCode.subarray(0, BOOT_CODE_BYTES));
}

/** A disk with nothing to boot from, whose partition for the key holds this record (os/boot/keyPartition.ts): of a machine that others give its key, as in a devnet. */
export async function writeKeyDisk(path: string, record: Uint8Array): Promise<void> {
  const disk = withTable(new Uint8Array(MIB), new Uint8Array(BOOT_CODE_BYTES));
  disk.set(record, 2 * MIB);
  await writeFile(path, disk, { mode: 0o600 });
}

/** A FAT32 of these files, as a file. */
export async function writeFat(cache: string, work: string, sectors: number, files: Readonly<Record<string, Uint8Array>>): Promise<string> {
  const path = join(work, "fat.img");
  const own = { environment: await environment(cache, work) };
  await rm(path, { force: true });
  await writeFile(path, "");
  await truncate(path, sectors * SECTOR);
  await run("mformat", ["-i", path, "-T", String(sectors), "-h", "64", "-s", "32", "-H", String(FIRST_SECTOR), "-F", "-v", "GODWIT", "-N", "676f6477", "-c", "1", "::"], own);
  const folders = [...new Set(Object.keys(files).flatMap((name) => name.split("/").slice(1, -1).map((_, index, parts) => `/${parts.slice(0, index + 1).join("/")}`)))];
  for (const folder of folders) await run("mmd", ["-i", path, `::${folder}`], own);
  for (const [name, content] of Object.entries(files)) {
    const from = join(work, "fat.part");
    await writeFile(from, content);
    await run("mcopy", ["-i", path, from, `::${name}`], own);
    await rm(from);
  }
  return path;
}

/** The pinned mtools are what is found first: by us, and by syslinux. */
async function environment(cache: string, work: string): Promise<Readonly<Record<string, string>>> {
  return { ...FAT_TIME, PATH: `${await mtoolsCommands(cache, join(work, "commands"))}${delimiter}${process.env["PATH"] ?? ""}` };
}

/** A disk: protective MBR with boot code, GPT, the partition, the one for the key, GPT again. */
function withTable(partition: Uint8Array, bootCode: Uint8Array): Uint8Array {
  const partitionSectors = partition.length / SECTOR;
  const keyAt = FIRST_SECTOR + partitionSectors;
  const total = keyAt + FIRST_SECTOR + FIRST_SECTOR;
  const disk = new Uint8Array(total * SECTOR);
  const view = new DataView(disk.buffer);
  disk.set(bootCode, 0);
  // One entry of type 0xEE over everything.
  disk.set([0x80, 0, 2, 0, 0xee, 0xff, 0xff, 0xff], 446);
  view.setUint32(454, 1, true);
  view.setUint32(458, total - 1, true);
  disk.set([0x55, 0xaa], 510);
  const table = new Uint8Array(ENTRIES * ENTRY_BYTES);
  table.set(tableEntry(EFI_SYSTEM, PARTITION_GUID, FIRST_SECTOR, partitionSectors, LEGACY_BOOTABLE, "ESP"), 0);
  table.set(tableEntry(KEY_TYPE, KEY_GUID, keyAt, FIRST_SECTOR, 0n, KEY_PARTITION_NAME), ENTRY_BYTES);
  disk.set(table, 2 * SECTOR);
  disk.set(table, (total - 1 - TABLE_SECTORS) * SECTOR);
  disk.set(header(table, 1, total - 1, 2, total), SECTOR);
  disk.set(header(table, total - 1, 1, total - 1 - TABLE_SECTORS, total), (total - 1) * SECTOR);
  disk.set(partition, FIRST_SECTOR * SECTOR);
  return disk;
}

function tableEntry(type: string, guid: string, first: number, sectors: number, flags: bigint, name: string): Uint8Array {
  const bytes = new Uint8Array(ENTRY_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(guidBytes(type), 0);
  bytes.set(guidBytes(guid), 16);
  view.setBigUint64(32, BigInt(first), true);
  view.setBigUint64(40, BigInt(first + sectors - 1), true);
  view.setBigUint64(48, flags, true);
  for (let at = 0; at < name.length; at++) view.setUint16(56 + at * 2, name.charCodeAt(at), true);
  return bytes;
}

function header(table: Uint8Array, own: number, other: number, tableAt: number, total: number): Uint8Array {
  const bytes = new Uint8Array(SECTOR);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode("EFI PART"));
  view.setUint32(8, 0x00010000, true);
  view.setUint32(12, 92, true);
  for (const [at, value] of [[24, own], [32, other], [40, 2 + TABLE_SECTORS], [48, total - 2 - TABLE_SECTORS], [72, tableAt]] as const) view.setBigUint64(at, BigInt(value), true);
  bytes.set(guidBytes(DISK_GUID), 56);
  view.setUint32(80, ENTRIES, true);
  view.setUint32(84, ENTRY_BYTES, true);
  view.setUint32(88, crc32(table), true);
  view.setUint32(16, crc32(bytes.subarray(0, 92)), true);
  return bytes;
}

/** The first three groups are little-endian. */
function guidBytes(text: string): Uint8Array {
  const hex = text.replaceAll("-", "");
  const bytes = Uint8Array.fromHex(hex);
  return new Uint8Array([3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].map((index) => bytes[index]!));
}
