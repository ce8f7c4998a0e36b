/**
 * Three machines with a validator each, as real processes on loopback: a request for what runs on one of them is answered by any of them.
 * One stage for all of it, in order.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { allUp, deployTo, readyOn } from "#tools/bench/heal.ts";
import { makeSite, startSiteMachine } from "#tools/chain/machines.ts";
import { needs } from "../require.ts";
import { eventually, http, temporaryFolder } from "./stage.ts";

const MACHINES = 3;
const WAIT_MS = 60_000;

test("any machine serves any host", { timeout: 240_000 }, async (t) => {
  if (!needs(t, "cargo")) return;
  const site = await makeSite(temporaryFolder(t), MACHINES);
  const machines = await Promise.all(site.ports.map((_, index) => startSiteMachine(site, index)));
  t.after(() => Promise.all(machines.map((one) => one.stop("SIGKILL"))));
  await allUp(machines, MACHINES);
  const deployed = await deployTo(site, machines);
  const { host } = deployed;
  const [place] = await eventually("it is ready", () => readyOn(site, machines[0]!.api, deployed), WAIT_MS);

  await t.test("a request for a host that runs elsewhere is answered over an authenticated hop", async () => {
    for (const [index, { httpPort }] of machines.entries()) {
      const answer = await eventually(`machine ${index} passes it on`, async () => {
        const one = await http(httpPort, host, { headers: { "x-forwarded-for": "203.0.113.9" } });
        return one.status === 200 && one;
      }, WAIT_MS);
      assert.match(answer.body, /^Hello/);
      assert.equal(answer.headers.via, index === place ? undefined : "1.1 godwit");
      assert.match(String(answer.headers["x-request-id"]), /^[0-9a-f]{16}$/);
      assert.deepEqual(Object.keys(answer.headers).filter((name) => name.startsWith("godwit-")), []);
    }
    const unknown = await http(machines[(place! + 1) % MACHINES]!.httpPort, `nothing.${host}`);
    assert.equal(unknown.status, 404);
  });
});
