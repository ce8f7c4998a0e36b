/** `npm run hostile -- [--json] [--short]`: each hostile guest, what must come of it, what came, and what its neighbours lost. Exit 1 when something did not. */
import { parseArgs } from "node:util";
import { playHostile } from "./run.ts";

const { values } = parseArgs({ options: { json: { type: "boolean", default: false }, short: { type: "boolean", default: false } } });
const report = await playHostile({
  short: values.short,
  onPlayed: ({ guest, expected, got, ok, ms }) => {
    if (!values.json) console.log(`${ok ? "ok   " : "WRONG"} ${guest.padEnd(48)} ${got}${ok ? "" : ` (expected ${expected})`}, ${ms} ms`);
  },
});
const { neighbour, runnerExits, seconds } = report;
if (values.json) console.log(JSON.stringify(report, null, 2));
else console.log(`neighbour: ${neighbour.requests} requests, ${neighbour.lost} lost, p99 ${neighbour.p99Ms} ms; the runner ended ${runnerExits} times; ${seconds} s`);
process.exitCode = report.ok ? 0 : 1;
