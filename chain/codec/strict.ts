/**
 * The strict set of signatures, as far as bytes alone decide it: 32-byte key A, 64-byte signature R ‖ S; S < L; the y of A and of R below p
 * and none of the five y's of small-order points (sign bit ignored). What is in it still has to satisfy the equation of RFC 8032,
 * cofactorless: `chain/crypto.ts` checks that by OpenSSL, `chain/light/browserCrypto.ts` in a browser.
 */

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

export function isStrict(signature: Uint8Array, publicKey: Uint8Array): boolean {
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
