/**
 * Hashes and ed25519 signatures: the only door from the protocol to `node:crypto`.
 *
 * Why a rule of our own: which signatures bare `crypto.verify` takes changed between two versions of Node (small-order
 * keys, nodejs/node#64026), and two validators that disagree about one signature are a fork. `verifyStrict` decides the
 * disputed inputs by their bytes first and leaves only the undisputed ones to OpenSSL.
 *
 * The strict set: 32-byte key A, 64-byte signature R ‖ S; S < L; the y of A and of R below p and none of the five y's of
 * small-order points (sign bit ignored); then the equation of RFC 8032, cofactorless, as OpenSSL checks it. A process that was given a
 * native part (`verification.ts`) has the equation from that one, five times as fast and with the same answers; any other from OpenSSL.
 *
 * Nothing is hashed or signed without a domain string, so that no byte string means two things.
 */

import assert from "node:assert";
import crypto from "node:crypto";
import { DOMAINS, type Domain } from "./codec/domains.ts";
import { isStrict } from "./codec/strict.ts";
import { Recent } from "./recent.ts";
import { digest, publicKey as brandPublicKey, signature as brandSignature } from "./types.ts";
import type { Digest, Hex, PublicKey, Signature } from "./types.ts";
import { type NativeVerification, VerificationBatches, answersKnown } from "./verification.ts";

export { DOMAINS, type Domain } from "./codec/domains.ts";

/** KeyObjects kept: importing one takes 10 µs, a tenth of a verification. 4,096 of them are about 2 MiB. */
const KEYS_CACHED_MAX = 4096;
/** Signing keys kept: a process signs with two or three of them, a test with dozens. */
const SIGNERS_CACHED_MAX = 256;

export function sha256(...parts: Uint8Array[]): Digest {
  const target = new Uint8Array(32);
  target.setFromHex(sha256Hex(parts.length === 1 ? parts[0]! : concat(parts)));
  return digest(target);
}

/** As lower-case hex, which sorts as the bytes do: half of what a hash of few bytes costs is making a place for the result. */
export const sha256Hex = (bytes: Uint8Array): Hex => crypto.hash("sha256", bytes, "hex") as Hex;

/** sha256 over the domain's bytes and then these. */
export function hashWithDomain(domain: Domain, bytes: Uint8Array): Digest {
  const prefix = DOMAINS[domain];
  const length = prefix.length + bytes.length;
  if (length > together.length) return sha256(prefix, bytes);
  together.set(prefix);
  together.set(bytes, prefix.length);
  return sha256(together.subarray(0, length));
}
/** Where a domain and what follows it lie together for as long as they are hashed: a transaction has room. */
const together = new Uint8Array(8_192);

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

let native: { readonly verification: NativeVerification; readonly batches: VerificationBatches } | null = null;

/** For the whole process from now on; null: OpenSSL again. False, and OpenSSL: this one errs about known signatures. */
export function useNativeVerification(verification: NativeVerification | null): boolean {
  native = null;
  if (verification === null) return true;
  if (!knows(verification)) return false;
  native = { verification, batches: new VerificationBatches(verification) };
  return true;
}
export const verifiesNatively = (): boolean => native !== null;

function knows(verification: NativeVerification): boolean {
  try {
    return answersKnown(verification);
  } catch {
    return false;
  }
}

/** Whether the signature is in the strict set; the message is taken as it is. Never throws, whatever the bytes. */
export function verifyStrict(signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array): boolean {
  return strictly(NO_DOMAIN, signature, message, publicKey);
}
/** The same answer, worked out in libuv's pool unless it is one of a few: the event loop goes on meanwhile. */
export function verifyStrictAsync(signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array): Promise<boolean> {
  return new Promise((resolve) => strictlyInPool(NO_DOMAIN, signature, message, publicKey, resolve));
}

export function verify(domain: Domain, signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array): boolean {
  return strictly(DOMAINS[domain], signature, message, publicKey);
}
export function verifyAsync(domain: Domain, signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array): Promise<boolean> {
  return new Promise((resolve) => strictlyInPool(DOMAINS[domain], signature, message, publicKey, resolve));
}
/** The same without a promise, for thousands of them a second; `done` is called in a later turn. */
export function verifyInPool(domain: Domain, signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array, done: (holds: boolean) => void): void {
  strictlyInPool(DOMAINS[domain], signature, message, publicKey, done);
}

const NO_DOMAIN = new Uint8Array(0);

function strictly(prefix: Uint8Array, signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array): boolean {
  if (!isStrict(signature, publicKey)) return false;
  if (native) return native.verification.holds(prefix, message, signature, publicKey);
  return crypto.verify(null, concat([prefix, message]), verifierOf(publicKey), signature);
}
function strictlyInPool(prefix: Uint8Array, signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array, done: (holds: boolean) => void): void {
  if (!isStrict(signature, publicKey)) return queueMicrotask(() => done(false));
  if (native) return native.batches.add(prefix, message, signature, publicKey, done);
  crypto.verify(null, concat([prefix, message]), verifierOf(publicKey), signature, (error, holds) => done(error === null && holds));
}

const verifiers = new Recent<crypto.KeyObject>(KEYS_CACHED_MAX);
const signers = new Recent<crypto.KeyObject>(SIGNERS_CACHED_MAX);

function verifierOf(publicKey: Uint8Array): crypto.KeyObject {
  // JWK: createPublicKey from DER takes nine times as long on Node 20.
  return cached(verifiers, publicKey, (x) =>
    crypto.createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" }));
}

function signerOf(seed: Uint8Array): crypto.KeyObject {
  assert(seed.length === 32);
  return cached(signers, seed, () =>
    // A JWK would need the public key beside the seed; PKCS #8 (RFC 8410 §7) does not.
    crypto.createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: "der", type: "pkcs8" }));
}
const PKCS8_PREFIX = Uint8Array.fromHex("302e020100300506032b657004220420");

function cached(keys: Recent<crypto.KeyObject>, bytes: Uint8Array, make: (base64url: string) => crypto.KeyObject): crypto.KeyObject {
  const name = bytes.toHex();
  let key = keys.get(name);
  if (key === undefined) keys.set(name, (key = make(Buffer.from(bytes).toString("base64url"))));
  return key;
}

/** One after the other, as bytes of their own. */
export function concat(parts: readonly Uint8Array[]): Uint8Array {
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
