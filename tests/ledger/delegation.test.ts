/** Delegation, told as stories with amounts worked out by hand; the audit reckons each of them a second time. */
import assert from "node:assert";
import { test } from "node:test";
import { addressOf } from "#chain/codec/address.ts";
import { signVote } from "#chain/codec/certificate.ts";
import { encodeEvidence } from "#chain/codec/evidence.ts";
import { delegationIdOf } from "#chain/codec/holderOperations.ts";
import { verifyProof } from "#chain/codec/proof.ts";
import { bitmapOf } from "#chain/codec/quorum.ts";
import { type Operation, signValidatorProof } from "#chain/codec/transaction.ts";
import { PRESETS } from "#chain/constants.ts";
import { delegationKey } from "#chain/ledger/holdings.ts";
import { DELEGATION_MIN, UNBONDINGS_MAX } from "#chain/ledger/limits.ts";
import { validatorKey } from "#chain/ledger/model.ts";
import { digest, epoch, view } from "#chain/types.ts";
import { audit } from "#tools/audit.ts";
import { apiOf, blocksOf } from "./fakeApi.ts";
import { type Actor, TOKEN, World, actor } from "./world.ts";

const { epochBlocks: EPOCH, unbondingMs } = PRESETS.minimal;
const [alice, bob, carol, dave] = [actor(1), actor(2), actor(3), actor(4)];
const key = actor(501);
const id = addressOf(key.key);
const codes = (world: World): (string | undefined)[] => world.history.at(-1)!.applied.outcomes.map(({ code }) => code);
const balanceOf = (world: World, { id: of }: Actor): bigint => world.view.account(of)!.balance;
const bonding = (world: World, amount: bigint): Operation => ({ kind: "bond", ...signValidatorProof(key.seed, world.ledger.chainId, alice.id), amount });
const delegating = (amount: bigint, commissionMax = 10_000): Operation => ({ kind: "delegate", validator: id, amount, commissionMax });
const amountOf = (world: World, { id: of }: Actor): bigint => world.view.delegation(id, of)?.amount ?? 0n;

/** Up to and with the last block of the epoch under way; those who are in the set sign, by index. */
function finishEpoch(world: World, signers: readonly number[] = [], seconds = 1): void {
  const count = world.view.validatorsOf(world.view.epoch)!.length;
  do world.block(seconds, { parentBitmap: signers.length === 0 ? new Uint8Array(0) : bitmapOf(signers, count), proposer: 0 });
  while (world.view.height % EPOCH !== 0);
}
async function agrees(world: World): Promise<void> {
  assert.deepStrictEqual((await audit(apiOf(world, blocksOf(world)))).findings, []);
}
/** Alice validates with 10 tokens of her own. */
function founded(): World {
  const world = new World({ signed: true });
  world.send(alice, [bonding(world, 10n * TOKEN)]);
  world.block();
  return world;
}

test("anybody's tokens weigh with the operator's own, up to ten times as much; with less than a token of its own a validator weighs nothing", async () => {
  const world = founded();
  world.send(bob, [delegating(30n * TOKEN)]);
  world.send(carol, [delegating(70n * TOKEN)]);
  world.send(dave, [delegating(DELEGATION_MIN)]);
  finishEpoch(world);
  assert.deepStrictEqual(world.history[1]!.applied.outcomes.map(({ code }) => code), [undefined, undefined, "over_delegated"]);
  assert.strictEqual(world.view.validatorsOf(2)![0]!.weight, 110);
  assert.strictEqual(world.view.supply().stakes, 111n * TOKEN, "with the genesis' token");
  world.send(alice, [{ kind: "unbond", validator: id, amount: 8n * TOKEN }]);
  finishEpoch(world);
  assert.strictEqual(world.view.validatorsOf(3)![0]!.weight, 22, "2 of its own, and no more than 20 of others");
  world.send(alice, [{ kind: "unbond", validator: id, amount: 2n * TOKEN }]);
  finishEpoch(world);
  assert.deepStrictEqual(world.view.validatorsOf(4)!.map(({ weight }) => weight), [1], "the genesis' alone");
  assert.deepStrictEqual(world.view.delegationsTo(id).items.reduce((sum, { amount }) => sum + amount, 0n), 100n * TOKEN);
  await agrees(world);
});

test("a reward is split by stake, less the commission, and raises what a share is worth; who comes later buys at the new rate", async () => {
  const world = founded();
  world.send(alice, [{ kind: "setCommission", validator: id, bps: 2_000 }]);
  world.send(bob, [delegating(30n * TOKEN)]);
  finishEpoch(world);
  finishEpoch(world);
  const pool = world.view.supply().feePool;
  const before = balanceOf(world, alice);
  // Of an epoch's blocks its first counts for nobody: alice's key signs 59 with a weight of 40, and the genesis' none.
  finishEpoch(world, [0]);
  // Three quarters of the reward are the delegators', less a fifth of that.
  const part = (pool * 30n) / 40n;
  const net = (part * 8_000n) / 10_000n;
  assert.strictEqual(balanceOf(world, alice), before + pool - net);
  assert.strictEqual(amountOf(world, bob), 30n * TOKEN + net);
  assert.strictEqual(world.view.delegation(id, bob.id)!.shares, 30n * TOKEN);
  const carols = world.send(carol, [delegating(6n * TOKEN)]);
  world.block();
  const { shares } = world.view.delegation(id, carol.id)!;
  assert.strictEqual(shares, (6n * TOKEN * 30n * TOKEN) / (30n * TOKEN + net));
  assert.ok(shares < 6n * TOKEN && amountOf(world, carol) <= 6n * TOKEN && amountOf(world, carol) >= 6n * TOKEN - 2n, "rounding costs a unit or two, and makes none");
  assert.strictEqual(balanceOf(world, carol), 994n * TOKEN - carols.body.fee);
  await agrees(world);
});

test("a slash takes a twentieth of own stake, of what is delegated, and of what is on its way back, of all alike; what is left can be taken back", async () => {
  const world = founded();
  world.send(bob, [delegating(40n * TOKEN)]);
  world.send(carol, [delegating(20n * TOKEN)]);
  finishEpoch(world);
  finishEpoch(world);
  world.send(bob, [{ kind: "undelegate", validator: id, shares: 10n * TOKEN }]);
  world.block();
  assert.deepStrictEqual([amountOf(world, bob), world.view.delegation(id, bob.id)!.leaving[0]!.amount], [30n * TOKEN, 10n * TOKEN]);
  const vote = (byte: number): ReturnType<typeof signVote> =>
    signVote(key.seed, { kind: "notarize", chainId: world.ledger.chainId, epoch: epoch(2), view: view(5), id: digest(new Uint8Array(32).fill(byte)) }, 0);
  const { burnt } = world.view.supply();
  const dave0 = balanceOf(world, dave);
  const sent = world.send(dave, [{ kind: "report", evidence: encodeEvidence({ kind: "votes", a: vote(1), b: vote(2) }) }]);
  world.block();
  // 0.5 of alice, 1.5 and 0.5 of bob, 1 of carol: 3.5, a tenth of it dave's.
  assert.deepStrictEqual([world.view.validator(id)!.stake, amountOf(world, bob), amountOf(world, carol)], [95n * TOKEN / 10n, 285n * TOKEN / 10n, 19n * TOKEN]);
  assert.strictEqual(world.view.delegation(id, bob.id)!.leaving[0]!.amount, 95n * TOKEN / 10n);
  assert.deepStrictEqual([world.view.supply().burnt - burnt, balanceOf(world, dave) - dave0 + sent.body.fee], [315n * TOKEN / 100n, 35n * TOKEN / 100n]);
  world.send(dave, [delegating(TOKEN)]);
  world.send(carol, [{ kind: "undelegate", validator: id, shares: 20n * TOKEN }]);
  world.block();
  assert.deepStrictEqual(codes(world), ["not_active", undefined]);
  const [bobs, carols] = [balanceOf(world, bob), balanceOf(world, carol)];
  for (let k = 0; k < 5; k++) finishEpoch(world, [], 2);
  assert.deepStrictEqual([balanceOf(world, bob) - bobs, balanceOf(world, carol) - carols], [95n * TOKEN / 10n, 19n * TOKEN], "leaving after the slash is not cut twice");
  assert.strictEqual(world.view.delegation(id, carol.id), null);
  await agrees(world);
});

test("what is taken back earns nothing and is paid out by itself when its time is over and three more epochs are, as own stake is", async () => {
  const world = founded();
  world.send(bob, [delegating(30n * TOKEN)]);
  finishEpoch(world);
  world.send(bob, [{ kind: "undelegate", validator: id, shares: 30n * TOKEN }]);
  world.send(alice, [{ kind: "unbond", validator: id, amount: 10n * TOKEN }]);
  world.block();
  const [leaving] = world.view.delegation(id, bob.id)!.leaving;
  assert.deepStrictEqual(leaving, { amount: 30n * TOKEN, releaseMs: world.view.timeMs + unbondingMs, releaseEpoch: 4 });
  const before = balanceOf(world, bob);
  while (world.view.epoch < 4) {
    assert.strictEqual(balanceOf(world, bob), before);
    finishEpoch(world);
  }
  world.block();
  assert.strictEqual(balanceOf(world, bob), before + 30n * TOKEN);
  assert.deepStrictEqual([world.view.delegation(id, bob.id), world.view.validator(id), world.view.supply().stakes], [null, null, TOKEN], "nothing is left of either");
  await agrees(world);
});

test("a commission is free while nobody delegates, then rises by a hundredth at once and not again before a seventh of the unbonding time; it falls at once", () => {
  const world = founded();
  const set = (bps: number, sender: Actor = alice, seconds = 0): string | undefined => {
    world.send(sender, [{ kind: "setCommission", validator: id, bps }]);
    world.block(seconds);
    return codes(world)[0];
  };
  assert.deepStrictEqual([set(10_001), set(10_000), set(500), set(600, bob)], ["bad_commission", undefined, undefined, "not_owner"]);
  world.send(bob, [delegating(TOKEN, 499)]);
  world.send(bob, [delegating(TOKEN, 500)]);
  world.block();
  assert.deepStrictEqual(codes(world), ["commission_too_high", undefined]);
  assert.deepStrictEqual([set(601), set(600), set(601), set(100), set(200)], ["commission_too_fast", undefined, "commission_too_fast", undefined, "commission_too_fast"]);
  assert.strictEqual(set(200, alice, Number(unbondingMs / 7000n) + 1), undefined);
});

test("shares, and the pool they are of, are proven by two leaves of a few hundred bytes", () => {
  const world = founded();
  world.send(bob, [delegating(30n * TOKEN)]);
  world.block();
  for (const [leaf, most] of [[delegationKey(delegationIdOf(id, bob.id)), 90], [validatorKey(id), 160]] as const) {
    const proven = verifyProof(world.view.stateRoot, leaf, world.ledger.state.prove(leaf));
    assert(proven.ok && proven.value !== null && proven.value.length <= most, `${proven.ok && proven.value?.length} bytes`);
  }
});

test("what cannot be delegated or taken back is refused by code, and takes nothing", () => {
  const world = founded();
  const refused = (sender: Actor, op: Operation): string | undefined => {
    world.send(sender, [op]);
    world.block(0);
    return codes(world)[0];
  };
  assert.strictEqual(refused(bob, { ...delegating(TOKEN), validator: bob.id } as Operation), "validator_unknown");
  assert.strictEqual(refused(bob, delegating(DELEGATION_MIN - 1n)), "bad_amount");
  assert.strictEqual(refused(bob, delegating(101n * TOKEN)), "over_delegated");
  assert.strictEqual(refused(bob, { kind: "undelegate", validator: id, shares: 1n }), "delegation_unknown");
  assert.strictEqual(refused(bob, delegating(20n * TOKEN)), undefined);
  assert.strictEqual(refused(carol, { kind: "undelegate", validator: id, shares: 1n }), "delegation_unknown");
  assert.strictEqual(refused(bob, { kind: "undelegate", validator: id, shares: 0n }), "bad_amount");
  assert.strictEqual(refused(bob, { kind: "undelegate", validator: id, shares: 20n * TOKEN + 1n }), "insufficient_funds");
  assert.strictEqual(refused(bob, { kind: "undelegate", validator: id, shares: 20n * TOKEN - 1n }), "stake_too_small");
  world.send(bob, [{ kind: "transfer", to: carol.id, amount: balanceOf(world, bob) - TOKEN / 2n }]);
  world.block();
  assert.strictEqual(refused(bob, delegating(TOKEN)), "insufficient_funds");
  for (let k = 0; k < UNBONDINGS_MAX; k++) assert.strictEqual(refused(bob, { kind: "undelegate", validator: id, shares: 1n }), undefined);
  assert.strictEqual(refused(bob, { kind: "undelegate", validator: id, shares: 1n }), "too_many_changes");
  assert.strictEqual(world.view.supply().stakes, 31n * TOKEN);
});
