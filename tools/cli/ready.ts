/**
 * Waits until the replicas of a deployment run: after `deploy`, `scale` and `resize` the machines still have to load them.
 *
 * The wait has an end. What failed on as many machines as the ledger tries ends it at once, with the component's own cause.
 */
import type { Deployment, Lease } from "./answers.ts";
import type { ApiClient } from "./client.ts";
import { CliError, type Input, type Options, type Shell } from "./command.ts";
import { lackOf } from "./forecast.ts";
import { pause } from "./pause.ts";
import { warn, withProgress } from "./table.ts";

const POLL_INTERVAL_MS = 50;
/** What the ledger has not placed after so long found no machine: it places in the block of the transaction, or in the next. */
const UNPLACED_MS = 500;
/** A machine is struck off when it has not said `ready` within 30 s; two machines may be tried. */
const WAIT_SECONDS_DEFAULT = 75;
const WAIT_SECONDS_MAX = 3_600;

export const WAIT_OPTIONS: Options = {
  wait: { type: "string", value: "SECONDS", summary: `how long to wait for the replicas (${WAIT_SECONDS_DEFAULT}); 0 does not wait` },
};

export const waitMs = (input: Input): number => 1_000 * (input.count("wait", 0, WAIT_SECONDS_MAX) ?? WAIT_SECONDS_DEFAULT);

/** It runs and is paid: one that moves does so where it is until it is ready elsewhere. */
export const isServing = ({ state }: Pick<Lease, "state">): boolean => state === "ready" || state === "moving";
/** Replicas that serve, of the version that does. */
export const serving = ({ leases, revision }: Pick<Deployment, "leases" | "revision">): number => leases.filter((lease) => isServing(lease) && lease.revision === revision).length;
/** What all leases that are paid cost together in a second, those of a new version too. */
export const rateOf = ({ leases }: Pick<Deployment, "leases">): bigint => leases.reduce((sum, lease) => (isServing(lease) ? sum + (lease.standbyRate ?? lease.rate) : sum), 0n);

/** "revision 2", and the one on its way where nobody waited for it. */
export const revisionText = ({ revision, rollout }: Pick<Deployment, "revision" | "rollout">): string => `revision ${revision}${rollout === null ? "" : `; revision ${rollout.revision} is on its way`}`;

/** Told once when every replica has come so far. */
export type Onward = (state: "placed" | "ready", replicas: number) => void;

/** The deployment when as many replicas are ready as it wants; as it is now when `timeoutMs` is 0. */
export async function waitForReplicas(client: ApiClient, id: string, shell: Shell, timeoutMs: number, onward: Onward = () => undefined): Promise<Deployment> {
  if (timeoutMs === 0) return client.deployment(id);
  return withProgress(shell, "waiting for the replicas", poll(client, id, shell, timeoutMs, onward));
}

async function poll(client: ApiClient, id: string, shell: Shell, timeoutMs: number, onward: Onward): Promise<Deployment> {
  let allPlaced = false;
  let isTold = false;
  let failureTold: string | null = null;
  const startedMs = performance.now();
  const endMs = startedMs + timeoutMs;
  for (;;) {
    const deployment = await client.deployment(id).catch((error: unknown) => {
      throw shell.signal.aborted ? new CliError("interrupted", `Stopped while waiting for deployment ${id}: it stays as it is (godwit ps)`, { id }, error) : error;
    });
    const { leases, replicas, name } = deployment;
    const ready = serving(deployment);
    const placed = leases.filter(({ machine }) => machine !== null).length;
    if (!allPlaced && placed === replicas) {
      allPlaced = true;
      onward("placed", placed);
    }
    if (ready === replicas && leases.length === replicas) {
      onward("ready", ready);
      return deployment;
    }
    if (ready < replicas) refuseToWait(deployment);
    const { failure } = deployment;
    if (ready < replicas && failure !== null && failure !== failureTold) warn(shell, `A replica of ${name} failed on a machine: ${failure}. Another one is tried`);
    failureTold = failure;
    if (!isTold && leases.some(({ state }) => state === "pending") && performance.now() >= startedMs + UNPLACED_MS) isTold = await tellLack(client, deployment, shell);
    if (performance.now() > endMs) {
      const pending = leases.filter(({ state }) => state === "pending").length;
      const why = pending === 0 ? "" : `, and for ${pending} no machine has room`;
      throw new CliError("not_ready", `Only ${ready} of ${replicas} replicas of ${name} are ready after ${timeoutMs / 1000} s${why}: it stays deployed (godwit ps)`, { id, ready, pending, replicas });
    }
    await pause(POLL_INTERVAL_MS, shell.signal);
  }
}

/** Nobody should wait for a machine that there is not without knowing it. */
async function tellLack(client: ApiClient, deployment: Deployment, shell: Shell): Promise<boolean> {
  const { leases, name, replicas } = deployment;
  const [status, machines] = await Promise.all([client.status(), client.allMachines()]);
  const lack = lackOf(deployment, machines, status.head.moneySecond);
  if (lack === null) return false;
  const pending = leases.filter(({ state }) => state === "pending").length;
  warn(shell, `No machine takes ${pending} of the ${replicas} replicas of ${name} now: ${lack}. They are placed when one can; Ctrl-C ends the wait for it, and nothing else`);
  return true;
}

/**
 * Until every machine that is to keep the bytes has them: three, or as many as there are. From then on the deployment outlives the machine
 * that took the upload. Gives how many copies there are.
 */
export async function waitForCopies(client: ApiClient, { id, name }: Pick<Deployment, "id" | "name">, shell: Shell, timeoutMs: number): Promise<number | null> {
  if (timeoutMs === 0) return null;
  const poll = async (): Promise<number> => {
    for (const endMs = performance.now() + timeoutMs; ; await pause(POLL_INTERVAL_MS, shell.signal)) {
      const { copies } = await client.copies(id);
      const lacking = copies.find(({ keepers, holders }) => holders.length < keepers.length || keepers.length === 0);
      if (lacking === undefined) return Math.min(...copies.map(({ holders }) => holders.length));
      if (performance.now() <= endMs) continue;
      const { kind, keepers, holders } = lacking;
      throw new CliError("not_copied", `${name} runs, but only ${holders.length} of ${keepers.length} machines have its ${kind} after ${timeoutMs / 1000} s: the others go on fetching it (godwit ps)`, { id, keepers, holders });
    }
  };
  return withProgress(shell, "waiting for the copies", poll());
}

/** What no waiting will change: the component fails wherever it is tried, or there is no money. */
function refuseToWait({ id, name, state, leases, failure }: Deployment): void {
  if (failure !== null && (state === "paused" || leases.some((lease) => lease.state === "failed"))) throw new CliError("replica_failed", `A replica of ${name} failed: ${failure}; it stays deployed (godwit logs ${name}, godwit rm ${name})`, { id, cause: failure });
  const waiting = leases.find((lease) => lease.state === "waiting");
  if (waiting !== undefined || state === "dry") throw new CliError("replica_waiting", `Replica ${waiting?.index ?? 0} of ${name} will not run before you act (${waiting?.lastEnd ?? state}): godwit topup ${name} TOKENS`, { id, cause: waiting?.lastEnd ?? state });
}
