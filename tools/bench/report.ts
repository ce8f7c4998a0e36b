/** What all benchmarks share: medians, the computer they ran on, JSON on stdout, and `--save` into the folder that states the figures. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, loadavg, release } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "..", "..");
const SAVED_BYTES_MAX = 100_000;
/** A computer that does other things beside: figures of it are not to be published. */
const QUIET_LOAD_MAX = 0.5;

export function quantile(values: readonly number[], fraction: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * fraction))] ?? Number.NaN;
}
export const median = (values: readonly number[]): number => quantile(values, 0.5);
export const rounded = (value: number, digits = 3): number => Number(value.toPrecision(digits));

/** Taken before the benchmark begins, so that its own load is not counted. */
export function computer(): { cores: number; cpu: string; kernel: string; node: string; load1: number; isQuiet: boolean } {
  const load1 = loadavg()[0] ?? Number.NaN;
  return { cores: cpus().length, cpu: cpus()[0]?.model ?? "", kernel: release(), node: process.version, load1: rounded(load1), isQuiet: load1 <= QUIET_LOAD_MAX };
}

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
