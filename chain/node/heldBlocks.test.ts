import assert from "node:assert/strict";
import { test } from "node:test";
import { BLOCKS_HELD_MAX } from "#chain/constants.ts";
import { type HeldBlock, HeldBlocks } from "./heldBlocks.ts";
import { sha256 } from "#chain/crypto.ts";
import { digest, height, timeMs, view } from "#chain/types.ts";

/** Only its reference matters here. */
function heldAt(of: number, at: number): HeldBlock {
  const id = digest(sha256(new TextEncoder().encode(`${of}/${at}`)));
  return { ref: { id, view: view(of), height: height(at), parentView: view(0), parentId: id, timeMs: timeMs(0n) }, block: undefined as unknown as HeldBlock["block"], bytes: new Uint8Array(0), signature: null };
}

test("what is final goes by height and by view, and a liar's high block of an old view with it", () => {
  const blocks = new HeldBlocks();
  const [rival, liar, next] = [heldAt(9, 5), heldAt(4, 900), heldAt(8, 6)];
  for (const held of [rival, liar, next]) assert.equal(blocks.add(held), true);
  blocks.prune(5, 7);
  assert.deepEqual([rival, liar, next].map(({ ref }) => blocks.get(ref.id)), [null, null, next]);
});

test("a full store takes no other block, says so, and has room again after a prune", () => {
  const blocks = new HeldBlocks();
  for (let at = 1; at <= BLOCKS_HELD_MAX; at++) assert.equal(blocks.add(heldAt(at, at)), true);
  const more = heldAt(5_000, 5_000);
  assert.equal(blocks.add(more), false);
  assert.equal(blocks.add(heldAt(1, 1)), true, "what it has needs no room");
  blocks.prune(1, 1);
  assert.equal(blocks.add(more), true);
});
