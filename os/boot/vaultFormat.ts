/**
 * What a machine that keeps nothing through a power cut leaves with its boot server: files, each sealed with a key that follows from the machine's own, and an index of them
 * that the machine signs. Bytes in, bytes out.
 *
 * Rules: the server reads nothing but lengths and hashes; a sealed file opens only under the path that it was sealed for; an index counts upwards, so that an older one is not
 * taken for a newer. A server can still give back an old index: so nothing belongs here that must not go back in time (a vote log). A snapshot may: a node goes on from any.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";
import { publicKeyOf, sha256Hex, sign, verify } from "#chain/crypto.ts";
import { type Hex, type PublicKey, fromHex, hex } from "#chain/types.ts";

export const VAULT_PATH = "/v1/vault/";
/** The largest component, sealed. */
export const VAULT_OBJECT_BYTES_MAX: number = 64 * 1024 * 1024 + 64;
export const VAULT_INDEX_BYTES_MAX: number = 1024 * 1024;
export const VAULT_FILES_MAX = 2_048;
/** What a machine leaves of its own kind only: bytes by their digest and account (os/blobs.ts), and the chain's state by its height (chain/node/keptSnapshot.ts). */
const FILE_PATH = /^(?:(?:components|configurations)\/[0-9a-f]{64}\.[0-9a-f]{40}|snapshots\/[1-9]\d{0,9})$/;
/** It is in memory three times while it is sealed and sent, also on a machine with 384 MiB: a state of three hundred thousand entities. */
export const VAULT_SNAPSHOT_BYTES_MAX: number = 32 * 1024 * 1024;
export const SNAPSHOTS_FOLDER = "snapshots";
const HASH = /^[0-9a-f]{64}$/;
const INDEX_NAME = "index";
const [NONCE_BYTES, TAG_BYTES, KEY_BYTES] = [12, 16, 32];
const CIPHER = "aes-256-gcm";

/** `sha256`: of the sealed bytes, which is their name on the server. */
export type VaultFile = { readonly path: string; readonly sha256: Hex; readonly bytes: number };
export type VaultIndex = { readonly count: number; readonly files: readonly VaultFile[] };
/** As much of an index as the server reads. */
export type OpenIndex = { readonly count: number; readonly objects: readonly Hex[] };

export const vaultKey = (seed: Uint8Array): Uint8Array => new Uint8Array(hkdfSync("sha256", seed, new Uint8Array(), "godwit/vault/key/1", KEY_BYTES));
export const isVaultPath = (path: string): boolean => FILE_PATH.test(path);

export function sealFile(key: Uint8Array, path: string, content: Uint8Array): Uint8Array {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, key, nonce).setAAD(Buffer.from(path));
  return new Uint8Array(Buffer.concat([nonce, cipher.update(content), cipher.final(), cipher.getAuthTag()]));
}

/** Null: it was not sealed with this key for this path, or was changed. */
export function openFile(key: Uint8Array, path: string, sealed: Uint8Array): Uint8Array | null {
  if (sealed.length < NONCE_BYTES + TAG_BYTES) return null;
  const opened = createDecipheriv(CIPHER, key, sealed.subarray(0, NONCE_BYTES)).setAAD(Buffer.from(path)).setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  try {
    return new Uint8Array(Buffer.concat([opened.update(sealed.subarray(NONCE_BYTES, sealed.length - TAG_BYTES)), opened.final()]));
  } catch {
    return null;
  }
}

/** The signature's line, and the JSON that is signed. */
export function encodeIndex(seed: Uint8Array, { count, files }: VaultIndex): Uint8Array {
  const sealed = sealFile(vaultKey(seed), INDEX_NAME, new TextEncoder().encode(JSON.stringify(files)));
  const text = JSON.stringify({ count, objects: files.map(({ sha256 }) => sha256), sealed: Buffer.from(sealed).toString("base64") });
  return new TextEncoder().encode(`${hex(sign(seed, "vault", new TextEncoder().encode(text)))}\n${text}`);
}

/** Null: it is none that the owner of `key` signed. */
export function readIndex(bytes: Uint8Array, key: PublicKey): (OpenIndex & { readonly sealed: Uint8Array }) | null {
  if (bytes.length > VAULT_INDEX_BYTES_MAX) return null;
  const [, signature, text] = /^([0-9a-f]{128})\n(\{.*\})$/s.exec(new TextDecoder().decode(bytes)) ?? [];
  if (signature === undefined || text === undefined || !verify("vault", fromHex(signature), new TextEncoder().encode(text), key)) return null;
  const { count, objects, sealed } = JSON.parse(text) as Record<string, unknown>;
  if (typeof count !== "number" || !Number.isSafeInteger(count) || count < 1 || typeof sealed !== "string" || !Array.isArray(objects) || objects.length > VAULT_FILES_MAX) return null;
  return objects.every((one): one is Hex => typeof one === "string" && HASH.test(one)) ? { count, objects, sealed: new Uint8Array(Buffer.from(sealed, "base64")) } : null;
}

/** Null: it is not this machine's. Paths that are none of a vault's are an index that this code did not write. */
export function openIndex(bytes: Uint8Array, seed: Uint8Array): VaultIndex | null {
  const read = readIndex(bytes, publicKeyOf(seed));
  const text = read === null ? null : openFile(vaultKey(seed), INDEX_NAME, read.sealed);
  if (read === null || text === null) return null;
  const files = JSON.parse(new TextDecoder().decode(text)) as VaultFile[];
  return files.every(({ path, sha256, bytes: length }) => isVaultPath(path) && HASH.test(sha256) && length <= VAULT_OBJECT_BYTES_MAX) ? { count: read.count, files } : null;
}

/** What stands under the owner's key: an object or the index. */
export type VaultPlace = "object" | "index";
/** Goes before the bytes: who leaves them is known before anything of them is taken in. */
export const VAULT_SIGNATURE_HEADER = "godwit-signature";
export const VAULT_DIGEST_HEADER = "godwit-sha256";
export const putMessage = (place: VaultPlace, sha256: string): Uint8Array => new TextEncoder().encode(`put ${place} ${sha256}`);
export const putSignature = (seed: Uint8Array, place: VaultPlace, bytes: Uint8Array): { readonly sha256: Hex; readonly signature: Hex } => {
  const sha256 = sha256Hex(bytes);
  return { sha256, signature: hex(sign(seed, "vault", putMessage(place, sha256))) };
};
