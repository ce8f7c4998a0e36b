/** The native check of signatures beside OpenSSL's and the browser's: thousands that might be judged differently, one by one and in batches. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { DOMAINS, useNativeVerification, verifiesNatively, verifyInPool, verifyStrict, verifyStrictAsync } from "#chain/crypto.ts";
import { loadVerification } from "#sandbox/verification.ts";
import { chance } from "#tests/simulation/chance.ts";
import { hasNative, judged, judgedByAll, rows } from "./verifiers.ts";

const skip = hasNative ? false : "needs the native parts, which are not built here";

test("native, OpenSSL and browser give one answer for thousands of signatures: good, changed, malleated, of mixed order, of encodings that are nobody's", { skip }, () => {
  const accepted = { yes: 0, no: 0 };
  for (const [index, { signature, message, key }] of rows(chance(3), 500).entries()) {
    accepted[(index % 61 === 0 ? judgedByAll : judged)(signature, message, key) ? "yes" : "no"] += 1;
  }
  assert(accepted.yes >= 500 && accepted.no >= 1_500, JSON.stringify(accepted));
});

test("the same answers come from batches of every size, each to its own question", { skip }, async (t) => {
  const all = rows(chance(4), 32);
  const expected = all.map(({ signature, message, key }) => judged(signature, message, key));
  assert(useNativeVerification(loadVerification()) && verifiesNatively());
  t.after(() => useNativeVerification(null));
  for (const size of [1, 4, 5, 31, 32, 33, 100, all.length]) {
    for (let at = 0; at < all.length; at += size) {
      const found = await Promise.all(all.slice(at, at + size).map(({ signature, message, key }) => verifyStrictAsync(signature, message, key)));
      assert.deepEqual(found, expected.slice(at, at + size), `${size} from ${at}`);
    }
  }
  assert.deepEqual(all.map(({ signature, message, key }) => verifyStrict(signature, message, key)), expected);
  // The domain goes before the message in the pool, too.
  const signed = all.filter((_, index) => index % 8 === 0).map((row) => ({ ...row, message: row.message.subarray(DOMAINS.vote.length) }));
  const holds = (domain: "vote" | "transaction") => Promise.all(signed.map(({ signature, message, key }) => new Promise((done) => verifyInPool(domain, signature, message, key, done))));
  assert.deepEqual([await holds("vote"), await holds("transaction")], [signed.map(() => true), signed.map(() => false)]);
});

test("a batch that is cut off, and bytes of a wrong length, are answered with no, never with a crash", { skip }, async () => {
  const native = loadVerification()!;
  const [{ signature, message, key }] = rows(chance(5), 1) as [(ReturnType<typeof rows>)[number]];
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, message.length, true);
  const batch = new Uint8Array(Buffer.concat([signature, key, length, message]));
  assert.deepEqual([...(await native.holdMany(new Uint8Array(Buffer.concat([batch, batch]))))], [1, 1]);
  for (let cut = 0; cut < batch.length; cut += 7) assert.deepEqual([...(await native.holdMany(batch.subarray(0, cut)))], []);
  new DataView(batch.buffer).setUint32(96, 0xffff_ffff, true);
  assert.deepEqual([...(await native.holdMany(batch))], []);
  for (const wrong of [signature.subarray(1), new Uint8Array(65), new Uint8Array(0)]) assert.equal(native.holds(message, message, wrong, key), false);
  for (const wrong of [key.subarray(1), new Uint8Array(33), new Uint8Array(0)]) assert.equal(native.holds(message, message, signature, wrong), false);
});
