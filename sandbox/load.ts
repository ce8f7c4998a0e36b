/** From what a caller wants served to the message that a runner needs for it: complete limits, and the code that our compiler made. */
import { entryName, readHeader } from "./cache.ts";
import type { Compiled } from "./compile.ts";
import type { Load } from "./control.ts";
import type { Mock } from "./engines/v8/mock.ts";
import { SandboxError } from "./errors.ts";
import { completeLimits, CONCURRENCY_DEFAULT, CONCURRENCY_MAX, CPU_WEIGHT_DEFAULT, CPU_WEIGHT_MAX, ENVIRONMENT_BYTES_MAX, HOSTS_MAX, LIMITS_TASK_DEFAULT, type Limits, OUTGOING_MAX, TRIAL_WALL_TIME_MS_MAX } from "./limits.ts";
import { engineId } from "./native.ts";
import type { OutgoingPlace } from "./outgoing.ts";

export type Deployment = {
  readonly id: string;
  /** Lower case, without port; "*" takes every Host that no other deployment has. */
  readonly hosts: readonly string[];
  readonly compiled: Pick<Compiled, "digest">;
  /** What is left out is LIMITS_DEFAULT. */
  readonly limits?: Partial<Limits>;
  readonly concurrency?: number;
  /** Of limits.memoryBytesMax, which all instances share, the most that one may have; default: all of it. */
  readonly instanceMemoryBytesMax?: number;
  /** Share of the CPU among those that want more than there is; default CPU_WEIGHT_DEFAULT. */
  readonly cpuWeight?: number;
  /** One instance serves many requests, one after the other; default: each has its own. */
  readonly reuse?: boolean;
  /** `process`: in a runner of its own; default: with others. */
  readonly isolation?: "shared" | "process";
  /** Where its requests may go; default: nowhere. */
  readonly outgoing?: readonly OutgoingPlace[];
  readonly environment?: Readonly<Record<string, string>>;
  /** For tests, on the v8 engine only: what stands in the place of clock, chance and network. */
  readonly mock?: Mock;
};

/** A tenant's task, for the process that serves. */
export type Task = Pick<Deployment, "id" | "compiled" | "limits" | "cpuWeight" | "isolation" | "outgoing" | "environment"> & {
  /** After the program's name. */
  readonly arguments: readonly string[];
  readonly stdin: Uint8Array;
};

/** As a deployment of one instance and without a host; what it leaves out of its limits is LIMITS_TASK_DEFAULT. */
export const deploymentOfTask = ({ arguments: _arguments, stdin: _stdin, limits, ...task }: Task): Deployment => ({ ...task, limits: { ...LIMITS_TASK_DEFAULT, ...limits }, hosts: [], concurrency: 1 });

/** The message, and what the code that it names must be. Throws limit_invalid, artefact_corrupt. */
export async function loadOf(deployment: Deployment, cacheDirectory: string): Promise<{ load: Load; codeSha256: string }> {
  const { id, hosts, compiled, concurrency = CONCURRENCY_DEFAULT, environment = {}, cpuWeight = CPU_WEIGHT_DEFAULT, reuse = false, outgoing = [] } = deployment;
  if (deployment.mock !== undefined) throw new SandboxError("limit_invalid", `Cannot load ${id} with a mock: only the v8 engine has them`);
  const limits = limitsOf(deployment);
  const { instanceMemoryBytesMax = limits.memoryBytesMax } = deployment;
  const pairs = Object.entries(environment);
  const environmentBytes = pairs.reduce((bytes, [name, value]) => bytes + Buffer.byteLength(name) + Buffer.byteLength(value), 0);
  if (hosts.length > HOSTS_MAX) throw new SandboxError("limit_invalid", `Cannot load ${id}: ${hosts.length} hosts, at most ${HOSTS_MAX}`);
  if (environmentBytes > ENVIRONMENT_BYTES_MAX) {
    throw new SandboxError("limit_invalid", `Cannot load ${id}: its environment has ${environmentBytes} bytes, at most ${ENVIRONMENT_BYTES_MAX}`);
  }
  if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > CONCURRENCY_MAX) {
    throw new SandboxError("limit_invalid", `Cannot load ${id}: concurrency ${concurrency} is not from 1 to ${CONCURRENCY_MAX}`);
  }
  if (!Number.isInteger(cpuWeight) || cpuWeight < 1 || cpuWeight > CPU_WEIGHT_MAX) {
    throw new SandboxError("limit_invalid", `Cannot load ${id}: CPU weight ${cpuWeight} is not from 1 to ${CPU_WEIGHT_MAX}`);
  }
  if (!Number.isSafeInteger(instanceMemoryBytesMax) || instanceMemoryBytesMax < 0 || instanceMemoryBytesMax > limits.memoryBytesMax) {
    throw new SandboxError("limit_invalid", `Cannot load ${id}: one instance's memory of ${instanceMemoryBytesMax} bytes is not within the ${limits.memoryBytesMax} of all`);
  }
  if (outgoing.length > OUTGOING_MAX) throw new SandboxError("limit_invalid", `Cannot load ${id}: ${outgoing.length} places for its requests, at most ${OUTGOING_MAX}`);
  const header = await readHeader(cacheDirectory, compiled.digest, engineId());
  if (header === null) {
    throw new SandboxError("artefact_corrupt", `Cannot load ${id}: the cache has no good code for component ${compiled.digest}; compile it again`);
  }
  const lower = hosts.map((host) => host.toLowerCase());
  const load: Load = {
    id, hosts: lower, code: entryName(compiled.digest, engineId()), limits, concurrency, instanceMemoryBytesMax, cpuWeight, reuse, outgoing,
    environment: pairs, trialMs: TRIAL_WALL_TIME_MS_MAX,
  };
  return { load, codeSha256: header.codeSha256 };
}

function limitsOf(deployment: Deployment): Limits {
  try {
    return completeLimits(deployment.limits);
  } catch (cause) {
    throw new SandboxError("limit_invalid", `Cannot load ${deployment.id}: ${(cause as Error).message}`, { cause });
  }
}
