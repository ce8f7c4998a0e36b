/** Accounts as key sets: scopes, limits, expiry and threshold; what changes of them counts from the next block on. */
import assert from "node:assert";
import { test } from "node:test";
import { signRequest, verifyRequest } from "#chain/codec/request.ts";
import { SCOPES, SCOPES_ALL, type Scope, keysThatMay } from "#chain/codec/scopes.ts";
import { type Operation, decoded, deploymentIdOf, encodeBody } from "#chain/codec/transaction.ts";
import { KEYS_MAX } from "#chain/ledger/limits.ts";
import { refusalOf } from "#chain/ledger/ledger.ts";
import { type Address, U64_MAX, address, signature } from "#chain/types.ts";
import { type Actor, TOKEN, World, actor, component, deployment } from "./world.ts";

const alice = actor(1);
const [phone, laptop, robot] = [actor(51), actor(52), actor(53)];
const pay = (amount: bigint, to: Address = actor(9).id): Operation => ({ kind: "transfer", to, amount });
const grant = (who: Actor, scopes: number = SCOPES_ALL, limit: bigint = U64_MAX, expiryMs: bigint = U64_MAX): Operation => ({ kind: "authorise", key: who.key, scopes, limit, expiryMs });
/** Code of the one transaction of the next block: of its envelope, of its operations, or undefined. */
function code(world: World, signers: readonly Actor[], ops: readonly Operation[], seconds = 1): string | undefined {
  world.send(alice, ops, { signers });
  const result = world.tryBlock(seconds);
  return result.ok ? result.outcomes[0]!.code : `envelope ${result.code}`;
}

test("a key that is authorised signs from the next block on, and one that is revoked until the end of its block", () => {
  const world = new World();
  assert.strictEqual(code(world, [phone], [pay(1n)]), "envelope bad_signature");
  world.send(alice, [grant(phone)]);
  world.send(alice, [pay(1n)], { signers: [phone] });
  assert.strictEqual(world.tryBlock().ok, false, "not in the block that authorises it");
  assert.strictEqual(code(world, [alice], [grant(phone)]), undefined);
  assert.deepStrictEqual(world.view.account(alice.id)!.keys.map(({ key }) => key), [alice.key, phone.key]);
  world.send(alice, [{ kind: "revoke", key: alice.key }], { signers: [phone] });
  world.send(alice, [pay(1n)], { signers: [alice] });
  assert.deepStrictEqual(world.block().outcomes.map(({ ok }) => ok), [true, true], "in the block that revokes it, it still speaks");
  assert.strictEqual(code(world, [alice], [pay(1n)]), "envelope bad_signature");
  assert.strictEqual(code(world, [phone], [pay(1n)]), undefined);
});

test("an account with a threshold of two takes nothing that one key alone has signed", () => {
  const world = new World();
  assert.strictEqual(code(world, [alice], [grant(phone), grant(laptop), { kind: "setThreshold", threshold: 2 }]), undefined);
  assert.strictEqual(code(world, [alice], [pay(1n)]), "envelope bad_signature");
  assert.strictEqual(code(world, [phone, robot], [pay(1n)]), "envelope bad_signature");
  assert.strictEqual(code(world, [phone, laptop], [pay(1n)]), undefined);
  assert.strictEqual(code(world, [phone, laptop, alice], [pay(1n)]), undefined);
  assert.strictEqual(code(world, [phone, laptop], [{ kind: "setThreshold", threshold: 1 }]), undefined);
  assert.strictEqual(code(world, [laptop], [pay(1n)]), undefined);
});

const SAMPLES: Readonly<Record<Scope, Operation | null>> = {
  transfer: pay(1n), deploy: deployment("x"), machine: { kind: "up", bootId: new Uint8Array(16), consensusKey: null, binding: null, acknowledgements: [] }, stake: { kind: "unjail", validator: alice.id },
  account: { kind: "setThreshold", threshold: 1 }, read: null,
};

test("a key does what its scopes say and nothing else, operation by operation", () => {
  for (const [name, bit] of Object.entries(SCOPES).filter(([scope]) => scope !== "account")) {
    const world = new World();
    assert.strictEqual(code(world, [alice], [grant(robot, bit)]), undefined);
    for (const [other, op] of Object.entries(SAMPLES)) {
      if (op === null) continue;
      const got = code(world, [robot], [op]);
      if (other === name) assert.notStrictEqual(got, "envelope out_of_scope", `${name} does ${other}`);
      else assert.strictEqual(got, "envelope out_of_scope", `${name} does ${other}`);
    }
    assert.strictEqual(code(world, [robot, alice], [pay(1n), deployment("y")]), "envelope out_of_scope", "nobody's signature lends its scopes to another's");
  }
});

test("what a key may spend is spent once, over as many transactions as it takes, with fees and deposits; all who sign answer for it", () => {
  const world = new World();
  assert.strictEqual(code(world, [alice], [grant(robot, SCOPES.transfer | SCOPES.deploy, 3n * TOKEN), grant(phone, SCOPES.transfer, TOKEN)]), undefined);
  const left = (who: Actor): bigint => world.view.account(alice.id)!.keys.find(({ key }) => key === who.key || key.toHex() === who.key.toHex())!.limit;
  const fee = world.send(alice, [pay(TOKEN)], { signers: [robot] }).body.fee;
  world.block();
  assert.strictEqual(left(robot), 2n * TOKEN - fee);
  assert.strictEqual(code(world, [robot], [deployment("x", { deposit: 2n * TOKEN })]), "limit_exceeded");
  assert.strictEqual(left(robot), 2n * TOKEN - 2n * fee, "what is refused costs its fee");
  assert.strictEqual(code(world, [robot], [deployment("x", { deposit: TOKEN })]), undefined);
  assert.strictEqual(left(robot), TOKEN - 3n * fee);
  assert.strictEqual(code(world, [phone, robot], [pay(TOKEN - fee)]), "limit_exceeded", "the phone may, the robot may not");
  // Twice in one block, after it was revoked: the second finds what the first left.
  world.send(alice, [{ kind: "revoke", key: robot.key }]);
  for (const _ of [1, 2]) world.send(alice, [pay((6n * TOKEN) / 10n)], { signers: [robot] });
  assert.deepStrictEqual(world.block().outcomes.map(({ code: one }) => one), [undefined, undefined, "limit_exceeded"]);
  assert.strictEqual(code(world, [alice], [grant(robot, SCOPES.transfer, fee - 1n)]), undefined);
  assert.strictEqual(code(world, [robot], [pay(1n)]), "envelope limit_exceeded", "not even the fee");
});

test("what comes back to an account in the same transaction does not lend a key a limit: a deployment that is closed pays for nothing", () => {
  const world = new World();
  world.send(alice, [deployment("rich", { deposit: 50n * TOKEN, replicas: 1 })]);
  const id = deploymentIdOf(alice.id, 0n, 0);
  world.block();
  assert.strictEqual(code(world, [alice], [grant(robot, SCOPES.transfer | SCOPES.deploy, TOKEN)]), undefined);
  const closing: Operation = { kind: "close", deploymentId: id };
  assert.strictEqual(code(world, [robot], [closing, pay(50n * TOKEN)]), "limit_exceeded");
  assert.strictEqual(code(world, [robot], [closing, pay(TOKEN / 2n)]), undefined, "what it may spend it may");
  assert.strictEqual(code(world, [robot], [pay(TOKEN / 2n)]), "limit_exceeded");
});

test("a key that has expired signs nothing", () => {
  const world = new World();
  const expiryMs = world.view.timeMs + 10_000n;
  assert.strictEqual(code(world, [alice], [grant(phone, SCOPES.transfer, U64_MAX, expiryMs)]), undefined);
  assert.strictEqual(code(world, [phone], [pay(1n)]), undefined);
  assert.strictEqual(code(world, [phone], [pay(1n)], 9), "envelope bad_signature");
  assert.strictEqual(code(world, [alice], [grant(laptop, SCOPES.transfer, U64_MAX, 5n)]), "expired");
});

test("nobody locks himself out, hands out more than there is to a limited key, or has more than 16 keys", () => {
  const world = new World();
  assert.strictEqual(code(world, [alice], [{ kind: "revoke", key: alice.key }]), "would_lock_out");
  assert.strictEqual(code(world, [alice], [{ kind: "revoke", key: phone.key }]), "key_unknown");
  for (const threshold of [0, 2, 2 ** 32 - 1]) assert.strictEqual(code(world, [alice], [{ kind: "setThreshold", threshold }]), "would_lock_out");
  assert.strictEqual(code(world, [alice], [grant(phone, SCOPES.transfer), { kind: "setThreshold", threshold: 2 }]), "would_lock_out");
  assert.strictEqual(code(world, [alice], [grant(alice, SCOPES.transfer)]), "would_lock_out");
  assert.strictEqual(code(world, [alice], [grant(phone, SCOPES_ALL, U64_MAX, world.view.timeMs + 10n ** 6n), { kind: "revoke", key: alice.key }]), "would_lock_out", "that one expires");
  assert.strictEqual(code(world, [alice], [grant(phone, 0)]), "bad_scopes");
  assert.strictEqual(code(world, [alice], [grant(phone, SCOPES.account)]), "bad_scopes");
  assert.strictEqual(code(world, [alice], [grant(phone, SCOPES_ALL, 5n)]), "bad_scopes");
  for (let k = 1; k < KEYS_MAX; k++) assert.strictEqual(code(world, [alice], [grant(actor(700 + k), SCOPES.read)]), undefined);
  assert.strictEqual(code(world, [alice], [grant(actor(799), SCOPES.read)]), "too_many_keys");
  assert.strictEqual(code(world, [alice], [grant(actor(701), SCOPES.transfer)]), undefined, "a known key gets other rights");
});

test("a signed API request counts when its key has the scope read and has not expired; a threshold is for transactions", () => {
  const world = new World();
  const nowMs = world.view.timeMs + 5_000n;
  const asked = (who: Actor, atMs: bigint = nowMs): string => {
    const body = { chainId: world.ledger.chainId, sender: alice.id, method: "GET", path: "/v1/x", bodyDigest: component, machine: robot.id, expiryMs: atMs + 1_000n };
    const verified = verifyRequest(signRequest(body, who.seed), { ...body, nowMs: atMs, keysOf: (sender) => keysThatMay(world.view.account(sender)?.keys ?? [], "read", atMs) });
    return verified.ok ? "ok" : verified.code;
  };
  assert.deepStrictEqual([asked(alice), asked(phone)], ["ok", "bad_signature"]);
  assert.strictEqual(code(world, [alice], [grant(laptop), grant(phone, SCOPES.read, 0n, nowMs), grant(robot, SCOPES.transfer | SCOPES.deploy | SCOPES.stake), { kind: "setThreshold", threshold: 2 }]), undefined);
  assert.deepStrictEqual([asked(alice), asked(phone), asked(robot), asked(actor(77))], ["ok", "ok", "bad_signature", "bad_signature"]);
  assert.strictEqual(asked(phone, nowMs + 1n), "bad_signature");
});

test("the mempool's question knows scopes, limits and thresholds", () => {
  const world = new World();
  assert.strictEqual(code(world, [alice], [grant(robot, SCOPES.deploy)]), undefined);
  const { body } = world.send(alice, [pay(1n)]);
  const asked = (who: Actor): string | undefined => refusalOf(world.ledger, decoded({ bodyBytes: encodeBody(body), signatures: [{ key: who.key, signature: signature(new Uint8Array(64)) }] }, body, 400), world.view.timeMs)?.code;
  assert.deepStrictEqual([asked(robot), asked(phone), asked(alice)], ["out_of_scope", "bad_signature", undefined]);
  assert(address(alice.id));
});
