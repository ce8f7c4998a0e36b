/**
 * The machine key on a partition that is marked for it (its name in the table is `godwit-key`, as on a stick that `godwit image build` makes): one record in its first
 * sector, and no file system.
 *
 * Rules: a partition that holds anything else is never written to; a key is written over by the one that follows it (rekey.ts) only; a sector is written as a whole or not at all; what was written is read back.
 */
import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { basename, join } from "node:path";
import { AgentError, codeOf } from "../error.ts";

export const KEY_PARTITION_NAME = "godwit-key";
const SECTOR_BYTES = 512;
const MAGIC: Uint8Array = new TextEncoder().encode("godwit machine key 1\n");
const SEED_BYTES = 32;
const DIGEST_BYTES = 32;

/** Null: it is blank. Throws `key_partition_foreign` for anything but a key. */
export function parseRecord(sector: Uint8Array): Uint8Array | null {
  if (sector.length === SECTOR_BYTES && sector.every((byte) => byte === 0)) return null;
  const seedAt = MAGIC.length;
  const body = sector.subarray(0, seedAt + SEED_BYTES);
  const digest = sector.subarray(body.length, body.length + DIGEST_BYTES);
  const isKey = sector.length === SECTOR_BYTES && Buffer.compare(body.subarray(0, seedAt), MAGIC) === 0 && Buffer.compare(digestOf(body), digest) === 0;
  if (!isKey) throw new AgentError("key_partition_foreign", `Cannot use the partition "${KEY_PARTITION_NAME}": what is on it is no machine key`);
  return body.slice(seedAt);
}

export function recordOf(seed: Uint8Array): Uint8Array {
  const sector = new Uint8Array(SECTOR_BYTES);
  sector.set(MAGIC);
  sector.set(seed, MAGIC.length);
  sector.set(digestOf(sector.subarray(0, MAGIC.length + SEED_BYTES)), MAGIC.length + SEED_BYTES);
  return sector;
}

const digestOf = (body: Uint8Array): Uint8Array => createHash("sha256").update(body).digest();

/** Devices of partitions with that name; two are one too many. */
export function findKeyPartition(folder = "/sys/class/block"): string | null {
  const names = namesIn(folder).filter((name) => textOf(join(folder, name, "uevent")).split("\n").includes(`PARTNAME=${KEY_PARTITION_NAME}`));
  if (names.length > 1) throw new AgentError("key_partition_twice", `Cannot tell which partition has the machine key: ${names.join(" and ")} are named "${KEY_PARTITION_NAME}"`);
  return names[0] === undefined ? null : join("/dev", basename(names[0]));
}

export async function readKey(device: string): Promise<Uint8Array | null> {
  await using file = await open(device, "r");
  return parseRecord(await firstSector(file));
}

/** Where there is a key already it must be `before`. */
export async function writeKey(device: string, seed: Uint8Array, before: Uint8Array | null = null): Promise<void> {
  await using file = await open(device, "r+");
  const there = parseRecord(await firstSector(file));
  if (there !== null && (before === null || Buffer.compare(there, before) !== 0)) throw new AgentError("key_partition_used", `Cannot write the machine key to ${device}: there is one`);
  await file.write(recordOf(seed), 0, SECTOR_BYTES, 0);
  await file.sync();
}

async function firstSector(file: FileHandle): Promise<Uint8Array> {
  const sector = new Uint8Array(SECTOR_BYTES);
  const { bytesRead } = await file.read(sector, 0, SECTOR_BYTES, 0);
  return sector.subarray(0, bytesRead);
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).toSorted();
  } catch (error) {
    if (codeOf(error) === "ENOENT") return [];
    throw error;
  }
}

function textOf(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
