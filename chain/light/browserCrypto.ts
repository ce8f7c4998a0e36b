/**
 * What `chain/crypto.ts` is, for where there is no Node: the same names, as far as codec and light client use them, on noble.
 *
 * A page maps `#chain/crypto.ts` to this file (README.md). It accepts exactly the strict set: bytes first (`codec/strict.ts`), then the
 * equation of RFC 8032 without the cofactor, S·B − k·A = R compared as bytes, which is how OpenSSL does it. noble's own `verify` multiplies
 * by the cofactor and would take signatures that a validator refuses.
 */
import { Point } from "@noble/ed25519";
import { sha256 as sha256Of, sha512 } from "@noble/hashes/sha2.js";
import { DOMAINS, type Domain } from "#chain/codec/domains.ts";
import { isStrict } from "#chain/codec/strict.ts";
import { type Digest, type PublicKey, digest } from "#chain/types.ts";

export { DOMAINS, type Domain } from "#chain/codec/domains.ts";

const GROUP_ORDER: bigint = Point.CURVE().n;

export function sha256(...parts: Uint8Array[]): Digest {
  const hash = sha256Of.create();
  for (const part of parts) hash.update(part);
  return digest(hash.digest());
}

export const hashWithDomain = (domain: Domain, bytes: Uint8Array): Digest => sha256(DOMAINS[domain], bytes);

/** Whether the signature is in the strict set; the message is taken as it is. Never throws, whatever the bytes. */
export function verifyStrict(signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array): boolean {
  if (!isStrict(signature, publicKey)) return false;
  const r = signature.subarray(0, 32);
  const s = littleEndian(signature.subarray(32));
  try {
    const key = Point.fromBytes(publicKey);
    const k = littleEndian(sha512.create().update(r).update(publicKey).update(message).digest()) % GROUP_ORDER;
    const found = Point.BASE.multiplyUnsafe(s).subtract(key.multiplyUnsafe(k)).toBytes();
    return found.every((byte, i) => byte === r[i]);
  } catch {
    return false; // The key is no point of the curve.
  }
}

export function verify(domain: Domain, signature: Uint8Array, message: Uint8Array, publicKey: PublicKey): boolean {
  const prefix = DOMAINS[domain];
  const whole = new Uint8Array(prefix.length + message.length);
  whole.set(prefix);
  whole.set(message, prefix.length);
  return verifyStrict(signature, whole, publicKey);
}

export const verifyAsync = async (domain: Domain, signature: Uint8Array, message: Uint8Array, publicKey: PublicKey): Promise<boolean> => verify(domain, signature, message, publicKey);

/** A light client signs nothing, and has no keys. */
function refuseToSign(): never {
  throw new Error("Cannot sign: the browser's part of the protocol only checks");
}
export { refuseToSign as generateKey, refuseToSign as publicKeyOf, refuseToSign as sign };

const littleEndian = (bytes: Uint8Array): bigint => bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
