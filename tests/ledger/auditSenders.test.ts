/** The audit finds a block in which somebody did what was not his to do: each operation by a stranger, and a transaction that is not its sender's. */
import assert from "node:assert";
import { test } from "node:test";
import { encode } from "#chain/codec/cbor.ts";
import { type BlockBody, type BlockHeader, bodyRoot } from "#chain/codec/schema.ts";
import { type DecodedTransaction, type Operation, decodeTransaction, deploymentIdOf, signMachineProof, signTransaction } from "#chain/codec/transaction.ts";
import { U64_MAX } from "#chain/types.ts";
import { audit } from "#tools/audit.ts";
import { type ApiBlock, type Forge, apiOf, blocksOf } from "./fakeApi.ts";
import { TOKEN, World, actor, bootId, component, deployment, registration, validatorActor } from "./world.ts";

const [tenant, operator, stranger] = [actor(1), actor(2), actor(3)];
const [id, task] = [deploymentIdOf(tenant.id, 0n, 0), deploymentIdOf(tenant.id, 0n, 1)];
const OFFER = { memoryMib: 4096, cpuMillis: 4000, gib: 1024n, core: 1000n, bond: 20n * TOKEN };

/** Two machines of one operator run the tenant's deployment and task; a stranger has a machine of its own, on which nothing runs. */
function strangersHistory(): { world: World; kinds: readonly string[] } {
  const world = new World({ signed: true });
  const [one] = [world.machine(1, operator), world.machine(2, operator)];
  const empty = world.machine(3, stranger, { gib: 1_000_000n });
  world.block();
  world.send(tenant, [deployment("hello"), { kind: "runTask", name: "job", componentDigest: component, configurationDigest: null, memoryMib: 64, cpuMillis: 100, deposit: TOKEN, rateMax: 0n, isolation: 0, secondsMax: 60, attemptsMax: 2, backOffSeconds: 5 }]);
  world.block();
  for (const n of [1, 2]) world.ready(actor(1000 + n));
  world.block();
  const of = { deploymentId: id } as const;
  const owners: readonly Operation[] = [
    { kind: "close", ...of }, { kind: "scale", ...of, replicas: 0 }, { kind: "resize", ...of, memoryMib: 1, cpuMillis: 1 }, { kind: "autoscale", ...of, min: 1, max: 9, metric: 1, target: 9, rateMax: 0n },
    { kind: "update", ...of, componentDigest: component, configurationDigest: null, weight: 1000, healthySeconds: 1, deadlineSeconds: 9, failuresMax: 0 }, { kind: "promote", ...of }, { kind: "rollBack", ...of },
    { kind: "constrain", ...of, regions: ["moon"], operators: [], labels: [] }, { kind: "move", ...of, index: 0 },
  ];
  const machines: readonly Operation[] = [
    { kind: "health", ...of, index: 0, healthy: 0, cause: "no" }, { kind: "load", ...of, index: 0, level: 2 }, { kind: "wake", ...of, index: 0 }, { kind: "standby", ...of, index: 0, idleSeconds: 0 },
    { kind: "taskEnded", deploymentId: task, run: 1, exitCode: 0, reason: "exit" },
  ];
  const anybody: readonly Operation[] = [
    { kind: "up", bootId: bootId(9, 9), consensusKey: null, binding: null, acknowledgements: [] }, { kind: "ready", ...of, index: 0, rate: 1n }, { kind: "failed", ...of, index: 0, cause: "no" }, { kind: "left", ...of, index: 0 },
    { kind: "drain", machine: one.id, draining: 1 }, { kind: "retire", machine: one.id }, { kind: "label", machine: one.id, labels: ["mine"] }, registration(world.ledger, one, stranger, OFFER),
    { ...registration(world.ledger, actor(99), stranger, OFFER), ...signMachineProof(actor(99).seed, world.ledger.chainId, operator.id) } as Operation,
  ];
  const validator = validatorActor(0).id;
  const stakers: readonly Operation[] = [
    { kind: "unbond", validator, amount: 1n }, { kind: "unjail", validator }, { kind: "setCommission", validator, bps: 10_000 }, { kind: "undelegate", validator, shares: 5n },
    { kind: "propose", validator, parameter: 1, value: 20_000n }, { kind: "vote", validator, proposal: id }, { kind: "bond", consensusKey: validatorActor(0).key, proof: signMachineProof(validatorActor(0).seed, world.ledger.chainId, stranger.id).proof, amount: TOKEN },
  ];
  for (const op of [...owners, ...anybody, ...stakers]) world.send(stranger, [op], { fee: 100_000n });
  for (const op of machines) world.send(empty, [op]);
  world.block();
  return { world, kinds: [...owners, ...anybody, ...stakers, ...machines].map(({ kind }) => kind) };
}

const { world, kinds } = strangersHistory();
const honest = blocksOf(world);
const last = honest.length - 1;

test("what strangers tried in vain audits without a finding", async () => {
  assert.deepStrictEqual((await audit(apiOf(world, honest))).findings, []);
  assert.deepStrictEqual(honest[last]!.outcomes.map(({ ok }) => ok), kinds.map(() => false));
});

test("the audit finds each operation by a stranger that a block is said to have done: close, scale, resize and all others", async () => {
  const lie = honest.map((block, i): ApiBlock => (i === last ? { ...block, outcomes: block.outcomes.map((one) => ({ ...one, ok: true })) } : block));
  const { findings } = await audit(apiOf(world, lie));
  for (const [at, kind] of kinds.entries()) assert.match(findings[at] ?? "nothing", new RegExp(`^block ${last}: ${kind} .*by .*(who is not|for whom|who has fewer).*is said to have worked$`), kind);
});

/** The last block of a chain as a dishonest quorum would make it: with other transactions, all of which it says worked. */
async function foundIn(of: World, change: (transactions: readonly Uint8Array[]) => readonly Uint8Array[]): Promise<string> {
  let txids: string[] = [];
  const forge: Forge = (header: BlockHeader, body: BlockBody) => {
    if (header.height !== of.history.length) return { header, body };
    const transactions = change(body.transactions);
    txids = transactions.map((bytes) => decodeTransaction(bytes).txid.toHex());
    return { header: { ...header, bodyRoot: bodyRoot({ ...body, transactions }) }, body: { ...body, transactions } };
  };
  const blocks = blocksOf(of, forge).map((block, i, all) => (i === all.length - 1 ? { ...block, outcomes: txids.map((txid) => ({ txid, ok: true })) } : block));
  return (await audit(apiOf(of, blocks))).findings[0] ?? "nothing";
}

/** The tenant has a key that may only deploy, and another whose time is over; its transfer is in the last block. */
function keyHistory(): World {
  const of = new World({ signed: true });
  of.send(tenant, [{ kind: "authorise", key: actor(51).key, scopes: 2, limit: U64_MAX, expiryMs: U64_MAX }, { kind: "authorise", key: actor(52).key, scopes: 1, limit: U64_MAX, expiryMs: of.genesis.timeMs + 5_000n }]);
  of.block();
  of.block(9);
  of.send(tenant, [{ kind: "transfer", to: stranger.id, amount: 5n }]);
  of.block();
  return of;
}

test("the audit finds a transaction that is not its sender's, or not for this time, this turn or this chain", async () => {
  const of = keyHistory();
  const { body } = of.history.at(-1)!.transactions[0] as DecodedTransaction;
  const signedBy = (n: number, changes: Partial<DecodedTransaction["body"]> = {}): Uint8Array => signTransaction({ ...body, ...changes }, [actor(n).seed]);
  const his = of.history.at(-1)!.transactions.map(({ bodyBytes, signatures }) => encode([bodyBytes, signatures.map((by) => [by.key, by.signature])]));
  assert.strictEqual(await foundIn(of, () => his), "nothing");
  for (const [what, transactions, finding] of [
    ["a stranger's key", [signedBy(3)], /keys that do not speak for/], ["a key that may not pay", [signedBy(51)], /keys that do not speak for/], ["a key whose time is over", [signedBy(52)], /keys that do not speak for/],
    ["once more", [...his, ...his], /transaction 1 has nonce/], ["of before", [signedBy(1, { nonce: 0n })], /transaction 0 has nonce/],
    ["too late", [signedBy(1, { validUntilMs: of.genesis.timeMs })], /too late/], ["valid for ever", [signedBy(1, { validUntilMs: U64_MAX })], /valid for too long/],
    ["of another chain", [signedBy(1, { chainId: new Uint8Array(8) as typeof body.chainId })], /another chain/],
  ] as const) {
    assert.match(await foundIn(of, () => transactions), finding, what);
  }
});
