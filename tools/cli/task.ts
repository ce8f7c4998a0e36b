/**
 * A task on the grid, for `godwit run --remote` and `godwit deploy`, alone or in an app: its transaction, and the wait for its end while its lines are printed.
 *
 * The lines are those of the machines that run it and ran it, by way of the one that is asked; the end is the ledger's. What is interrupted here
 * goes on there.
 */
import { TASK_SECONDS_MAX } from "#chain/ledger/limits.ts";
import { type Operation, deploymentIdOf } from "#chain/codec/transaction.ts";
import { hex } from "#chain/types.ts";
import { LIMITS_TASK_DEFAULT } from "#sandbox/limits.ts";
import type { Manifest } from "#workloads/manifest.ts";
import type { Deployment, LogLine, TaskAnswer } from "./answers.ts";
import { type Brought, type Digests, type Gate, type Wanted, placementOf } from "./bring.ts";
import { ApiError } from "./client.ts";
import { CliError, type Shell } from "./command.ts";
import { pause } from "./pause.ts";
import { waitForCopies } from "./ready.ts";
import { type Done, type Session, send } from "./session.ts";

const POLL_INTERVAL_MS = 150;
/** Two pages of a poll: what a program writes between two of them beyond that is printed by the next ones. */
const LOG_PAGES_PER_POLL = 10;

/** What a manifest says of a task, and what it is given. */
export function wantedTask(manifest: Manifest, given: { readonly arguments?: readonly string[]; readonly stdin?: Uint8Array } = {}): Wanted {
  const { task } = manifest;
  return { ...manifest, input: { arguments: given.arguments ?? task.arguments, stdin: given.stdin ?? new TextEncoder().encode(task.stdin) } };
}

export async function startTask(session: Session, shell: Shell, wanted: Wanted, digests: Digests): Promise<{ readonly id: string; readonly done: Done }> {
  const { nonce } = await session.client.account(session.account.addressText);
  const id = deploymentIdOf(session.account.address, nonce, 0);
  const { name, memoryMib, cpuMillis, depositAmount, rateMax, isolation, limits, task } = wanted;
  const secondsMax = Math.min(TASK_SECONDS_MAX, Math.ceil((limits.wallTimeMsMax ?? LIMITS_TASK_DEFAULT.wallTimeMsMax) / 1_000));
  const op: Operation = {
    kind: "runTask", name, componentDigest: digests.component, configurationDigest: digests.configuration, memoryMib, cpuMillis, deposit: depositAmount, rateMax, isolation: isolation === "process" ? 1 : 0,
    secondsMax, attemptsMax: task.attempts, backOffSeconds: task.backOffSeconds,
  };
  const done = await send(session, shell, [op, ...placementOf(wanted, id)], `running ${name}`);
  return { id: hex(deploymentIdOf(session.account.address, done.nonce, 0)), done };
}

/** Resolves when the ledger says that the task has ended, and all that it wrote by then was handed on. */
export async function followTask({ client }: Session, shell: Shell, id: string, onLine: (line: LogLine) => void, onWaiting: (why: string) => void): Promise<{ readonly deployment: Deployment; readonly task: TaskAnswer }> {
  const { machine: here } = await client.status();
  /** Of each machine that it was seen on, the line that was printed last. */
  const printed = new Map<string, number>();
  let told = "";
  const printNew = async (machine: string): Promise<void> => {
    for (let pages = 0, count = -1; pages < LOG_PAGES_PER_POLL && count !== 0; pages++) {
      count = 0;
      for await (const line of client.logs(id, { after: printed.get(machine) ?? 0, signal: shell.signal, ...(machine === here ? {} : { machine }) })) {
        onLine(line);
        printed.set(machine, line.sequence);
        count++;
      }
    }
  };
  /** One that cannot be reached has its lines read when it can. */
  const printAll = async (machines: Iterable<string>): Promise<string> => {
    const why: string[] = [];
    for (const machine of new Set(machines)) {
      await printNew(machine).catch((error: unknown) => {
        if (machine === here || !(error instanceof ApiError) || error.code === "interrupted") throw error;
        why.push(`what it writes on ${machine} is not to be read now: ${error.message}`);
      });
      if (!printed.has(machine)) printed.set(machine, 0);
    }
    return why.join("; ");
  };
  for (;;) {
    const deployment = await client.deployment(id).catch((error: unknown) => {
      throw shell.signal.aborted ? new CliError("interrupted", `Stopped watching task ${id}: it goes on (godwit logs -f ${id}, godwit rm ${id})`, { id }, error) : error;
    });
    const { task, state, leases: [lease] } = deployment;
    if (task === null) throw new CliError("not_a_task", `Deployment ${id} is a service`);
    // Read after the state: what was written before the end is there. A run that ended between two looks was seen on no machine.
    const isOver = task.phase === "ended" || state === "closing";
    const ran = isOver ? await client.logMachines(id).then(({ machines }) => machines, () => []) : [];
    const unread = await printAll([...printed.keys(), ...ran, ...(lease?.machine === undefined || lease.machine === null ? [] : [lease.machine])]);
    if (task.phase === "ended") {
      if (unread !== "") onWaiting(unread);
      return { deployment, task };
    }
    if (state === "closing") throw new CliError("removed", `Task ${deployment.name} was removed before it ended`, { id });
    if (state === "dry" || (lease?.state === "waiting" && lease.lastEnd === "unfunded")) throw new CliError("task_unfunded", `The money of task ${deployment.name} ran out: godwit topup ${deployment.name} TOKENS begins it again`, { id });
    const waits = unread !== "" ? unread : task.phase === "resting" ? `run ${task.runs} failed (${endText(task)}): the next begins in money second ${task.at}` : lease?.state === "pending" ? "no machine has room for it yet (godwit ps --why)" : "";
    if (waits !== "" && waits !== told) onWaiting(waits);
    told = waits;
    await pause(POLL_INTERVAL_MS, shell.signal).catch(() => {});
  }
}

/** The newest run of it that ended well, with the same component and settings; the ledger knows of it for a day. */
export const endedWell = (deployments: readonly Deployment[], name: string, component: string, configuration: string | null): Deployment | undefined =>
  deployments.filter((one) => one.name === name && one.component === component && one.configuration === configuration && one.task?.phase === "ended" && one.task.exitCode === 0 && one.task.reason === "exit").toSorted((a, b) => b.createdHeight - a.createdHeight)[0];

/** A task of an app: to its end, which has to be a good one; not again while the ledger knows that it had one; one that is under way already is waited for. */
export async function bringTask(session: Session, shell: Shell, wanted: Wanted, digests: Digests, timeoutMs: number, gate: Gate): Promise<Brought> {
  const component = `sha256:${hex(digests.component)}`;
  const configuration = digests.configuration === null ? null : `sha256:${hex(digests.configuration)}`;
  const own = await session.client.allDeployments(session.account.addressText);
  const done = endedWell(own, wanted.name, component, configuration);
  if (done !== undefined) return { did: "nothing", deployment: done, done: null, copies: null };
  const running = own.find(({ name, state }) => name === wanted.name && state !== "closing" && state !== "ended");
  if (running !== undefined && (running.task === null || running.component !== component || running.configuration !== configuration)) {
    throw new CliError("name_taken", `Cannot run ${wanted.name} while another of that name has not ended: godwit rm ${wanted.name}`, { id: running.id });
  }
  const started = running === undefined ? await gate(() => startTask(session, shell, wanted, digests)) : null;
  const id = started?.id ?? running!.id;
  const copies = await waitForCopies(session.client, await session.client.deployment(id), shell, timeoutMs);
  if (timeoutMs === 0) return { did: "ran", deployment: await session.client.deployment(id), done: started?.done ?? null, copies };
  const { deployment, task } = await followTask(session, shell, id, () => {}, () => {});
  if (task.reason !== "exit" || task.exitCode !== 0) throw new CliError("task_failed", `Task ${wanted.name} ended by ${endText(task)} after ${task.runs} ${task.runs === 1 ? "run" : "runs"}, and what needs it does not begin: godwit logs ${id}`, { id, exitCode: task.exitCode, reason: task.reason });
  return { did: "ran", deployment, done: started?.done ?? null, copies };
}

export const endText = ({ exitCode, reason }: Pick<TaskAnswer, "exitCode" | "reason">): string => (reason === null ? "it has not ended" : reason === "exit" ? `exit code ${exitCode}` : reason);
