/**
 * What every transport must do, whichever twin it is: `transportSuite("name", makeRig)` runs it. A rig connects three members
 * and can wait until nothing is under way.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MESSAGE_BYTES_MAX } from "#chain/constants.ts";
import { QUEUE_BYTES_MAX } from "#chain/network/limits.ts";
import { CHANNELS, type Channel, type PeerId, type Transport } from "#chain/network/transport.ts";

export type TransportRig = {
  readonly members: readonly [Transport, Transport, Transport];
  /** Until everything sent has arrived or is lost. */
  settle(): Promise<void>;
  close(): Promise<void>;
};
type Arrival = { readonly to: PeerId; readonly from: PeerId; readonly channel: Channel; readonly bytes: Uint8Array };

export function transportSuite(name: string, makeRig: () => Promise<TransportRig>): void {
  const promise = (what: string, check: (rig: TransportRig, arrivals: Arrival[]) => Promise<void>): void => {
    test(`${name}: ${what}`, async () => {
      const rig = await makeRig();
      const arrivals: Arrival[] = [];
      for (const member of rig.members) member.onMessage((from, channel, bytes) => arrivals.push({ to: member.self, from, channel, bytes }));
      try {
        await check(rig, arrivals);
      } finally {
        await rig.close();
      }
    });
  };

  promise("a message arrives once, whole, from who sent it, on its channel", async ({ members: [a, b], settle }, arrivals) => {
    for (const channel of CHANNELS) assert.equal(a.send(b.self, channel, Uint8Array.of(1, 2, 3)), true);
    assert.equal(arrivals.length, 0, "no listener runs before send() has returned");
    await settle();
    assert.deepEqual(arrivals.map(({ channel }) => channel).sort(), [...CHANNELS].sort());
    for (const arrival of arrivals) assert.deepEqual(arrival, { to: b.self, from: a.self, channel: arrival.channel, bytes: Uint8Array.of(1, 2, 3) });
  });

  promise("peers() are the others, broadcast() reaches each of them and not oneself", async ({ members, settle }, arrivals) => {
    const [a, b, c] = members;
    assert.deepEqual([...a.peers()].sort(), [b.self, c.self].sort());
    assert.equal(a.broadcast("consensus", Uint8Array.of(9)), 2);
    await settle();
    assert.deepEqual(arrivals.map(({ to }) => to).sort(), [b.self, c.self].sort());
  });

  promise("messages of one channel keep their order", async ({ members: [a, b, c], settle }, arrivals) => {
    for (let n = 0; n < 200; n++) {
      a.send(b.self, "consensus", Uint8Array.of(n));
      c.send(b.self, "consensus", Uint8Array.of(n));
    }
    await settle();
    for (const from of [a.self, c.self]) {
      assert.deepEqual(arrivals.filter((one) => one.from === from).map(({ bytes }) => bytes[0]), Array.from({ length: 200 }, (_, n) => n));
    }
  });

  promise("bytes that the sender or one receiver changes later reach nobody else", async ({ members: [a, b, c], settle }, arrivals) => {
    const bytes = Uint8Array.of(1);
    b.onMessage((_, __, received) => { received[0] = 7; });
    a.broadcast("consensus", bytes);
    bytes[0] = 2;
    await settle();
    assert.deepEqual(arrivals.filter(({ to }) => to === c.self).map((one) => one.bytes[0]), [1]);
  });

  promise("an empty message and the largest one arrive; a larger one is refused", async ({ members: [a, b], settle }, arrivals) => {
    assert.equal(a.send(b.self, "sync", new Uint8Array(0)), true);
    assert.equal(a.send(b.self, "sync", new Uint8Array(MESSAGE_BYTES_MAX).fill(3)), true);
    assert.equal(a.send(b.self, "sync", new Uint8Array(MESSAGE_BYTES_MAX + 1)), false);
    await settle();
    assert.deepEqual(arrivals.map(({ bytes }) => bytes.length), [0, MESSAGE_BYTES_MAX]);
    assert.ok(arrivals[1]!.bytes.every((byte) => byte === 3));
  });

  promise("what waits for one peer on one channel is bounded, and nobody else pays", async ({ members: [a, b, c], settle }, arrivals) => {
    const message = new Uint8Array(MESSAGE_BYTES_MAX);
    let taken = 0;
    while (a.send(b.self, "transactions", message) && taken < 1000) taken++;
    assert.ok(taken > 0 && taken <= QUEUE_BYTES_MAX / MESSAGE_BYTES_MAX, `${taken} messages`);
    assert.equal(a.send(b.self, "consensus", Uint8Array.of(1)), true);
    assert.equal(a.send(c.self, "transactions", Uint8Array.of(1)), true);
    await settle();
    assert.equal(arrivals.length, taken + 2);
    assert.equal(a.send(b.self, "transactions", message), true);
  });

  promise("unknown peers and oneself are refused", async ({ members: [a] }) => {
    assert.equal(a.send("00" as PeerId, "consensus", Uint8Array.of(1)), false);
    assert.equal(a.send(a.self, "consensus", Uint8Array.of(1)), false);
  });

  promise("a peer that is reported for what no honest one sends is disconnected, and only from who reported it", async ({ members: [a, b, c], settle }, arrivals) => {
    a.report(b.self, "useless");
    assert.equal(a.send(b.self, "consensus", Uint8Array.of(1)), true, "a small thing costs no connection");
    await settle();
    a.report(b.self, "forged");
    await settle();
    assert.deepEqual([a.peers(), a.send(b.self, "consensus", Uint8Array.of(2))], [[c.self], false]);
    assert.equal(b.send(a.self, "consensus", Uint8Array.of(3)), false);
    assert.equal(b.send(c.self, "consensus", Uint8Array.of(4)), true);
    await settle();
    assert.deepEqual(arrivals.map(({ bytes }) => bytes[0]), [1, 4]);
  });

  promise("a listener that was removed, or whose member closed, hears nothing", async ({ members: [a, b], settle }, arrivals) => {
    const heard: number[] = [];
    const remove = b.onMessage((_, __, bytes) => heard.push(bytes[0]!));
    a.send(b.self, "consensus", Uint8Array.of(1));
    await settle();
    remove();
    a.send(b.self, "consensus", Uint8Array.of(2));
    await settle();
    await b.close();
    a.send(b.self, "consensus", Uint8Array.of(3));
    await settle();
    assert.deepEqual(heard, [1]);
    assert.deepEqual(arrivals.map(({ bytes }) => bytes[0]), [1, 2]);
    assert.equal(b.send(a.self, "consensus", Uint8Array.of(4)), false);
    assert.deepEqual(b.peers(), []);
  });
}
