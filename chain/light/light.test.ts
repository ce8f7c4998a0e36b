import assert from "node:assert/strict";
import { test } from "node:test";
import { validatorSet } from "#chain/codec/certificate.ts";
import { stateKey } from "#chain/codec/proof.ts";
import { PRESETS } from "#chain/constants.ts";
import { START_MS, sampleChain } from "#tests/light/sampleChain.ts";
import { type ChainId, digest, epoch, height, timeMs } from "#chain/types.ts";
import { checkAge, decodeCheckpoint, encodeCheckpoint, epochOfAnswer, follow, fromGenesis, type LightState, limitsOf, read } from "./light.ts";

const limits = limitsOf(PRESETS.default.unbondingMs);
const chain = sampleChain();
const { addresses, answer, epochAnswer, members, nowMs } = chain;
const key = stateKey("account", addresses[7]!);
const begun = (): LightState => {
  const started = fromGenesis(chain.genesis, chain.chainId);
  assert(started.ok);
  return started.state;
};
const codeOf = (result: { ok: boolean }): string => ("code" in result ? String(result.code) : "ok");

test("from the genesis over two epochs an account is proven, and the absence of another, in at most 3 KB at 16 validators", () => {
  let state = begun();
  for (const of_ of [0, 1]) {
    const followed = follow(state, epochAnswer(of_));
    assert(followed.ok, codeOf(followed));
    state = followed.state;
  }
  assert.deepEqual([state.set.epoch, state.height], [2, 610]);
  const bytes = answer(key, 2);
  assert(bytes.length <= 3_072, `${bytes.length} bytes`);
  assert.deepEqual(epochOfAnswer(bytes), { ok: true, epoch: 2 });
  const present = read(state, key, bytes, limits, nowMs(2));
  assert(present.ok && present.value !== null && present.state.height === 1_210);
  const missing = stateKey("account", new Uint8Array(20).fill(9));
  const absent = read(present.state, missing, answer(missing, 2), limits, nowMs(2));
  assert(absent.ok && absent.value === null);
});

test("what a liar answers is refused: another key's proof, a state of his own, too few signatures, another set, another epoch, an older block, any changed byte", () => {
  const state = begun();
  const rows: readonly (readonly [string, Uint8Array])[] = [
    ["proof_invalid", answer(stateKey("account", addresses[8]!), 0)],
    ["proof_invalid", answer(key, 0, { over: { stateRoot: digest(new Uint8Array(32).fill(1)) } })],
    ["certificate_weight", answer(key, 0, { signers: 10 })],
    ["answer_invalid", answer(key, 0, { from: 1 })],
    ["answer_invalid", answer(key, 1, { from: 0 })],
    ["answer_invalid", new Uint8Array([1, 2, 3])],
    ["answer_old", answer(key, 0, { over: { timeMs: timeMs(START_MS - 100_000n) } })],
  ];
  for (const [code, bytes] of rows) assert.equal(codeOf(read(state, key, bytes, limits, nowMs(0))), code);
  const seen = read(state, key, answer(key, 0), limits, nowMs(0));
  assert(seen.ok);
  assert.equal(codeOf(read(seen.state, key, answer(key, 0, { over: { height: height(9) } }), limits, nowMs(0))), "answer_old");
  const good = answer(key, 0);
  for (let at = 0; at < good.length; at += 97) assert.notEqual(codeOf(read(state, key, good.map((byte, i) => (i === at ? byte ^ 1 : byte)), limits, nowMs(0))), "ok", `byte ${at}`);
});

test("a set of validators is taken from the one before only, with its quorum, and as its headers name it", () => {
  const state = begun();
  assert.equal(codeOf(follow(state, epochAnswer(0, { next: members(5) }))), "answer_invalid");
  assert.equal(codeOf(follow(state, epochAnswer(0, { signers: 10 }))), "certificate_weight");
  assert.equal(codeOf(follow(state, epochAnswer(1))), "answer_invalid");
  assert.equal(codeOf(follow(state, new Uint8Array(40_000))), "answer_invalid");
});

test("a checkpoint is the same after it was written; one older than half the unbonding time is refused", () => {
  const state = begun();
  assert.deepEqual(decodeCheckpoint(encodeCheckpoint(state)), state);
  assert.deepEqual(state.set, validatorSet(chain.chainId, epoch(0), members(0)));
  const day = 86_400_000n;
  assert.equal(checkAge(state, limits, START_MS + 3n * day), null);
  assert.equal(checkAge(state, limits, START_MS + 4n * day)?.code, "checkpoint_old");
  assert.equal(codeOf(fromGenesis(chain.genesis, new Uint8Array(8) as ChainId)), "genesis_wrong");
});
