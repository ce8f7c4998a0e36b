/** Peers that break the rules of the wire: disconnected, counted, kept out, and never able to make us hold more than our limits. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { signBinding } from "#chain/codec/hello.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import { CHANNEL_BYTES_MAX, QUEUE_BYTES_MAX, READ_MESSAGES_BURST, STREAMS_PER_PEER_MAX, type Waits } from "#chain/network/limits.ts";
import { type StreamTransport, openStreams } from "#chain/network/streams.ts";
import { type PeerId, peerId } from "#chain/network/transport.ts";
import { chainId } from "#chain/types.ts";
import { Attacker } from "./attacker.ts";

const CHAIN = chainId(new Uint8Array(8).fill(7));
const OTHER_CHAIN = chainId(new Uint8Array(8).fill(8));
const VALIDATOR = new Uint8Array(32).fill(50);
let seeds = 100;

async function victim(t: TestContext, waits: Partial<Waits> = {}): Promise<{ node: StreamTransport; address: string; attack: (reads?: boolean) => Promise<Attacker> }> {
  const node = await openStreams({ chainId: CHAIN, machineSeed: new Uint8Array(32).fill(1), validatorSeed: new Uint8Array(32).fill(2), listen: ["/ip4/127.0.0.1/tcp/0"], peers: [], validators: [], waits });
  t.after(() => node.close());
  const [address] = node.listening();
  const attack = async (reads = true): Promise<Attacker> => {
    const attacker = await Attacker.connect(address!, seeds++, reads);
    t.after(() => attacker.close());
    return attacker;
  };
  return { node, address: address!, attack };
}
async function until(what: string, holds: () => boolean, timeoutMs = 60_000): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!holds()) {
    assert.ok(performance.now() < endMs, what);
    await sleep(5);
  }
}
const nameOf = (attacker: Attacker): PeerId => peerId(attacker.machineKey);
async function greeted(node: StreamTransport, attacker: Attacker): Promise<void> {
  await attacker.greet(CHAIN);
  await until("the greeting is taken", () => node.peers().includes(nameOf(attacker)));
}
const u32 = (n: number): Uint8Array => Uint8Array.of(n >>> 24, n >>> 16, n >>> 8, n);

test("a greeting that is none, of another chain, or with another machine's proof: disconnected, counted, and not let in again", async (t) => {
  const { node, address, attack } = await victim(t);
  const stolen = { publicKey: publicKeyOf(VALIDATOR), signature: signBinding(VALIDATOR, CHAIN, publicKeyOf(new Uint8Array(32).fill(99))) };
  const cases: [keyof ReturnType<StreamTransport["offences"]>, (attacker: Attacker) => Promise<unknown>][] = [
    ["malformed", async (attacker) => (await attacker.open("control")).send(Uint8Array.of(0, 0, 0, 2, 0x81, 0x01))],
    ["wrong_chain", (attacker) => attacker.greet(OTHER_CHAIN)],
    ["forged", (attacker) => attacker.greet(CHAIN, stolen)],
  ];
  for (const [offence, act] of cases) {
    const attacker = await attack();
    const seed = seeds - 1;
    await act(attacker);
    await until(`${offence} is noticed`, () => attacker.isClosed);
    assert.equal(node.offences()[offence], 1);
    const again = await Attacker.connect(address, seed).catch(() => null);
    if (again) {
      t.after(() => again.close());
      await until("it is not let in again", () => again.isClosed);
    }
  }
  assert.deepEqual(node.peers(), []);
});

test("a frame above the channel's size is refused before a byte of it is kept", async (t) => {
  const { node, attack } = await victim(t);
  for (const name of ["consensus", "beats", "control"] as const) {
    const attacker = await attack();
    await greeted(node, attacker);
    const stream = await attacker.open(name);
    stream.send(u32((name === "control" ? 16 * 1024 : CHANNEL_BYTES_MAX[name]) + 1));
    await until(`${name}: noticed`, () => attacker.isClosed);
  }
  assert.equal(node.offences().oversize, 3);
});

test("who does not greet, begins a message and does not end it, or takes nothing of what waits for it, is let go of", async (t) => {
  const { node, attack } = await victim(t, { greetingMs: 600, frameMs: 600, stuckMs: 600 });
  const mute = await attack();
  await until("it did not greet", () => mute.isClosed);
  assert.deepEqual(node.offences(), {});

  const slow = await attack();
  await greeted(node, slow);
  const stream = await slow.open("consensus");
  stream.send(Uint8Array.of(0, 0, 1, 0, 5));
  await until("it was slow", () => slow.isClosed);
  assert.equal(node.offences().slow, 1);

  const deaf = await attack(false);
  await greeted(node, deaf);
  const message = new Uint8Array(CHANNEL_BYTES_MAX.consensus);
  let taken = 0;
  for (; taken < 10_000 && !deaf.isClosed; taken++) {
    if (!node.send(nameOf(deaf), "consensus", message)) break;
    assert.ok(node.queuedBytes <= QUEUE_BYTES_MAX + 1024);
    await sleep(1);
  }
  assert.ok(taken * message.length <= 3 * QUEUE_BYTES_MAX, `${taken} MiB were taken for a peer that reads nothing`);
  await until("it took nothing", () => deaf.isClosed);
  assert.deepEqual([node.offences().slow, node.queuedBytes], [2, 0]);
});

test("a flood of small messages costs the flooder its connection, and us neither memory nor the others", async (t) => {
  const { node, attack } = await victim(t);
  const honest = await attack();
  await greeted(node, honest);
  const flooder = await attack();
  await greeted(node, flooder);
  let heard = 0;
  node.onMessage((from) => { if (from === nameOf(flooder)) heard++; });
  const stream = await flooder.open("consensus");
  const frames = new Uint8Array(8 * 1024);
  for (let at = 0; at < frames.length; at += 8) frames.set([0, 0, 0, 4], at);
  const before = process.memoryUsage();
  for (let n = 0; n < 200 && !flooder.isClosed; n++) {
    try {
      if (!stream.send(frames)) await stream.onDrain({ signal: AbortSignal.timeout(2_000) });
    } catch {
      break;
    }
    await sleep(0);
  }
  await until("the flood is noticed", () => flooder.isClosed);
  const after = process.memoryUsage();
  assert.equal(node.offences().flood, 1);
  assert.ok(heard <= READ_MESSAGES_BURST * 1.5, `${heard} were heard`);
  assert.ok(after.arrayBuffers - before.arrayBuffers < 64 * 2 ** 20);
  assert.deepEqual(node.peers(), [nameOf(honest)]);
});

test("one peer opens so many streams and no more; what is half sent on all of them is bounded", async (t) => {
  const { node, attack } = await victim(t);
  const attacker = await attack();
  await greeted(node, attacker);
  const streams: Awaited<ReturnType<Attacker["open"]>>[] = [];
  for (let n = 0; n < 3 * STREAMS_PER_PEER_MAX; n++) {
    try {
      const stream = await attacker.open("sync");
      streams.push(stream);
      stream.send(u32(CHANNEL_BYTES_MAX.sync));
      stream.send(new Uint8Array(CHANNEL_BYTES_MAX.sync - 1));
      await sleep(5);
    } catch {
      // Refused.
    }
  }
  await sleep(300);
  assert.ok(streams.filter(({ status }) => status === "open").length <= STREAMS_PER_PEER_MAX, "each holds at most one message that is not whole");
  assert.deepEqual(node.peers(), [nameOf(attacker)]);
});
