/**
 * `npm run bench:fuel`: what counting instructions costs: workloads/examples/kernels, compiled with fuel and without, in turns.
 *
 * CPU time of the thread, as a shared computer stretches the wall's. The ratio of a kernel is the median of its rounds' ratios.
 *
 *   npm run bench:fuel [-- --short] [--rounds N] [--save]
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { buildComponent } from "#workloads/sdk/build.ts";
import { buildInside, compileTo, inside } from "./inside.ts";
import { computer, median, report, rounded } from "./report.ts";

const KERNELS = ["sha256", "nbody", "json", "sieve", "mandelbrot"];
type Run = { readonly kernel: string; readonly round: number; readonly fuel: number; readonly withMs: number; readonly withoutMs: number };
type Outcome = { readonly cpuUs: number; readonly fuel: number };

const { values } = parseArgs({ options: { short: { type: "boolean", default: false }, save: { type: "boolean", default: false }, rounds: { type: "string" } } });
const rounds = Number(values.rounds ?? (values.short ? 3 : 9));
const on = await computer();
const program = buildInside();
const folder = mkdtempSync(join(tmpdir(), "godwit-bench-"));
try {
  const { component } = await buildComponent(join(import.meta.dirname, "..", "..", "workloads", "examples", "kernels"), "assembly/index.ts", "task");
  const metered = await compileTo(join(folder, "metered"), component, true);
  const bare = await compileTo(join(folder, "bare"), component, false);
  const raw: Run[] = [];
  for (let round = 0; round < rounds; round++)
    for (const kernel of KERNELS) {
      process.stderr.write(`round ${round + 1}/${rounds}: ${kernel}\n`);
      const counted = await inside<Outcome>(program, ["task", metered, "fuel", kernel]);
      const free = await inside<Outcome>(program, ["task", bare, "none", kernel]);
      raw.push({ kernel, round, fuel: counted.fuel, withMs: rounded(counted.cpuUs / 1000, 4), withoutMs: rounded(free.cpuUs / 1000, 4) });
    }
  const kernels = KERNELS.map((kernel) => {
    const rows = raw.filter((row) => row.kernel === kernel);
    return { kernel, fuel: rows[0]!.fuel, withMs: median(rows.map((row) => row.withMs)), withoutMs: median(rows.map((row) => row.withoutMs)), ratio: rounded(median(rows.map((row) => row.withMs / row.withoutMs))) };
  });
  const geometricMean = rounded(Math.exp(kernels.reduce((sum, { ratio }) => sum + Math.log(ratio), 0) / kernels.length));
  report("fuel", { ...on, rounds, geometricMean, kernels, raw }, values.save);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
