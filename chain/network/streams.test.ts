import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { publicKeyOf } from "#chain/crypto.ts";
import { chainId } from "#chain/types.ts";
import { transportSuite } from "#tests/compliance/transport.ts";
import { type StreamTransport, type StreamsOptions, openStreams } from "./streams.ts";

const CHAIN = chainId(new Uint8Array(8).fill(7));
const seed = (n: number): Uint8Array => new Uint8Array(32).fill(n);

function open(n: number, peers: readonly string[], more: Partial<StreamsOptions> = {}): Promise<StreamTransport> {
  return openStreams({ chainId: CHAIN, machineSeed: seed(n), validatorSeed: seed(n + 100), listen: ["/ip4/127.0.0.1/tcp/0"], peers, validators: [], ...more });
}
async function until(what: string, holds: () => boolean, timeoutMs = 60_000): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!holds()) {
    assert.ok(performance.now() < endMs, what);
    await sleep(5);
  }
}

transportSuite("libp2p", async () => {
  const a = await open(1, []);
  const b = await open(2, a.listening());
  const c = await open(3, [...a.listening(), ...b.listening()]);
  const members = [a, b, c] as const;
  await until("a mesh", () => members.every((member) => member.peers().length === 2));
  return {
    members,
    settle: async () => {
      let quiet = 0;
      while (quiet < 4) {
        await sleep(15);
        quiet = members.every((member) => member.queuedBytes === 0) ? quiet + 1 : 0;
      }
    },
    close: async () => { await Promise.all(members.map((member) => member.close())); },
  };
});


test("a transport tells the IP addresses of its grid: those it was told to dial and those that are connected", async (t) => {
  const a = await open(41, ["/ip4/198.51.100.7/tcp/1", "/dns/somewhere.example/tcp/1"]);
  t.after(() => a.close());
  const b = await open(42, a.listening());
  t.after(() => b.close());
  await until("a connection", () => a.peers().length === 1);
  assert.deepEqual([a.addresses().toSorted(), b.addresses()], [["127.0.0.1", "198.51.100.7"], ["127.0.0.1"]]);
});

test("a machine that knows one peer only finds another by way of it, when it looks for it, and no machine that is nobody's", async (t) => {
  const hub = await open(51, []);
  const [a, b] = await Promise.all([52, 53].map((n) => openStreams({ chainId: CHAIN, machineSeed: seed(n), listen: ["/ip4/127.0.0.1/tcp/0"], peers: hub.listening(), validators: [] })));
  t.after(() => Promise.all([hub, a!, b!].map((one) => one.close())));
  await until("a star", () => hub.peers().length === 2 && a!.peers().length === 1 && b!.peers().length === 1);
  const key = hub.machineOf(hub.peers().find((peer) => peer === b!.self)!)!;
  a!.seek(publicKeyOf(seed(99)));
  a!.seek(key);
  await until("a finds b", () => a!.peers().includes(b!.self) && b!.peers().includes(a!.self));
  assert.equal(a!.peers().length, 2);
});
