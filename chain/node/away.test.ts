/** Validators that others have gone on without, for longer than they keep blocks: real nodes on real folders in simulated time. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { addressOf } from "#chain/codec/address.ts";
import { signTransaction } from "#chain/codec/transaction.ts";
import { PRESETS } from "#chain/constants.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import { hex } from "#chain/types.ts";
import { FEE } from "#tests/compliance/chainRig.ts";
import { site } from "#tests/compliance/site.ts";
import type { ChainNode } from "./node.ts";

const EPOCH = PRESETS.minimal.epochBlocks;
const STEP_MS = 500;

test("a validator that was away for longer than others keep blocks begins anew with a snapshot, keeps its vote log, and signs in the epoch that is; also where it was out of the set and in again meanwhile", async (t) => {
  const { open, run, stop, directory, rig, clock } = await site(t, 4, { snapshotBlocks: 16 });
  const nodes = await Promise.all([0, 1, 2, 3].map((index) => open(index)));
  const key = publicKeyOf(rig.validators[3]!.seed);
  const log = (): Promise<Uint8Array> => readFile(join(directory(3), "votes"));
  const left: number[] = [];
  /** Until it is told that nobody has the block after its newest; then it is opened again, as whoever runs it does. */
  const comeBack = async (): Promise<ChainNode> => {
    const behind = await open(3, { onLeftBehind: () => void left.push(3) });
    const { height } = behind.head();
    const told = left.length;
    await run(() => left.length > told, STEP_MS);
    assert.equal(behind.head().height, height, "nobody could give it a block");
    await stop(behind);
    const back = await open(3);
    // At the newest snapshot that one of them has; the rest it fetches.
    assert.ok(back.head().height > height + 1, `it begins at ${back.head().height}`);
    assert.equal(back.block(height), null);
    await run(() => back.head().height >= nodes[0]!.head().height);
    return back;
  };
  /** Its vote is needed while another is away. */
  const signs = async (back: ChainNode): Promise<void> => {
    assert.equal(back.status().signing, "yes", "not mute: what it has signed is all in its log");
    await stop(nodes[1]!);
    const { height } = nodes[0]!.head();
    await run(() => [nodes[0]!, nodes[2]!, back].every((node) => node.head().height >= height + 3), STEP_MS);
    nodes[1] = await open(1);
  };

  await run(() => nodes.every((node) => node.head().height >= 20), STEP_MS);
  await stop(nodes[3]!);
  const signed = await log();
  const { height } = nodes[3]!.head();
  await run(() => nodes[0]!.head().height >= 2 * EPOCH + 2 && [0, 1, 2].every((index) => nodes[index]!.block(height + 1) === null), STEP_MS);
  const first = await comeBack();
  assert.deepEqual([first.status().epoch, first.status().validator === null], [2, false]);
  await signs(first);
  assert.equal(Buffer.compare((await log()).subarray(0, signed.length), signed), 0, "what it signed before is still there");

  // It was absent all through epoch 1: jailed, and in no set that was made after that.
  await run(() => first.head().height >= 3 * EPOCH + 2, STEP_MS);
  assert.deepEqual([first.status().validator, nodes[0]!.view().validator(addressOf(key))!.state], [null, "jailed"]);
  await stop(first);
  const { operator } = rig;
  const { nonce } = nodes[0]!.view().account(operator.address)!;
  await nodes[0]!.submit(signTransaction({ chainId: rig.chainId, sender: operator.address, nonce, validUntilMs: BigInt(clock.nowMs() + 60_000), fee: FEE, ops: [{ kind: "unjail", validator: addressOf(key) }] }, [operator.seed]));
  await run(() => nodes[0]!.head().height >= 5 * EPOCH + 2 && [0, 1, 2].every((index) => nodes[index]!.block(first.head().height + 1) === null), STEP_MS);
  assert.ok(nodes[0]!.view().validatorsOf(5)!.some((one) => hex(one.key) === hex(key)), "in the set again");
  const second = await comeBack();
  assert.deepEqual([second.status().epoch, second.status().validator === null], [5, false]);
  await signs(second);
});
