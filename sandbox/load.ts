/** From what a caller wants served to the message that a runner needs for it: complete limits, and the code that our compiler made. */
import { codeDirectory, readHeader } from "./cache.ts";
import type { Compiled } from "./compile.ts";
import type { Load } from "./control.ts";
import { SandboxError } from "./errors.ts";
import { completeLimits, CONCURRENCY_DEFAULT, CONCURRENCY_MAX, ENVIRONMENT_BYTES_MAX, HOSTS_MAX, type Limits, TRIAL_WALL_TIME_MS_MAX } from "./limits.ts";
import { engineId } from "./native.ts";

export type Deployment = {
  readonly id: string;
  /** Lower case, without port; "*" takes every Host that no other deployment has. */
  readonly hosts: readonly string[];
  readonly compiled: Pick<Compiled, "digest">;
  /** What is left out is LIMITS_DEFAULT. */
  readonly limits?: Partial<Limits>;
  readonly concurrency?: number;
  readonly environment?: Readonly<Record<string, string>>;
};

/** Throws limit_invalid, artefact_corrupt. */
export async function loadOf(deployment: Deployment, cacheDirectory: string): Promise<Load> {
  const { id, hosts, compiled, concurrency = CONCURRENCY_DEFAULT, environment = {} } = deployment;
  const limits = limitsOf(deployment);
  const pairs = Object.entries(environment);
  const environmentBytes = pairs.reduce((bytes, [name, value]) => bytes + Buffer.byteLength(name) + Buffer.byteLength(value), 0);
  if (hosts.length > HOSTS_MAX) throw new SandboxError("limit_invalid", `Cannot load ${id}: ${hosts.length} hosts, at most ${HOSTS_MAX}`);
  if (environmentBytes > ENVIRONMENT_BYTES_MAX) {
    throw new SandboxError("limit_invalid", `Cannot load ${id}: its environment has ${environmentBytes} bytes, at most ${ENVIRONMENT_BYTES_MAX}`);
  }
  if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > CONCURRENCY_MAX) {
    throw new SandboxError("limit_invalid", `Cannot load ${id}: concurrency ${concurrency} is not from 1 to ${CONCURRENCY_MAX}`);
  }
  const header = await readHeader(cacheDirectory, compiled.digest, engineId());
  if (header === null) {
    throw new SandboxError("artefact_corrupt", `Cannot load ${id}: the cache has no good code for component ${compiled.digest}; compile it again`);
  }
  const path = `${compiled.digest}-${engineId()}.code`;
  const lower = hosts.map((host) => host.toLowerCase());
  return {
    id, hosts: lower, path: `${codeDirectory(cacheDirectory)}/${path}`, codeSha256: header.codeSha256, limits, concurrency, environment: pairs,
    trialMs: TRIAL_WALL_TIME_MS_MAX,
  };
}

function limitsOf(deployment: Deployment): Limits {
  try {
    return completeLimits(deployment.limits);
  } catch (cause) {
    throw new SandboxError("limit_invalid", `Cannot load ${deployment.id}: ${(cause as Error).message}`, { cause });
  }
}
