/** What a boot test upgrades to: a machine whose card sends nothing, so that it never has an address and waits for one; and whose clock is set by years meanwhile. */
import { Socket } from "node:dgram";
import { setClock } from "#os/linux/power.ts";

const SET_EACH_MS = 20_000;
const YEARS: readonly string[] = ["2096", "1971"];

Socket.prototype.send = () => {};
for (const [index, year] of YEARS.entries()) setTimeout(() => setClock(Date.parse(`${year}-01-01T00:00:00Z`)), SET_EACH_MS * (index + 1));
await import("#os/init.ts");
