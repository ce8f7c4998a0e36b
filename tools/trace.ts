/**
 * Reads the log of a run of consensus by a second understanding of the rules: `node tools/trace.ts FILE [--json]`. Says how many
 * actions obeyed which rule, and every action that no rule allows; exit code 1 when there is one. `npm run simulate -- --trace FILE`
 * writes such a log, and so does a node that is asked to (`NodeOptions.trace`).
 */

import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { Trace } from "#tests/simulation/trace.ts";

const { values, positionals } = parseArgs({ allowPositionals: true, options: { json: { type: "boolean", default: false } } });
const [path] = positionals;
if (path === undefined || positionals.length > 1) {
  console.error("usage: trace FILE [--json]");
  process.exitCode = 2;
} else {
  const trace = new Trace();
  for await (const line of createInterface({ input: createReadStream(path) })) trace.read(line);
  const obeyed = Object.fromEntries([...trace.obeyed].toSorted(([a], [b]) => Number(a.slice(1)) - Number(b.slice(1))));
  if (values.json) console.log(JSON.stringify({ obeyed, violations: trace.violations }));
  else {
    for (const [rule, count] of Object.entries(obeyed)) console.log(`${rule}: ${count}`);
    for (const { line, node, action, why } of trace.violations) console.log(`line ${line}, node ${node}: ${action}: ${why}`);
  }
  if (trace.violations.length > 0) process.exitCode = 1;
}
