/** Whether a guest may be executed in this process. An agent forbids it for ever: beside its keys none runs, on no engine. */
import { SandboxError } from "./errors.ts";

let areForbidden = false;

/** For ever, in this process: an agent calls it, so that no tenant's code can run beside its keys by accident. */
export function forbidTasks(): void {
  areForbidden = true;
}

/** Throws task_forbidden. */
export function refuseWhereForbidden(): void {
  if (areForbidden) throw new SandboxError("task_forbidden", "No guest runs in this process: it holds keys");
}
