/** What all benchmarks share: medians, the computer they ran on, JSON on stdout, and `--save` into the folder that states the figures. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { cpus, loadavg, release } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const ROOT = join(import.meta.dirname, "..", "..");
const SAVED_BYTES_MAX = 100_000;
/** Of the CPU time of all cores, what others may use: figures of a computer that does more beside are not to be published. */
export const OTHERS_SHARE_MAX = 0.05;
/** Long enough for 400 ticks on two cores, so that one tick is a quarter of a percent. */
const OTHERS_WINDOW_MS = 2_000;
/** What went before (a build, another benchmark) ends within that, or is somebody else's work. */
const QUIET_WAIT_MS_MAX = 60_000;

export function quantile(values: readonly number[], fraction: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * fraction))] ?? Number.NaN;
}
export const median = (values: readonly number[]): number => quantile(values, 0.5);
export const rounded = (value: number, digits = 3): number => Number(value.toPrecision(digits));

export type Others = {
  /** Of the CPU time of all cores in the seconds just before, what was not idle. */
  readonly othersShare: number;
  /** As the system tells it: a mean over a minute, so that a benchmark raises it for the next one. Nothing is judged by it. */
  readonly load1: number;
  readonly isQuiet: boolean;
};
/** Of parts that were measured one by one: quiet when each is known to have been. */
export function worstOf(parts: readonly Partial<Others>[]): Others {
  const most = (of: "othersShare" | "load1"): number => Math.max(...parts.map((part) => part[of] ?? Number.NaN));
  return { othersShare: most("othersShare"), load1: most("load1"), isQuiet: parts.every(({ isQuiet }) => isQuiet === true) };
}

type Hardware = { readonly cores: number; readonly cpu: string; readonly kernel: string; readonly node: string };

/** Share of the CPU time between two readings of /proc/stat in which cores were not idle: what a hypervisor took counts as used. */
export function shareUsed(before: string, after: string): number {
  const ticks = (text: string): { all: number; idle: number } => {
    const fields = /^cpu +(.+)$/m.exec(text)?.[1]?.split(" ").map(Number).slice(0, 8) ?? []; // What guests had is in user and nice already.
    return { all: fields.reduce((sum, value) => sum + value, 0), idle: (fields[3] ?? Number.NaN) + (fields[4] ?? Number.NaN) };
  };
  const [from, to] = [ticks(before), ticks(after)];
  return 1 - (to.idle - from.idle) / (to.all - from.all);
}

type Watched = { readonly read?: () => string; readonly wait?: (ms: number) => Promise<unknown> };
/** What others use of this computer, to be asked just before something is measured; it waits a while for them to end. */
export async function others({ read = () => readFileSync("/proc/stat", "utf8"), wait = sleep }: Watched = {}): Promise<Others> {
  for (let waitedMs = 0; ;) {
    const before = read();
    await wait(OTHERS_WINDOW_MS);
    waitedMs += OTHERS_WINDOW_MS;
    const share = shareUsed(before, read());
    const isQuiet = share <= OTHERS_SHARE_MAX;
    if (isQuiet || waitedMs >= QUIET_WAIT_MS_MAX) return { othersShare: rounded(share), load1: rounded(loadavg()[0] ?? Number.NaN), isQuiet };
  }
}

export const hardware = (): Hardware => ({ cores: cpus().length, cpu: cpus()[0]?.model ?? "", kernel: release(), node: process.version });
/** What it is measured on, and what others use of that as the benchmark begins. */
export const computer = async (): Promise<Hardware & Others> => ({ ...hardware(), ...(await others()) });

/** Prints `result`; with `isSaved` it is kept too. */
export function report(bench: string, result: object, isSaved: boolean, folder: Folder = "sandbox"): void {
  if (isSaved) save(bench, result, folder);
  process.stdout.write(`${JSON.stringify({ bench, ...result }, null, 1)}\n`);
}

type Folder = "sandbox" | "chain";
/** Keeps `result` beside the README that states its figures, with the commit it is of. */
export function save(bench: string, result: object, folder: Folder): void {
  const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { cwd: import.meta.dirname, encoding: "utf8" }).trim();
  const kept = `${JSON.stringify({ bench, commit, at: new Date().toISOString(), ...result })}\n`.replaceAll(/},\{/g, "},\n{");
  if (kept.length > SAVED_BYTES_MAX) throw new Error(`Cannot save ${bench}: ${kept.length} bytes are more than ${SAVED_BYTES_MAX}`);
  const saved = join(ROOT, folder, "bench");
  mkdirSync(saved, { recursive: true });
  writeFileSync(join(saved, `${bench}.json`), kept);
}

/** User and system time that a process has had, in µs; its children are not counted. */
export function cpuUs(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
    return (Number(fields[11]) + Number(fields[12])) * 10_000; // ticks of 10 ms
  } catch {
    return Number.NaN;
  }
}

/** Lines of a field of /proc/PID/status, in KiB. */
export function statusKib(pid: number, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? Number.NaN);
}

/** A process and whatever it started that is there now. */
export function family(pid: number): number[] {
  const children = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map(Number).filter((one) => parentOf(one) === pid);
  return [pid, ...children.flatMap(family)];
}

function parentOf(pid: number): number {
  try {
    return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
  } catch {
    return Number.NaN;
  }
}
