import assert from "node:assert/strict";
import { test } from "node:test";
import { generateKey, sign, useNativeVerification, verifiesNatively, verify, verifyStrict } from "./crypto.ts";
import { type NativeVerification, VerificationBatches } from "./verification.ts";

/** What a native part would say, by OpenSSL, and how it was asked. */
function spy(): NativeVerification & { readonly batches: number[]; alone: number } {
  const holds: NativeVerification["holds"] = (prefix, message, signature, key) => verifyStrict(signature, new Uint8Array([...prefix, ...message]), key);
  const asked = {
    batches: [] as number[], alone: 0,
    holds: (...parts: Parameters<typeof holds>) => (asked.alone++, holds(...parts)),
    holdMany: async (batch: Uint8Array) => {
      const verdicts: number[] = [];
      const view = new DataView(batch.buffer);
      for (let at = 0; at < batch.length; ) {
        const end = at + 100 + view.getUint32(at + 96, true);
        verdicts.push(verifyStrict(batch.subarray(at, at + 64), batch.subarray(at + 100, end), batch.subarray(at + 64, at + 96)) ? 1 : 0);
        at = end;
      }
      asked.batches.push(verdicts.length);
      return new Uint8Array(verdicts);
    },
  };
  return asked;
}
const { publicKey, privateKey } = generateKey();
const message = new Uint8Array([1, 2, 3]);
const signature = sign(privateKey, "vote", message);
const prefix = new TextEncoder().encode("godwit/vote/1\0");
const wrong = signature.with(5, signature[5]! ^ 1);

/** As many as that in one turn, every third of them wrong. */
async function answers(native: NativeVerification, count: number): Promise<boolean> {
  const batches = new VerificationBatches(native);
  const found = await Promise.all(Array.from({ length: count }, (_, index) => new Promise<boolean>((done) => batches.add(prefix, message, index % 3 === 2 ? wrong : signature, publicKey, done))));
  return found.every((holds, index) => holds === (index % 3 !== 2));
}

test("few signatures of a turn are checked on the loop, more of them together in the pool, 32 on a thread", async () => {
  for (const [count, alone, batches] of [[1, 1, []], [4, 4, []], [5, 0, [5]], [70, 0, [32, 32, 6]]] as const) {
    const native = spy();
    assert(await answers(native, count));
    assert.deepEqual([native.alone, native.batches], [alone, batches]);
  }
});

test("when the pool fails, or answers about another number, each signature is checked by itself", async () => {
  for (const holdMany of [() => Promise.reject(new Error("no thread")), () => Promise.resolve(new Uint8Array(4).fill(1))]) {
    const native = { ...spy(), holdMany };
    assert(await answers(native, 10));
  }
});

test("a native part that errs about a known signature is not used, and OpenSSL goes on", () => {
  const broken: readonly NativeVerification["holds"][] = [() => true, () => false, () => { throw new Error("illegal instruction"); }, (_, text) => text.length > 0];
  for (const holds of broken) {
    assert.equal(useNativeVerification({ ...spy(), holds }), false);
    assert.equal(verifiesNatively(), false);
    assert.deepEqual([verify("vote", signature, message, publicKey), verify("vote", wrong, message, publicKey)], [true, false]);
  }
});
