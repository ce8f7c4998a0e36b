/** The "no" of the ledger: what cannot be in a block, what is in it and refused, and that neither changes anything else. */
import assert from "node:assert";
import { test } from "node:test";
import { type Operation, deploymentIdOf } from "#chain/codec/transaction.ts";
import { applyBlock, buildBlock, feeFor, nextMoneySecond, refusalOf, revert } from "#chain/ledger/ledger.ts";
import { U64_MAX, address, chainId, timeMs } from "#chain/types.ts";
import { TOKEN, World, actor, bootId, comesUp, deployment, registration } from "./world.ts";

const [tenant, operator, stranger] = [actor(1), actor(2), actor(3)];
const nobody = address(new Uint8Array(20).fill(9));
const pay: Operation = { kind: "transfer", to: stranger.id, amount: 1n };

test("what is wrong with an envelope keeps it out of a block, and the block that has it is not valid", () => {
  const now = timeMs(1_700_000_001_000n);
  const cases: readonly (readonly [string, (world: World) => unknown])[] = [
    ["wrong_chain", (world) => world.send(tenant, [pay], { chainId: chainId(new Uint8Array(8)) })],
    ["wrong_nonce", (world) => world.send(tenant, [pay], { nonce: 1n })],
    ["wrong_nonce", (world) => { world.send(tenant, [pay]); world.send(tenant, [pay], { nonce: 0n }); }],
    ["expired", (world) => world.send(tenant, [pay], { validUntilMs: now - 1n })],
    ["expiry_too_far", (world) => world.send(tenant, [pay], { validUntilMs: now + 3_600_001n })],
    ["bad_signature", (world) => world.send(tenant, [pay], { key: stranger.key })],
    ["fee_too_low", (world) => world.send(tenant, [pay], { fee: feeFor(world.ledger.rules, 400) - 1n })],
    ["fee_too_low", (world) => world.send(tenant, [comesUp(world.ledger, tenant, bootId(1, 1))])],
    ["insufficient_funds", (world) => world.send(tenant, [pay], { fee: 1001n * TOKEN })],
    ["insufficient_funds", (world) => world.send(actor(99), [pay])],
  ];
  for (const [code, send] of cases) {
    const world = new World();
    send(world);
    const result = world.tryBlock();
    assert(!result.ok);
    assert.strictEqual(result.code, code);
  }
  const world = new World();
  world.send(tenant, [pay], { validUntilMs: now });
  assert(world.tryBlock().ok);
});

test("an account speaks with the key of its first transaction from then on", () => {
  const world = new World();
  world.send(tenant, [pay]);
  world.block();
  assert.deepStrictEqual(world.view.account(tenant.id)!.keys.map(({ key }) => key), [tenant.key]);
  world.send(tenant, [pay], { key: stranger.key });
  const result = world.tryBlock();
  assert(!result.ok && result.code === "bad_signature");
});

test("buildBlock() leaves out what cannot be in a block, says why, and gives the root that applyBlock() gives for the rest", () => {
  const world = new World();
  const { ledger, view } = world;
  const candidates = [
    world.send(tenant, [pay]), world.send(tenant, [pay], { nonce: 5n }), world.send(stranger, [pay], { fee: 0n }), world.send(operator, [{ kind: "close", deploymentId: nobody }]), world.send(tenant, [pay], { nonce: 1n }),
  ];
  const at = world.genesis.timeMs + 1000n;
  const input = { height: 1, timeMs: at, moneySecond: nextMoneySecond(ledger, at), previousId: view.stateRoot, transactions: candidates };
  const built = buildBlock(ledger, input);
  assert(built.ok);
  assert.deepStrictEqual(built.transactions, [candidates[0], candidates[3], candidates[4]]);
  assert.deepStrictEqual(built.rejected.map(({ code }) => code), ["wrong_nonce", "fee_too_low"]);
  assert.deepStrictEqual(built.outcomes.map(({ code }) => code), [undefined, "unknown_deployment", undefined]);
  revert(ledger, built.undo);
  const applied = applyBlock(ledger, { ...input, transactions: built.transactions });
  assert(applied.ok);
  assert.deepStrictEqual(applied.stateRoot, built.stateRoot);
});

test("a block has so much work and no more: what did not fit is not rejected, and comes in the next", () => {
  const world = new World({ balance: 10n ** 15n });
  world.machine(1, operator, { memoryMib: 1024, gib: 0n, core: 0n });
  world.block();
  const heavy = (n: number): unknown => world.send(tenant, Array.from({ length: 8 }, (_, i) => deployment(`d${n}-${i}`, { memoryMib: 1, cpuMillis: 0, replicas: 4, deposit: TOKEN })));
  const wanted = Array.from({ length: 11 }, (_, n) => heavy(n)) as ReturnType<World["send"]>[];
  const { ledger, view } = world;
  const at = world.genesis.timeMs + 2000n;
  const input = { height: 2, timeMs: at, moneySecond: nextMoneySecond(ledger, at), previousId: view.stateRoot, transactions: wanted };
  const refused = applyBlock(ledger, input);
  assert(!refused.ok && refused.code === "block_full");
  const built = buildBlock(ledger, input);
  assert(built.ok);
  assert.deepStrictEqual(built.rejected, []);
  assert(built.transactions.length > 5 && built.transactions.length < 11);
  assert.deepStrictEqual(built.transactions, wanted.slice(0, built.transactions.length));
  assert.strictEqual(view.account(tenant.id)!.nonce, BigInt(built.transactions.length));
  assert.strictEqual(built.outcomes.length, built.transactions.length);
  revert(ledger, built.undo);
  const applied = applyBlock(ledger, { ...input, transactions: built.transactions });
  assert(applied.ok);
  assert.deepStrictEqual(applied.stateRoot, built.stateRoot);
  const next = buildBlock(ledger, { ...input, height: 3, timeMs: at + 200n, moneySecond: nextMoneySecond(ledger, at + 200n), transactions: wanted.slice(built.transactions.length) });
  assert(next.ok && next.transactions.length === 11 - built.transactions.length);
});

test("refusalOf() lets a mempool hold transactions that come after those that wait, and no further ahead", () => {
  const world = new World();
  const check = (nonce: bigint): string | undefined => refusalOf(world.ledger, world.send(tenant, [pay], { nonce }), world.genesis.timeMs, 16n)?.code;
  assert.deepStrictEqual([check(0n), check(16n), check(17n), check(U64_MAX)], [undefined, undefined, "wrong_nonce", "wrong_nonce"]);
});

test("height, time and money time of a block follow from its parent's", () => {
  const { ledger, genesis, view } = new World();
  const good = { height: 1, timeMs: genesis.timeMs + 1500n, moneySecond: 1n, previousId: view.stateRoot, transactions: [] };
  const code = (changes: Partial<typeof good>): string => { const result = applyBlock(ledger, { ...good, ...changes }); return result.ok ? "ok" : result.code; };
  assert.strictEqual(code({ height: 2 }), "wrong_height");
  assert.strictEqual(code({ timeMs: genesis.timeMs }), "wrong_time");
  assert.strictEqual(code({ moneySecond: 2n }), "wrong_money_second");
  assert.strictEqual(code({ timeMs: genesis.timeMs + 3_600_000n, moneySecond: 3600n }), "wrong_money_second");
  assert.strictEqual(code({}), "ok");
});

const OFFER = { memoryMib: 4096, cpuMillis: 4000, gib: 1024n, core: 1000n, bond: 20n * TOKEN };
test("operations that are refused take the whole transaction back, pay its fee, and say a code that stays", () => {
  const world = new World({ thorough: true });
  const machine = world.machine(1, operator);
  world.block();
  world.send(tenant, [deployment("hello", { rateMax: 200n })]);
  world.block();
  world.ready(machine);
  world.block();
  const id = deploymentIdOf(tenant.id, 0n, 0);
  const register = (changes: object, who = operator): Operation => ({ ...registration(world.ledger, machine, who, OFFER), ...changes }) as Operation;
  const cases: readonly (readonly [string, typeof tenant, Operation])[] = [
    ["bad_amount", tenant, { kind: "transfer", to: nobody, amount: 0n }],
    ["insufficient_funds", tenant, { kind: "transfer", to: nobody, amount: U64_MAX }],
    ["bad_resources", operator, register({ memoryMib: 2 ** 24 + 1 })],
    ["bad_price", operator, register({ pricePerGibSecond: U64_MAX })],
    ["bond_too_small", operator, register({ bond: TOKEN - 1n })],
    ["bad_proof", operator, { ...registration(world.ledger, actor(99), operator, OFFER), proof: new Uint8Array(64) } as Operation],
    ["bad_proof", stranger, registration(world.ledger, actor(99), operator, OFFER)],
    ["not_owner", stranger, register({})],
    ["not_owner", stranger, register({}, stranger)],
    ["insufficient_funds", operator, register({ bond: U64_MAX })],
    ["bad_name", tenant, deployment("Hello")],
    ["bad_name", tenant, deployment("-a")],
    ["bad_resources", tenant, deployment("b", { memoryMib: 0 })],
    ["bad_replicas", tenant, deployment("b", { replicas: 0 })],
    ["bad_replicas", tenant, deployment("b", { replicas: 257 })],
    ["bad_concurrency", tenant, deployment("b", { concurrency: 0 })],
    ["name_taken", tenant, deployment("hello")],
    ["insufficient_funds", tenant, deployment("b", { deposit: 1n })],
    ["insufficient_funds", tenant, deployment("b", { deposit: 5000n * TOKEN })],
    ["unknown_deployment", tenant, { kind: "resize", deploymentId: nobody, memoryMib: 1, cpuMillis: 1 }],
    ["not_owner", stranger, { kind: "resize", deploymentId: id, memoryMib: 1, cpuMillis: 1 }],
    ["no_capacity", tenant, { kind: "resize", deploymentId: id, memoryMib: 5000, cpuMillis: 1 }],
    ["rate_above_max", tenant, { kind: "resize", deploymentId: id, memoryMib: 128, cpuMillis: 100 }],
    ["bad_replicas", tenant, { kind: "scale", deploymentId: id, replicas: 257 }],
    ["not_owner", operator, { kind: "scale", deploymentId: id, replicas: 2 }],
    ["not_owner", stranger, { kind: "close", deploymentId: id }],
    ["unknown_deployment", tenant, { kind: "topUp", deploymentId: nobody, amount: 1n }],
    ["bad_amount", tenant, { kind: "topUp", deploymentId: id, amount: 0n }],
    ["insufficient_funds", stranger, { kind: "topUp", deploymentId: id, amount: U64_MAX }],
    ["unknown_deployment", tenant, { kind: "claim", deploymentId: nobody, index: 0 }],
    ["nothing_to_claim", tenant, { kind: "claim", deploymentId: id, index: 9 }],
    ["machine_unknown", tenant, comesUp(world.ledger, tenant, bootId(1, 1))],
    ["machine_unknown", tenant, { kind: "ready", deploymentId: id, index: 0, rate: 164n }],
    ["machine_unknown", tenant, { kind: "failed", deploymentId: id, index: 0, cause: "" }],
    ["unknown_deployment", machine, { kind: "ready", deploymentId: nobody, index: 0, rate: 1n }],
    ["already_ready", machine, { kind: "ready", deploymentId: id, index: 0, rate: 164n }],
    ["not_placed_here", machine, { kind: "failed", deploymentId: id, index: 1, cause: "" }],
  ];
  for (const [code, who, op] of cases) {
    const fee = who === machine ? 0n : feeFor(world.ledger.rules, 400);
    const before = world.view.account(who.id)!.balance;
    const supply = world.view.supply();
    // The first operation alone would be taken.
    const first: Operation[] = who === machine ? [] : [{ kind: "transfer", to: nobody, amount: 3n }];
    world.send(who, [...first, op], { fee });
    world.block(0);
    const [outcome] = world.history.at(-1)!.applied.outcomes;
    assert.strictEqual(outcome!.code, code, op.kind);
    assert.strictEqual(world.view.account(who.id)!.balance, before - fee);
    assert.strictEqual(world.view.account(nobody), null);
    assert.deepStrictEqual(world.view.supply(), { ...supply, balances: supply.balances - fee, feePool: supply.feePool + fee });
    assert.deepStrictEqual(world.history.at(-1)!.applied.events, []);
  }
});

test("the ninth unpaid change of a lease is refused with its own code", () => {
  const world = new World({ parameters: "default" });
  const machine = world.machine(1, operator);
  world.block();
  world.send(tenant, [deployment("hello", { deposit: 100n * TOKEN })]);
  world.block();
  world.ready(machine);
  world.block();
  const codes: (string | undefined)[] = [];
  for (let k = 1; k <= 9; k++) {
    world.send(tenant, [{ kind: "resize", deploymentId: deploymentIdOf(tenant.id, 0n, 0), memoryMib: 64 + k, cpuMillis: 100 }]);
    world.block(1);
    codes.push(world.history.at(-1)!.applied.outcomes[0]!.code);
  }
  assert.deepStrictEqual(codes, [...Array<undefined>(7).fill(undefined), "too_many_changes", "too_many_changes"]);
});
