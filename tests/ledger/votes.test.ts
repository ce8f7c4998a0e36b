/** Changes of parameters by votes, told as stories; the audit reckons each of them a second time. */
import assert from "node:assert";
import { test } from "node:test";
import { addressOf } from "#chain/codec/address.ts";
import { proposalIdOf } from "#chain/codec/holderOperations.ts";
import { verifyProof } from "#chain/codec/proof.ts";
import { type Operation, signValidatorProof } from "#chain/codec/transaction.ts";
import { PRESETS, VOTABLE } from "#chain/constants.ts";
import { SETTINGS_KEY } from "#chain/ledger/holdings.ts";
import { imageOf, ledgerFrom } from "#chain/ledger/snapshot.ts";
import { type Address, address } from "#chain/types.ts";
import { audit } from "#tools/audit.ts";
import { apiOf, blocksOf } from "./fakeApi.ts";
import { type Actor, TOKEN, World, actor } from "./world.ts";

const { epochBlocks: EPOCH, voteEpochs, delayEpochs } = PRESETS.minimal;
const [alice, bob, carol] = [actor(1), actor(2), actor(3)];
const idOf = ({ key }: Actor): Address => addressOf(key);
const codes = (world: World): (string | undefined)[] => world.history.at(-1)!.applied.outcomes.map(({ code }) => code);
const propose = (by: Actor, parameter: number, value: bigint): Operation => ({ kind: "propose", validator: idOf(by), parameter, value });
const finishEpoch = (world: World): void => { do world.block(); while (world.view.height % EPOCH !== 0); };
const FEE = VOTABLE.feeBase.number;

/** Alice, bob and carol validate with 40, 40 and 19 tokens, the genesis' key with 1: two thirds are 66 and two thirds. */
function voting(): World {
  const world = new World({ signed: true });
  for (const [i, one] of [alice, bob, carol].entries()) world.send(one, [{ kind: "bond", ...signValidatorProof(one.seed, world.ledger.chainId, one.id), amount: BigInt([40, 40, 19][i]!) * TOKEN }]);
  finishEpoch(world);
  finishEpoch(world);
  return world;
}

test("more than two thirds of the stake change a parameter, at the boundary of an epoch and after the delay; everything reads the new value, the audit too", async () => {
  const world = voting();
  world.send(alice, [propose(alice, FEE, 20_000n)]);
  world.block();
  const [open] = world.view.proposals();
  assert.deepStrictEqual([open!.parameter, open!.value, open!.votes.length], ["feeBase", 20_000n, 1]);
  finishEpoch(world);
  assert.strictEqual(world.view.scheduled().length, 0, "40 of 100 are not enough");
  world.send(bob, [{ kind: "vote", validator: idOf(bob), proposal: open!.id }]);
  finishEpoch(world);
  const passed = world.view.epoch;
  assert.deepStrictEqual(world.view.scheduled(), [{ parameter: "feeBase", value: 20_000n, epoch: passed + delayEpochs }]);
  assert.deepStrictEqual(world.view.proposals(), []);
  while (world.view.epoch < passed + delayEpochs) {
    assert.strictEqual(world.ledger.rules.feeBase, 10_000n);
    finishEpoch(world);
  }
  assert.deepStrictEqual([world.ledger.rules.feeBase, world.view.parameters().feeBase, world.view.scheduled()], [20_000n, 20_000n, []]);
  world.send(bob, [{ kind: "transfer", to: carol.id, amount: 1n }], { fee: 14_000n });
  const low = world.tryBlock();
  assert(!low.ok && low.code === "fee_too_low");
  const proven = verifyProof(world.view.stateRoot, SETTINGS_KEY, world.ledger.state.prove(SETTINGS_KEY));
  assert(proven.ok && proven.value !== null && proven.value.length < 20);
  const copy = ledgerFrom(world.genesis, { slots: imageOf(world.ledger).slots });
  assert.strictEqual(copy.rules.feeBase, 20_000n, "who joins from a snapshot has it too");
  assert.deepStrictEqual((await audit(apiOf(world, blocksOf(world)))).findings, []);
});

test("exactly two thirds are not enough, votes of who has left the set do not count, and what has not passed in time is gone", async () => {
  const world = new World({ signed: true });
  for (const one of [alice, bob]) world.send(one, [{ kind: "bond", ...signValidatorProof(one.seed, world.ledger.chainId, one.id), amount: TOKEN }]);
  finishEpoch(world);
  finishEpoch(world);
  world.send(alice, [propose(alice, FEE, 20_000n)]);
  world.send(bob, [{ kind: "vote", validator: idOf(bob), proposal: proposalIdOf(alice.id, 1n, 0) }]);
  world.block();
  assert.deepStrictEqual(codes(world), [undefined, undefined]);
  for (let k = 1; k < voteEpochs; k++) finishEpoch(world);
  assert.strictEqual(world.view.proposals().length, 1);
  finishEpoch(world);
  assert.deepStrictEqual([world.view.proposals(), world.view.scheduled(), world.ledger.rules.feeBase], [[], [], 10_000n]);
  assert.deepStrictEqual((await audit(apiOf(world, blocksOf(world)))).findings, []);
});

test("what cannot be proposed or voted is refused by code", () => {
  const world = voting();
  world.send(alice, [propose(alice, FEE, 20_000n)]);
  world.block();
  const open = world.view.proposals()[0]!.id;
  const dave = actor(4);
  world.send(dave, [{ kind: "bond", ...signValidatorProof(dave.seed, world.ledger.chainId, dave.id), amount: TOKEN }]);
  world.block();
  for (const [code, sender, op] of [
    ["too_many_proposals", alice, propose(alice, FEE, 30_000n)], ["parameter_unknown", bob, propose(bob, 99, 1n)], ["bad_value", bob, propose(bob, FEE, 999n)],
    ["bad_value", bob, propose(bob, VOTABLE.validatorsMax.number, 201n)], ["bad_value", bob, propose(bob, VOTABLE.nameRentPerYear.number, 0n)], ["parameter_unknown", bob, propose(bob, 3, 0n)], ["not_owner", bob, propose(carol, FEE, 20_000n)], ["not_in_set", dave, propose(dave, FEE, 20_000n)],
    ["validator_unknown", bob, { kind: "vote", validator: address(new Uint8Array(20)), proposal: open }], ["proposal_unknown", bob, { kind: "vote", validator: idOf(bob), proposal: idOf(bob) }],
    ["voted_already", alice, { kind: "vote", validator: idOf(alice), proposal: open }],
  ] as [string, Actor, Operation][]) {
    world.send(sender, [op]);
    world.block(0);
    assert.deepStrictEqual(codes(world), [code]);
  }
});
