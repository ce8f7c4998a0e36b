/** Hash-time-locked transfers, told as stories with amounts worked out by hand; the audit reckons each of them a second time. */
import assert from "node:assert";
import { test } from "node:test";
import { lockIdOf } from "#chain/codec/holderOperations.ts";
import type { Operation } from "#chain/codec/transaction.ts";
import { sha256 } from "#chain/crypto.ts";
import { LOCK_MS_MAX } from "#chain/ledger/limits.ts";
import { lockKey } from "#chain/ledger/holdings.ts";
import { verifyProof } from "#chain/codec/proof.ts";
import { type Address, type Digest, address, digest } from "#chain/types.ts";
import { audit } from "#tools/audit.ts";
import { apiOf, blocksOf } from "./fakeApi.ts";
import { type Actor, TOKEN, World, actor } from "./world.ts";

const [alice, bob, carol] = [actor(1), actor(2), actor(3)];
const secret = new Uint8Array(32).fill(42);
const codes = (world: World): (string | undefined)[] => world.history.at(-1)!.applied.outcomes.map(({ code }) => code);
const balanceOf = (world: World, { id }: Actor): bigint => world.view.account(id)?.balance ?? 0n;
const lockFor = (world: World, to: Address, seconds: number, changes: { amount?: bigint; hash?: Digest } = {}): Operation =>
  ({ kind: "lock", to, amount: 7n * TOKEN, hash: sha256(secret), expiryMs: world.view.timeMs + BigInt(seconds) * 1000n, ...changes });
async function agrees(world: World): Promise<void> {
  assert.deepStrictEqual((await audit(apiOf(world, blocksOf(world)))).findings, []);
}

test("money that is locked is the recipient's when anybody shows the secret in time, whoever it is; until then it counts in the supply as locked", async () => {
  const world = new World({ signed: true });
  const sent = world.send(alice, [lockFor(world, bob.id, 60)]);
  world.block();
  const id = lockIdOf(alice.id, 0n, 0);
  assert.strictEqual(balanceOf(world, alice), 993n * TOKEN - sent.body.fee);
  assert.strictEqual(world.view.supply().locked, 7n * TOKEN);
  assert.deepStrictEqual(world.view.locksOf(bob.id).items, world.view.locksOf(alice.id).items);
  const proof = world.ledger.state.prove(lockKey(id));
  assert(verifyProof(world.view.stateRoot, lockKey(id), proof).ok && proof.value!.length < 160);
  const claim = world.send(carol, [{ kind: "claimLock", lock: id, preimage: secret }]);
  world.block();
  assert.strictEqual(balanceOf(world, bob), 1_007n * TOKEN);
  assert.strictEqual(balanceOf(world, carol), 1_000n * TOKEN - claim.body.fee);
  assert.deepStrictEqual([world.view.lock(id), world.view.supply().locked], [null, 0n]);
  const [event] = world.history.at(-1)!.applied.events;
  assert.strictEqual(event?.transaction, 0, "what a transaction did names it");
  assert(event.kind === "lockClaimed" && event.preimage.toHex() === secret.toHex(), "who waits for the secret elsewhere reads it here");
  await agrees(world);
});

test("a lock is claimable up to the last millisecond before its expiry and refundable from it on: never both, always one", async () => {
  const world = new World({ signed: true });
  // Three locks; blocks come at expiry − 1 s, and at expiry exactly.
  for (let k = 0; k < 3; k++) world.send(alice, [lockFor(world, bob.id, 11)]);
  world.block();
  const [first, second, third] = [0n, 1n, 2n].map((nonce) => lockIdOf(alice.id, nonce, 0)) as [Address, Address, Address];
  world.send(bob, [{ kind: "refundLock", lock: first }]);
  world.send(bob, [{ kind: "claimLock", lock: first, preimage: secret }]);
  world.block(9);
  assert.deepStrictEqual(codes(world), ["lock_not_expired", undefined]);
  world.send(bob, [{ kind: "claimLock", lock: second, preimage: secret }]);
  world.send(bob, [{ kind: "refundLock", lock: second }]);
  world.send(alice, [{ kind: "refundLock", lock: third }]);
  world.block(1);
  assert.deepStrictEqual(codes(world), ["lock_expired", undefined, undefined]);
  world.send(alice, [{ kind: "refundLock", lock: third }]);
  world.send(alice, [{ kind: "claimLock", lock: first, preimage: secret }]);
  world.block(1);
  assert.deepStrictEqual(codes(world), ["lock_unknown", "lock_unknown"]);
  assert.strictEqual(world.view.supply().locked, 0n);
  await agrees(world);
});

test("a swap over two chains: the secret that claims on one claims on the other, and without it both get their own back", () => {
  const [here, there] = [new World(), new World({ parameters: "default" })];
  here.send(alice, [lockFor(here, bob.id, 120)]);
  here.block();
  there.send(bob, [lockFor(there, alice.id, 60, { amount: 3n * TOKEN })]);
  there.block();
  there.send(alice, [{ kind: "claimLock", lock: lockIdOf(bob.id, 0n, 0), preimage: secret }]);
  there.block();
  const told = there.history.at(-1)!.applied.events.find((event) => event.kind === "lockClaimed")!;
  here.send(bob, [{ kind: "claimLock", lock: lockIdOf(alice.id, 0n, 0), preimage: told.preimage }]);
  here.block();
  assert.deepStrictEqual([balanceOf(here, bob) > 1_006n * TOKEN, balanceOf(there, alice) > 1_002n * TOKEN], [true, true]);
});

test("what cannot be locked, claimed or refunded is refused by code, and takes nothing", () => {
  const world = new World();
  world.send(alice, [lockFor(world, bob.id, 60)]);
  world.block();
  const id = lockIdOf(alice.id, 0n, 0);
  const nowhere = address(new Uint8Array(20).fill(9));
  const cases: [string | undefined, Operation][] = [
    ["bad_amount", lockFor(world, bob.id, 60, { amount: 0n })],
    ["insufficient_funds", lockFor(world, bob.id, 60, { amount: 2n ** 64n - 1n })],
    ["bad_expiry", { ...lockFor(world, bob.id, 60), expiryMs: world.view.timeMs } as Operation],
    ["bad_expiry", { ...lockFor(world, bob.id, 60), expiryMs: 2n ** 64n - 1n } as Operation],
    ["wrong_preimage", { kind: "claimLock", lock: id, preimage: new Uint8Array(32) }],
    ["lock_unknown", { kind: "claimLock", lock: nowhere, preimage: secret }],
    ["lock_unknown", { kind: "refundLock", lock: nowhere }],
    ["lock_not_expired", { kind: "refundLock", lock: id }],
  ];
  const locked = world.view.supply().locked;
  for (const [code, op] of cases) {
    world.send(carol, [{ kind: "transfer", to: nowhere, amount: 1n }, op]);
    world.block(0);
    assert.deepStrictEqual(codes(world), [code], op.kind);
    assert.deepStrictEqual([world.view.supply().locked, world.view.account(nowhere)], [locked, null]);
  }
  // The last time that is taken, and one more is not.
  world.send(carol, [{ ...lockFor(world, bob.id, 0), expiryMs: world.view.timeMs + 1_000n + LOCK_MS_MAX + 1n, hash: digest(new Uint8Array(32)) } as Operation]);
  world.send(carol, [{ ...lockFor(world, bob.id, 0), expiryMs: world.view.timeMs + 1_000n + LOCK_MS_MAX } as Operation]);
  world.block();
  assert.deepStrictEqual(codes(world), ["bad_expiry", undefined]);
});
