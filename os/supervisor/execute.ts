/**
 * Carries one action of the plan out, on the real parts of the machine. Every action may be carried out again.
 *
 * Errors are sorted here: what is the component's own fault is an outcome (`refused`), so that the next plan says `failed`; all
 * else is thrown and tried again later. Nothing is deleted because of an error.
 */
import { TASK_REASON_BYTES_MAX } from "#chain/codec/taskOperations.ts";
import { CAUSE_BYTES_MAX, type Operation } from "#chain/codec/transaction.ts";
import { type Hex, address, fromHex } from "#chain/types.ts";
import { CONCURRENCY_MAX, CPU_WEIGHT_MAX, LIMITS_DEFAULT, LIMITS_MAX, type Limits } from "#sandbox/limits.ts";
import type { Runner } from "#sandbox/sandbox.ts";
import type { BlobStore } from "../blobs.ts";
import { SETTINGS_DEFAULT, type Settings, settingsFor } from "../configuration.ts";
import { AgentError, codeOf, messageOf } from "../error.ts";
import type { Tasks } from "../tasks.ts";
import { type Action, type DeploymentHere, type Refusal, type Route, deploymentOf } from "./plan.ts";

const MIB = 1024 * 1024;

export type Hands = {
  /** This machine's `up`, with what its witnesses say and the validator that it hosts. */
  readonly up: (bootId: Uint8Array) => Operation;
  /** Sends an operation as this machine; resolves when it is final, throws its code when it is refused. */
  readonly submit: (operation: Operation) => Promise<void>;
  readonly blobs: Pick<BlobStore, "compile" | "read" | "drop" | "forgetCompiled">;
  readonly runner: Pick<Runner, "load" | "unload">;
  readonly tasks: Pick<Tasks, "begin" | "stop" | "refuse">;
  /** Brings bytes from another machine. */
  readonly fetch: (digest: Hex) => Promise<void>;
  /** A line in the log of a deployment, for its tenant. */
  readonly tell: (id: Hex, line: string) => void;
};
export type Outcome =
  | { readonly kind: "done" }
  /** healthPath: where it says of itself whether it is well; null: it does not. */
  | { readonly kind: "loaded"; readonly route: Route; readonly healthPath: string | null }
  | { readonly kind: "unloaded"; readonly id: Hex }
  /** The component does not instantiate: the deployment's own fault. */
  | ({ readonly kind: "refused"; readonly id: Hex } & Refusal);

const DONE: Outcome = { kind: "done" };
/** Errors of a load that come from what the tenant deployed; or that this machine cannot give, so that another is tried. */
const LOAD_REFUSALS: ReadonlySet<string> = new Set(["load_failed", "limit_invalid", "configuration_invalid", "configuration_foreign", "isolation_full"]);

/** As the runner says of a trial that took too long by the clock: that may be a busy computer's fault. */
const TOO_SLOW = /: wall_time_limit: /;
export const LOAD_SLOW = "load_slow";

export async function execute(action: Action, hands: Hands): Promise<Outcome> {
  switch (action.kind) {
    case "sendUp":
      await hands.submit(hands.up(fromHex(action.bootId)));
      return DONE;
    case "sendReady":
      await hands.submit({ kind: "ready", deploymentId: address(fromHex(action.id)), index: action.index, rate: action.rate });
      return DONE;
    case "sendHealth":
      await hands.submit({
        kind: "health", deploymentId: address(fromHex(action.id)), index: action.index, healthy: action.cause === null ? 1 : 0, cause: (action.cause ?? "").slice(0, CAUSE_BYTES_MAX),
      });
      return DONE;
    case "sendFailed":
      await hands.submit({ kind: "failed", deploymentId: address(fromHex(action.id)), index: action.index, cause: action.cause.slice(0, CAUSE_BYTES_MAX) });
      return DONE;
    case "sendLoad":
      await hands.submit({ kind: "load", deploymentId: address(fromHex(action.id)), index: action.index, level: action.level });
      return DONE;
    case "sendWake":
      await hands.submit({ kind: "wake", deploymentId: address(fromHex(action.id)), index: action.index });
      return DONE;
    case "sendStandby":
      await hands.submit({ kind: "standby", deploymentId: address(fromHex(action.id)), index: action.index, idleSeconds: action.idleSeconds });
      return DONE;
    case "fetch":
      await hands.fetch(action.digest);
      return DONE;
    case "compile":
      await hands.blobs.compile(action.digest);
      return DONE;
    case "load":
    case "resize":
      return await load(action.route, hands);
    case "unload":
      await hands.runner.unload(action.id);
      return { kind: "unloaded", id: action.id };
    case "startTask":
      await startTask(action.deployment, action.run, hands);
      return DONE;
    case "stopTask":
      await hands.tasks.stop(action.id);
      return DONE;
    case "sendEnded":
      await hands.submit({ kind: "taskEnded", deploymentId: address(fromHex(action.id)), run: action.run, exitCode: action.end.exitCode, reason: action.end.reason.slice(0, TASK_REASON_BYTES_MAX) });
      return DONE;
    case "drop":
      await hands.blobs.drop(action.digest);
      return DONE;
    default:
      return action satisfies never;
  }
}

async function load(route: Route, hands: Hands): Promise<Outcome> {
  const { id, component } = route;
  try {
    const compiled = await hands.blobs.compile(component);
    const settings = route.configuration === null ? SETTINGS_DEFAULT : settingsFor(await hands.blobs.read(route.configuration), fromHex(route.owner));
    const { environment, outgoing, reuse } = settings;
    await hands.runner.load({
      id, compiled, environment, outgoing, reuse, isolation: route.isolation, hosts: route.hosts, limits: limitsOf(route, settings),
      instanceMemoryBytesMax: atMost(route.instanceMemoryMib * MIB, LIMITS_MAX.memoryBytesMax),
      concurrency: atMost(route.concurrency, CONCURRENCY_MAX), cpuWeight: atMost(route.cpuMillis, CPU_WEIGHT_MAX),
    });
    hands.tell(deploymentOf(id), `Loaded: ${route.memoryMib} MiB, ${route.concurrency} requests at once`);
    return { kind: "loaded", route, healthPath: settings.healthPath };
  } catch (error) {
    const code = codeOf(error);
    if (code === "artefact_corrupt") hands.blobs.forgetCompiled(component);
    if (!LOAD_REFUSALS.has(code)) throw error;
    if (TOO_SLOW.test(messageOf(error))) throw new AgentError(LOAD_SLOW, messageOf(error), { cause: error });
    hands.tell(deploymentOf(id), `Cannot start: ${messageOf(error)} (${code})`);
    return { kind: "refused", id, component, configuration: route.configuration, cause: code };
  }
}

/** Begins a run; how it ends is told later. */
async function startTask(deployment: DeploymentHere, run: number, hands: Hands): Promise<void> {
  const { id, component, configuration, owner, memoryMib, cpuMillis, isolation } = deployment;
  try {
    const compiled = await hands.blobs.compile(component);
    const { environment, outgoing, limits, input } = configuration === null ? SETTINGS_DEFAULT : settingsFor(await hands.blobs.read(configuration), fromHex(owner));
    hands.tell(id, `Run ${run} begins: ${memoryMib} MiB`);
    hands.tasks.begin(id, run, {
      id, compiled, environment, outgoing, isolation, cpuWeight: atMost(cpuMillis, CPU_WEIGHT_MAX), arguments: input?.arguments ?? [], stdin: input?.stdin ?? new Uint8Array(0),
      limits: { ...limits, memoryBytesMax: atMost(memoryMib * MIB, LIMITS_MAX.memoryBytesMax) },
    });
  } catch (error) {
    const code = codeOf(error);
    if (!LOAD_REFUSALS.has(code)) throw error;
    hands.tell(id, `Cannot start: ${messageOf(error)} (${code})`);
    hands.tasks.refuse(id, run, code);
  }
}

/**
 * One route serves all replicas here: what one replica has is there as often as there are replicas. What the engine can give one
 * route is a limit of the machine, not of the tenant.
 */
function limitsOf(route: Route, { limits }: Settings): Partial<Limits> {
  const replicas = Math.max(1, Math.floor(route.memoryMib / route.instanceMemoryMib));
  const summed = (name: "queueLengthMax" | "logBytesPerSecondMax"): number => atMost((limits[name] ?? LIMITS_DEFAULT[name]) * replicas, LIMITS_MAX[name]);
  return {
    ...limits, memoryBytesMax: atMost(route.memoryMib * MIB, LIMITS_MAX.memoryBytesMax), queueLengthMax: summed("queueLengthMax"), logBytesPerSecondMax: summed("logBytesPerSecondMax"),
  };
}

const atMost = (value: number, maximum: number): number => (value < maximum ? value : maximum);
