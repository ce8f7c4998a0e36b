/** What of peers' beats and suspicions is not looked at, whom consensus is told of, and who is looked for: `Beats` alone, over a ledger view made up. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { addressOf } from "#chain/codec/address.ts";
import { encodeBeat, encodeLivenessMessage, sealSuspicion, signBeat } from "#chain/codec/liveness.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import type { LedgerView } from "#chain/ledger/view.ts";
import { OVERLAP_MS } from "#chain/liveness/rules.ts";
import type { WatchedMachine } from "#chain/liveness/witnesses.ts";
import { type PeerId, type Transport, peerId } from "#chain/network/transport.ts";
import { type Hex, chainId, hex } from "#chain/types.ts";
import { keyOf } from "#tests/compliance/chainRig.ts";
import { ManualClock } from "#tests/compliance/manualClock.ts";
import { Beats } from "./beats.ts";
import { BEATS_BURST, SUSPICIONS_PER_WITNESS_MAX, SUSPICION_BLOCKS_AHEAD_MAX } from "./limits.ts";
import type { VoteLog } from "./voteLog.ts";

const CHAIN = chainId(new Uint8Array(8).fill(1));
const VALIDATORS = [0, 1, 2, 3].map((index) => keyOf(`validator ${index}`));
const NAMES = VALIDATORS.map(({ address }) => hex(address));
/** Of the epoch before only. */
const FORMER = keyOf("former");
const MACHINE = keyOf("machine");
const BOOT = "11".repeat(16) as Hex;
const PEER = "peer" as PeerId;
const HEIGHT = 10;

const nameOf = (index: number): Hex => index.toString(16).padStart(40, "0") as Hex;
const watched = (validator: Hex | null, isDown: boolean, sinceHeight: number): WatchedMachine => ({ validator, bootId: BOOT, isDown, sinceHeight });

/** `connected`: as a machine, to these witnesses and no others. */
function stage(first: ReadonlyMap<Hex, WatchedMachine>, connected: ReadonlySet<PeerId> | null = null) {
  let machines = first;
  let height = HEIGHT;
  const clock = new ManualClock();
  const reports: string[] = [];
  const told: [Hex, boolean][] = [];
  const sought: Hex[] = [];
  const machine = connected === null ? null : { seed: MACHINE.seed, bootId: BOOT, leases: () => [], onAcknowledged: () => {}, onLease: () => {}, onHalt: () => {} };
  const keys = new Map([[nameOf(7), publicKeyOf(keyOf("host").seed)]]);
  const current = new Map(NAMES.map((name) => [name, 1]));
  const sets = { current, previous: new Map([[hex(FORMER.address), 1]]), sinceMs: 0n };
  const timeMs = BigInt(OVERLAP_MS);
  const members = (keys: readonly { seed: Uint8Array; address: Uint8Array }[]) => keys.map(({ seed, address }) => ({ id: address, key: publicKeyOf(seed), weight: 1 }));
  const view = {
    epoch: 1, timeMs, get height() { return height; },
    validatorsOf: (epoch: number) => members(epoch === 1 ? VALIDATORS : [FORMER]),
    machine: (id: Uint8Array) => {
      const one = machines.get(hex(id));
      return one && { key: keys.get(hex(id)) ?? publicKeyOf(MACHINE.seed), bootId: Uint8Array.fromHex(one.bootId), state: one.isDown ? "down" : "up" };
    },
    liveness: () => ({ height, timeMs, validators: current, sets, machines }),
    court: () => ({ blocks: Array.from({ length: height }, (_, i) => ({ height: i + 1, timeMs, moneySecond: 0n })), sets }),
  } as unknown as LedgerView;
  const transport = {
    self: peerId(publicKeyOf(VALIDATORS[0]!.seed)), machineOf: (peer: PeerId) => (connected === null || connected.has(peer) ? publicKeyOf(MACHINE.seed) : null), report: (_: PeerId, offence: string) => reports.push(offence),
    send: (peer: PeerId) => connected === null || connected.has(peer), broadcast: () => {}, seek: (key: Uint8Array) => sought.push(hex(key)),
  } as unknown as Transport;
  const votes = { wasLost: false, silences: () => [], forgetSilence: () => {}, recordSilence: () => Promise.resolve() } as unknown as VoteLog;
  const beats = new Beats({
    chainId: CHAIN, transport, clock, view: () => view, validatorSeed: VALIDATORS[0]!.seed, votes, machine, onWaiting: () => {},
    onSuspected: (validator, isSuspected) => told.push([validator, isSuspected]), onFailure: (error) => { throw error; },
  });
  beats.start();
  return {
    clock, beats, reports, told, sought,
    final: (now: ReadonlyMap<Hex, WatchedMachine>) => {
      machines = now;
      height += 1;
      beats.final();
    },
    beat: (number: number, seed: Uint8Array = MACHINE.seed) => {
      const beat = signBeat(CHAIN, { machine: hex(addressOf(publicKeyOf(MACHINE.seed))), bootId: BOOT, number, height: 1, timeMs }, seed);
      beats.receive(PEER, encodeLivenessMessage({ kind: "beat", bytes: encodeBeat(CHAIN, beat) }));
    },
    suspect: (by: { seed: Uint8Array; address: Uint8Array }, machine: Hex, { base = HEIGHT, seed = by.seed }: { base?: number; seed?: Uint8Array } = {}) => {
      const suspicion = { witness: hex(by.address), machine, bootId: BOOT, beat: null, at: { height: 5, sinceMs: 0 }, base };
      beats.receive(PEER, encodeLivenessMessage({ kind: "suspicion", bytes: sealSuspicion(CHAIN, suspicion, seed) }));
    },
  };
}

test("a machine that floods beats has four in a second verified, and eight at once; the rest is dropped unread", (t) => {
  const { beats, beat, clock, reports } = stage(new Map([[hex(MACHINE.address), watched(null, false, 1)]]));
  t.after(() => beats.stop());
  for (let number = 1; number <= BEATS_BURST; number++) beat(number);
  const forger = keyOf("forger").seed;
  for (let number = 0; number < 100; number++) beat(100 + number, forger);
  assert.deepEqual(reports, []);
  clock.advance(1_000);
  for (let number = 0; number < 100; number++) beat(200 + number, forger);
  assert.deepEqual(reports, ["forged", "forged", "forged", "forged"]);
});

test("a validator whose machine was replaced is not passed over for the old one; nor is one that no machine hosts any more", (t) => {
  const validator = NAMES[1]!;
  const [old, fresh] = [nameOf(1), nameOf(2)];
  const { beats, told, final } = stage(new Map([[fresh, watched(validator, false, 5)], [old, watched(validator, true, 7)]]));
  t.after(() => beats.stop());
  assert.deepEqual(told, []);
  final(new Map([[fresh, watched(validator, true, 11)], [old, watched(validator, true, 7)]]));
  assert.deepEqual(told, [[validator, true]]);
  final(new Map([[fresh, watched(null, true, 11)], [old, watched(null, true, 7)]]));
  assert.deepEqual(told, [[validator, true], [validator, false]]);
  assert.equal(beats.suspected.size, 0);
});

test("a suspicion is looked at when its witness may speak about the machine, on a block not far ahead", (t) => {
  const machine = nameOf(1);
  const { beats, suspect, reports } = stage(new Map([[machine, watched(NAMES[1]!, false, 1)]]));
  t.after(() => beats.stop());
  const seed = keyOf("forger").seed;
  suspect(FORMER, machine, { seed });
  suspect(VALIDATORS[1]!, machine, { seed });
  suspect(VALIDATORS[2]!, machine, { seed, base: HEIGHT + SUSPICION_BLOCKS_AHEAD_MAX + 1 });
  assert.deepEqual(reports, []);
  suspect(VALIDATORS[2]!, machine, { seed, base: HEIGHT + SUSPICION_BLOCKS_AHEAD_MAX });
  assert.deepEqual(reports, ["forged"]);
});

test("a witness that suspects more machines than are held of it loses its oldest, and nobody else's", (t) => {
  const names = Array.from({ length: SUSPICIONS_PER_WITNESS_MAX + 1 }, (_, index) => nameOf(index + 1));
  const { beats, suspect } = stage(new Map(names.map((name) => [name, watched(null, false, 1)])));
  t.after(() => beats.stop());
  for (const name of [names[0]!, names[1]!]) for (const by of VALIDATORS.slice(2)) suspect(by, name);
  for (const name of names) suspect(VALIDATORS[1]!, name);
  assert.equal(beats.candidates().length, 3, "of the second machine; of the first one's three one is gone");
});

test("a machine that is not connected to one of its witnesses looks for the machine that hosts it, and for no other", () => {
  const self = hex(addressOf(publicKeyOf(MACHINE.seed)));
  const connected = new Set([1, 3].map((index) => peerId(publicKeyOf(VALIDATORS[index]!.seed))));
  const { sought, clock } = stage(new Map([[self, watched(null, false, 1)], [nameOf(7), watched(NAMES[2]!, false, 1)], [nameOf(8), watched(NAMES[1]!, false, 1)]]), connected);
  clock.advance(1_100);
  assert.deepEqual([...new Set(sought)], [hex(publicKeyOf(keyOf("host").seed))]);
});
