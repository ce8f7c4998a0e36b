/** Commands of who holds tokens: what each sends, what it shows, and what it refuses before it sends anything. */
import assert from "node:assert/strict";
import test from "node:test";
import type { TestContext } from "node:test";
import { parseAddress } from "#chain/codec/address.ts";
import { lockIdOf } from "#chain/codec/holderOperations.ts";
import type { Operation } from "#chain/codec/transaction.ts";
import { sha256 } from "#chain/crypto.ts";
import { fromHex, hex } from "#chain/types.ts";
import { type FakeMachine, startFakeMachine } from "./fakeMachine.ts";
import { type Terminal, openTerminal } from "./terminal.ts";

async function world(t: TestContext): Promise<{ machine: FakeMachine; terminal: Terminal; address: string; bob: string; last: () => Operation }> {
  const machine = await startFakeMachine(t);
  const terminal = openTerminal(t, { GODWIT_API: machine.url, GODWIT_ACCOUNT: "alice" });
  const { address } = await terminal.json("account", "new", "alice");
  const { address: bob } = await terminal.json("account", "new", "bob");
  machine.balances.set(address, 100_000_000_000n);
  return { machine, terminal, address, bob, last: () => machine.operations.at(-1)! };
}

test("lock new makes a secret or takes a hash, claim and refund send what they say, list and show print what is locked", async (t) => {
  const { machine, terminal, address, bob, last } = await world(t);
  const made = await terminal.json("lock", "new", "bob", "2.5", "--minutes", "10");
  const op = last();
  assert(op.kind === "lock" && op.amount === 2_500_000_000n && hex(op.hash) === hex(sha256(fromHex(made["secret"]))) && made["hash"] === hex(op.hash));
  assert(op.expiryMs > BigInt(Date.now() + 590_000) && op.expiryMs < BigInt(Date.now() + 610_000));
  assert.equal(made["id"], hex(lockIdOf(parseAddress(address)!, 0n, 0)));
  const hash = "ab".repeat(32);
  assert.equal("secret" in (await terminal.json("lock", "new", bob, "1", "--hash", hash)), false);
  const second = last();
  assert(second.kind === "lock" && hex(second.hash) === hash);
  await terminal.json("lock", "claim", made["id"], made["secret"]);
  const claim = last();
  assert(claim.kind === "claimLock" && hex(claim.preimage) === made["secret"]);
  await terminal.json("lock", "refund", made["id"]);
  assert.equal(last().kind, "refundLock");
  const row = { id: made["id"], sender: address, recipient: bob, amount: "2500000000", hash, expiryMs: "1700000000000" };
  machine.holdings.set("locks", { locks: [row], next: null }).set(`locks/${made["id"]}`, row);
  assert.deepEqual(await terminal.json("lock", "show", made["id"]), row);
  assert.match((await terminal.run("lock", "list")).stdout, new RegExp(`^LOCK +TOKENS +ACCOUNT +UNTIL\\n${made["id"]} +2\\.5 +to +${bob} +2023-11-14T22:13:20\\.000Z\\n$`));
});

test("what is no lock is refused as usage, before anything is sent", async (t) => {
  const { machine, terminal } = await world(t);
  for (const args of [["lock"], ["lock", "open"], ["lock", "new", "bob"], ["lock", "new", "bob", "0"], ["lock", "new", "gw1qqqq", "1"], ["lock", "new", "bob", "1", "--hash", "ab"], ["lock", "new", "bob", "1", "--minutes", "0"],
    ["lock", "claim", "ab".repeat(20)], ["lock", "claim", "ab".repeat(20), "xx"], ["lock", "refund"], ["lock", "show", "7"]]) assert.deepEqual(await terminal.errorOf(...args), { exit: 2, code: "usage" }, args.join(" "));
  assert.deepEqual(machine.operations, []);
  assert.deepEqual(await terminal.errorOf("lock", "show", "ab".repeat(20)), { exit: 1, code: "lock_unknown" });
});

test("stake delegate names the commission that it saw, undelegate reckons tokens in shares, and commission is in hundredths of a percent", async (t) => {
  const { machine, terminal, address, last } = await world(t);
  const operator = parseAddress(address)!;
  machine.validators.set("v", { id: address, key: "00".repeat(32), operator: address, state: "active", stake: 5n, unbonding: [], weight: 1, weightNext: 1, commissionBps: 750, delegated: "3000", delegatedShares: "2000" } as never);
  machine.holdings.set("delegations", { delegations: [{ validator: address, delegator: address, shares: "1000", amount: "1500", leaving: [{ amount: "7", releaseMs: "1", releaseEpoch: 2 }] }], next: null });
  await terminal.json("stake", "delegate", "2.5", address);
  assert.deepEqual(last(), { kind: "delegate", validator: operator, amount: 2_500_000_000n, commissionMax: 750 });
  await terminal.json("stake", "delegate", "1", address, "--commission-max", "12.25%");
  assert.equal((last() as { commissionMax: number }).commissionMax, 1_225);
  await terminal.json("stake", "undelegate", "0.000001", address);
  assert.deepEqual(last(), { kind: "undelegate", validator: operator, shares: 667n });
  await terminal.json("stake", "undelegate", "all", address);
  assert.deepEqual(last(), { kind: "undelegate", validator: operator, shares: 1_000n });
  await terminal.json("stake", "commission", "8.5", address);
  assert.deepEqual(last(), { kind: "setCommission", validator: operator, bps: 850 });
  assert.deepEqual(await terminal.errorOf("stake", "undelegate", "0.0000016", address), { exit: 1, code: "insufficient_funds" });
  for (const args of [["delegate", "1"], ["delegate", "1", address, "--commission-max", "101"], ["undelegate", "all"], ["commission", "-1", address], ["commission"]]) assert.equal((await terminal.errorOf("stake", ...args)).exit, 2, args.join(" "));
  assert.match((await terminal.run("stake", "delegations")).stdout, new RegExp(`^VALIDATOR +TOKENS +ON THE WAY BACK\\n${address} +0\\.0000015 +0\\.000000007\\n$`));
});

test("name register, renew, point, transfer and release each send what they say; list and show print whose it is and where it points", async (t) => {
  const { machine, terminal, address, bob, last } = await world(t);
  const row = { name: "shop", owner: address, deployment: null, host: "shop.localhost", expiryMs: "1900000000000" };
  machine.holdings.set("names/shop", row).set("names", { names: [row], next: null });
  await terminal.json("name", "register", "Shop", "--years", "2");
  assert.deepEqual(last(), { kind: "registerName", name: "shop", deployment: null, years: 2 });
  await terminal.json("name", "renew", "shop");
  assert.deepEqual(last(), { kind: "renewName", name: "shop", years: 1 });
  await terminal.json("name", "point", "shop", "nowhere");
  assert.deepEqual(last(), { kind: "pointName", name: "shop", deployment: null });
  await terminal.json("name", "transfer", "shop", bob);
  assert.deepEqual(last(), { kind: "transferName", name: "shop", to: parseAddress(bob)! });
  await terminal.json("name", "release", "shop");
  assert.deepEqual(last(), { kind: "releaseName", name: "shop" });
  assert.deepEqual(await terminal.json("name", "show", "shop"), row);
  assert.equal((await terminal.run("name", "list")).stdout, "NAME  POINTS TO  UNTIL\nshop  nowhere    2030-03-17\n");
  assert.deepEqual(await terminal.errorOf("name", "show", "other"), { exit: 1, code: "name_unknown" });
  assert.deepEqual(await terminal.errorOf("name", "point", "shop", "nothing"), { exit: 1, code: "deployment_unknown" });
  for (const args of [["register"], ["register", "a b"], ["register", "shop", "--years", "11"], ["point", "shop"], ["transfer", "shop"], ["transfer", "shop", "gw1qq"], ["own", "shop"]]) assert.equal((await terminal.errorOf("name", ...args)).exit, 2, args.join(" "));
});

test("stake propose and vote send what they say, parameters prints what can change", async (t) => {
  const { machine, terminal, address, last } = await world(t);
  const validator = parseAddress(address)!;
  const { proposal } = await terminal.json("stake", "propose", "feeBase", "20000", "--validator", address);
  assert.deepEqual(last(), { kind: "propose", validator, parameter: 1, value: 20_000n });
  await terminal.json("stake", "vote", proposal, "--validator", address);
  assert.deepEqual(last(), { kind: "vote", validator, proposal: fromHex(proposal) });
  machine.holdings.set("parameters", { parameters: [{ name: "feeBase", value: "10000", min: "1000", max: "1000000000" }], scheduled: [{ name: "feeBase", value: "20000", epoch: 9 }], proposals: [] });
  assert.equal((await terminal.run("stake", "parameters")).stdout, "PARAMETER  VALUE  FROM          TO\nfeeBase    10000  1000  1000000000\nfeeBase becomes 20000 in epoch 9\n");
  for (const args of [["propose", "feeBase", "20000"], ["propose", "deltaMs", "1", "--validator", address], ["propose", "feeBase", "x", "--validator", address], ["vote", "ab", "--validator", address]]) assert.equal((await terminal.errorOf("stake", ...args)).exit, 2, args.join(" "));
});
