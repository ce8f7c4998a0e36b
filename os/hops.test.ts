import assert from "node:assert/strict";
import test from "node:test";
import { encode } from "#chain/codec/cbor.ts";
import { sealHop } from "#chain/codec/hop.ts";
import { HOP_CERTIFICATE_MS, WIRE_VERSION } from "#chain/constants.ts";
import { type Clock, systemClock } from "#chain/network/clock.ts";
import { MemoryNetwork } from "#chain/network/memory.ts";
import { type Transport, peerId } from "#chain/network/transport.ts";
import { type Hex, chainId, hex, timeMs } from "#chain/types.ts";
import { Hops, type HopsOptions, endpointsOf } from "./hops.ts";
import { type KeyPair, keyPair } from "./keys.ts";
import { HOP_RENEW_MS, HOP_STRANGERS_MAX } from "./limits.ts";

const CHAIN = chainId(new Uint8Array(8).fill(1));
const machines = [1, 2, 3, 4].map((n) => keyPair(new Uint8Array(32).fill(n))) as [KeyPair, KeyPair, KeyPair, KeyPair];
const bootOf = (n: number): Hex => hex(new Uint8Array(16).fill(n));
const ENDPOINT = { address: "192.0.2.7", port: 80 };

/** The end of a ban, a minute later, keeps no process. */
const CLOCK: Clock = {
  ...systemClock,
  setTimer: (callback, delayMs) => {
    const timer = setTimeout(callback, delayMs);
    if (delayMs >= 10_000) timer.unref();
    return () => clearTimeout(timer);
  },
};
/** A ledger of machines by id, each with its boot; and a time. */
class Grid {
  timeMs = 1_000_000n;
  readonly boots = new Map<Hex, { state: "up" | "down"; bootId: Hex }>();
  readonly network = new MemoryNetwork({ clock: CLOCK });
  up(machine: KeyPair, bootId: Hex = bootOf(1), state: "up" | "down" = "up"): void {
    this.boots.set(hex(machine.address), { state, bootId });
  }
  readonly node = {
    chainId: CHAIN,
    head: () => ({ timeMs: timeMs(this.timeMs) }),
    view: () => ({ machine: (id: Uint8Array) => {
      const known = this.boots.get(hex(id));
      return known === undefined ? null : { state: known.state, bootId: Uint8Array.fromHex(known.bootId) };
    } }),
  } as unknown as HopsOptions["node"];
}
type Seat = { readonly hops: Hops; readonly transport: Transport; readonly peers: Map<string, string>; readonly seeds: Uint8Array[]; readonly block: (kind?: string) => void };

function seat(t: test.TestContext, grid: Grid, machine: KeyPair, bootId: Hex = bootOf(1), transport: Transport = grid.network.join(peerId(machine.publicKey), machine.publicKey)): Seat {
  const peers = new Map<string, string>();
  const seeds: Uint8Array[] = [];
  let nowMs = 0;
  const hops = new Hops({
    node: grid.node, transport, nowMs: () => (nowMs += 1_000),
    own: { machine, bootId, endpoints: () => [ENDPOINT], elsewhere: {
      identify: async (seed) => void seeds.push(seed),
      peers: async (set, remove) => {
        for (const id of remove) peers.delete(id);
        for (const { id, key } of set) peers.set(id, key);
      },
    } },
  });
  t.after(() => hops.stop());
  return { hops, transport, peers, seeds, block: (kind = "machine") => hops.onFinal({ header: { timeMs: timeMs(grid.timeMs) }, events: [{ kind }] } as unknown as Parameters<Hops["onFinal"]>[0]) };
}
const settle = async (): Promise<void> => { for (let n = 0; n < 5; n++) await new Promise((resolve) => setTimeout(resolve, 2)); };

test("a machine that begins to listen after its peers came asks them: what they told it before was lost", async (t) => {
  const grid = new Grid();
  for (const machine of machines) grid.up(machine);
  seat(t, grid, machines[0]);
  seat(t, grid, machines[1]);
  await settle();
  const transport = grid.network.join(peerId(machines[2].publicKey), machines[2].publicKey);
  await settle();
  const late = seat(t, grid, machines[2], bootOf(1), transport);
  await settle();
  assert.deepEqual([...late.peers.keys()].sort(), [machines[0], machines[1]].map(({ address }) => hex(address)).sort());
});

test("machines that are up know each other's hop keys and where they listen, whoever came first", async (t) => {
  const grid = new Grid();
  for (const machine of machines) grid.up(machine);
  const [a, b] = [seat(t, grid, machines[0]), seat(t, grid, machines[1])];
  await settle();
  const c = seat(t, grid, machines[2]);
  await settle();
  for (const [one, others] of [[a, [machines[1], machines[2]]], [b, [machines[0], machines[2]]], [c, [machines[0], machines[1]]]] as const) {
    assert.deepEqual([...one.peers.keys()].sort(), others.map(({ address }) => hex(address)).sort());
    for (const { address } of others) assert.deepEqual(one.hops.reach(hex(address)), [ENDPOINT]);
    assert.equal(one.seeds.length, 1);
  }
  assert.equal(a.peers.get(hex(machines[1].address)), hex(keyPair(b.seeds[0]!).publicKey));
  assert.deepEqual(a.hops.reach(hex(machines[3].address)), []);
});

test("a certificate travels through others to machines that never met its owner", async (t) => {
  const grid = new Grid();
  for (const machine of machines) grid.up(machine);
  const [a, b, c] = machines.slice(0, 3).map(({ publicKey }) => peerId(publicKey)) as [ReturnType<typeof peerId>, ReturnType<typeof peerId>, ReturnType<typeof peerId>];
  grid.network.cut(a, c);
  const first = seat(t, grid, machines[0]);
  seat(t, grid, machines[1]);
  const last = seat(t, grid, machines[2]);
  await settle();
  assert(first.peers.has(hex(machines[2].address)) && last.peers.has(hex(machines[0].address)), `through ${b}`);
});

test("a validator that no machine hosts passes certificates on between machines that know it alone, and has none of its own", async (t) => {
  const grid = new Grid();
  for (const machine of [machines[0], machines[1]]) grid.up(machine);
  const [first, second] = [machines[0], machines[1]].map((machine) => seat(t, grid, machine));
  grid.network.cut(peerId(machines[0].publicKey), peerId(machines[1].publicKey));
  await settle();
  assert.deepEqual([first!.peers.size, second!.peers.size], [0, 0]);
  const validator = new Hops({ node: grid.node, transport: grid.network.join(peerId(machines[2].publicKey), machines[2].publicKey), own: null });
  t.after(() => validator.stop());
  await settle();
  assert.deepEqual([[...first!.peers.keys()], [...second!.peers.keys()]], [[hex(machines[1].address)], [hex(machines[0].address)]]);
  assert.deepEqual(validator.reach(hex(machines[0].address)), [ENDPOINT], "it knows them, and is asked by nobody");
});

test("a machine that goes down, boots anew or lets its certificate end is no peer any more", async (t) => {
  const grid = new Grid();
  for (const machine of machines) grid.up(machine);
  const [a, b] = [seat(t, grid, machines[0]), seat(t, grid, machines[1])];
  const id = hex(machines[1].address);
  await settle();
  assert(a.peers.has(id));
  grid.up(machines[1], bootOf(1), "down");
  a.block();
  assert(!a.peers.has(id));
  grid.up(machines[1]);
  a.block();
  assert(a.peers.has(id));
  grid.up(machines[1], bootOf(2));
  a.block();
  assert(!a.peers.has(id), "another boot has another key");
  grid.up(machines[1]);
  b.hops.stop();
  await b.transport.close();
  grid.timeMs += BigInt(HOP_CERTIFICATE_MS);
  a.block("paid");
  assert(!a.peers.has(id), "its end is a matter of header time");
  assert.deepEqual(a.hops.reach(id), []);
});

test("what is read before something malformed in one message is known to the runner and to others, too", async (t) => {
  const grid = new Grid();
  for (const machine of machines) grid.up(machine);
  const [a, b] = [seat(t, grid, machines[0]), seat(t, grid, machines[1])];
  await settle();
  const stranger = grid.network.join(peerId(machines[2].publicKey), machines[2].publicKey);
  const sealed = sealHop({ chainId: CHAIN, bootId: Uint8Array.fromHex(bootOf(1)), notAfterMs: timeMs(grid.timeMs + 1_000n), endpoints: [ENDPOINT] }, machines[3].seed, machines[3].seed);
  stranger.send(peerId(machines[0].publicKey), "hops", encode([WIRE_VERSION, 0, sealed, Uint8Array.of(0xff)]));
  await settle();
  for (const { peers } of [a, b]) assert(peers.has(hex(machines[3].address)));
});

test("a certificate is made anew before it ends, with the same key", async (t) => {
  const grid = new Grid();
  for (const machine of machines) grid.up(machine);
  const [a, b] = [seat(t, grid, machines[0]), seat(t, grid, machines[1])];
  await settle();
  const before = a.peers.get(hex(machines[1].address));
  for (let n = 0; n < 6; n++) {
    grid.timeMs += BigInt(HOP_RENEW_MS);
    for (const one of [b, a]) one.block("paid");
    await settle();
    assert.equal(a.peers.get(hex(machines[1].address)), before);
  }
});

test("a machine that is registered later is a peer as soon as it is up; strangers take little room", async (t) => {
  const grid = new Grid();
  for (const machine of machines.slice(0, 2)) grid.up(machine);
  const a = seat(t, grid, machines[0]);
  const b = grid.network.join(peerId(machines[1].publicKey), machines[1].publicKey);
  const sealed = (n: number): Uint8Array => sealHop({ chainId: CHAIN, bootId: Uint8Array.fromHex(bootOf(1)), notAfterMs: timeMs(grid.timeMs + 1_000n), endpoints: [ENDPOINT] }, new Uint8Array(32).fill(n), new Uint8Array(32).fill(200));
  for (let n = 1; n <= HOP_STRANGERS_MAX + 10; n++) b.send(a.transport.self, "hops", encode([WIRE_VERSION, 0, sealed(100 + (n % 90))]));
  b.send(a.transport.self, "hops", encode([WIRE_VERSION, 0, sealed(3)]));
  await settle();
  assert.equal(a.peers.size, 0);
  grid.up(machines[2]);
  a.block("registered");
  assert.deepEqual([...a.peers.keys()], [hex(machines[2].address)]);
});

test("a peer that passes on a forged certificate, another chain's or none at all is let go of", async (t) => {
  const grid = new Grid();
  for (const machine of machines) grid.up(machine);
  const own = { chainId: CHAIN, bootId: Uint8Array.fromHex(bootOf(1)), notAfterMs: timeMs(grid.timeMs + 1_000n), endpoints: [] };
  const good = sealHop(own, machines[2].seed, new Uint8Array(32).fill(99));
  const bad = [
    good.map((byte, at) => (at === good.length - 1 ? byte ^ 1 : byte)),
    sealHop({ ...own, chainId: chainId(new Uint8Array(8).fill(2)) }, machines[2].seed, new Uint8Array(32).fill(99)),
    new Uint8Array([1, 2, 3]),
    new Uint8Array(600),
  ];
  for (const [n, wrong] of bad.entries()) {
    const a = seat(t, grid, machines[0]);
    const liar = grid.network.join(peerId(new Uint8Array(32).fill(50 + n)));
    liar.send(a.transport.self, "hops", encode([WIRE_VERSION, 0, wrong]));
    await settle();
    assert.deepEqual([a.transport.peers(), a.peers.size], [[], 0], `case ${n}`);
    a.hops.stop();
    await Promise.all([a.transport.close(), liar.close()]);
  }
});

test("a door on one address is reached there, one that is everywhere at the computer's addresses", () => {
  assert.deepEqual(endpointsOf("192.0.2.1", 80), [{ address: "192.0.2.1", port: 80 }]);
  assert(endpointsOf("0.0.0.0", 80).every(({ address, port }) => port === 80 && address !== "127.0.0.1" && !address.startsWith("fe80:")));
});
