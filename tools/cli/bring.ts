/**
 * Brings a deployment to what its manifest says, from wherever the ledger says that it is: made, changed, or left alone.
 *
 * Idempotent: what was done is seen in the ledger and not done again, so that an interrupted deploy goes on when it is run anew. All changes
 * of one deployment are one transaction. A new version is rolled out by the ledger (chain/ledger/rollout.ts); here one only watches.
 */
import { parseAddress } from "#chain/codec/address.ts";
import { type Operation, deploymentIdOf } from "#chain/codec/transaction.ts";
import { type Address, type Digest, hex } from "#chain/types.ts";
import type { Settings } from "#os/configuration.ts";
import { LIMITS_DEFAULT } from "#sandbox/limits.ts";
import type { Manifest } from "#workloads/manifest.ts";
import type { Deployment } from "./answers.ts";
import { CliError, type Shell } from "./command.ts";
import { pause } from "./pause.ts";
import { type Onward, waitForCopies, waitForReplicas } from "./ready.ts";
import { type Done, type Session, deploymentAddress, send } from "./session.ts";
import { autoscaleOperation, endScalingOperation, sameScaling } from "./scaling.ts";
import { withProgress } from "./table.ts";

const POLL_INTERVAL_MS = 100;

/** What a deployment needs of a manifest. */
export type Wanted = Pick<
  Manifest, "name" | "kind" | "memoryMib" | "cpuMillis" | "concurrency" | "replicas" | "depositAmount" | "rateMax" | "isolation" | "environment" | "limits" | "outgoing" | "reuse" | "healthPath" | "rollout" | "placement" | "scale" | "task"
> & Pick<Settings, "input">;
export type Digests = { readonly component: Digest; readonly configuration: Digest | null };
/** What was done: made, updated (a new version), changed (size, number, places), ran (a task, to its end), or nothing. */
export type Brought = { readonly did: "made" | "updated" | "changed" | "ran" | "nothing"; readonly deployment: Deployment; readonly done: Done | null; /** null: not waited for. */ readonly copies: number | null };
/** What is told on the way. */
export type Told = { readonly onFinal?: (done: Done) => void; readonly onward?: Onward };
/** One transaction of an account after the other: nonces come in order. */
export type Gate = <T>(act: () => Promise<T>) => Promise<T>;

export function newGate(): Gate {
  let last: Promise<unknown> = Promise.resolve();
  return (act) => {
    const mine = last.then(act, act);
    last = mine.catch(() => {});
    return mine;
  };
}

export async function upload({ client }: Session, shell: Shell, component: Uint8Array, wanted: Wanted): Promise<Digests> {
  const { name } = wanted;
  if (component.length > LIMITS_DEFAULT.componentBytesMax) throw new CliError("component_too_large", `Cannot deploy ${name}: the component has ${component.length} bytes and ${LIMITS_DEFAULT.componentBytesMax} is the limit`);
  const uploaded = await withProgress(shell, `uploading ${component.length} bytes`, client.uploadComponent(component));
  if (uploaded.kind !== wanted.kind) throw new CliError(wanted.kind === "task" ? "not_a_task" : "not_a_service", `Cannot deploy ${name}: its manifest says that it is a ${wanted.kind}, and its component is a ${uploaded.kind}`);
  return { component: uploaded.digest, configuration: await client.uploadConfiguration(wanted) };
}

export const runningOf = async ({ client, account }: Session, name: string): Promise<Deployment | undefined> =>
  (await client.allDeployments(account.addressText)).find((deployment) => deployment.name === name && deployment.state !== "closing" && deployment.state !== "ended");

/** Sends what is missing, and waits until it is there: its replicas ready, and its bytes on as many machines as keep them. */
export async function bring(session: Session, shell: Shell, wanted: Wanted, digests: Digests, timeoutMs: number, gate: Gate, told: Told = {}): Promise<Brought> {
  const brought = await bringUp(session, shell, wanted, digests, timeoutMs, gate, told);
  return { ...brought, copies: await waitForCopies(session.client, brought.deployment, shell, timeoutMs) };
}

async function bringUp(session: Session, shell: Shell, wanted: Wanted, digests: Digests, timeoutMs: number, gate: Gate, { onFinal = () => undefined, onward = () => undefined }: Told): Promise<Omit<Brought, "copies">> {
  const running = await runningOf(session, wanted.name);
  if (running === undefined) {
    const done = await gate(async () => {
      const { nonce } = await session.client.account(session.account.addressText);
      return send(session, shell, makeOperations(wanted, digests, deploymentIdOf(session.account.address, nonce, 0)), `deploying ${wanted.name}`);
    });
    onFinal(done);
    const id = hex(deploymentIdOf(session.account.address, done.nonce, 0));
    return { did: "made", done, deployment: await waitForReplicas(session.client, id, shell, timeoutMs, onward) };
  }
  const ops = changeOperations(running, wanted, digests);
  const isUpdate = ops.some(({ kind }) => kind === "update");
  const done = ops.length === 0 ? null : await gate(() => send(session, shell, ops, `changing ${wanted.name}`));
  if (done !== null) onFinal(done);
  // One that an interrupted deploy has sent before is waited for like one's own.
  if (isUpdate || isOnItsWay(running, digests)) return { did: "updated", done, deployment: await waitForRollout(session, shell, running.id, timeoutMs) };
  return { did: ops.length === 0 ? "nothing" : "changed", done, deployment: await waitForReplicas(session.client, running.id, shell, timeoutMs, onward) };
}

function makeOperations(wanted: Wanted, digests: Digests, id: Address): Operation[] {
  const made: Operation = {
    kind: "deploy", name: wanted.name, componentDigest: digests.component, configurationDigest: digests.configuration, memoryMib: wanted.memoryMib,
    cpuMillis: wanted.cpuMillis, concurrency: wanted.concurrency, replicas: wanted.replicas, deposit: wanted.depositAmount, rateMax: wanted.rateMax,
    isolation: wanted.isolation === "process" ? 1 : 0,
  };
  return [made, ...placementOf(wanted, id), ...(wanted.scale === null ? [] : [autoscaleOperation(id, wanted.scale)])];
}

/** The rule of where it may be placed, which goes along with what makes it; nothing where there is none. */
export function placementOf(wanted: Wanted, id: Address): Operation[] {
  const { regions, operators, labels } = wanted.placement;
  return regions.length + operators.length + labels.length === 0 ? [] : [constrainOperation(wanted, id)];
}

const constrainOperation = ({ name, placement: { regions, operators, labels } }: Wanted, deploymentId: Address): Operation => ({
  kind: "constrain", deploymentId, regions, labels,
  operators: operators.map((text) => parseAddress(text) ?? refuseOperator(name, text)),
});
function refuseOperator(name: string, text: string): never {
  throw new CliError("address_invalid", `Cannot place ${name} with "${text}": that is no address of an account`);
}

const digestText = (digest: Digest | null): string | null => (digest === null ? null : `sha256:${hex(digest)}`);
const isOnItsWay = ({ rollout }: Deployment, { component, configuration }: Digests): boolean =>
  rollout !== null && rollout.component === digestText(component) && rollout.configuration === digestText(configuration);

/** What must be changed of one that runs; throws when something cannot be while it does. */
export function changeOperations(running: Deployment, wanted: Wanted, digests: Digests): Operation[] {
  const deploymentId = deploymentAddress(running);
  const fixed: readonly (readonly [string, unknown, unknown])[] = [
    ["concurrency", running.concurrency, wanted.concurrency], ["isolation", running.isolation, wanted.isolation], ["budget.rate_max_per_hour", running.rateMax, wanted.rateMax],
  ];
  const wrong = fixed.find(([, now, then]) => now !== then);
  if (wrong !== undefined) throw new CliError("not_changeable", `Cannot change ${wrong[0]} of ${running.name} from ${String(wrong[1])} to ${String(wrong[2])} while it runs: godwit rm ${running.name}, then deploy`);
  const ops: Operation[] = [];
  if (running.memoryMib !== wanted.memoryMib || running.cpuMillis !== wanted.cpuMillis) ops.push({ kind: "resize", deploymentId, memoryMib: wanted.memoryMib, cpuMillis: wanted.cpuMillis });
  if (!sameScaling(running.scaling, wanted.scale)) ops.push(wanted.scale === null ? endScalingOperation(deploymentId) : autoscaleOperation(deploymentId, wanted.scale));
  // How many there are is the ledger's matter where there is a rule.
  if (wanted.scale === null && running.replicas !== wanted.replicas) ops.push({ kind: "scale", deploymentId, replicas: wanted.replicas });
  const { regions, operators, labels } = wanted.placement;
  if (JSON.stringify([running.constraints.regions, running.constraints.operators, running.constraints.labels]) !== JSON.stringify([regions, operators, labels])) ops.push(constrainOperation(wanted, deploymentId));
  const serves = running.component === digestText(digests.component) && running.configuration === digestText(digests.configuration);
  if (isOnItsWay(running, digests)) return ops;
  // Another version than the one that is wanted is on its way: it is taken back first.
  if (running.rollout !== null) ops.unshift({ kind: "rollBack", deploymentId });
  if (!serves) ops.push(updateOperation(deploymentId, digests, wanted.rollout));
  return ops;
}

export const updateOperation = (deploymentId: Address, { component, configuration }: Digests, { weight, healthySeconds, deadlineSeconds, failuresMax }: Wanted["rollout"]): Operation =>
  ({ kind: "update", deploymentId, componentDigest: component, configurationDigest: configuration, weight, healthySeconds, deadlineSeconds, failuresMax });

/** Until the ledger has promoted the revision, or taken it back, which is an error here; as it is now when `timeoutMs` is 0. */
export async function waitForRollout({ client }: Pick<Session, "client">, shell: Shell, id: string, timeoutMs: number): Promise<Deployment> {
  const watch = async (): Promise<Deployment> => {
    const endMs = performance.now() + timeoutMs;
    for (;;) {
      const deployment = await client.deployment(id);
      const { name, rollout, rolledBack, revision } = deployment;
      if (rollout === null && rolledBack !== null) throw new CliError("rolled_back", `The new version of ${name} was rolled back (${rolledBack}): revision ${revision} serves on`, { id, cause: rolledBack });
      if (rollout === null || timeoutMs === 0) return deployment;
      if (performance.now() > endMs) {
        throw new CliError("not_promoted", `Revision ${rollout.revision} of ${name} is not promoted after ${timeoutMs / 1000} s: the ledger goes on with it, or rolls it back (godwit ps --why ${name})`, { id, revision: rollout.revision });
      }
      await pause(POLL_INTERVAL_MS, shell.signal);
    }
  };
  return withProgress(shell, "waiting for the new version to be healthy", watch());
}
