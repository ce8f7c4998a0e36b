import assert from "node:assert/strict";
import { test } from "node:test";
import { validatorsHash } from "#chain/codec/certificate.ts";
import { PRESETS } from "#chain/constants.ts";
import { sampleChain } from "#tests/light/sampleChain.ts";
import { checkCheckpoint, checkpointOf, checkpointText, parseCheckpoint, setAt } from "./checkpoint.ts";
import { follow, fromGenesis, limitsOf } from "./light.ts";

const chain = sampleChain();

test("a checkpoint that was followed to is a text that another reads, and only its own validators fit it", () => {
  const begun = fromGenesis(chain.genesis, chain.chainId);
  assert(begun.ok);
  const followed = follow(begun.state, chain.epochAnswer(0));
  assert(followed.ok);
  const text = checkpointText(checkpointOf(followed.state));
  assert.match(text, /^1-\d{10}-[0-9a-f]{64}$/);
  const read = parseCheckpoint(text);
  assert.deepEqual(read, checkpointOf(followed.state));
  assert.deepEqual(read!.validatorsHash, validatorsHash(chain.members(1)));
  assert.deepEqual(setAt(read!, chain.chainId, chain.members(1)), followed.state.set);
  assert.equal(setAt(read!, chain.chainId, chain.members(2)), null);
});

test("what is no checkpoint is not read as one", () => {
  const hash = "ab".repeat(32);
  for (const text of ["", "1", `1-2`, `01-2-${hash}`, `1-0-${hash}`, `1-2-${hash.toUpperCase()}`, `1-2-${hash}0`, `-1-2-${hash}`, `4294967296-2-${hash}`, `1-2-${hash}\n`]) assert.equal(parseCheckpoint(text), null, text);
});

test("a checkpoint older than half of the unbonding time is refused", () => {
  const limits = limitsOf(PRESETS.default.unbondingMs);
  const checkpoint = parseCheckpoint(`7-1800000000-${"ab".repeat(32)}`)!;
  const lastMs = checkpoint.timeMs + PRESETS.default.unbondingMs / 2n;
  assert.equal(checkCheckpoint(checkpoint, limits, lastMs), null);
  assert.equal(checkCheckpoint(checkpoint, limits, lastMs + 1n)?.code, "checkpoint_old");
});
