/** Stake on real nodes: who bonds comes into the set two epochs later, votes, is paid for it, and is punished for signing two things. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { addressOf } from "#chain/codec/address.ts";
import { signVote } from "#chain/codec/certificate.ts";
import { encodeEvidence } from "#chain/codec/evidence.ts";
import { type Operation, signTransaction, signValidatorProof } from "#chain/codec/transaction.ts";
import { PRESETS } from "#chain/constants.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import { MemoryNetwork } from "#chain/network/memory.ts";
import { digest, epoch, hex, view } from "#chain/types.ts";
import { FEE, type Key, TOKEN, chainRig, keyOf } from "#tests/compliance/chainRig.ts";
import { ManualClock } from "#tests/compliance/manualClock.ts";
import { type ChainNode, openNode, peerIdOf } from "./node.ts";

const EPOCH = PRESETS.minimal.epochBlocks;

test("a follower whose key gets stake validates from the second epoch on and is paid; evidence against it takes 5 % and ends that", async (t) => {
  const root = await mkdtemp(join(tmpdir(), "godwit-stake-"));
  const clock = new ManualClock(Date.now());
  const rig = chainRig({ validators: 3, deltaMs: 2_000, startMs: clock.nowMs() });
  const network = new MemoryNetwork({ clock });
  const nodes: ChainNode[] = [];
  t.after(async () => {
    for (const node of nodes) await node.stop();
    await rm(root, { recursive: true, force: true });
  });
  const newcomer = keyOf("newcomer");
  /** At the start and at every epoch's end: whether the first node's transport counts the newcomer among the validators. */
  const named: boolean[] = [];
  for (const [index, { seed }] of [...rig.validators, newcomer].entries()) {
    const transport = network.join(peerIdOf(seed));
    const { setValidators } = transport;
    transport.setValidators = (names) => {
      const told = [...names];
      if (index === 0) named.push(told.includes(peerIdOf(newcomer.seed)));
      setValidators.call(transport, told);
    };
    const node = await openNode({ directory: join(root, String(index)), genesis: rig.genesis, validatorSeed: seed, transport, clock, onHalt: (error) => { throw error; } });
    nodes.push(node);
    node.start();
  }
  const [first, , , joined] = nodes;
  const run = (until: () => boolean): Promise<void> => clock.until(until, 100, 20_000, () => nodes.map((node) => JSON.stringify({ ...node.status(), height: node.head().height })).join("\n"));
  const send = async (from: Key, ops: readonly Operation[]): Promise<void> => {
    const { nonce } = first!.view().account(from.address)!;
    const { txid } = await first!.submit(signTransaction({ chainId: rig.chainId, sender: from.address, nonce, validUntilMs: BigInt(clock.nowMs() + 60_000), fee: FEE, ops }, [from.seed]));
    await run(() => nodes.every((node) => node.transaction(txid) !== null));
    assert.equal(first!.transaction(txid)!.code, undefined);
  };
  const [holder, reporter] = rig.tenants;
  await send(holder!, [{ kind: "bond", ...signValidatorProof(newcomer.seed, rig.chainId, holder!.address), amount: TOKEN }]);
  assert.equal(joined!.status().validator, null);
  await run(() => nodes.every((node) => node.head().height >= 2 * EPOCH + 4));
  assert.deepEqual(first!.view().validatorsOf(2)!.map(({ weight }) => weight), [1, 1, 1, 1]);
  assert.equal(joined!.status().validator, first!.view().validatorsOf(2)!.findIndex(({ key }) => hex(key) === hex(publicKeyOf(newcomer.seed))));
  const balance = first!.view().account(holder!.address)!.balance;
  await run(() => nodes.every((node) => node.head().height >= 3 * EPOCH + 1));
  assert(first!.view().account(holder!.address)!.balance >= balance, "its operator loses nothing by it");
  const id = addressOf(publicKeyOf(newcomer.seed));
  assert.equal(first!.view().validator(id)!.state, "active", "it was there all the epoch");

  const index = first!.view().validatorsOf(2)!.findIndex(({ key }) => hex(key) === hex(publicKeyOf(newcomer.seed)));
  const vote = (n: number) => signVote(newcomer.seed, { kind: "finalize", chainId: rig.chainId, epoch: epoch(2), view: view(3), id: digest(new Uint8Array(32).fill(n)) }, index);
  await send(reporter!, [{ kind: "report", evidence: encodeEvidence({ kind: "votes", a: vote(1), b: vote(2) }) }]);
  assert.equal(first!.view().validator(id)!.state, "tombstoned");
  assert.equal(first!.view().validator(id)!.stake, TOKEN - TOKEN / 20n);
  await run(() => nodes.every((node) => node.head().height >= 5 * EPOCH + 2));
  assert.equal(joined!.status().validator, null, "two epochs later it follows again");
  assert.deepEqual(named.slice(0, 6), [false, true, true, true, true, false], "an epoch before it validates, and as long as it does");
  assert.deepEqual(nodes.map((node) => hex(node.block(5 * EPOCH)!.id)), nodes.map(() => hex(first!.block(5 * EPOCH)!.id)));
});
