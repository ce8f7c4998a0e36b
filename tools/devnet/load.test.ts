import assert from "node:assert/strict";
import { once } from "node:events";
import { type RequestListener, type Server, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import test, { type TestContext } from "node:test";
import { addressOf, addressText } from "#chain/codec/address.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import type { Site } from "#tools/chain/machines.ts";
import { eventually } from "#tests/e2e/stage.ts";
import { Load } from "./load.ts";

const keys = [1, 2].map((n) => {
  const seed = new Uint8Array(32).fill(n);
  return { seed, publicKey: publicKeyOf(seed), address: addressOf(publicKeyOf(seed)) };
});
const MACHINES = keys.map(({ address }) => address);
const SITE = { directory: "", genesisFile: "", ports: [], accounts: keys, machines: MACHINES } as unknown as Site;

async function serve(t: TestContext, listener: RequestListener): Promise<number> {
  const server: Server = createServer(listener).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** Two machines with one replica, on the first; what the second one answers is given. */
async function stage(t: TestContext, answer: () => Promise<number>): Promise<Load> {
  const api = await serve(t, (_, response) => void response.end(JSON.stringify({ revision: 1, leases: [{ machine: addressText(MACHINES[0]!), state: "ready", revision: 1 }] })));
  const ingress = [async (): Promise<number> => 200, answer].map((one) => serve(t, (_, response) => void one().then((status) => response.writeHead(status).end('{"code":"no_replica"}'))));
  const places = (await Promise.all(ingress)).map((httpPort) => ({ api: `http://127.0.0.1:${api}`, httpPort }));
  const load = new Load(SITE, places, { id: "d", host: "d.localhost" });
  load.start();
  t.after(() => load.stop());
  return load;
}

test("a request that fails at a machine that is well, and runs no replica, counts while one survives elsewhere", async (t) => {
  const load = await stage(t, async () => 503);
  await eventually("it is told", async () => load.failed.length > 0);
  assert.deepEqual([load.failed[0]!.machine, load.failed[0]!.status, load.failed[0]!.code], [1, 503, "no_replica"]);
});

test("a request that fails does not count when its machine, or the last replica's, was not well for a moment meanwhile", async (t) => {
  for (const spared of [1, 0]) {
    let [asked, release] = [0, (): void => {}];
    const held = new Promise<void>((resolve) => (release = resolve));
    const load = await stage(t, async () => {
      asked += 1;
      await held;
      return 503;
    });
    await eventually("all its clients wait", async () => asked === 2);
    load.spare([0, 1]);
    load.count([1 - spared]);
    release();
    await load.settled();
    assert.deepEqual(load.failed, []);
    await load.stop();
  }
});
