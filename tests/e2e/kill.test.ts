/** kill -9: of the runner, under a client that waits; of the machine, in the middle of blocks. */
import assert from "node:assert/strict";
import { join } from "node:path";
import test from "node:test";
import { replay } from "#chain/node/replay.ts";
import { hex } from "#chain/types.ts";
import { needs } from "../require.ts";
import { type Machine, cliJson, descendants, eventually, http, isAlive, root, startMachine, temporaryFolder } from "./stage.ts";

const RUNNER_KILLS = 3;
const MACHINE_KILLS = 2;

type Segment = { openedAt: string; end: string | null; seconds: string; rate: string };
type Bill = { at: string; total: string; segments: Segment[] };

const runnerPid = async (machine: Machine): Promise<number> => (await cliJson(machine, ["status"])).runner.pid as number;

test("kill -9 of the runner: a client that connects meanwhile is answered, and the bill is unbroken and exact", async (t) => {
  if (!needs(t, "cargo")) return;
  const machine = await startMachine(t, temporaryFolder(t), ["--no-demo"]);
  const deployed = await cliJson(machine, ["deploy", join(root, "workloads", "examples", "hello")]);
  const host = new URL(deployed.url).hostname;
  const waits: number[] = [];
  for (let kill = 0; kill < RUNNER_KILLS; kill++) {
    const pid = await eventually("a runner", async () => runnerPid(machine));
    process.kill(pid, "SIGKILL");
    const answer = await http(machine.httpPort, host);
    assert.equal(answer.status, 200);
    waits.push(answer.elapsedMs);
    await eventually("the old runner gone", async () => !isAlive(pid));
  }
  t.diagnostic(`answered after ${waits.map((wait) => wait.toFixed(0)).join(", ")} ms`);
  const bill = await cliJson<Bill>(machine, ["bill", "hello"]);
  assert.equal(bill.segments.length, 1, "the stream never stopped");
  const [segment] = bill.segments as [Segment];
  assert.equal(BigInt(segment.seconds), BigInt(bill.at) - BigInt(segment.openedAt));
  assert.equal(BigInt(bill.total), BigInt(segment.seconds) * BigInt(segment.rate));
  await machine.stop();
});

test("kill -9 of the machine: starts again with the same state root, and its lease ends at the last block before", async (t) => {
  if (!needs(t, "cargo")) return;
  const directory = temporaryFolder(t);
  let machine = await startMachine(t, directory, ["--no-demo"]);
  const deployed = await cliJson(machine, ["deploy", join(root, "workloads", "examples", "hello")]);
  const host = new URL(deployed.url).hostname;
  for (let kill = 0; kill < MACHINE_KILLS; kill++) {
    const address = (await cliJson(machine, ["account", "show"])).address as string;
    await eventually("a block later than the stream's first second", async () => {
      await cliJson(machine, ["transfer", address, "0.1"]);
      const { segments, at } = await cliJson<Bill>(machine, ["bill", "hello"]);
      return BigInt(at) > BigInt(segments.at(-1)!.openedAt) + 1n;
    });
    // Load, so that the kill comes in the middle of blocks.
    const load = Array.from({ length: 3 }, () => cliJson(machine, ["transfer", address, "0.1"]).catch(() => null));
    await new Promise((resolve) => setTimeout(resolve, 700 + 150 * kill));
    const children = descendants(machine.process.pid!);
    await machine.stop("SIGKILL");
    await Promise.all(load);
    await eventually("no process left behind", async () => !children.some(isAlive));

    const before = await replay(join(directory, "chain"));
    machine = await startMachine(t, directory, ["--no-demo"]);
    const block = await (await fetch(`${machine.api}/v1/blocks/${before.height}`)).json() as { header: { stateRoot: string; moneySecond: string } };
    assert.equal(block.header.stateRoot, hex(before.stateRoot));

    await eventually("the lease placed and served again", async () => (await http(machine.httpPort, host)).status === 200);
    const bill = await eventually("a new segment", async () => {
      const now = await cliJson<Bill>(machine, ["bill", "hello"]);
      return now.segments.length === kill + 2 && now;
    });
    const [ended, runs] = bill.segments.slice(-2) as [Segment, Segment];
    assert.equal(ended.end, block.header.moneySecond, "the machine was its own only witness: the second of the last block before");
    assert.equal(runs.end, null);
    assert.equal(BigInt(bill.total), bill.segments.reduce((sum, { seconds, rate }) => sum + BigInt(seconds) * BigInt(rate), 0n));
  }
  const { head } = await cliJson(machine, ["status"]);
  await machine.stop();
  const whole = await replay(join(directory, "chain"));
  assert.ok(whole.height >= head.height, "nothing that was final is lost");
});
