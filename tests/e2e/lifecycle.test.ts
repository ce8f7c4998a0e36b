/** A deployment's life through the real processes, and an audit that folds the blocks by itself. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import test from "node:test";
import { needs } from "../require.ts";
import { cli, cliJson, eventually, http, root, startMachine, temporaryFolder } from "./stage.ts";

type Bill = { total: string; paid: string; closed: boolean; refunded: string; segments: { rate: string; seconds: string; amount: string; index: number }[] };

const segmentsSum = (bill: Bill): bigint => bill.segments.reduce((sum, { rate, seconds }) => sum + BigInt(rate) * BigInt(seconds), 0n);

async function audit(api: string): Promise<{ code: number | null; report: any }> { // eslint-disable-line typescript/no-explicit-any
  const child = spawn(process.execPath, [join(root, "tools", "audit.ts"), "--api", api, "--json"], { stdio: ["ignore", "pipe", "inherit"] });
  let stdout = "";
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, report: JSON.parse(stdout) };
}

test("deploy, request, resize, scale to two, top up, remove: the tenant paid Σ rate × seconds to the unit, and supply is conserved at every block", async (t) => {
  if (!needs(t, "cargo")) return;
  const machine = await startMachine(t, temporaryFolder(t), ["--no-demo", "--parameters", "minimal"]);
  const before = BigInt((await cliJson(machine, ["account", "show"])).balance);

  const deployed = await cliJson(machine, ["deploy", join(root, "workloads", "examples", "hello")]);
  const host = new URL(deployed.url).hostname;
  assert.equal((await http(machine.httpPort, host)).status, 200);
  const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
  await pause(1_200);

  await cliJson(machine, ["resize", "hello", "--memory", "128"]);
  assert.equal((await http(machine.httpPort, host)).status, 200);
  await pause(1_200);

  await cliJson(machine, ["scale", "hello", "2"]);
  const listed = await cliJson(machine, ["ps"]);
  assert.deepEqual(listed[0].leases.map(({ state }: { state: string }) => state), ["ready", "ready"]);
  assert.equal((await http(machine.httpPort, host)).status, 200);
  await pause(1_200);

  const topped = await cliJson(machine, ["topup", "hello", "1.5"]);
  assert.equal(topped.amount, "1500000000");

  const removed = await cliJson(machine, ["rm", "hello"]);
  assert.equal(removed.id, deployed.id);
  await eventually("the host unknown after rm", async () => (await http(machine.httpPort, host)).status === 404);

  // The last seconds are paid when nobody can prove an earlier end any more: here 2 s later.
  const bill = await eventually("everything paid", async () => {
    const now = await cliJson<Bill>(machine, ["bill", deployed.id]);
    return now.closed && now.paid === now.total && now;
  });
  assert.equal(BigInt(bill.total), segmentsSum(bill));
  assert.ok(bill.segments.length >= 3, "one segment before the resize, one after it, one of the second replica, at least");
  assert.ok(BigInt(bill.total) > 0n);
  assert.deepEqual(new Set(bill.segments.map(({ index }) => index)), new Set([0, 1]));

  // What happened is in the blocks, each event with the transaction that did it or none.
  const { stdout } = await cli(machine, ["events", deployed.id, "--json"]);
  type Happened = { kind: string; height: number; block: string; transaction: string | null; name: string; lease: number | null };
  const happened = stdout.trim().split("\n").map((line) => JSON.parse(line) as Happened);
  const first = (kind: string): Happened => happened.find((event) => event.kind === kind) ?? assert.fail(`nothing was ${kind}: ${stdout}`);
  const [placed, ready, closed] = [first("placed"), first("ready"), first("closed")];
  assert.deepEqual([placed.name, placed.lease, placed.transaction, closed.lease], ["hello", 0, null, null]);
  assert.ok(placed.height < ready.height && ready.height < closed.height);
  for (const { height, block, transaction } of [placed, ready, closed]) {
    const kept = (await (await fetch(`${machine.api}/v1/blocks/${height}`)).json()) as { id: string; outcomes: { txid: string }[] };
    assert.equal(kept.id, block);
    assert.ok(transaction === null || kept.outcomes.some(({ txid }) => txid === transaction));
  }
  assert.notEqual(ready.transaction, null, "a machine said so");

  const { code, report } = await audit(machine.api);
  assert.equal(code, 0, JSON.stringify(report));
  assert.equal(report.ok, true);
  const line = report.lines.find(({ deployment }: { deployment: string }) => deployment === deployed.id);
  assert.equal(line.paid, bill.total);
  assert.equal(line.due, bill.total);

  // The account lost what was paid to the operator and its fees, and nothing else.
  const after = BigInt((await cliJson(machine, ["account", "show"])).balance);
  const fees = before - after - BigInt(bill.total);
  assert.ok(fees > 0n && fees < 1_000_000n, `five transactions cost ${fees} base units in fees`);
  await machine.stop();
});

test("transfer moves money between accounts, and a stranger's account is told apart from an empty one", async (t) => {
  if (!needs(t, "cargo")) return;
  const configuration = temporaryFolder(t);
  const environment = { XDG_CONFIG_HOME: configuration };
  const machine = await startMachine(t, temporaryFolder(t), ["--no-demo", "--parameters", "minimal"]);
  const friend = await cliJson(machine, ["account", "new", "friend"], { environment });
  await cliJson(machine, ["transfer", friend.address, "12.5", "--account", "dev"], { environment });
  // An account is shown without its balance when that takes longer than a person waits.
  const balance = await eventually("a balance", async () => (await cliJson(machine, ["account", "show", "friend"], { environment })).balance as string | null);
  assert.equal(balance, "12500000000");
  await machine.stop();
});
