/**
 * Histories of tasks by seed, for planted bugs: runs that succeed, fail, are lost with their machine, are cancelled, run dry or are never told of;
 * and machines that lie about runs. Judged at each block by a second reading of the rules (K1 to K4), and at the end by the audit.
 */
import type { Operation } from "#chain/codec/transaction.ts";
import { deploymentIdOf } from "#chain/codec/transaction.ts";
import type { TaskView } from "#chain/ledger/view.ts";
import { type Address, hex } from "#chain/types.ts";
import { apiOf, blocksOf } from "#tests/ledger/fakeApi.ts";
import { type Actor, type Random, TOKEN, World, type WorldCode, actor, bootId, comesUp, component, random } from "#tests/ledger/world.ts";
import { audit } from "#tools/audit.ts";

const [TENANT, OPERATOR] = [actor(1), actor(2)];
const NUMBERS = [1, 2, 3];
const MACHINES = NUMBERS.map((n) => actor(1000 + n));
const BLOCKS = 60;
type Run = { readonly id: Address; readonly rule: Extract<Operation, { kind: "runTask" }> };
/** What somebody says in a block, and what must come of it. */
type Said = { readonly id: Address; readonly run: number; readonly isTrue: boolean; readonly hasSucceeded: boolean };

export async function playTasks(seed: number, code: WorldCode): Promise<readonly string[]> {
  const r = random(seed);
  try {
    const world = new World({ signed: true, code });
    for (const n of NUMBERS) world.machine(n, OPERATOR, { memoryMib: 512, cpuMillis: 1000 });
    world.block();
    const runs: Run[] = [];
    for (let k = 0; k < BLOCKS; k++) {
      if (r.int(5) === 0) runs.push(begin(r, world));
      const before = new Map(runs.map(({ id }) => [hex(id), world.view.task(id)]));
      const said = r.int(3) === 0 ? null : speak(r, world, runs);
      const lost = said === null && r.int(3) === 0 ? r.pick(NUMBERS) : null;
      if (lost !== null) world.send(MACHINES[lost - 1]!, [comesUp(world.ledger, MACHINES[lost - 1]!, bootId(lost, k + 1))]);
      if (said === null && runs.length > 0 && r.int(12) === 0) world.send(TENANT, [{ kind: "close", deploymentId: r.pick(runs).id }]);
      world.ready(...MACHINES.filter((_, n) => lost !== n + 1 && r.int(4) > 0));
      world.block(r.pick([0, 1, 1, 3, 10]));
      for (const run of runs) {
        const fault = faultOf(world, run, before.get(hex(run.id)) ?? null, said);
        if (fault !== null) return [`block ${world.view.height}: ${fault}`];
      }
    }
    return (await audit(apiOf(world, blocksOf(world)))).findings;
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  }
}

function begin(r: Random, world: World): Run {
  const rule: Run["rule"] = {
    kind: "runTask", name: `job-${world.view.height}`, componentDigest: component, configurationDigest: null, memoryMib: 64, cpuMillis: 100, deposit: r.int(4) === 0 ? 164n * 62n : TOKEN, rateMax: 0n, isolation: 0,
    secondsMax: r.int(20) + 1, attemptsMax: r.int(3) + 1, backOffSeconds: r.int(6) + 2,
  };
  const nonce = world.send(TENANT, [rule]).body.nonce;
  return { id: deploymentIdOf(TENANT.id, nonce, 0), rule };
}

/** A machine says of a task that it ended: mostly the one that runs it, of the run that is under way. */
function speak(r: Random, world: World, runs: readonly Run[]): Said | null {
  const open = runs.filter(({ id }) => world.view.task(id)?.phase === "running");
  if (open.length === 0) return null;
  const { id } = r.pick(open);
  const holder = MACHINES.find((one) => hex(one.id) === hex(world.view.leasesOfDeployment(id)[0]!.machine!)) as Actor;
  const { runs: count } = world.view.task(id)!;
  const [machine, run, exitCode] = [r.int(4) === 0 ? r.pick(MACHINES) : holder, r.int(4) === 0 ? Math.max(0, count - 1) : count, r.int(2)];
  world.send(machine, [{ kind: "taskEnded", deploymentId: id, run, exitCode, reason: "exit" }]);
  return { id, run, isTrue: machine === holder && run === count, hasSucceeded: exitCode === 0 };
}

function faultOf(world: World, { id, rule }: Run, before: TaskView | null, said: Said | null): string | null {
  const task = world.view.task(id);
  if (task === null) return null;
  const [lease] = world.view.leasesOfDeployment(id);
  const { phase, failures, losses, at } = task;
  const { second } = world;
  if ((phase === "running") !== (lease?.state === "ready")) return `a task is ${phase} and its lease ${lease?.state}`;
  if (phase === "ended" && lease !== undefined) return "a task has ended and its lease has not";
  if (failures > rule.attemptsMax || (failures === rule.attemptsMax && phase !== "ended")) return `${failures} runs of ${rule.attemptsMax} failed and the task goes on`;
  if (phase === "resting" && lease !== undefined && lease.state !== "waiting") return `a task rests and its lease is ${lease.state}`;
  if (phase === "running" && second >= at + BigInt(rule.secondsMax) + 30n) return "nobody said how a run ended, and it goes on";
  if (before === null) return null;
  if (failures > before.failures && phase === "resting" && at - second !== BigInt(rule.backOffSeconds) << BigInt(failures - 1)) return `it rests for ${at - second} s after failure ${failures}`;
  if (failures > before.failures && losses > before.losses) return "one run both failed and was lost";
  const isMeant = said !== null && hex(said.id) === hex(id);
  if (before.phase === "running" && second < before.at + BigInt(rule.secondsMax) + 30n) {
    if (isMeant && said.isTrue && (phase === "running" || task.reason !== "exit")) return "its machine said that a run ended, and it goes on";
    if (isMeant && said.isTrue && said.hasSucceeded && phase !== "ended") return "a run succeeded, and the task has not ended";
    if (failures > before.failures && !(isMeant && said.isTrue && !said.hasSucceeded)) return "a run is said to have failed by nobody who may";
    if (phase === "ended" && !(isMeant && said.isTrue)) return "a task ended by nobody's word who may";
  }
  return null;
}
