/** `encode` and `decode` against RFC 8949 appendix A: what lies in the profile is read and written so, all else is refused. */

import assert from "node:assert";
import { test } from "node:test";
import { CBOR_DEPTH_MAX, CodecError, decode, encode } from "#chain/codec/cbor.ts";
import type { Cbor } from "#chain/codec/cbor.ts";
import { fromHex, hex } from "#chain/types.ts";
import { chance } from "#tests/simulation/chance.ts";

const INSIDE: readonly (readonly [Cbor, string])[] = [
  [0, "00"], [1, "01"], [10, "0a"], [23, "17"], [24, "1818"], [25, "1819"], [100, "1864"], [1000, "1903e8"], [1_000_000, "1a000f4240"],
  [1_000_000_000_000n, "1b000000e8d4a51000"], [18_446_744_073_709_551_615n, "1bffffffffffffffff"],
  [new Uint8Array(0), "40"], [fromHex("01020304"), "4401020304"], ["", "60"], ["a", "6161"], ["IETF", "6449455446"], ['"\\', "62225c"],
  ["\u00fc", "62c3bc"], ["\u6c34", "63e6b0b4"], ["\ud800\udd51", "64f0908591"], [[], "80"], [[1, 2, 3], "83010203"],
  [[1, [2, 3], [4, 5]], "8301820203820405"],
  [Array.from({ length: 25 }, (_, i) => i + 1), "98190102030405060708090a0b0c0d0e0f101112131415161718181819"],
];

// Not of the appendix: both sides of every change of length, and of what a double can hold.
const EDGES: readonly (readonly [Cbor, string])[] = [
  [255, "18ff"], [256, "190100"], [65_535, "19ffff"], [65_536, "1a00010000"], [4_294_967_295, "1affffffff"], [4_294_967_296n, "1b0000000100000000"],
  [2n ** 53n - 1n, "1b001fffffffffffff"], [2n ** 53n, "1b0020000000000000"], [2n ** 53n + 1n, "1b0020000000000001"], [2n ** 64n - 1n, "1bffffffffffffffff"],
  ["\ufeffa", "64efbbbf61"],
];

const OUTSIDE: readonly (readonly [string, string])[] = [
  ["c249010000000000000000", "codec_type"], ["3bffffffffffffffff", "codec_type"], ["c349010000000000000000", "codec_type"], ["20", "codec_type"],
  ["29", "codec_type"], ["3863", "codec_type"], ["3903e7", "codec_type"], ["f90000", "codec_type"], ["f98000", "codec_type"], ["f93c00", "codec_type"],
  ["fb3ff199999999999a", "codec_type"], ["f97bff", "codec_type"], ["fa47c35000", "codec_type"], ["f97c00", "codec_type"], ["f97e00", "codec_type"],
  ["fa7f800000", "codec_type"], ["fb7ff0000000000000", "codec_type"], ["f4", "codec_type"], ["f5", "codec_type"], ["f6", "codec_type"], ["f7", "codec_type"],
  ["f0", "codec_type"], ["f8ff", "codec_type"], ["c074323031332d30332d32315432303a30343a30305a", "codec_type"], ["c11a514b67b0", "codec_type"],
  ["d74401020304", "codec_type"], ["d818456449455446", "codec_type"], ["a0", "codec_type"], ["a201020304", "codec_type"],
  ["826161a161626163", "codec_type"], ["5f42010243030405ff", "codec_indefinite"], ["7f657374726561646d696e67ff", "codec_indefinite"],
  ["9fff", "codec_indefinite"], ["9f018202039f0405ffff", "codec_indefinite"], ["83018202039f0405ff", "codec_indefinite"], ["bf61610161629f0203ffff", "codec_type"],
  // Not shortest.
  ["1800", "codec_not_shortest"], ["1817", "codec_not_shortest"], ["190018", "codec_not_shortest"], ["1900ff", "codec_not_shortest"],
  ["1a0000ffff", "codec_not_shortest"], ["1b00000000ffffffff", "codec_not_shortest"], ["5800", "codec_not_shortest"], ["980100", "codec_not_shortest"],
  ["7900016161", "codec_not_shortest"],
  // Reserved, cut off, too much, not UTF-8.
  ["1c", "codec_type"], ["1d", "codec_type"], ["1e", "codec_type"], ["", "codec_truncated"], ["18", "codec_truncated"], ["1903", "codec_truncated"],
  ["4401", "codec_truncated"], ["6261", "codec_truncated"], ["8301", "codec_truncated"], ["9affffffff", "codec_truncated"],
  ["5bffffffffffffffff", "codec_truncated"], ["9bffffffffffffffff", "codec_truncated"], ["0000", "codec_trailing"], ["61ff", "codec_utf8"],
  ["63eda080", "codec_utf8"], ["62c080", "codec_utf8"],
];

test("encode() and decode() hold RFC 8949 appendix A, as far as it lies in the profile", () => {
  for (const [value, bytes] of [...INSIDE, ...EDGES]) {
    assert.strictEqual(hex(encode(value)), bytes);
    assert.deepStrictEqual(decode(fromHex(bytes)), value);
  }
});

test("decode() refuses the rest of the appendix and every other way to write a value", () => {
  for (const [bytes, code] of OUTSIDE) assert.throws(() => decode(fromHex(bytes)), { name: "CodecError", code }, bytes);
});

test("encode() refuses what the profile has no bytes for", () => {
  for (const value of [-1, 1.5, Number.NaN, 2 ** 53, -1n, 2n ** 64n]) assert.throws(() => encode(value), { code: "codec_range" });
  assert.throws(() => encode("\ud800"), { code: "codec_utf8" });
  for (const value of [null, undefined, true, {}, new Map()]) assert.throws(() => encode(value as never), { name: "CodecError", code: "codec_type" });
});

test("decode() is bounded in depth and in items", () => {
  const nested = (depth: number): Uint8Array => new Uint8Array([...new Uint8Array(depth).fill(0x81), 0x00]);
  assert.deepStrictEqual(encode(decode(nested(CBOR_DEPTH_MAX))), nested(CBOR_DEPTH_MAX));
  assert.throws(() => decode(nested(CBOR_DEPTH_MAX + 1)), { code: "codec_depth" });
  assert.throws(() => decode(nested(100_000)), { code: "codec_depth" });
  const many = new Uint8Array(70_005);
  many.set([0x9a, 0x00, 0x01, 0x11, 0x70]);
  assert.throws(() => decode(many), { code: "codec_items" });
});

test("a value has one encoding: whatever decodes encodes to the very same bytes", () => {
  const draw = chance(7);
  let decoded = 0;
  for (let round = 0; round < 20_000; round++) {
    const bytes = encode(randomValue((n) => draw.below(n), 0));
    for (let change = draw.below(3); change > 0; change--) bytes[draw.below(bytes.length)] = draw.below(256);
    let value: Cbor;
    try {
      value = decode(bytes);
    } catch (error) {
      assert(error instanceof CodecError);
      continue;
    }
    decoded += 1;
    assert.deepStrictEqual(encode(value), bytes);
  }
  assert(decoded > 7_000 && decoded < 20_000);
});

test("decoded bytes are copies, also out of a Buffer", () => {
  const input = Buffer.from("824401020304456162636465", "hex");
  const [first] = decode(input) as [Uint8Array];
  input.fill(0);
  assert.deepStrictEqual(first, new Uint8Array([1, 2, 3, 4]));
  assert.strictEqual(first.buffer.byteLength, 4);
});

function randomValue(below: (n: number) => number, depth: number): Cbor {
  switch (below(depth < 4 ? 6 : 4)) {
    case 0: return below(30);
    case 1: return (BigInt(below(2 ** 32)) << 32n) | BigInt(below(2 ** 32));
    case 2: return new Uint8Array(below(40)).fill(below(256));
    case 3: return String.fromCodePoint(below(0xd7ff)).repeat(below(20));
    default: return Array.from({ length: below(5) }, () => randomValue(below, depth + 1));
  }
}
