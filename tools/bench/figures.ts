/**
 * `npm run bench:figures`: writes sandbox/FIGURES.md and chain/FIGURES.md from what the benchmarks have saved (`--save`) in the bench
 * folders beside them, so that no figure in them was typed by hand. A figure that misses its bar says so.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pick } from "#tools/claims.ts";

type Row = { readonly what: string; readonly folder: "sandbox" | "chain"; readonly bench: string; readonly path: string; readonly unit: string; readonly bar: number; readonly better: "higher" | "lower" };

const ROOT = join(import.meta.dirname, "..", "..");
const http = (what: string, path: string, bar: number): Row => ({ what, folder: "sandbox", bench: "http", path, unit: "×", bar, better: "higher" });
const both = (what: string, ratio: string, bar: number): Row[] => [16, 64].map((connections, index) => http(`${what}, ${connections} connections`, `summary.${index + 1}.ratios.${ratio}`, bar));
const lower = (what: string, bench: string, path: string, unit: string, bar: number): Row => ({ what, folder: "sandbox", bench, path, unit, bar, better: "lower" });
const chain = (what: string, path: string, unit: string, bar: number, better: Row["better"] = "lower"): Row => ({ what, folder: "chain", bench: "chain", path: `results.${path}`, unit, bar, better });

const ROWS: readonly Row[] = [
  ...both("hello, a fresh instance for each request, all limits and the jail on: requests/s beside `wasmtime serve` with its defaults", "freshToServe", 3),
  ...both("the same beside `wasmtime serve` with its pool tuned as ours", "freshToServeTuned", 1.7),
  ...[16, 64].map((connections, index) => lower(`the same, p99 latency beside tuned, ${connections} connections`, "http", `summary.${index + 1}.p99Ratios.freshToServeTuned`, "×", 1)),
  ...both("the same, requests/s beside bare `node:http`", "freshToNode", 0.7),
  ...both("one instance for many requests (`reuse`) beside `wasmtime serve` that reuses", "reuseToServeReuse", 1.3),
  ...both("the same beside workerd", "reuseToWorkerd", 3),
  ...both("hello beside 4 endless neighbours, against alone", "besideEndlessToAlone", 0.9),
  lower("an instance made and dropped, warm, p50", "start", "instantiateAndDropUs.p50", "µs", 10),
  lower("first request of a deployment that is not mapped, p50", "start", "firstRequestMs.p50", "ms", 1),
  lower("the same, p99", "start", "firstRequestMs.p99", "ms", 5),
  lower("compile of hello, start of the process included, p50", "start", "compileMs.p50", "ms", 40),
  lower("SIGKILL of the runner → a client has its answer, 100 deployments, p50", "start", "respawn.0.answeredMs.p50", "ms", 50),
  lower("the same, 1,000 deployments", "start", "respawn.1.answeredMs.p50", "ms", 150),
  lower("10,000 deployments known, 2,000 instances resident", "density", "withInstances.residentMib", "MiB", 1024),
  lower("memory maps of that (a process may have 65,530)", "density", "withInstances.maps", "", 65_530),
  lower("an idle instance that lives", "density", "live.kibEach", "KiB", 48),
  lower("10,000 idle connections, half of them served once", "idle", "mib", "MiB", 200),
  lower("fuel, geometric mean of five programs, against the same without", "fuel", "geometricMean", "×", 1.2),
  lower("runner, stripped", "start", "sizesMb.runner", "MB", 6),
  lower("addon, stripped", "start", "sizesMb.addon", "MB", 16),
];

const CHAIN_ROWS: readonly Row[] = [
  chain("finality at 500 transfers/s for 60 s, four validators as processes on loopback, p50: handed to one, told by another", "finality.finalityMs.p50", "ms", 200),
  chain("the same, p99", "finality.finalityMs.p99", "ms", 350),
  chain("resident memory of the four meanwhile, at most", "finality.rssSumMib", "MiB", 600),
  chain("idle chain, one transaction, p50", "idle.finalityMs.p50", "ms", 80),
  chain("transfers final each second for 60 s, the same four", "sustained.perSecond", "/s", 2_500, "higher"),
  chain("CPU of a transfer, all four nodes together", "sustained.cpuUsPerTransfer", "µs", 750),
  chain("transfers final each second on one validator", "alone.perSecond", "/s", 5_000, "higher"),
  chain("longest gap in finality after kill −9 of one of four, Δ = 100 ms, worst of several", "kill.longestGapMs", "ms", 800),
  chain("16 validators in a simulated LAN: transaction → final on all, p99", "lan.transactionFinalMs.p99", "ms", 500),
  chain("chain load of an idle machine, 10^5 accounts", "load.cpuPercentOfOneCore", "% of a core", 1.5),
  chain("its memory above bare Node, the largest of four", "load.aboveBareMib", "MiB", 80),
  chain("a block with nothing in it where 10^6 streams run: more CPU than where none does", "streams.more", "ms", 0.1),
  chain("a new node joins from a snapshot of 10^5 accounts: start of its process → where the others are", "load.joinSeconds", "s", 10),
];

const saved = (bench: string, folder: Row["folder"] = "sandbox"): Record<string, unknown> | null => {
  const file = join(ROOT, folder, "bench", `${bench}.json`);
  return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>) : null;
};

/** With its summaries where `bench:http` has them when nobody says how many connections: what was saved may leave some out. */
function inOrder(run: Record<string, unknown> | null): Record<string, unknown> | null {
  const summary = run?.["summary"];
  if (!Array.isArray(summary)) return run;
  const of = (count: number): unknown => summary.find((at: { connections?: number }) => at.connections === count);
  return { ...run, summary: [1, 16, 64].map(of) };
}

function line({ what, folder, bench, path, unit, bar, better }: Row): string {
  const value = pick(inOrder(saved(bench, folder)), path);
  const must = `${better === "higher" ? "≥" : "≤"} ${bar} ${unit}`.trim();
  if (value === null) return `| ${what} | ${must} | not measured | \`npm run bench:${bench}\` |`;
  const holds = better === "higher" ? value >= bar : value <= bar;
  const claim = JSON.stringify({ run: `bench:${bench}`, path, value, better });
  return `| ${what} | ${must} | ${`${Number(value.toPrecision(3))} ${unit}`.trim()}${holds ? "" : ": **missed**"} | \`npm run bench:${bench}\` <!-- claim ${claim} --> |`;
}

/** How the runs were made, of each benchmark that is saved. */
function runs(folder: Row["folder"], benches: readonly string[]): string[] {
  return benches.flatMap((bench) => {
    const run = saved(bench, folder);
    if (run === null) return [];
    const busy = run["isQuiet"] === true ? "" : `; ${used(run)}, so this is not to be quoted`;
    return [`- \`${bench}\`: commit ${String(run["commit"])}, ${String(run["cores"])} cores of ${String(run["cpu"])}, Linux ${String(run["kernel"])}, Node ${String(run["node"])}${busy}.`];
  });
}

/** Just before it began; an older run has no such share. */
function used(run: Record<string, unknown>): string {
  const share = run["othersShare"];
  return typeof share === "number" ? `others used ${(100 * share).toFixed(0)} % of the computer` : "what others used of the computer is not known";
}

function absolute(): string[] {
  const summary = saved("http")?.["summary"];
  if (!Array.isArray(summary)) return [];
  const rows = summary.flatMap((at: { connections: number; servers: Record<string, Record<string, number>> }) =>
    Object.entries(at.servers).map(([name, row]) => `| ${name} | ${at.connections} | ${row["requestsPerSecond"]} | ${row["p50Us"]} | ${row["p99Us"]} | ${row["cpuUsPerRequest"]} |`));
  return ["## Requests of hello", "", "| server | connections | requests/s | p50 µs | p99 µs | CPU µs per request |", "|---|---|---|---|---|---|", ...rows, ""];
}

function kernels(): string[] {
  const list = saved("fuel")?.["kernels"];
  if (!Array.isArray(list)) return [];
  const rows = list.map((row: Record<string, number | string>) => `| ${row["kernel"]} | ${row["fuel"]} | ${row["withMs"]} | ${row["withoutMs"]} | ${row["ratio"]} |`);
  return ["## Fuel", "", "| program | fuel | ms with | ms without | ratio |", "|---|---|---|---|---|", ...rows, ""];
}

const text = [
  "# Figures of the sandbox", "",
  "Written by `npm run bench:figures` from the raw figures in [bench/](bench), which `npm run bench:http`, `bench:start`, `bench:density`,", "`bench:idle` and `bench:fuel` keep with `-- --save`. Peers come from `npm run bench:peers`, pinned, and run in turns with ours under the same load; ratios are", "medians over the rounds. `npm run claims` runs the commands again.", "",
  "| what | must be | is | command |", "|---|---|---|---|", ...ROWS.map(line), "",
  ...runs("sandbox", ["http", "start", "density", "idle", "fuel"]), "", ...absolute(), ...kernels(),
].join("\n").trimEnd();
const chainText = [
  "# Figures of the chain", "",
  "Written by `npm run bench:figures` from the raw figures in [bench/](bench), which `npm run bench:chain -- --save` keeps. The four validators and their client share", "the cores of one computer; every transfer is signed, checked by each of the four, and in a state root. What is beyond the bars' reach and why: [README.md](README.md).", "",
  "| what | must be | is | command |", "|---|---|---|---|", ...CHAIN_ROWS.map(line), "", ...runs("chain", ["chain"]),
].join("\n").trimEnd();
for (const [folder, written] of [["sandbox", text], ["chain", chainText]] as const) writeFileSync(join(ROOT, folder, "FIGURES.md"), `${written}\n`);
process.stdout.write(`${text}\n\n${chainText}\n`);
