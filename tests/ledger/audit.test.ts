/** The audit of an honest chain finds nothing; each lie of an API, and each of a validator, is found. */
import assert from "node:assert";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { addressText } from "#chain/codec/address.ts";
import { bodyRoot } from "#chain/codec/schema.ts";
import { deploymentIdOf } from "#chain/codec/transaction.ts";
import { digest, moneySecond } from "#chain/types.ts";
import { audit } from "#tools/audit.ts";
import { type ApiBlock, apiOf, blocksOf } from "./fakeApi.ts";
import { TOKEN, World, actor, bootId, comesUp, deployment, registration } from "./world.ts";

const [tenant, operator, friend] = [actor(1), actor(2), actor(3)];

/** Everything that moves money, once at least: resize, scale, claim, top-up, running dry and on, a reboot, refusals, a close. */
function fullHistory(): { world: World; id: string; other: string } {
  const world = new World({ signed: true });
  const [one, two] = [world.machine(1, operator), world.machine(2, friend, { gib: 2048n })];
  world.block();
  world.send(tenant, [deployment("hello", { replicas: 2, deposit: 2n * TOKEN }), deployment("short", { deposit: 10_000n })]);
  world.send(friend, [{ kind: "transfer", to: actor(77).id, amount: 5n }, { kind: "transfer", to: actor(77).id, amount: 10n ** 18n }]);
  world.block();
  const [id, other] = [deploymentIdOf(tenant.id, 0n, 0), deploymentIdOf(tenant.id, 0n, 1)];
  world.ready(one, two);
  world.block();
  world.block(9);
  world.send(tenant, [{ kind: "resize", deploymentId: id, memoryMib: 100, cpuMillis: 333 }]);
  world.send(operator, [{ kind: "claim", deploymentId: id, index: 0 }]);
  world.block(0);
  world.send(operator, [{ kind: "close", deploymentId: id }]);
  world.send(tenant, [{ kind: "scale", deploymentId: id, replicas: 3 }]);
  world.send(operator, [registration(world.ledger, one, operator, { memoryMib: 8192, cpuMillis: 4000, gib: 3000n, core: 1n, bond: 30n * TOKEN })]);
  world.block(5);
  world.ready(one, two);
  world.block(1);
  world.send(two, [comesUp(world.ledger, two, bootId(2, 1))]);
  world.block(4);
  world.ready(one, two);
  world.block(1);
  // Runs dry in this block or the next, and once more after the top-up.
  while (world.view.bill(other, world.second + 3n)!.dryAt !== null && world.view.bill(other, world.second)!.dryAt! > world.second + 3n) world.block(3);
  for (let k = 0; k < 3; k++) {
    if (k !== 1) world.send(friend, [{ kind: "topUp", deploymentId: other, amount: 60_000n }]);
    world.block(1);
  }
  world.ready(one, two);
  world.block(2);
  world.block(10);
  world.block(30);
  world.send(operator, [{ kind: "claim", deploymentId: id, index: 1 }]);
  world.block(1);
  world.send(tenant, [{ kind: "scale", deploymentId: id, replicas: 1 }, { kind: "close", deploymentId: other }]);
  world.block(2);
  world.block(3);
  return { world, id: id.toHex(), other: other.toHex() };
}

const { world, id, other } = fullHistory();
const honest = blocksOf(world);

test("an honest chain audits without a finding, now and while its bills run on", async () => {
  for (const later of [0n, 1n, 25n, 1_000_000n]) {
    const report = await audit(apiOf(world, honest, undefined, later));
    assert.deepStrictEqual(report.findings, []);
    assert.strictEqual(report.height, world.history.length);
    assert.strictEqual(report.supply, world.view.supply().total);
    assert.strictEqual(report.lines.length, 2);
  }
  const kinds = new Set(world.history.flatMap(({ applied }) => applied.events.map(({ kind }) => kind)));
  for (const kind of ["opened", "ended", "resized", "paid", "dry", "toppedUp", "closed"]) assert(kinds.has(kind as "paid"), `the history has no ${kind}`);
  assert(world.history.some(({ applied }) => applied.outcomes.some(({ ok }) => !ok)));
});

const at = (predicate: (block: ApiBlock) => boolean): number => honest.findIndex(predicate);
const changed = (index: number, change: (block: ApiBlock) => ApiBlock): ApiBlock[] => honest.map((block, i) => (i === index ? change(block) : block));
const field = (suffix: string, change: (answer: Record<string, unknown>) => Record<string, unknown>) => (path: string, answer: unknown): unknown =>
  path.endsWith(suffix) ? change(answer as Record<string, unknown>) : answer;
const more = (value: unknown, by = 1n): string => String(BigInt(value as string) + by);

const LIES: readonly (readonly [string, () => ReturnType<typeof apiOf>, RegExp])[] = [
  ["a balance is one unit too high", () => apiOf(world, honest, field(`/${addressText(tenant.id)}`, (a) => ({ ...a, balance: more(a["balance"]) }))), /balance of/],
  ["an operator's balance is one unit too low", () => apiOf(world, honest, field(`/${addressText(operator.id)}`, (a) => ({ ...a, balance: more(a["balance"], -1n) }))), /balance of/],
  ["a bill is one unit too low", () => apiOf(world, honest, field(`${id}/bill`, (b) => ({ ...b, total: more(b["total"], -1n) }))), /total of/],
  ["a bill says more was paid", () => apiOf(world, honest, field(`${id}/bill`, (b) => ({ ...b, paid: more(b["paid"]) }))), /paid of/],
  ["a deployment that is gone is said to run", () => apiOf(world, honest, field(`${other}/bill`, (b) => ({ ...b, closed: false }))), /closed of/],
  ["a refund is smaller than it was", () => apiOf(world, honest, field(`${other}/bill`, (b) => ({ ...b, refunded: more(b["refunded"], -5n) }))), /refunded of/],
  ["a refused transaction is said to have worked", () => apiOf(world, changed(at(({ outcomes }) => outcomes.some(({ code }) => code === "insufficient_funds")), (b) => ({ ...b, outcomes: b.outcomes.map((o) => ({ ...o, ok: true })) }))), /below zero|balance of/],
  ["a transaction that worked is said to have been refused", () => apiOf(world, changed(3, (b) => ({ ...b, outcomes: b.outcomes.map((o) => ({ ...o, ok: false })) }))), /of/],
  ["the deploy is said to have been refused, and what ran on it not", () => apiOf(world, changed(2, (b) => ({ ...b, outcomes: b.outcomes.map((o) => ({ ...o, ok: false })) }))), /of a deployment that is not there/],
  ["outcomes are left out", () => apiOf(world, changed(1, (b) => ({ ...b, outcomes: [] }))), /outcomes is wrong/],
  ["a block has another id", () => apiOf(world, changed(2, (b) => ({ ...b, id: honest[1]!.id }))), /its id is wrong/],
  ["a block's bytes are those of another", () => apiOf(world, changed(2, (b) => ({ ...b, bytes: honest[1]!.bytes }))), /is wrong/],
  ["a block's bytes are none of a block", () => apiOf(world, changed(2, (b) => ({ ...b, bytes: Uint8Array.of(0x82, 0x01).toBase64() }))), /block 2 cannot be read/],
  ["a block's bytes are cut off", () => apiOf(world, changed(3, (b) => ({ ...b, bytes: Uint8Array.fromBase64(b.bytes).subarray(0, -1).toBase64() }))), /block 3 cannot be read/],
  ["a block's bytes are no base64", () => apiOf(world, changed(2, (b) => ({ ...b, bytes: "!" }))), /block 2 cannot be read/],
  ["a certificate's bytes are none of a certificate", () => apiOf(world, changed(5, (b) => ({ ...b, certificate: "AAAA" }))), /block 5 cannot be read/],
  ["a block is not given at all", () => apiOf(world, honest, (path, answer) => (path.endsWith("/blocks/4") ? { code: "not_found" } : answer)), /block 4 cannot be read/],
  ["a block is left out", () => apiOf(world, honest.filter((_, i) => i !== 4)), /height is wrong|parent is wrong/],
  ["a certificate is one for an earlier block", () => apiOf(world, changed(5, (b) => ({ ...b, certificate: honest[4]!.certificate }))), /certificate is wrong/],
  ["a signature of a certificate is forged", () => apiOf(world, changed(5, (b) => { const bytes = Uint8Array.fromBase64(b.certificate); bytes[bytes.length - 40]! ^= 1; return { ...b, certificate: bytes.toBase64() }; })), /certificate is wrong/],
  ["nothing proves the newest block", () => apiOf(world, changed(honest.length - 1, (b) => ({ ...b, certificate: "" }))), /nothing proves it/],
  ["the validator lets money time run ahead", () => apiOf(world, blocksOf(world, (header, body) => (header.height === 6 ? { header: { ...header, moneySecond: moneySecond(header.moneySecond + 5n) }, body } : { header, body }))), /money time is wrong/],
  ["the validator commits to another body", () => apiOf(world, blocksOf(world, (header, body) => (header.height === 3 ? { header: { ...header, bodyRoot: digest(new Uint8Array(32)) }, body } : { header, body }))), /body is wrong/],
  ["the validator takes a transaction that nobody signed", () => apiOf(world, blocksOf(world, (header, body) => {
    if (header.height !== 2) return { header, body };
    const transactions = body.transactions.map((bytes) => { const wrong = bytes.slice(); wrong[wrong.length - 20]! ^= 1; return wrong; });
    return { header: { ...header, bodyRoot: bodyRoot({ ...body, transactions }) }, body: { ...body, transactions } };
  })), /not what was signed/],
];

for (const [what, api, finding] of LIES) {
  test(`the audit finds it when ${what}`, async () => {
    const report = await audit(api());
    assert.strictEqual(report.ok, false);
    assert.match(report.findings.join("\n"), finding);
  });
}

test("a machine that caught up tells some blocks with the certificate of a later one, and its chain audits without a finding", async () => {
  const caughtUp = honest.map((block, i) => (i % 7 === 3 && i < honest.length - 3 ? { ...block, certificate: honest[i + 2]!.certificate } : block));
  assert.deepStrictEqual((await audit(apiOf(world, caughtUp))).findings, []);
});

test("the command says how it is used when it is asked, or is told no address", () => {
  for (const [args, status, said] of [
    [["--help"], 2, /^usage: audit/], [[], 2, /^usage: audit/], [["--api"], 2, /^usage: audit/], [["--api", "localhost:1"], 2, /^usage: audit/], [["--api", "nonsense"], 2, /^usage: audit/],
    // Nobody listens on port 9 of the loopback; one line says so.
    [["--api", "http://127.0.0.1:9"], 1, /^Cannot audit http:\/\/127\.0\.0\.1:9\/: .*\n$/],
  ] as const) {
    const run = spawnSync(process.execPath, [new URL("../../tools/audit.ts", import.meta.url).pathname, ...args], { encoding: "utf8" });
    assert.strictEqual(run.status, status, args.join(" "));
    assert.match(run.stderr, said);
  }
});
