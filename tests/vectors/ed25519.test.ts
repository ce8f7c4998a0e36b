/** `verifyStrict` against the vectors of others: RFC 8032, Wycheproof, and Filippo Valsorda's edge cases of points; by OpenSSL and by the native part. */

import assert from "node:assert";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { DOMAINS, generateKey, publicKeyOf, sign, verify, verifyAsync, verifyStrictAsync } from "#chain/crypto.ts";
import { fromHex, hex } from "#chain/types.ts";
import { needs } from "#tests/require.ts";
import { crateFolder, goModuleFolder } from "./packages.ts";
import { judged as verifyStrict, judgedByAll } from "./verifiers.ts";

// RFC 8032 §7.1: TEST 1, 2, 3 and SHA(abc). Seed, public key, message, signature.
const RFC_8032: readonly (readonly [string, string, string, string])[] = [
  ["9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"],
  ["4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"],
  ["c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7", "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"],
  ["833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42", "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
    createHash("sha512").update("abc").digest("hex"),
    "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704"],
];

test("verifyStrict() accepts what RFC 8032 signs, and no bit of it changed", async () => {
  for (const [seed, key, message, signature] of RFC_8032) {
    assert.strictEqual(hex(publicKeyOf(fromHex(seed))), key);
    const parts = [fromHex(signature), fromHex(message), fromHex(key)] as const;
    assert.strictEqual(verifyStrict(...parts), true);
    assert.strictEqual(await verifyStrictAsync(...parts), true);
    for (const [at, part] of parts.entries()) {
      for (let bit = 0; bit < part.length * 8; bit += 5) {
        const changed = part.slice();
        changed[bit >> 3]! ^= 1 << (bit & 7);
        assert.strictEqual(verifyStrict(at === 0 ? changed : parts[0], at === 1 ? changed : parts[1], at === 2 ? changed : parts[2]), false);
      }
    }
  }
});

// The encodings of points of small order: eight canonical ones, and those that are only so modulo p or with a sign they lack.
const SMALL = [
  "0100000000000000000000000000000000000000000000000000000000000000", "0100000000000000000000000000000000000000000000000000000000000080",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
  "0000000000000000000000000000000000000000000000000000000000000000", "0000000000000000000000000000000000000000000000000000000000000080",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
].map(fromHex);

test("verifyStrict() refuses every pair of small-order points, whatever the equation says", () => {
  for (const key of SMALL) {
    for (const point of SMALL) {
      const signature = new Uint8Array(64);
      signature.set(point);
      for (let message = 0; message < 8; message++) assert.strictEqual(verifyStrict(signature, new Uint8Array([message]), key), false);
    }
  }
});

test("verifyStrict() refuses y ≥ p, S ≥ L and wrong lengths", () => {
  const [, key, message, signature] = RFC_8032[1]!.map(fromHex) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
  for (let low = 0xed; low <= 0xff; low++) {
    for (const top of [0x7f, 0xff]) {
      const beyond = new Uint8Array(32).fill(0xff);
      beyond[0] = low;
      beyond[31] = top;
      assert.strictEqual(verifyStrict(signature, message, beyond), false);
      const forged = signature.slice();
      forged.set(beyond);
      assert.strictEqual(verifyStrict(forged, message, key), false);
    }
  }
  const order = 2n ** 252n + 27742317777372353535851937790883648493n;
  const scalar = BigInt(`0x${hex(signature.slice(32).reverse())}`);
  for (let s = scalar + order; s < 2n ** 256n; s += order) {
    const malleated = signature.slice();
    malleated.set(fromHex(s.toString(16).padStart(64, "0")).reverse(), 32);
    assert.strictEqual(verifyStrict(malleated, message, key), false);
  }
  assert.strictEqual(verifyStrict(signature.subarray(0, 63), message, key), false);
  assert.strictEqual(verifyStrict(new Uint8Array([...signature, 0]), message, key), false);
  assert.strictEqual(verifyStrict(new Uint8Array(0), message, key), false);
  assert.strictEqual(verifyStrict(signature, message, key.subarray(1)), false);
});

test("a signature counts in its own domain only", async () => {
  const { publicKey, privateKey } = generateKey();
  const message = new Uint8Array([1, 2, 3]);
  const signature = sign(privateKey, "vote", message);
  assert.strictEqual(verify("vote", signature, message, publicKey), true);
  assert.strictEqual(await verifyAsync("vote", signature, message, publicKey), true);
  assert.strictEqual(verify("transaction", signature, message, publicKey), false);
  assert.strictEqual(verifyStrict(signature, message, publicKey), false);
  assert.strictEqual(verifyStrict(signature, new Uint8Array([...DOMAINS.vote, ...message]), publicKey), true);
  const strings = Object.values(DOMAINS).map((domain) => new TextDecoder().decode(domain));
  // No domain is a prefix of another: each ends with the only NUL it has.
  for (const string of strings) assert.match(string, /^godwit\/[a-zA-Z]+\/1\0$/);
});

type Wycheproof = { testGroups: { publicKey: { pk: string }; tests: { tcId: number; msg: string; sig: string; result: string }[] }[] };

test("verifyStrict() agrees with all of Wycheproof", (t) => {
  if (!needs(t, "cargo")) return;
  const folder = fetched(t, () => crateFolder("wycheproof", "0.7.0"));
  if (folder === null) return;
  const { testGroups } = JSON.parse(readFileSync(join(folder, "src/data/ed25519_test.json"), "utf8")) as Wycheproof;
  let count = 0;
  for (const { publicKey, tests } of testGroups) {
    for (const { tcId, msg, sig, result } of tests) {
      assert.strictEqual(judgedByAll(fromHex(sig), fromHex(msg), fromHex(publicKey.pk)), result === "valid", `case ${tcId}`);
      count += 1;
    }
  }
  assert.strictEqual(count, 151);
});

type EdgeCase = { A: string; R: string; S: string; M: string; Flags: string[] | null };

test("verifyStrict() refuses exactly the edge cases outside the strict set", (t) => {
  const folder = fetched(t, () => goModuleFolder("filippo.io/mostly-harmless/ed25519vectors", "v0.0.0-20210322192420-30a2d7243a94"));
  if (folder === null) return t.skip("needs go, which this computer lacks");
  const cases = JSON.parse(readFileSync(join(folder, "ed25519vectors.json"), "utf8")) as EdgeCase[];
  // LowOrderResidue: only the cofactored equation holds. A low-order *component* alone is no reason: blocklists cannot see it.
  const outside = new Set(["LowOrderA", "LowOrderR", "NonCanonicalA", "NonCanonicalR", "LowOrderResidue"]);
  let accepted = 0;
  for (const [at, { A, R, S, M, Flags }] of cases.entries()) {
    const strict = !(Flags ?? []).some((flag) => outside.has(flag));
    assert.strictEqual(judgedByAll(fromHex(R + S), new TextEncoder().encode(M), fromHex(A)), strict, `case ${at}: ${String(Flags)}`);
    if (strict) accepted += 1;
  }
  assert(cases.length > 700 && accepted > 0 && accepted < cases.length);
});

/** Without a network the vectors cannot be had: a skip, or a failure where GODWIT_REQUIRE names cargo. */
function fetched(t: TestContext, fetch: () => string | null): string | null {
  try {
    return fetch();
  } catch (error) {
    if ((process.env["GODWIT_REQUIRE"] ?? "").split(",").includes("cargo")) throw error;
    t.skip(`the vectors cannot be fetched: ${error instanceof Error ? error.message.split("\n")[0] : String(error)}`);
    return null;
  }
}
