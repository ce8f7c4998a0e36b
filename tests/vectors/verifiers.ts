/**
 * The three ways in which a signature is judged (OpenSSL, the native part, the browser's twin), held to one answer; and signatures on which
 * they might differ: changed, of mixed order, malleated, with encodings that are nobody's, noise.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Point } from "@noble/ed25519";
import { DOMAINS, publicKeyOf, sign, useNativeVerification, verifyStrict } from "#chain/crypto.ts";
import { isStrict } from "#chain/codec/strict.ts";
import { verifyStrict as verifyStrictInBrowser } from "#chain/light/browserCrypto.ts";
import { loadVerification } from "#sandbox/verification.ts";
import type { Chance } from "#tests/simulation/chance.ts";

export type Row = { readonly signature: Uint8Array; readonly message: Uint8Array; readonly key: Uint8Array };

const native = loadVerification();
export const hasNative: boolean = native !== null;

/** OpenSSL's answer, which is the native part's, where there is one, whole and in a batch. */
export function judged(signature: Uint8Array, message: Uint8Array, key: Uint8Array): boolean {
  useNativeVerification(null);
  const expected = verifyStrict(signature, message, key);
  if (native !== null) {
    const cut = message.length >> 1;
    const found = isStrict(signature, key) && native.holds(message.subarray(0, cut), message.subarray(cut), signature, key);
    assert.equal(found, expected, `native: ${Buffer.concat([signature, key, message]).toString("hex")}`);
  }
  return expected;
}
/** As `judged`, and the browser's: 3 ms each. */
export function judgedByAll(signature: Uint8Array, message: Uint8Array, key: Uint8Array): boolean {
  const expected = judged(signature, message, key);
  assert.equal(verifyStrictInBrowser(signature, message, key), expected, `browser: ${Buffer.concat([signature, key, message]).toString("hex")}`);
  return expected;
}

/** A generator of the eight points of small order. */
const TORSION = Point.fromHex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05");
const TORSIONS = Array.from({ length: 8 }, (_, i) => TORSION.multiplyUnsafe(BigInt(i)));
const ORDER = Point.CURVE().n;
const PRIME = Point.CURVE().p;
const littleEndian = (bytes: Uint8Array): bigint => bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
const scalar = (bytes: Uint8Array): bigint => littleEndian(bytes) % ORDER;
const bytes32 = (value: bigint): Uint8Array => Uint8Array.from({ length: 32 }, (_, i) => Number((value >> BigInt(8 * i)) & 255n));
const joined = (...parts: Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));
const random = (draw: Chance, length: number): Uint8Array => Uint8Array.from({ length }, () => draw.below(256));
const sha512 = (bytes: Uint8Array): Uint8Array => new Uint8Array(createHash("sha512").update(bytes).digest());

/** Points of some keys and nonces with every part of small order: a multiplication takes 3 ms, an addition 10 µs. */
type Mixable = { readonly scalar: bigint; readonly points: readonly Uint8Array[] };
function mixable(draw: Chance): Mixable {
  const value = scalar(random(draw, 64));
  const point = Point.BASE.multiply(value);
  return { scalar: value, points: TORSIONS.map((torsion, i) => new Uint8Array((i === 0 ? point : point.add(torsion)).toBytes())) };
}
/** By a key with a part of small order, and with such a part in R: some satisfy the equation, some only with the cofactor. */
function mixed(draw: Chance, { scalar: secret, points: keys }: Mixable, { scalar: nonce, points: rs }: Mixable): Row {
  const [key, r, message] = [keys[draw.below(8)]!, rs[draw.below(8)]!, random(draw, draw.below(100))];
  return { signature: joined(r, bytes32((nonce + scalar(sha512(joined(r, key, message))) * secret) % ORDER)), message, key };
}

const FEW = 24;
const MESSAGE_BYTES_MAX = 300;
/** A y that is no coordinate: at or above the prime, or of a point of small order, with either sign. */
const oddEncoding = (draw: Chance): Uint8Array => {
  const encoded = bytes32(draw.pick([PRIME + BigInt(draw.below(19)), 0n, 1n, PRIME - 1n, littleEndian(TORSIONS[1]!.toBytes()) & ((1n << 255n) - 1n)]));
  encoded[31]! |= draw.below(2) << 7;
  return encoded;
};

/** Eight rows a round: good, a bit changed in each part, mixed order twice, S beside the group's order, an odd encoding, noise. */
export function rows(draw: Chance, rounds: number): Row[] {
  const keys = Array.from({ length: FEW }, () => random(draw, 32)).map((privateKey) => ({ privateKey, publicKey: publicKeyOf(privateKey) }));
  const [secrets, nonces] = [0, 1].map(() => Array.from({ length: FEW }, () => mixable(draw))) as [Mixable[], Mixable[]];
  const flipped = (bytes: Uint8Array): Uint8Array => {
    const copy = bytes.slice();
    if (copy.length > 0) copy[draw.below(copy.length)]! ^= 1 << draw.below(8);
    return copy;
  };
  return Array.from({ length: rounds }, (_, round) => {
    const { publicKey, privateKey } = draw.pick(keys);
    const text = random(draw, round % 64 === 63 ? 9_000 : draw.below(MESSAGE_BYTES_MAX));
    const good: Row = { signature: new Uint8Array(sign(privateKey, "vote", text)), message: joined(DOMAINS.vote, text), key: new Uint8Array(publicKey) };
    const [r, s] = [good.signature.subarray(0, 32), littleEndian(good.signature.subarray(32))];
    const near = [s + ORDER, s ^ (1n << 255n), ORDER - 1n, ORDER, ORDER + 1n, (ORDER - s) % ORDER, 0n, 2n ** 253n - 1n];
    const [odd, part] = [oddEncoding(draw), draw.pick(["signature", "message", "key"] as const)];
    return [
      good, { ...good, [part]: flipped(good[part]) },
      { ...good, signature: flipped(good.signature) }, mixed(draw, draw.pick(secrets), draw.pick(nonces)), mixed(draw, draw.pick(secrets), draw.pick(nonces)),
      { ...good, signature: joined(r, bytes32(draw.pick(near))) },
      draw.below(2) === 0 ? { ...good, key: odd } : { ...good, signature: joined(odd, good.signature.subarray(32)) },
      { signature: joined(random(draw, 63), new Uint8Array([draw.below(17)])), message: text, key: random(draw, 32) },
    ];
  }).flat();
}
