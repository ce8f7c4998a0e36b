/** Keeps one runner process alive over one listening socket. */
import type { LogLine, Usage } from "./control.ts";
import type { Compiled } from "./compile.ts";
import type { Limits } from "./limits.ts";

export type Deployment = {
  readonly id: string;
  /** Lower case, without port; "*" takes every Host that no other deployment has. */
  readonly hosts: readonly string[];
  readonly compiled: Compiled;
  /** What is left out is LIMITS_DEFAULT. */
  readonly limits?: Partial<Limits>;
  readonly concurrency?: number;
  readonly environment?: Readonly<Record<string, string>>;
};
export type RunnerOptions = {
  /** Its descriptor is inherited; the caller keeps it open for as long as the runner is wanted, and closes it. */
  readonly listener: { readonly fd: number };
  readonly cacheDirectory?: string;
  readonly onLog?: (line: LogLine) => void;
  /** A runner process ended by itself; the next one is already on its way. */
  readonly onExit?: (exit: { pid: number; code: number | null; signal: string | null }) => void;
  /** After a respawn: a deployment that could not be loaded again (its cache entry is gone or corrupt). */
  readonly onLost?: (id: string, code: string, message: string) => void;
};
export type Runner = {
  /** Of the present process, or null while there is none. */
  readonly pid: number | null;
  /** Idempotent; an id that is loaded already is replaced without losing a request. Resolves when requests are served by it. Throws load_failed, artefact_corrupt, host_in_use, limit_invalid, runner_stopped. */
  load(deployment: Deployment): Promise<void>;
  /** Idempotent. Requests that run are finished. */
  unload(id: string): Promise<void>;
  usage(): Promise<Record<string, Usage>>;
  /** Ends the process and waits until it is gone. */
  stop(): Promise<void>;
};

/** Throws runner_failed when the first process does not come up. */
export async function startRunner(options: RunnerOptions): Promise<Runner> {
  throw new Error(`not yet ${options.listener.fd}`);
}
