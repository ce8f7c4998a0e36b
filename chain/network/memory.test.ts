import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "#tests/compliance/manualClock.ts";
import { transportSuite } from "#tests/compliance/transport.ts";
import { MemoryNetwork } from "./memory.ts";
import { peerId } from "./transport.ts";

const A = peerId(Uint8Array.of(1));
const B = peerId(Uint8Array.of(2));
const C = peerId(Uint8Array.of(3));

transportSuite("in memory", async () => {
  const clock = new ManualClock();
  const network = new MemoryNetwork({ clock, delayMsMin: 1, delayMsMax: 50, seed: 7 });
  const members = [network.join(A), network.join(B), network.join(C)] as const;
  return {
    members,
    settle: async () => clock.advance(5_000),
    close: async () => { for (const member of members) await member.close(); },
  };
});

function run(seed: number): string[] {
  const clock = new ManualClock();
  const network = new MemoryNetwork({ clock, delayMsMin: 1, delayMsMax: 40, lossPerMille: 300, seed });
  const log: string[] = [];
  const members = [A, B, C].map((id) => network.join(id));
  for (const member of members) member.onMessage((from, channel, bytes) => log.push(`${clock.nowMs()} ${from}>${member.self} ${channel} ${bytes[0]}`));
  for (let n = 0; n < 50; n++) {
    members[n % 3]!.broadcast("consensus", Uint8Array.of(n));
    clock.advance(5);
  }
  clock.advance(100);
  return log;
}

test("the same seed gives the same deliveries, another seed others, and about the wanted share is lost", () => {
  assert.deepEqual(run(5), run(5));
  assert.notDeepEqual(run(5), run(6));
  assert.ok(run(5).length > 50 && run(5).length < 90, `${run(5).length} of 100`);
});

test("a cut link carries nothing, a healed one announces the peer, and a member that came back is another process", () => {
  const clock = new ManualClock();
  const network = new MemoryNetwork({ clock, delayMsMin: 10, delayMsMax: 10 });
  const a = network.join(A);
  const b = network.join(B);
  const heard: number[] = [];
  const came: string[] = [];
  b.onMessage((_, __, bytes) => heard.push(bytes[0]!));
  b.onPeer((peer) => came.push(peer));
  clock.advance(1);
  assert.deepEqual(came, [A]);
  a.send(B, "consensus", Uint8Array.of(1));
  network.cut(A, B);
  clock.advance(20);
  assert.equal(a.send(B, "consensus", Uint8Array.of(2)), false);
  assert.deepEqual(a.peers(), []);
  network.heal(A, B);
  clock.advance(20);
  assert.deepEqual(came, [A, A]);
  a.send(B, "consensus", Uint8Array.of(3));
  void b.close();
  const again = network.join(B);
  again.onMessage((_, __, bytes) => heard.push(bytes[0]!));
  clock.advance(20);
  a.send(B, "consensus", Uint8Array.of(4));
  clock.advance(20);
  assert.deepEqual(heard, [4]);
});
