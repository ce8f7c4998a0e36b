/**
 * A control group for a runner: its memory and its processes, bounded from outside of it.
 *
 * Not its share of the CPU: a group has its weight whoever is in it runs, so threads that are to be idle would go before other
 * people's. Whose process goes first a runner says by being nice (runner/src/main.rs).
 *
 * Version 1 or 2, whichever is mounted and may be written; without either the runner has its own limits only, and `godwit doctor`
 * says so. A runner that outgrows its memory is ended by the kernel, alone, and replaced like one that crashed.
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, rmdirSync, writeFileSync } from "node:fs";
import { totalmem } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { RUNNER_MEMORY_PERCENT, RUNNER_THREADS_MAX } from "./limits.ts";

export type Controller = "memory" | "pids";
export type Group = {
  readonly version: 1 | 2;
  /** Those that hold. */
  readonly controllers: readonly Controller[];
  /** What a process writes "0" to, to be in it. */
  readonly files: readonly string[];
  /** When its processes have been told to end; waits for the last of them. */
  remove(): Promise<void>;
};

const CONTROLLERS: readonly Controller[] = ["memory", "pids"];
const REMOVE_ROUNDS_MAX = 50;
const REMOVE_EVERY_MS = 5;
let count = 0;

/** Null when there is no group to be had. */
export function makeGroup(memoryBytesMax: number = Math.floor((totalmem() * RUNNER_MEMORY_PERCENT) / 100)): Group | null {
  const mounts = text("/proc/self/mounts").split("\n").map((line) => line.split(" "));
  const own = text("/proc/self/cgroup").split("\n").map((line) => line.split(":"));
  count += 1;
  const name = `godwit-${process.pid}-${count}`;
  const version2 = mounts.find(([, , type]) => type === "cgroup2")?.[1];
  return (version2 === undefined ? null : groupOfVersion2(version2, own, name, memoryBytesMax)) ?? groupOfVersion1(mounts, own, name, memoryBytesMax);
}

function groupOfVersion2(mount: string, own: readonly string[][], name: string, memoryBytesMax: number): Group | null {
  const path = own.find(([number]) => number === "0")?.[2] ?? "/";
  // Beside our own: a group with processes in it gives its children no controllers, unless it is the root.
  const parent = join(mount, path === "/" ? "/" : dirname(path));
  for (const controller of CONTROLLERS) write(join(parent, "cgroup.subtree_control"), `+${controller}`);
  const folder = join(parent, name);
  if (!make(folder)) return null;
  const values: Record<Controller, [string, number]> = { memory: ["memory.max", memoryBytesMax], pids: ["pids.max", RUNNER_THREADS_MAX] };
  const controllers = CONTROLLERS.filter((controller) => write(join(folder, values[controller][0]), String(values[controller][1])));
  write(join(folder, "memory.swap.max"), "0");
  if (controllers.length > 0) return { version: 2, controllers, files: [join(folder, "cgroup.procs")], remove: () => removeWhenEmpty([folder]) };
  remove(folder);
  return null;
}

function groupOfVersion1(mounts: readonly string[][], own: readonly string[][], name: string, memoryBytesMax: number): Group | null {
  const values: Record<Controller, [string, number]> = { memory: ["memory.limit_in_bytes", memoryBytesMax], pids: ["pids.max", RUNNER_THREADS_MAX] };
  const folders = new Map<Controller, string>();
  for (const controller of CONTROLLERS) {
    const mount = mounts.find(([, , type, options]) => type === "cgroup" && options?.split(",").includes(controller))?.[1];
    const path = own.find(([, names]) => names?.split(",").includes(controller))?.[2];
    if (mount === undefined || path === undefined) continue;
    const folder = join(mount, path, name);
    if (!make(folder)) continue;
    if (controller === "memory") write(join(folder, "memory.swappiness"), "0");
    if (write(join(folder, values[controller][0]), String(values[controller][1]))) folders.set(controller, folder);
    else remove(folder);
  }
  if (folders.size === 0) return null;
  const all = [...folders.values()];
  return { version: 1, controllers: [...folders.keys()], files: all.map((folder) => join(folder, "cgroup.procs")), remove: () => removeWhenEmpty(all) };
}

const text = (path: string): string => tried(() => readFileSync(path, "utf8")) ?? "";
/** Groups of processes that were killed before they could remove them go first. */
function make(folder: string): boolean {
  const parent = dirname(folder);
  const others = tried(() => readdirSync(parent)) ?? [];
  for (const name of others) {
    const pid = /^godwit-(\d+)-\d+$/.exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) remove(join(parent, name));
  }
  return did(() => mkdirSync(folder));
}
const write = (path: string, value: string): boolean => did(() => writeFileSync(path, value));
const remove = (folder: string): boolean => did(() => rmdirSync(folder));
const did = (what: () => void): boolean => tried(() => (what(), true)) ?? false;

async function removeWhenEmpty(folders: readonly string[]): Promise<void> {
  for (const folder of folders) {
    for (let round = 0; round < REMOVE_ROUNDS_MAX && !remove(folder); round += 1) await setTimeout(REMOVE_EVERY_MS);
  }
}

function tried<T>(what: () => T): T | undefined {
  try {
    return what();
  } catch {
    return undefined;
  }
}
