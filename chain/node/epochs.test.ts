/** Epochs, rejoining without a vote log, and evidence: real nodes on real folders in simulated time. */
import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { test } from "node:test";
import { signVote } from "#chain/codec/certificate.ts";
import { decodeBlock, encodeMessage } from "#chain/codec/schema.ts";
import { PRESETS } from "#chain/constants.ts";
import { digest, epoch, hex, view } from "#chain/types.ts";
import { site } from "#tests/compliance/site.ts";
import { type ChainNode, peerIdOf } from "./node.ts";
import { replay } from "./replay.ts";

const EPOCH_BLOCKS = PRESETS.minimal.epochBlocks;

test("R14: four nodes change epochs; one that was away comes in an epoch later, one that restarts goes on in it, and a replay agrees", async (t) => {
  const { open, run, stop, directory } = await site(t, 4);
  const nodes = await Promise.all([0, 1, 2, 3].map((index) => open(index)));
  const all = (height: number): boolean => nodes.every((node) => node.head().height >= height);
  await run(() => all(5));
  await stop(nodes[3]!);
  nodes.pop();
  await run(() => all(EPOCH_BLOCKS + 3));
  const [first, last] = [EPOCH_BLOCKS + 1, EPOCH_BLOCKS].map((height) => decodeBlock(nodes[0]!.block(height)!.bytes));
  assert.deepEqual([last!.header.epoch, first!.header.epoch, first!.header.parentView, first!.body.parentCertificate, first!.header.parentBitmap.length], [0, 1, 0, null, 0]);
  assert.equal(hex(first!.header.parentId), hex(nodes[0]!.block(EPOCH_BLOCKS)!.id));
  assert.equal(nodes[0]!.view().epoch, 1);
  nodes.push(await open(3));
  await run(() => nodes[3]!.head().height > EPOCH_BLOCKS + 3);
  await stop(nodes[0]!);
  nodes[0] = await open(0);
  const height = nodes[0].head().height;
  await run(() => all(height + 5));
  const roots = nodes.map((node) => hex(node.block(height + 5)!.id));
  assert.equal(new Set(roots).size, 1);
  const head = nodes[1]!.head();
  await stop(nodes[1]!);
  assert.ok((await replay(directory(1))).height >= head.height);
});

test("R12: a validator that lost its vote log rejoins: it signs nothing until the others have told it where they are, and then again", async (t) => {
  const { open, run, stop, directory, network, rig } = await site(t, 4);
  const nodes = await Promise.all([0, 1, 2, 3].map((index) => open(index)));
  await run(() => nodes.every((node) => node.head().height >= 4));
  await stop(nodes[2]!);
  await rm(directory(2), { recursive: true });
  const peers = rig.validators.map(({ seed }) => peerIdOf(seed));
  // Of the three others one is out of reach: two are no quorum, and it stays mute.
  network.cut(peers[2]!, peers[0]!);
  const back = await open(2, { votesLost: true });
  const before = nodes[1]!.head().height;
  await run(() => back.head().height >= before && nodes[1]!.head().height >= before + 3);
  assert.equal(back.status().signing, "rejoining");
  network.heal(peers[2]!, peers[0]!);
  await run(() => back.status().signing !== "rejoining");
  await run(() => back.status().signing === "yes");
  // Without it three of four would be one too few.
  await stop(nodes[1]!);
  const height = nodes[0]!.head().height;
  await run(() => [nodes[0]!, back, nodes[3]!].every((node) => node.head().height >= height + 5));
});

test("R13, R14: who signs two things is accused in the next block, with evidence that the ledger takes, and is out of the first set made after it", async (t) => {
  const { open, run, rig, network } = await site(t, 4);
  const nodes = await Promise.all([0, 1, 2].map((index) => open(index)));
  const { seed } = rig.validators[3]!;
  const liar = network.join(peerIdOf(seed));
  await run(() => nodes.every((node) => node.head().height >= 2));
  const of = view(nodes[0]!.status().view + 3);
  for (const fill of [1, 2]) {
    const vote = signVote(seed, { kind: "notarize", chainId: rig.chainId, epoch: epoch(0), view: of, id: digest(new Uint8Array(32).fill(fill)) }, 3);
    liar.broadcast("consensus", encodeMessage({ kind: "vote", vote }));
  }
  const accusing = (node: ChainNode): number[] => {
    const heights: number[] = [];
    for (let at = 1; at <= node.head().height; at++) if (decodeBlock(node.block(at)!.bytes).body.evidence.length > 0) heights.push(at);
    return heights;
  };
  await run(() => nodes.every((node) => accusing(node).length > 0));
  const height = nodes[0]!.head().height;
  await run(() => nodes.every((node) => node.head().height >= height + 4));
  assert.equal(accusing(nodes[0]!).length, 1, "once, however many hold it");
  // R14: it is in the set of this epoch and of the next, which were fixed; then three agree by a quorum of three.
  await run(() => nodes.every((node) => node.head().height >= 2 * EPOCH_BLOCKS + 2));
  assert.deepEqual(nodes.map((node) => [node.status().epoch, node.status().validators]), nodes.map(() => [2, 3]));
  await liar.close();
});
