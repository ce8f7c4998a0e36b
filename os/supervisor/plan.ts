/**
 * What this machine has to do next: the difference between the leases that the ledger says it has and what runs on it.
 *
 * Pure: `plan(desired, observed, nowMs)` gives actions as data; `execute.ts` carries them out. Rules:
 * - Every action is idempotent, and carries the key under which it is under way or has failed: a plan made while it runs, or before
 *   its retry is due, leaves it out. After everything is carried out the next plan is empty.
 * - The order is total and does not depend on the order of the input: `up`, what frees memory, deployments by id, what frees disk.
 * - What every machine says that it does not hold, after FETCH_ATTEMPTS_MAX tries, is its deployment's fault: who deploys uploads first.
 *   A machine that does not answer has not said so.
 * - What this machine keeps for the grid it fetches after what its own leases need, and drops as little as that.
 * - Only a lease that is gone unloads anything, and only an upload that expired and that no deployment names is dropped. An error
 *   never does.
 * - Replicas of one deployment on this machine are one route with the sum of their limits (design 5).
 * - Loading may run ahead of `up`; `ready` and `failed` are sent for leases of the registered boot only.
 */
import assert from "node:assert";
import type { Hex } from "#chain/types.ts";
import { type FoundLoad, type KnownLoad, type ScalingAction, type ScalingHere, UNKNOWN_LOAD, tellOfLoad } from "./planScaling.ts";
import { FETCH_ATTEMPTS_MAX, FETCH_UNANSWERED_MS_MAX, KEEPS_AT_ONCE_MAX } from "../limits.ts";
import { type TaskAction, type TaskRun, planTask, planTaskStops } from "./planTask.ts";

export type Lease = {
  readonly index: number;
  /** leaving: another machine has it; this one ends what it has begun. */
  readonly stage: "placed" | "ready" | "leaving";
  readonly rate: bigint;
  readonly revision: number;
  /** As the ledger has it. */
  readonly isHealthy: boolean;
  /** Of its load, what the ledger knows; left out: nothing. */
  readonly load?: KnownLoad;
};
/** A second revision on this machine has its route under an id of its own. */
const BESIDE = "01";
const ID_DIGITS = 40;
export const besideOf = (id: Hex): Hex => `${id}${BESIDE}` as Hex;
/** The deployment that a route belongs to: logs, usage and operations are of that. */
export const deploymentOf = (routeId: string): Hex => routeId.slice(0, ID_DIGITS) as Hex;
/** What runs, for whom, within what. */
type Program = {
  /** Of the route: that of the deployment, or of what is beside. */
  readonly id: Hex;
  readonly owner: Hex;
  readonly hosts: readonly string[];
  readonly component: Hex;
  readonly configuration: Hex | null;
  readonly memoryMib: number;
  readonly cpuMillis: number;
  readonly concurrency: number;
  readonly isolation: "shared" | "process";
};
/** A revision of a deployment that has at least one lease on this machine; resources are those of one replica. */
export type DeploymentHere = Program & {
  readonly leases: readonly Lease[];
  /** null, or left out: it does not scale by itself. */
  readonly scaling?: ScalingHere | null;
  /** What runs to an end (planTask.ts): the run that the ledger counts, and what one may take; left out: a service. */
  readonly task?: { readonly run: number };
};
export type Desired = {
  /** False until the operator's registration is final: a stranger's `up` would not be taken. */
  readonly isRegistered: boolean;
  /** Which boot of this machine the ledger knows; null before the first `up`. */
  readonly bootId: Hex | null;
  readonly deployments: readonly DeploymentHere[];
  /** Digests that some deployment of the grid names. */
  readonly named: { has(digest: Hex): boolean };
  /** Those of them that this machine keeps, whether it runs them or not. */
  readonly kept: ReadonlySet<Hex>;
};

/** What the runner holds for one deployment: its replicas here, summed. */
export type Route = Program & {
  /** Memory of one replica: the most that one instance may grow to. */
  readonly instanceMemoryMib: number;
};
export type Blob = {
  /** A configuration is `compiled` from the start: it is ready for use. */
  readonly state: "present" | "compiling" | "compiled" | "refused";
  /** Why the compiler refused it. */
  readonly cause?: string;
  readonly expiresAtMs: number;
};
export type Refusal = { readonly component: Hex; readonly configuration: Hex | null; readonly cause: string };
export type Failure = {
  readonly count: number;
  readonly retryAtMs: number;
  /** Of the last one; left out: it only rests. */
  readonly code?: string;
  readonly sinceMs?: number;
};
export type Observed = {
  readonly bootId: Hex;
  /** Its witnesses let it: else `up` would not be taken. */
  readonly mayComeUp: boolean;
  readonly blobs: ReadonlyMap<Hex, Blob>;
  readonly routes: ReadonlyMap<Hex, Route>;
  /** Routes that are to be loaded anew as they are. */
  readonly stale: ReadonlySet<Hex>;
  /** Routes whose component does not instantiate with its configuration, and why. */
  readonly refused: ReadonlyMap<Hex, Refusal>;
  /** By route, what was found of those whose health is checked; null: well. */
  readonly health: ReadonlyMap<Hex, string | null>;
  /** By route, what those have to do that scale by themselves. */
  readonly load?: ReadonlyMap<Hex, FoundLoad>;
  /** Runs of tasks that were begun here, and the tasks that the fence lets run. */
  readonly tasks: ReadonlyMap<Hex, TaskRun>;
  readonly mayRun: ReadonlySet<Hex>;
  readonly underWay: ReadonlySet<string>;
  readonly failures: ReadonlyMap<string, Failure>;
};

export type Action =
  | { readonly kind: "sendUp"; readonly key: string; readonly bootId: Hex }
  | { readonly kind: "unload"; readonly key: string; readonly id: Hex }
  | { readonly kind: "fetch"; readonly key: string; readonly digest: Hex }
  | { readonly kind: "compile"; readonly key: string; readonly digest: Hex }
  | { readonly kind: "load"; readonly key: string; readonly route: Route }
  | { readonly kind: "resize"; readonly key: string; readonly route: Route }
  | { readonly kind: "sendReady"; readonly key: string; readonly id: Hex; readonly index: number; readonly rate: bigint }
  | { readonly kind: "sendFailed"; readonly key: string; readonly id: Hex; readonly index: number; readonly cause: string }
  | { readonly kind: "sendHealth"; readonly key: string; readonly id: Hex; readonly index: number; readonly cause: string | null }
  | TaskAction
  | { readonly kind: "drop"; readonly key: string; readonly digest: Hex }
  | ScalingAction;
export type Plan = {
  readonly actions: readonly Action[];
  /** When a retry or an expiry is due, if nothing happens before. */
  readonly wakeAtMs: number | null;
};

const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

export function plan(desired: Desired, observed: Observed, nowMs: number): Plan {
  const deployments = desired.deployments.toSorted((a, b) => byText(a.id, b.id));
  const holders = holdersOf(observed);
  const wanted: Action[] = [
    ...planUp(desired, observed),
    ...planUnload(desired, observed),
    ...planTaskStops(desired, observed),
    ...deployments.flatMap((deployment) => planDeployment(deployment, desired.bootId === observed.bootId, observed, holders, nowMs)),
    ...planKeep(desired, observed, nowMs),
  ];
  const { actions: drops, wakeAtMs: expiryAtMs } = planDrop(desired, observed, nowMs);
  wanted.push(...drops);

  let wakeAtMs = expiryAtMs;
  const planned = new Set<string>();
  const actions = wanted.filter((action) => {
    // Deployments of one component share its fetch and its compile.
    if (observed.underWay.has(action.key) || planned.has(action.key)) return false;
    planned.add(action.key);
    const failure = observed.failures.get(action.key);
    if (failure === undefined || failure.retryAtMs <= nowMs) return true;
    wakeAtMs = earlier(wakeAtMs, failure.retryAtMs);
    return false;
  });
  assert.equal(new Set(actions.map((action) => action.key)).size, actions.length);
  return { actions, wakeAtMs };
}

const earlier = (a: number | null, b: number): number => (a === null || b < a ? b : a);

function planUp(desired: Desired, observed: Observed): Action[] {
  if (!desired.isRegistered || desired.bootId === observed.bootId || !observed.mayComeUp) return [];
  return [{ kind: "sendUp", key: `up/${observed.bootId}`, bootId: observed.bootId }];
}

function planUnload(desired: Desired, observed: Observed): Action[] {
  const kept = new Set(desired.deployments.map((deployment) => deployment.id));
  return [...observed.routes.keys()]
    .filter((id) => !kept.has(id))
    .toSorted(byText)
    .map((id) => ({ kind: "unload", key: `load/${id}`, id }));
}

function planDeployment(deployment: DeploymentHere, bootRegistered: boolean, observed: Observed, holders: ReadonlyMap<string, Hex>, nowMs: number): Action[] {
  assert(deployment.leases.length > 0);
  const { id, component, configuration } = deployment;
  const refused = (cause: string): Action[] => (bootRegistered ? failAll(deployment, cause) : []);
  const blob = observed.blobs.get(component);
  const missing: Action[] = [];
  if (blob === undefined) missing.push({ kind: "fetch", key: `fetch/${component}`, digest: component });
  if (configuration !== null && !observed.blobs.has(configuration)) {
    missing.push({ kind: "fetch", key: `fetch/${configuration}`, digest: configuration });
  }
  if (missing.some(({ key }) => isNowhere(observed.failures.get(key), nowMs))) return [...missing, ...refused("component_missing")];
  if (blob?.state === "refused") return refused(blob.cause ?? "compile_failed");
  if (blob?.state === "present") return [{ kind: "compile", key: `compile/${component}`, digest: component }, ...missing];
  if (missing.length > 0 || blob?.state !== "compiled") return missing;

  if (deployment.task !== undefined) return bootRegistered ? planTask(deployment, observed) : [];
  const instantiation = observed.refused.get(id);
  if (instantiation?.component === component && instantiation.configuration === configuration) return refused(instantiation.cause);
  const loaded = observed.routes.get(id);
  // The runner gives a host to one route only: what another still has comes when that one has let go of it.
  const route = { ...routeOf(deployment), hosts: deployment.hosts.filter((host) => (holders.get(host) ?? id) === id).toSorted(byText) };
  if (loaded === undefined) return route.hosts.length > 0 ? [{ kind: "load", key: `load/${id}`, route }] : [];
  const hasRoom = route.hosts.length > 0;
  if (observed.stale.has(id)) return hasRoom ? [{ kind: "load", key: `load/${id}`, route }] : [];
  const changes: Action[] = hasRoom && !sameRoute(loaded, route) ? [{ kind: "resize", key: `load/${id}`, route }] : [];
  // Which hosts a route has is no matter of the lease's: it is told of meanwhile.
  if (!bootRegistered || !sameRoute({ ...loaded, hosts: [] }, { ...route, hosts: [] })) return changes;
  const cause = observed.health.get(id);
  return [...changes, ...tellOf(deployment, cause), ...tellOfLoads(deployment, observed.load?.get(id), nowMs)];
}

/** Everybody has just said that they do not have it, or too long nobody has said that they do. */
function isNowhere(failure: Failure | undefined, nowMs: number): boolean {
  if (failure === undefined || failure.count < FETCH_ATTEMPTS_MAX) return false;
  return failure.code === "blob_missing" || nowMs - (failure.sinceMs ?? nowMs) >= FETCH_UNANSWERED_MS_MAX;
}

/** Few at once: what a lease here waits for finds its way free. */
function planKeep({ kept }: Desired, { blobs, underWay, failures }: Observed, nowMs: number): Action[] {
  const lacking = [...kept].filter((digest) => !blobs.has(digest)).toSorted(byText).map((digest): Action => ({ kind: "fetch", key: `fetch/${digest}`, digest }));
  const rests = ({ key }: Action): boolean => (failures.get(key)?.retryAtMs ?? nowMs) > nowMs;
  const room = Math.max(0, KEEPS_AT_ONCE_MAX - [...underWay].filter((key) => key.startsWith("fetch/")).length);
  return [...lacking.filter(rests), ...lacking.filter((action) => !rests(action) && !underWay.has(action.key)).slice(0, room)];
}

/** Which route has each host by now. */
const holdersOf = ({ routes }: Observed): ReadonlyMap<string, Hex> => new Map([...routes].flatMap(([id, { hosts }]) => hosts.map((host) => [host, id] as const)));

function tellOf(deployment: DeploymentHere, cause: string | null | undefined): Action[] {
  const { id } = deployment;
  return byIndex(deployment.leases).flatMap(({ index, rate, stage, isHealthy }): Action[] => {
    if (stage === "placed") return [{ kind: "sendReady", key: `ready/${deploymentOf(id)}/${index}/${rate}`, id: deploymentOf(id), index, rate }];
    if (stage === "leaving" || cause === undefined || isHealthy === (cause === null)) return [];
    return [{ kind: "sendHealth", key: `health/${deploymentOf(id)}/${index}`, id: deploymentOf(id), index, cause }];
  });
}

function tellOfLoads({ id, scaling, leases }: DeploymentHere, found: FoundLoad | undefined, nowMs: number): Action[] {
  if (!scaling) return [];
  return byIndex(leases).filter(({ stage }) => stage === "ready").flatMap(({ index, rate, load = UNKNOWN_LOAD }) => tellOfLoad(deploymentOf(id), { index, rate, load }, scaling, found, nowMs));
}

const byIndex = (leases: readonly Lease[]): Lease[] => leases.toSorted((a, b) => a.index - b.index);

function failAll(deployment: DeploymentHere, cause: string): Action[] {
  const id = deploymentOf(deployment.id);
  return byIndex(deployment.leases).filter(({ stage }) => stage !== "leaving").map(({ index }) => ({ kind: "sendFailed", key: `failed/${id}/${index}`, id, index, cause }));
}

export function routeOf(deployment: DeploymentHere): Route {
  const replicas = deployment.leases.length;
  return {
    id: deployment.id,
    owner: deployment.owner,
    hosts: deployment.hosts.toSorted(byText),
    component: deployment.component,
    configuration: deployment.configuration,
    memoryMib: deployment.memoryMib * replicas,
    cpuMillis: deployment.cpuMillis * replicas,
    concurrency: deployment.concurrency * replicas,
    isolation: deployment.isolation,
    instanceMemoryMib: deployment.memoryMib,
  };
}

function sameRoute(a: Route, b: Route): boolean {
  return (
    a.id === b.id &&
    a.component === b.component &&
    a.configuration === b.configuration &&
    a.memoryMib === b.memoryMib &&
    a.cpuMillis === b.cpuMillis &&
    a.concurrency === b.concurrency &&
    a.isolation === b.isolation &&
    a.instanceMemoryMib === b.instanceMemoryMib &&
    a.hosts.length === b.hosts.length &&
    a.hosts.every((host, position) => host === b.hosts[position])
  );
}

/** An upload that nobody named in time goes; what a deployment names, or a route here uses, stays. */
function planDrop(desired: Desired, observed: Observed, nowMs: number): { actions: Action[]; wakeAtMs: number | null } {
  const used = new Set<Hex>();
  for (const route of observed.routes.values()) {
    used.add(route.component);
    if (route.configuration !== null) used.add(route.configuration);
  }
  const actions: Action[] = [];
  let wakeAtMs: number | null = null;
  for (const digest of [...observed.blobs.keys()].toSorted(byText)) {
    const blob = observed.blobs.get(digest);
    if (blob === undefined || blob.state === "compiling" || desired.named.has(digest) || used.has(digest)) continue;
    if (blob.expiresAtMs <= nowMs) actions.push({ kind: "drop", key: `drop/${digest}`, digest });
    else wakeAtMs = earlier(wakeAtMs, blob.expiresAtMs);
  }
  return { actions, wakeAtMs };
}

/** How long the `count`-th failure in a row waits: it doubles up to the maximum. */
export function retryDelayMs(count: number, firstMs: number, maximumMs: number): number {
  let delayMs = firstMs;
  for (let n = 1; n < count && delayMs < maximumMs; n += 1) delayMs *= 2;
  return delayMs < maximumMs ? delayMs : maximumMs;
}
