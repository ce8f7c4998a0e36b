import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "#tests/compliance/manualClock.ts";
import { transportSuite } from "#tests/compliance/transport.ts";
import { MemoryNetwork } from "./memory.ts";
import { slowTransport } from "./slow.ts";
import { type PeerId, peerId } from "./transport.ts";

const [A, B, C] = [1, 2, 3].map((n) => peerId(Uint8Array.of(n))) as [PeerId, PeerId, PeerId];

transportSuite("in memory, two of three slow", async () => {
  const clock = new ManualClock();
  const network = new MemoryNetwork({ clock, delayMsMin: 1, delayMsMax: 50, seed: 7 });
  const members = [slowTransport(network.join(A), 300, clock), slowTransport(network.join(B), 40, clock), network.join(C)] as const;
  return {
    members,
    settle: async () => clock.advance(5_000),
    close: async () => { for (const member of members) await member.close(); },
  };
});

test("what a slow member sends arrives so much later, in order, and what it is sent does not", async () => {
  const clock = new ManualClock();
  const network = new MemoryNetwork({ clock, delayMsMin: 1, delayMsMax: 1, seed: 1 });
  const [slow, other] = [slowTransport(network.join(A), 250, clock), network.join(B)];
  const seen: string[] = [];
  const startedMs = clock.nowMs();
  for (const one of [slow, other]) one.onMessage((from, _, bytes) => seen.push(`${from === A ? "slow" : "other"} ${bytes[0]} at ${clock.nowMs() - startedMs}`));
  slow.send(B, "consensus", Uint8Array.of(1));
  other.send(A, "consensus", Uint8Array.of(2));
  clock.advance(100);
  slow.send(B, "consensus", Uint8Array.of(3));
  clock.advance(1_000);
  assert.deepEqual(seen, ["other 2 at 1", "slow 1 at 251", "slow 3 at 351"]);
});
