/** Stake and epochs, told as stories with amounts worked out by hand; the audit reckons each of them a second time. */
import assert from "node:assert";
import { test } from "node:test";
import { addressOf } from "#chain/codec/address.ts";
import { signVote } from "#chain/codec/certificate.ts";
import { encodeEvidence } from "#chain/codec/evidence.ts";
import { bitmapOf } from "#chain/codec/quorum.ts";
import type { SignedVote } from "#chain/codec/schema.ts";
import { signValidatorProof } from "#chain/codec/transaction.ts";
import { PRESETS } from "#chain/constants.ts";
import { STAKE_MIN, UNBONDINGS_MAX } from "#chain/ledger/limits.ts";
import type { LedgerEvent } from "#chain/ledger/view.ts";
import { type Address, type Digest, digest, epoch, view } from "#chain/types.ts";
import { audit } from "#tools/audit.ts";
import { apiOf, blocksOf } from "./fakeApi.ts";
import { type Actor, TOKEN, World, actor } from "./world.ts";

const EPOCH = PRESETS.minimal.epochBlocks;
const [alice, bob, carol] = [actor(1), actor(2), actor(3)];
/** Consensus keys; genesis has that of actor 0 with a weight of 1. */
const keyOf = (n: number): Actor => actor(500 + n);
const bonding = (world: World, n: number, operator: Actor, amount: bigint): Parameters<World["send"]>[1][number] =>
  ({ kind: "bond", ...signValidatorProof(keyOf(n).seed, world.ledger.chainId, operator.id), amount });
const codes = (world: World): (string | undefined)[] => world.history.at(-1)!.applied.outcomes.map(({ code }) => code);
const weightsOf = (world: World, of: number): Record<string, number> =>
  Object.fromEntries(world.view.validatorsOf(of)!.map(({ id, weight }) => [nameOf(id), weight]));
const nameOf = (id: Address): string => [0, ...Array.from({ length: 40 }, (_, i) => 501 + i)].map(actor).findIndex((one) => one.id.toHex() === id.toHex()).toString();
const eventsOf = <K extends LedgerEvent["kind"]>(world: World, kind: K): Extract<LedgerEvent, { kind: K }>[] =>
  world.history.flatMap(({ applied }) => applied.events.filter((event): event is Extract<LedgerEvent, { kind: K }> => event.kind === kind));

/** Up to and with the last block of the epoch under way; `signers` by index of who is there, the first of them proposes. */
function finishEpoch(world: World, signers: readonly number[] = [], seconds: number = 1): void {
  const count = world.view.validatorsOf(world.view.epoch)!.length;
  do world.block(seconds, { parentBitmap: signers.length === 0 ? new Uint8Array(0) : bitmapOf(signers, count), ...(signers[0] === undefined ? {} : { proposer: signers[0] }) });
  while (world.view.height % EPOCH !== 0);
}
async function agrees(world: World): Promise<void> {
  assert.deepStrictEqual((await audit(apiOf(world, blocksOf(world)))).findings, []);
}

test("stake that is bonded in one epoch validates from the second epoch after it, by the token; headers can name both sets beforehand", async () => {
  const world = new World({ signed: true });
  assert.deepStrictEqual(weightsOf(world, 0), { 0: 1 });
  assert.strictEqual(world.view.supply().stakes, TOKEN);
  world.send(alice, [bonding(world, 1, alice, 30n * TOKEN + TOKEN / 2n)]);
  world.send(bob, [bonding(world, 2, bob, 20n * TOKEN)]);
  world.block();
  assert.deepStrictEqual(codes(world), [undefined, undefined]);
  assert.strictEqual(world.view.epoch, 0);
  finishEpoch(world);
  const { epochEnd } = world.history.at(-1)!.applied;
  assert.strictEqual(epochEnd?.epoch, 0);
  assert.deepStrictEqual(epochEnd.validators.map(({ weight }) => weight), [1], "the set of epoch 1 was fixed before epoch 0 began");
  assert.deepStrictEqual(epochEnd.next.map(({ weight }) => weight), [30, 20, 1]);
  assert.deepStrictEqual([world.view.epoch, weightsOf(world, 1), weightsOf(world, 2), world.view.validatorsOf(3)], [1, { 0: 1 }, { 1: 30, 2: 20, 0: 1 }, null]);
  finishEpoch(world);
  assert.deepStrictEqual([weightsOf(world, 2), weightsOf(world, 3)], [{ 1: 30, 2: 20, 0: 1 }, { 1: 30, 2: 20, 0: 1 }]);
  finishEpoch(world);
  assert.deepStrictEqual([weightsOf(world, 0), weightsOf(world, 1)], [{ 0: 1 }, { 0: 1 }], "sets of the past are kept for evidence");
  assert.ok(world.history.slice(0, -1).filter(({ applied }) => applied.epochEnd !== null).length === 2);
  await agrees(world);
});

test("the set is bounded: of 20 who bond, the 16 with the most stake validate, equal ones by id", () => {
  const world = new World({ accounts: 20 });
  for (let n = 1; n <= 20; n++) world.send(actor(n), [bonding(world, n, actor(n), BigInt(n < 10 ? 5 : n) * TOKEN)]);
  finishEpoch(world);
  const next = world.view.validatorsOf(2)!;
  assert.strictEqual(next.length, PRESETS.minimal.validatorsMax);
  assert.deepStrictEqual(next.map(({ weight }) => weight), [20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 5, 5, 5, 5, 5]);
  const fives = next.slice(11).map(({ id }) => id.toHex());
  const all = Array.from({ length: 9 }, (_, i) => addressOf(keyOf(i + 1).key).toHex()).sort();
  assert.deepStrictEqual(fives, all.slice(0, 5));
});

test("weights stay sums below 2^31 when the stake of the chain is the whole u64", () => {
  const world = new World({ accounts: 3, balance: 2n ** 62n });
  for (const [i, one] of [alice, bob, carol].entries()) world.send(one, [bonding(world, i + 1, one, 2n ** 61n)]);
  finishEpoch(world);
  const weights = world.view.validatorsOf(2)!.map(({ weight }) => weight);
  assert.ok(weights.reduce((sum, one) => sum + one, 0) < 2 ** 31 && weights.every((one) => one > 700_000_000), String(weights));
});

test("the fee pool is given out at the end of an epoch by weight × parents signed, to the unit; what does not divide stays in the pool", async () => {
  const world = new World({ signed: true });
  world.send(alice, [bonding(world, 1, alice, 3n * TOKEN)]);
  world.send(bob, [bonding(world, 2, bob, 2n * TOKEN)]);
  finishEpoch(world);
  finishEpoch(world);
  const pool = world.view.supply().feePool;
  assert.ok(pool > 0n, "nobody signed yet, so nobody was paid");
  const before = [actor(0), alice, bob].map(({ id }) => world.view.account(id)?.balance ?? 0n);
  // Index 0 is alice's with 3, 1 bob's with 2, 2 the genesis'. All sign for half of the epoch, then alice alone; its first block does not count.
  for (let k = 1; k < EPOCH; k++) world.block(1, { parentBitmap: bitmapOf(k <= EPOCH / 2 ? [0, 1, 2] : [0], 3), proposer: k % 3 });
  finishEpoch(world, [0]);
  const [all, half] = [BigInt(EPOCH - 1), BigInt(EPOCH / 2 - 1)];
  const points = 3n * all + 2n * half + half;
  const expected = [(pool * half) / points, (pool * 3n * all) / points, (pool * 2n * half) / points];
  const paid = [actor(0), alice, bob].map(({ id }, i) => (world.view.account(id)?.balance ?? 0n) - before[i]!);
  assert.deepStrictEqual(paid, expected);
  assert.strictEqual(world.view.supply().feePool, pool - expected.reduce((sum, one) => sum + one, 0n));
  assert.strictEqual(eventsOf(world, "rewarded").length, 3);
  await agrees(world);
});

test("a validator that is down for an epoch is jailed and not slashed; it is out of the next set that is made, and back after unjail", async () => {
  const world = new World({ signed: true });
  world.send(alice, [bonding(world, 1, alice, 3n * TOKEN)]);
  world.send(bob, [bonding(world, 2, bob, 2n * TOKEN)]);
  finishEpoch(world);
  finishEpoch(world);
  const stakes = world.view.supply().stakes;
  // Bob signs nothing; the genesis validator signs nothing either, but proposes: it is slow, not down.
  for (let k = 1; k <= EPOCH; k++) world.block(1, { parentBitmap: bitmapOf([0], 3), proposer: k === 7 ? 2 : 0 });
  const id = addressOf(keyOf(2).key);
  assert.strictEqual(world.view.validator(id)!.state, "jailed");
  assert.strictEqual(world.view.validator(addressOf(actor(0).key))!.state, "active");
  assert.strictEqual(world.view.supply().stakes, stakes, "nothing is taken from who is down");
  assert.deepStrictEqual([weightsOf(world, 3), weightsOf(world, 4)], [{ 1: 3, 2: 2, 0: 1 }, { 1: 3, 0: 1 }]);
  world.send(carol, [{ kind: "unjail", validator: id }]);
  world.send(bob, [{ kind: "unjail", validator: id }, { kind: "unjail", validator: id }]);
  world.send(bob, [{ kind: "unjail", validator: id }]);
  world.block(1, { parentBitmap: bitmapOf([0], 3), proposer: 0 });
  assert.deepStrictEqual(codes(world), ["not_owner", "not_jailed", undefined]);
  finishEpoch(world, [1, 0, 2]);
  assert.deepStrictEqual(weightsOf(world, 5), { 1: 3, 2: 2, 0: 1 });
  await agrees(world);
});

test("stake that is taken back has no weight any more, and is paid out when its time is over and three more epochs are", async () => {
  const world = new World({ signed: true });
  world.send(alice, [bonding(world, 1, alice, 10n * TOKEN)]);
  finishEpoch(world);
  const id = addressOf(keyOf(1).key);
  world.send(alice, [{ kind: "unbond", validator: id, amount: 4n * TOKEN }]);
  world.block();
  const [pending] = world.view.validator(id)!.unbonding;
  assert.deepStrictEqual(pending, { amount: 4n * TOKEN, releaseMs: world.view.timeMs + PRESETS.minimal.unbondingMs, releaseEpoch: 4 });
  const before = world.view.account(alice.id)!.balance;
  finishEpoch(world);
  assert.deepStrictEqual([weightsOf(world, 2), weightsOf(world, 3)], [{ 1: 10, 0: 1 }, { 1: 6, 0: 1 }]);
  finishEpoch(world);
  assert.ok(world.view.timeMs < pending!.releaseMs || world.view.epoch < 4);
  assert.strictEqual(world.view.account(alice.id)!.balance, before);
  finishEpoch(world);
  assert.strictEqual(world.view.epoch, 4);
  assert.strictEqual(world.view.account(alice.id)!.balance, before + 4n * TOKEN);
  assert.deepStrictEqual(world.view.validator(id)!.unbonding, []);
  world.send(alice, [{ kind: "unbond", validator: id, amount: 6n * TOKEN }]);
  for (let k = 0; k < 4; k++) finishEpoch(world, [], 2);
  assert.strictEqual(world.view.validator(id), null, "a validator without stake is gone");
  assert.deepStrictEqual(weightsOf(world, 8), { 0: 1 });
  await agrees(world);
});

test("a chain keeps its last validators when all of them take their stake back", () => {
  const world = new World({ accounts: 1 });
  world.send(actor(0), [{ kind: "unbond", validator: addressOf(actor(0).key), amount: TOKEN }], { fee: 0n });
  assert.strictEqual(world.tryBlock().ok, false, "the operator has nothing to pay a fee with");
  world.send(alice, [{ kind: "transfer", to: actor(0).id, amount: TOKEN }]);
  world.block();
  world.send(actor(0), [{ kind: "unbond", validator: addressOf(actor(0).key), amount: TOKEN }]);
  for (let k = 0; k < 6; k++) finishEpoch(world, [0], 2);
  assert.deepStrictEqual(weightsOf(world, 7), { 0: 1 });
});

const voteOf = (world: World, n: number, id: Digest | null, changes: { epoch?: number; seed?: Uint8Array; kind?: "notarize" | "nullify" | "finalize" } = {}): SignedVote =>
  signVote(changes.seed ?? keyOf(1).seed, { kind: changes.kind ?? "notarize", chainId: world.ledger.chainId, epoch: epoch(changes.epoch ?? 2), view: view(5), id }, n);
const A = digest(new Uint8Array(32).fill(1));
const B = digest(new Uint8Array(32).fill(2));

/** Alice's key has index 0 in epoch 2. */
function bonded(): World {
  const world = new World({ signed: true });
  world.send(alice, [bonding(world, 1, alice, 101n * TOKEN)]);
  finishEpoch(world);
  finishEpoch(world);
  world.send(alice, [{ kind: "unbond", validator: addressOf(keyOf(1).key), amount: 40n * TOKEN + 1n }]);
  world.block();
  return world;
}

test("evidence by transaction costs 5 % of stake and unbonding stake once, a tenth of it to the reporter, the rest burnt; the key never validates again", async () => {
  const world = bonded();
  const id = addressOf(keyOf(1).key);
  const evidence = encodeEvidence({ kind: "votes", a: voteOf(world, 0, A), b: voteOf(world, 0, B) });
  const before = { bob: world.view.account(bob.id)!.balance, ...world.view.supply() };
  const sent = world.send(bob, [{ kind: "report", evidence }]);
  world.send(carol, [{ kind: "report", evidence }]);
  world.block();
  assert.deepStrictEqual(codes(world), [undefined, "validator_tombstoned"]);
  // 5 % of 60.999999999 and of 40.000000001, each rounded down.
  const cut = (61n * TOKEN - 1n) / 20n + (40n * TOKEN + 1n) / 20n;
  assert.deepStrictEqual(world.view.supply().stakes, before.stakes - cut);
  assert.strictEqual(world.view.supply().burnt, cut - cut / 10n);
  assert.strictEqual(world.view.account(bob.id)!.balance, before.bob - sent.body.fee + cut / 10n);
  assert.strictEqual(world.view.validator(id)!.state, "tombstoned");
  world.send(alice, [bonding(world, 1, alice, TOKEN)]);
  world.send(alice, [{ kind: "unjail", validator: id }]);
  world.send(alice, [{ kind: "unbond", validator: id, amount: world.view.validator(id)!.stake }]);
  world.block();
  assert.deepStrictEqual(codes(world), ["validator_tombstoned", "validator_tombstoned", undefined]);
  for (let k = 0; k < 5; k++) finishEpoch(world, [], 2);
  assert.deepStrictEqual(weightsOf(world, world.view.epoch), { 0: 1 });
  assert.strictEqual(world.view.validator(id)!.stake, 0n, "it stays known, so that its key cannot come back");
  await agrees(world);
});

test("evidence in a block is checked with the set of its epoch and rewards the proposer's operator; what holds not, or punishes nobody any more, makes the block invalid", async () => {
  const world = bonded();
  const votes = (a: SignedVote, b: SignedVote): Uint8Array => encodeEvidence({ kind: "votes", a, b });
  const good = votes(voteOf(world, 0, A), voteOf(world, 0, B));
  const tried = (evidence: Uint8Array): string => {
    const result = world.tryBlock(1, { evidence: [evidence], proposer: 1 });
    return result.ok ? "ok" : result.code;
  };
  assert.strictEqual(tried(votes(voteOf(world, 0, A), voteOf(world, 0, B, { seed: keyOf(2).seed }))), "evidence_invalid");
  assert.strictEqual(tried(votes(voteOf(world, 1, A), voteOf(world, 1, B))), "evidence_invalid", "the index is another validator's");
  assert.strictEqual(tried(votes(voteOf(world, 0, A, { epoch: 9 }), voteOf(world, 0, B, { epoch: 9 }))), "evidence_epoch");
  assert.strictEqual(tried(votes(voteOf(world, 7, A), voteOf(world, 7, B))), "evidence_epoch");
  assert.strictEqual(tried(good.slice(1)), "evidence_invalid");
  const operator = world.view.account(actor(0).id)?.balance ?? 0n;
  assert.strictEqual(tried(votes(voteOf(world, 0, A, { kind: "finalize" }), voteOf(world, 0, null, { kind: "nullify" }))), "ok");
  assert.strictEqual(tried(good), "validator_tombstoned");
  const cut = (61n * TOKEN - 1n) / 20n + (40n * TOKEN + 1n) / 20n;
  assert.strictEqual(world.view.account(actor(0).id)!.balance, operator + cut / 10n);
  await agrees(world);
});

test("what cannot be bonded or unbonded is refused by code, and takes nothing", () => {
  const world = new World();
  const id = addressOf(keyOf(1).key);
  const refused = (sender: Actor, op: Parameters<World["send"]>[1][number]): string | undefined => {
    world.send(sender, [op]);
    world.block(0);
    return codes(world)[0];
  };
  assert.strictEqual(refused(alice, bonding(world, 1, alice, 0n)), "bad_amount");
  assert.strictEqual(refused(alice, bonding(world, 1, alice, STAKE_MIN - 1n)), "stake_too_small");
  assert.strictEqual(refused(alice, bonding(world, 1, bob, STAKE_MIN)), "bad_proof");
  assert.strictEqual(refused(alice, bonding(world, 1, alice, 10n ** 18n)), "insufficient_funds");
  assert.strictEqual(refused(alice, { kind: "unbond", validator: id, amount: 1n }), "validator_unknown");
  assert.strictEqual(refused(alice, bonding(world, 1, alice, 20n * TOKEN)), undefined);
  assert.strictEqual(refused(bob, bonding(world, 1, bob, TOKEN)), "not_owner");
  assert.strictEqual(refused(bob, { kind: "unbond", validator: id, amount: 1n }), "not_owner");
  assert.strictEqual(refused(alice, { kind: "unbond", validator: id, amount: 0n }), "bad_amount");
  assert.strictEqual(refused(alice, { kind: "unbond", validator: id, amount: 21n * TOKEN }), "insufficient_funds");
  assert.strictEqual(refused(alice, { kind: "unbond", validator: id, amount: 20n * TOKEN - 1n }), "stake_too_small");
  assert.strictEqual(refused(alice, { kind: "unjail", validator: id }), "not_jailed");
  for (let k = 0; k < UNBONDINGS_MAX; k++) assert.strictEqual(refused(alice, { kind: "unbond", validator: id, amount: 1n }), undefined);
  assert.strictEqual(refused(alice, { kind: "unbond", validator: id, amount: 1n }), "too_many_changes");
  assert.strictEqual(world.view.supply().stakes, 21n * TOKEN);
});
