/** Transactions through everybody: checked before they are passed on. And a LAN on which machines find each other. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type StreamTransport, openStreams } from "#chain/network/streams.ts";
import type { FloodVerdict, PeerId } from "#chain/network/transport.ts";
import { chainId } from "#chain/types.ts";

const CHAIN = chainId(new Uint8Array(8).fill(7));

async function open(t: TestContext, seed: number, peers: readonly string[]): Promise<StreamTransport> {
  const node = await openStreams({ chainId: CHAIN, machineSeed: new Uint8Array(32).fill(seed), listen: ["/ip4/127.0.0.1/tcp/0"], peers, validators: [], floods: true });
  t.after(() => node.close());
  return node;
}
async function until(what: string, holds: () => boolean, timeoutMs = 60_000): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!holds()) {
    assert.ok(performance.now() < endMs, what);
    await sleep(10);
  }
}

test("a message goes from one to all through those between, and what is rejected goes no further", async (t) => {
  // A line: the last is not connected to the first.
  const first = await open(t, 1, []);
  const middle = await open(t, 2, first.listening());
  const last = await open(t, 3, middle.listening());
  await until("a line", () => first.peers().length === 1 && middle.peers().length === 2 && last.peers().length === 1);
  const heard = new Map<StreamTransport, [PeerId, number][]>([[first, []], [middle, []], [last, []]]);
  for (const [node, list] of heard) {
    node.flood!.onMessage(async (from, bytes): Promise<FloodVerdict> => {
      list.push([from, bytes[0]!]);
      await sleep(5);
      return bytes[0]! < 100 ? "accept" : "reject";
    });
  }
  // The mesh grows with gossipsub's heartbeats.
  await until("the last one hears of the first", () => {
    first.flood!.publish(Uint8Array.of(1, heard.get(last)!.length, Math.floor(performance.now()) & 0xff, Math.floor(performance.now() / 256) & 0xff));
    return heard.get(last)!.length > 0;
  });
  assert.equal(heard.get(last)![0]![0], middle.self, "who handed it on is the neighbour");
  heard.get(last)!.length = 0;
  first.flood!.publish(Uint8Array.of(200));
  await until("the middle one judges it", () => heard.get(middle)!.some(([, kind]) => kind === 200));
  first.flood!.publish(Uint8Array.of(50));
  await until("a good one after it arrives", () => heard.get(last)!.some(([, kind]) => kind === 50));
  assert.equal(heard.get(last)!.some(([, kind]) => kind === 200), false);
});
