/**
 * Load on one HTTP/1.1 server over loopback: C keep-alive connections with one request in flight on each.
 *
 * By wrk (one thread) where it is installed: it takes a third of the CPU time of load.ts, which shares the cores with what is
 * measured. The result says which of the two it was; figures of one are not comparable with those of the other.
 */
import { execFile, spawnSync } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

export type Figures = { readonly requests: number; readonly requestsPerSecond: number; readonly p50Us: number; readonly p99Us: number; readonly errors: number };
export type Generator = "wrk" | "load.ts";

const UNITS: Readonly<Record<string, number>> = { us: 1, ms: 1_000, s: 1_000_000 };
const OUTPUT_BYTES_MAX = 1024 * 1024;
const run = promisify(execFile);

export const generator = (): Generator => (spawnSync("wrk", ["--version"]).error === undefined ? "wrk" : "load.ts");

/** Throws where an answer was not a 2xx: what is refused is faster than what is served. */
export async function load(by: Generator, port: number, host: string, connections: number, seconds: number): Promise<Figures> {
  const figures = await loadBy(by, port, host, connections, seconds);
  if (figures.errors > 0 || figures.requests === 0) throw new Error(`Cannot measure port ${port}: ${figures.errors} errors in ${figures.requests} requests`);
  return figures;
}

async function loadBy(by: Generator, port: number, host: string, connections: number, seconds: number): Promise<Figures> {
  if (by === "load.ts") {
    const { stdout } = await run(process.execPath, [join(import.meta.dirname, "load.ts"), String(port), host, String(connections), String(seconds)], { maxBuffer: OUTPUT_BYTES_MAX });
    return JSON.parse(stdout) as Figures;
  }
  // wrk knows its own header by this spelling; another would make two of them.
  const { stdout } = await run("wrk", ["-t1", `-c${connections}`, `-d${seconds}s`, "--latency", "-H", `Host: ${host}`, `http://127.0.0.1:${port}/`], { maxBuffer: OUTPUT_BYTES_MAX });
  const number = (pattern: RegExp): number => Number(pattern.exec(stdout)?.[1] ?? 0);
  const latencyUs = (percent: number): number => {
    const match = new RegExp(`^\\s*${percent}%\\s+([\\d.]+)(us|ms|s)$`, "m").exec(stdout);
    return match ? Number(match[1]) * UNITS[match[2]!]! : Number.NaN;
  };
  const socketErrors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(stdout)?.slice(1) ?? [];
  return {
    requests: number(/(\d+) requests in/), requestsPerSecond: Math.round(number(/Requests\/sec:\s+([\d.]+)/)), p50Us: latencyUs(50), p99Us: latencyUs(99),
    errors: number(/Non-2xx or 3xx responses: (\d+)/) + socketErrors.reduce((sum, count) => sum + Number(count), 0),
  };
}
