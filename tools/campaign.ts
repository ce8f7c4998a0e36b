/**
 * The long night of the simulator: every scenario for many seeds, spread over processes, one line of JSON per piece.
 *
 *     npm run simulate:campaign [-- --seeds 5000 --workers 2 --out FILE --minutes 600]
 *
 * With `--out` the lines go to a file, and a second run goes on where the first stopped. It ends after so many minutes, whatever is
 * left. Exit code 1 when a seed was bad.
 */

import { spawn } from "node:child_process";
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { commit } from "#tests/simulation/commit.ts";
import { SCENARIOS } from "#tests/simulation/scenarios.ts";

/** A worker's piece: long enough that starting a process costs nothing, short enough to lose when it is stopped. */
const PIECE_SEEDS = 250;

type Piece = { readonly scenario: string; readonly from: number; readonly to: number };
type Line = Piece & { readonly commit: string; readonly bad: readonly { seed: number; faults: readonly string[] }[]; readonly steps: number; readonly blocksMin: number; readonly seconds: number };

const { values } = parseArgs({ options: {
  seeds: { type: "string", default: "5000" }, workers: { type: "string", default: "2" }, out: { type: "string" }, minutes: { type: "string", default: "600" },
} });
const endsMs = performance.now() + Number(values.minutes) * 60_000;
const now = commit();
const lines: Line[] = values.out !== undefined && existsSync(values.out) ? readFileSync(values.out, "utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line) as Line) : [];
const nameOf = ({ scenario, from, to }: Piece): string => `${scenario} ${from}..${to}`;
const done = new Set(lines.filter((line) => line.commit === now).map(nameOf));
const pieces: Piece[] = [];
// Seeds first: when the time is up every scenario had its share.
for (let from = 1; from <= Number(values.seeds); from += PIECE_SEEDS) {
  for (const { name } of SCENARIOS) pieces.push({ scenario: name, from, to: Math.min(from + PIECE_SEEDS - 1, Number(values.seeds)) });
}

async function work(): Promise<void> {
  for (let piece = pieces.shift(); piece && performance.now() < endsMs; piece = pieces.shift()) {
    if (done.has(nameOf(piece))) continue;
    const line = await run(piece);
    lines.push(line);
    if (values.out === undefined) console.log(JSON.stringify(line));
    else appendFileSync(values.out, `${JSON.stringify(line)}\n`);
  }
}

function run(piece: Piece): Promise<Line> {
  const startedMs = performance.now();
  const child = spawn(process.execPath, [join(import.meta.dirname, "simulate.ts"), "--json", "--scenario", piece.scenario, "--seeds", `${piece.from}..${piece.to}`], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", () => {
      const outcomes = text.split("\n").filter(Boolean).map((one) => JSON.parse(one) as { seed: number; faults: string[]; steps: number; blocksAfterGst: number });
      if (outcomes.length !== piece.to - piece.from + 1) return reject(new Error(`${nameOf(piece)} ended after ${outcomes.length} seeds`));
      resolve({
        ...piece, commit: now, bad: outcomes.filter(({ faults }) => faults.length > 0).map(({ seed, faults }) => ({ seed, faults })),
        steps: outcomes.reduce((sum, one) => sum + one.steps, 0), blocksMin: Math.min(...outcomes.map((one) => one.blocksAfterGst)), seconds: Math.round((performance.now() - startedMs) / 100) / 10,
      });
    });
  });
}

await Promise.all(Array.from({ length: Number(values.workers) }, work));
const counted = lines.filter((line) => line.commit === now);
const sum = (of: (line: Line) => number): number => counted.reduce((total, line) => total + of(line), 0);
console.log(JSON.stringify({
  commit: now, scenarios: SCENARIOS.length, seeds: sum((line) => line.to - line.from + 1), bad: sum((line) => line.bad.length), steps: sum((line) => line.steps), left: pieces.length,
}));
if (counted.some((line) => line.bad.length > 0)) process.exitCode = 1;
