/** `npm run soak -- [--minutes M] [--connections N] [--json]`: the hostile cast again and again at full load; flat memory and no lost request, or exit 1. */
import { parseArgs } from "node:util";
import { playHostile, soak } from "./run.ts";
import { openStage } from "./stage.ts";

const { values } = parseArgs({ options: { minutes: { type: "string", default: "10" }, connections: { type: "string", default: "16" }, json: { type: "boolean", default: false } } });
const [minutes, connections] = [Number(values.minutes), Number(values.connections)];
if (!(minutes > 0 && minutes <= 1_440) || !(Number.isInteger(connections) && connections >= 1 && connections <= 512)) {
  console.error("usage: npm run soak -- [--minutes M] [--connections N] [--json]");
  process.exit(2);
}
await using stage = await openStage(connections);
const { guests } = await playHostile({ short: true, stage });
const report = await soak({
  seconds: minutes * 60, stage,
  onRound: (rounds, rssBytes) => {
    if (!values.json) console.log(`round ${rounds}: ${(rssBytes / 1_048_576).toFixed(1)} MiB`);
  },
});
console.log(JSON.stringify({ connections, ...report }, null, values.json ? 2 : 0));
process.exitCode = report.ok && guests.every(({ ok }) => ok) ? 0 : 1;
