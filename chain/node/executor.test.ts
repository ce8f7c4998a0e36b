import assert from "node:assert/strict";
import { test } from "node:test";
import { validatorSet } from "#chain/codec/certificate.ts";
import { type BlockHeader, bodyRoot, encodeBlock } from "#chain/codec/schema.ts";
import { decodeTransaction } from "#chain/codec/transaction.ts";
import { PRESETS } from "#chain/constants.ts";
import { publicKeyOf, sha256 } from "#chain/crypto.ts";
import { type Digest, type TimeMs, chainId, digest, epoch, hex, timeMs, view } from "#chain/types.ts";
import { type Rig, chainRig, transferOf } from "#tests/compliance/chainRig.ts";
import { openBlock, refusalOfHeader } from "./blockCheck.ts";
import { CertificateChecks } from "./certificateChecks.ts";
import { Executor } from "./executor.ts";
import { type HeldBlock, heldBlock } from "./heldBlocks.ts";
import { Mempool } from "./mempool.ts";

const RULES = PRESETS.minimal;
const HASH = digest(sha256(Uint8Array.of(1)));

type Maker = { executor: Executor; pool: Mempool; build(parentId: Digest, of: number, time: TimeMs): HeldBlock };
function maker(rig: Rig): Maker {
  const executor = new Executor(rig.genesis, (transactions) => pool?.tipMoved(transactions));
  const pool: Mempool = new Mempool({ account: (sender) => executor.tip.account(sender), refusalOf: (transaction, ahead) => executor.refusalOf(transaction, BigInt(Date.now()), ahead) });
  const build = (parentId: Digest, of: number, time: TimeMs): HeldBlock =>
    executor.build({ view: view(of), parentId, parentView: view(executor.factsOf(parentId)!.view), parentCertificate: null, timeMs: time, chainId: rig.chainId, epoch: 0, validatorsHash: HASH, proposer: 0, rules: RULES, pool }).held;
  return { executor, pool, build };
}
const after = (executor: Executor, ms: bigint): TimeMs => timeMs(executor.finalFacts.timeMs + ms);

test("branches: the tip goes from one to the other and back, the final state moves only at commit", async () => {
  const rig = chainRig();
  const { executor, pool, build } = maker(rig);
  const genesis = executor.finalFacts.id;
  const genesisRoot = hex(executor.final.stateRoot);
  const [a, b] = rig.tenants;
  await pool.submit(transferOf(rig, a!, 0n));
  const one = build(genesis, 1, after(executor, 1_000n));
  assert.deepEqual([one.block.body.transactions.length, pool.readyCount], [1, 0]);
  await pool.submit(transferOf(rig, b!, 0n));
  const two = build(one.ref.id, 2, after(executor, 2_000n));
  assert.equal(two.block.body.transactions.length, 1);
  const rival = build(genesis, 3, after(executor, 3_000n));
  assert.equal(rival.block.body.transactions.length, 2, "what the other branch has is free again");
  assert.equal(executor.moveTo(two.ref.id), true);
  assert.equal(hex(executor.tip.stateRoot), hex(two.block.header.stateRoot));
  assert.equal(pool.readyCount, 0);
  assert.equal(hex(executor.final.stateRoot), genesisRoot);
  executor.commit(rival.ref.id);
  assert.equal(hex(executor.final.stateRoot), hex(rival.block.header.stateRoot));
  assert.equal(executor.moveTo(two.ref.id), false, "a branch that lost is gone");
  assert.equal(executor.final.account(a!.address)!.nonce, 1n);
});

test("another node gets the same root, and a wrong root, parent or transaction is refused and leaves no trace", async () => {
  const rig = chainRig();
  const { executor, pool, build } = maker(rig);
  await pool.submit(transferOf(rig, rig.tenants[0]!, 0n));
  const good = build(executor.finalFacts.id, 1, after(executor, 1_000n));
  const other = new Executor(rig.genesis, () => undefined);
  const root = hex(other.tip.stateRoot);
  const transactions = good.block.body.transactions.map(decodeTransaction);
  const changed = (header: Partial<BlockHeader>): HeldBlock => heldBlock({ header: { ...good.block.header, ...header }, body: good.block.body }, null);
  const codes = [
    [other.execute(changed({ stateRoot: HASH }), transactions), "state_root_differs"],
    [other.execute(changed({ parentId: HASH }), transactions), "parent_unknown"],
    [other.execute(good, []), "state_root_differs"],
    [other.execute(good, [...transactions, ...transactions]), "wrong_nonce"],
  ] as const;
  for (const [answer, code] of codes) assert.equal("ok" in answer && answer.code, code);
  assert.equal(hex(other.tip.stateRoot), root);
  assert.ok(!("ok" in other.execute(good, transactions)));
  assert.equal(hex(other.tip.stateRoot), hex(good.block.header.stateRoot));
});

test("each wrong field of a header is refused", async () => {
  const rig = chainRig();
  const { executor, pool, build } = maker(rig);
  const parent = executor.finalFacts;
  const good = build(parent.id, 1, after(executor, 1_000n));
  const chain = { chainId: rig.chainId, epoch: 0, validatorsHash: HASH, rules: RULES };
  assert.equal(refusalOfHeader(good, parent, chain), null);
  const { header } = good.block;
  const wrong: Partial<BlockHeader>[] = [
    { chainId: chainId(new Uint8Array(8)) }, { epoch: epoch(1) }, { parentId: HASH }, { height: 2 as typeof header.height }, { parentView: view(1) },
    { timeMs: timeMs(parent.timeMs + 199n) }, { moneySecond: (header.moneySecond + 1n) as typeof header.moneySecond }, { validatorsHash: header.bodyRoot },
    { bodyRoot: HASH }, { parentBitmap: Uint8Array.of(1) },
  ];
  for (const change of wrong) {
    const refused = refusalOfHeader(heldBlock({ header: { ...header, ...change }, body: good.block.body }, null), parent, chain);
    assert.equal(refused?.code, "block_invalid", Object.keys(change).join());
  }
  const next = executor.execute(heldBlock({ header: { ...header, nextValidatorsHash: header.bodyRoot }, body: good.block.body }, null), []);
  assert.ok("ok" in next && next.code === "validators_differ");
  const later = { ...parent, height: 1, id: good.ref.id, view: 1, timeMs: header.timeMs, moneySecond: header.moneySecond };
  executor.moveTo(good.ref.id);
  const second = build(good.ref.id, 2, after(executor, 2_000n));
  assert.equal(refusalOfHeader(second, later, chain)?.code, "block_invalid", "a block above the first needs its parent's certificate");
  assert.equal(pool.count, 0);
});

test("a block may not carry a known transaction under another signature: its id does not cover it", async () => {
  const rig = chainRig();
  const { executor, pool, build } = maker(rig);
  const bytes = transferOf(rig, rig.tenants[0]!, 0n);
  await pool.submit(bytes);
  const good = build(executor.finalFacts.id, 1, after(executor, 1_000n));
  const checks = new CertificateChecks(validatorSet(rig.chainId, epoch(0), [{ publicKey: publicKeyOf(rig.validators[0]!.seed), weight: 1 }]));
  assert.ok(!("ok" in (await openBlock(good, pool, checks))));
  const forged = bytes.slice();
  forged[forged.length - 40]! ^= 1;
  assert.equal(hex(decodeTransaction(forged).txid), hex(decodeTransaction(bytes).txid));
  const body = { ...good.block.body, transactions: [forged] };
  const bad = heldBlock({ header: { ...good.block.header, bodyRoot: bodyRoot(body) }, body }, null);
  const answer = await openBlock(bad, pool, checks);
  assert.equal("ok" in answer && answer.code, "block_invalid");
  const nonsense = { ...good.block.body, transactions: [Uint8Array.of(1)] };
  const refused = await openBlock(heldBlock({ header: good.block.header, body: nonsense }, null, encodeBlock(good.block)), pool, checks);
  assert.equal("ok" in refused && refused.code, "block_invalid");
});
