/**
 * Hashes and ed25519 signatures: the only door from the protocol to `node:crypto`.
 *
 * Why a rule of our own: which signatures bare `crypto.verify` takes changed between two versions of Node (small-order
 * keys, nodejs/node#64026), and two validators that disagree about one signature are a fork. `verifyStrict` decides the
 * disputed inputs by their bytes first and leaves only the undisputed ones to OpenSSL.
 *
 * The strict set: 32-byte key A, 64-byte signature R ‖ S; S < L; the y of A and of R below p and none of the five y's of
 * small-order points (sign bit ignored); then the equation of RFC 8032, cofactorless, as OpenSSL checks it.
 *
 * Nothing is hashed or signed without a domain string, so that no byte string means two things.
 */

import assert from "node:assert";
import crypto from "node:crypto";
import { promisify } from "node:util";
import { digest, publicKey as brandPublicKey, signature as brandSignature } from "./types.ts";
import type { Digest, Hex, PublicKey, Signature } from "./types.ts";

/** What each hash or signature is about; the bytes before the message are `godwit/<what>/1\0`. */
const DOMAIN_NAMES = [
  "chain", "address", "block", "body", "vote", "proposal", "validators", "transaction", "txid", "deployment", "machine",
  "request", "leaf", "node", "state", "placement", "leaders", "peer", "evidence", "validator",
] as const;
export type Domain = (typeof DOMAIN_NAMES)[number];

const utf8 = new TextEncoder();
export const DOMAINS: Readonly<Record<Domain, Uint8Array>> = Object.freeze(
  Object.fromEntries(DOMAIN_NAMES.map((name) => [name, utf8.encode(`godwit/${name}/1\0`)])),
) as Readonly<Record<Domain, Uint8Array>>;

/** KeyObjects kept: importing one takes 10 µs, a tenth of a verification. 4,096 of them are about 2 MiB. */
const KEYS_CACHED_MAX = 4096;
/** Signing keys kept: a process signs with two or three of them, a test with dozens. */
const SIGNERS_CACHED_MAX = 256;

export function sha256(...parts: Uint8Array[]): Digest {
  return digest(asBytes(crypto.hash("sha256", parts.length === 1 ? parts[0]! : concat(parts), "buffer")));
}

/** As lower-case hex, which sorts as the bytes do: half of what a hash of few bytes costs is making a place for the result. */
export const sha256Hex = (bytes: Uint8Array): Hex => crypto.hash("sha256", bytes, "hex") as Hex;
/** Into memory that is there. */
export function sha256Into(target: Uint8Array, bytes: Uint8Array): void {
  target.setFromHex(sha256Hex(bytes));
}

/** sha256 over the domain's bytes and then these. */
export function hashWithDomain(domain: Domain, bytes: Uint8Array): Digest {
  return sha256(DOMAINS[domain], bytes);
}

/** A new key: the private one is the 32-byte seed of RFC 8032. */
export function generateKey(): { publicKey: PublicKey; privateKey: Uint8Array } {
  const privateKey = asBytes(crypto.randomBytes(32));
  return { publicKey: publicKeyOf(privateKey), privateKey };
}

export function publicKeyOf(seed: Uint8Array): PublicKey {
  const { x } = crypto.createPublicKey(signerOf(seed)).export({ format: "jwk" });
  assert(x !== undefined);
  return brandPublicKey(asBytes(Buffer.from(x, "base64url")));
}

export function sign(seed: Uint8Array, domain: Domain, message: Uint8Array): Signature {
  return brandSignature(asBytes(crypto.sign(null, concat([DOMAINS[domain], message]), signerOf(seed))));
}

/** Whether the signature is in the strict set; the message is taken as it is. Never throws, whatever the bytes. */
export function verifyStrict(signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array): boolean {
  return isStrict(signature, publicKey) && crypto.verify(null, message, verifierOf(publicKey), signature);
}

const verifyPromised = promisify(
  (message: Uint8Array, key: crypto.KeyObject, signature: Uint8Array, done: (error: Error | null, ok: boolean) => void) =>
    crypto.verify(null, message, key, signature, done),
);

/** The same answer as `verifyStrict`, worked out in libuv's pool: the event loop goes on meanwhile. */
export async function verifyStrictAsync(signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array): Promise<boolean> {
  return isStrict(signature, publicKey) && (await verifyPromised(message, verifierOf(publicKey), signature));
}

export function verify(domain: Domain, signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array): boolean {
  return verifyStrict(signature, concat([DOMAINS[domain], message]), publicKey);
}

/** The same without a promise, for thousands of them a second; `done` is called in a later turn. */
export function verifyInPool(domain: Domain, signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array, done: (holds: boolean) => void): void {
  if (!isStrict(signature, publicKey)) return queueMicrotask(() => done(false));
  crypto.verify(null, concat([DOMAINS[domain], message]), verifierOf(publicKey), signature, (error, holds) => done(error === null && holds));
}

export function verifyAsync(domain: Domain, signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array): Promise<boolean> {
  return verifyStrictAsync(signature, concat([DOMAINS[domain], message]), publicKey);
}

// The five y's of the eight points of small order, little-endian without the sign bit: 1, −1, 0 and two of order eight.
const SMALL_ORDER_Y: readonly Uint8Array[] = [
  "0100000000000000000000000000000000000000000000000000000000000000",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "0000000000000000000000000000000000000000000000000000000000000000",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
].map((text) => Uint8Array.fromHex(text));

/** L, the order of the base point: 2^252 + 27742317777372353535851937790883648493, little-endian. */
const GROUP_ORDER = Uint8Array.fromHex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");

function isStrict(signature: Uint8Array, publicKey: Uint8Array): boolean {
  if (signature.length !== 64 || publicKey.length !== 32) return false;
  return isBelowGroupOrder(signature) && isStrictPoint(signature, 0) && isStrictPoint(publicKey, 0);
}

function isBelowGroupOrder(signature: Uint8Array): boolean {
  for (let i = 31; i >= 0; i--) {
    const a = signature[32 + i]!;
    const b = GROUP_ORDER[i]!;
    if (a !== b) return a < b;
  }
  return false;
}

function isStrictPoint(bytes: Uint8Array, at: number): boolean {
  const top = bytes[at + 31]! & 0x7f;
  if (top === 0x7f && bytes[at]! >= 0xed) {
    // p = 2^255 − 19 is ed ff … ff 7f: only its own neighbourhood can be ≥ p.
    let full = true;
    for (let i = 1; i < 31 && full; i++) full = bytes[at + i] === 0xff;
    if (full) return false;
  }
  for (const small of SMALL_ORDER_Y) {
    let difference = top ^ small[31]!;
    for (let i = 0; i < 31 && difference === 0; i++) difference = bytes[at + i]! ^ small[i]!;
    if (difference === 0) return false;
  }
  return true;
}

const verifiers = new Map<string, crypto.KeyObject>();
const signers = new Map<string, crypto.KeyObject>();

function verifierOf(publicKey: Uint8Array): crypto.KeyObject {
  // JWK: createPublicKey from DER takes nine times as long on Node 20.
  return cached(verifiers, KEYS_CACHED_MAX, publicKey, (x) =>
    crypto.createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" }));
}

function signerOf(seed: Uint8Array): crypto.KeyObject {
  assert(seed.length === 32);
  return cached(signers, SIGNERS_CACHED_MAX, seed, () =>
    // A JWK would need the public key beside the seed; PKCS #8 (RFC 8410 §7) does not.
    crypto.createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: "der", type: "pkcs8" }));
}
const PKCS8_PREFIX = Uint8Array.fromHex("302e020100300506032b657004220420");

/** Least recently used goes first: a Map iterates in the order of insertion. */
function cached(
  map: Map<string, crypto.KeyObject>, countMax: number, bytes: Uint8Array, make: (base64url: string) => crypto.KeyObject,
): crypto.KeyObject {
  const name = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64url");
  let key = map.get(name);
  if (key) map.delete(name);
  else key = make(name);
  map.set(name, key);
  if (map.size > countMax) map.delete(map.keys().next().value!);
  return key;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** A plain Uint8Array of its own: a Buffer from Node may lie in a shared pool. */
const asBytes = (buffer: Uint8Array): Uint8Array => new Uint8Array(buffer);
