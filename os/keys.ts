/**
 * Keys of this machine on disk: 32-byte seeds as hex, one file each, readable by its owner only.
 *
 * The machine key speaks for the machine (`up`, `ready`, `failed`), the validator key votes, an account key holds money: three
 * keys, never mixed (design 4). A file is made with O_EXCL and synced, so that a crash leaves a whole key or none.
 */
import { randomBytes } from "node:crypto";
import { chmod, mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { addressOf } from "#chain/codec/address.ts";
import { generateKey, publicKeyOf } from "#chain/crypto.ts";
import { type Address, type PublicKey, fromHex, hex } from "#chain/types.ts";
import { AgentError, codeOf } from "./error.ts";

export type KeyPair = { readonly seed: Uint8Array; readonly publicKey: PublicKey; readonly address: Address };

export function keyPair(seed: Uint8Array): KeyPair {
  const publicKey = publicKeyOf(seed);
  return { seed, publicKey, address: addressOf(publicKey) };
}

/** The key in `path`; a fresh one when there is no such file. */
export async function openKey(path: string): Promise<KeyPair> {
  try {
    return keyPair(await readSeed(path));
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
  }
  const { privateKey } = generateKey();
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeWhole(path, new TextEncoder().encode(`${hex(privateKey)}\n`));
  return keyPair(privateKey);
}

async function readSeed(path: string): Promise<Uint8Array> {
  const text = (await readFile(path, "utf8")).trim();
  if (!/^[0-9a-f]{64}$/.test(text)) throw new AgentError("key_invalid", `Cannot read key file ${path} as it does not hold 64 hex digits`);
  await chmod(path, 0o600);
  return fromHex(text);
}

/** Writes a file that is there as a whole or not at all, and is on disk when this resolves. */
export async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  const part = `${path}.${randomBytes(6).toString("hex")}.part`;
  const file = await open(part, "wx", 0o600);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  try {
    await rename(part, path);
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
  const folder = await open(dirname(path), "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
