/** What a node keeps of the past: the blocks of the last epoch and since its snapshot, and one proven header of each epoch. */
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { type ValidatorSet, validatorSet } from "#chain/codec/certificate.ts";
import { decodeAnswer, decodeEpochAnswer, stateKey, verifyAnswer, verifyEpoch } from "#chain/codec/proof.ts";
import { PRESETS } from "#chain/constants.ts";
import { MemoryNetwork } from "#chain/network/memory.ts";
import { epoch, hex } from "#chain/types.ts";
import { chainRig } from "#tests/compliance/chainRig.ts";
import { ManualClock } from "#tests/compliance/manualClock.ts";
import { type ChainNode, openNode, peerIdOf } from "./node.ts";
import { replay } from "./replay.ts";

const EPOCH = PRESETS.minimal.epochBlocks;

test("a node prunes all but the last epoch's blocks and those since its snapshot, restarts from them, and still leads from the genesis' validators to the newest ones", async (t) => {
  const root = await mkdtemp(join(tmpdir(), "godwit-prune-"));
  const nodes: ChainNode[] = [];
  t.after(async () => {
    for (const node of nodes) await node.stop();
    await rm(root, { recursive: true, force: true });
  });
  const clock = new ManualClock();
  const rig = chainRig({ startMs: clock.nowMs() });
  const { seed } = rig.validators[0]!;
  const open = async (name: string, archive: boolean): Promise<ChainNode> => {
    const node = await openNode({ directory: join(root, name), genesis: rig.genesis, validatorSeed: seed, transport: new MemoryNetwork({ clock }).join(peerIdOf(seed)), clock, archive, snapshotBlocks: 32, onHalt: (error) => { throw error; } });
    nodes.push(node);
    node.start();
    return node;
  };
  const run = (until: () => boolean): Promise<void> => clock.until(until, 1_000, 10_000);
  const node = await open("pruned", false);
  await run(() => node.head().height >= 5 * EPOCH + 3);
  await run(() => node.block(2 * EPOCH) === null);
  const last = node.view().epoch - 1;
  for (let height = last * EPOCH + 1; height <= node.head().height; height++) assert(node.block(height) !== null, `block ${height} of the last epoch is kept`);
  assert((await readdir(join(root, "pruned", "blocks"))).length <= 4, "files went too");
  await assert.rejects(replay(join(root, "pruned")), (error: { code?: string }) => error.code === "blocks_pruned" || error.code === "folder_in_use" || error.code === "data_folder_in_use");

  let set: ValidatorSet = validatorSet(rig.chainId, epoch(0), node.genesis.validators);
  const follow = (from: ChainNode): void => {
    set = validatorSet(rig.chainId, epoch(0), node.genesis.validators);
    while (set.epoch < from.view().epoch) {
      const verified = verifyEpoch(set, decodeEpochAnswer(from.proveEpoch(set.epoch)!));
      assert(verified.ok);
      set = verified.next;
    }
  };
  follow(node);
  let proof: Uint8Array | null = null;
  await run(() => {
    void node.prove(stateKey("totals")).then((answer) => { proof ??= answer; });
    return proof !== null;
  });
  assert(verifyAnswer(set, stateKey("totals"), decodeAnswer(proof!)).ok);
  const { stateRoot, height } = node.head();
  await node.stop();
  const again = await open("pruned", false);
  assert(again.head().height >= height && (again.head().height > height || hex(again.head().stateRoot) === hex(stateRoot)));
  await run(() => again.head().height >= 6 * EPOCH + 2);
  follow(again);
  // The state forgets sets that no evidence is taken of any more; what leads from one to the next does not need it.
  const validatorsOf = again.view().validatorsOf;
  Object.assign(again.view(), { validatorsOf: () => null });
  follow(again);
  Object.assign(again.view(), { validatorsOf });
  await again.stop();
  // Headers are a convenience: damaged, they are put aside, and the node goes on.
  await writeFile(join(root, "pruned", "epochs"), new Uint8Array(5_000).fill(7));
  const third = await open("pruned", false);
  assert.equal(third.proveEpoch(0), null);
  await run(() => third.head().height >= 6 * EPOCH + 4);
  await third.stop();

  const archive = await open("archive", true);
  await run(() => archive.head().height >= 3 * EPOCH);
  await archive.stop();
  assert((await replay(join(root, "archive"))).height >= 3 * EPOCH, "an archive keeps everything");
});
