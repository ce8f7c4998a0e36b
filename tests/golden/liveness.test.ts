/** Pinned bytes of who is alive. A change here is a change of the wire: by hand, and said in the commit and the CHANGELOG. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeAcknowledgement, decodeBeat, encodeAcknowledgement, encodeBeat, beatHolds, openSuspicion, openUpAcknowledgement, sealSuspicion, sealUpAcknowledgement, signBeat, suspicionHolds, upAcknowledgementHolds, BEAT_BYTES_MAX } from "#chain/codec/liveness.ts";
import { STATEMENT_BYTES_MAX } from "#chain/constants.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import { type Hex, U32_MAX, U64_MAX, chainId, hex } from "#chain/types.ts";

const run = (byte: string, count: number): string => byte.repeat(count);
const CHAIN = chainId(new Uint8Array(8).fill(0xc1));
const OTHER_CHAIN = chainId(new Uint8Array(8).fill(0xc2));
const MACHINE = new Uint8Array(32).fill(1);
const WITNESS = new Uint8Array(32).fill(2);
const ids = { machine: run("a1", 20) as Hex, bootId: run("b1", 16) as Hex };
const BEAT = signBeat(CHAIN, { ...ids, number: 258, height: 300, timeMs: 2n ** 53n + 1n }, MACHINE);
const BEAT_BODY = `870148${run("c1", 8)}54${run("a1", 20)}50${run("b1", 16)}19010219012c1b0020000000000001`;
const AT = { height: 300, sinceMs: 1_500 };
const SUSPICION = { witness: run("d1", 20) as Hex, ...ids, beat: BEAT, at: AT, base: 301 };
const UP = { witness: run("d1", 20) as Hex, machine: ids.machine, bootId: run("b2", 16) as Hex, height: 300, base: 301, before: { bootId: ids.bootId, beat: BEAT, at: AT } };

test("beats, suspicions and acknowledgements have these bytes", () => {
  const beat = hex(encodeBeat(CHAIN, BEAT));
  assert.equal(beat, `825840${BEAT_BODY}5840${hex(BEAT.signature)}`);
  const suspicion = hex(openSuspicion(CHAIN, sealSuspicion(CHAIN, SUSPICION, WITNESS)).bodyBytes);
  assert.equal(suspicion, `880148${run("c1", 8)}54${run("d1", 20)}54${run("a1", 20)}50${run("b1", 16)}5885${beat}8219012c1905dc19012d`);
  const up = hex(openUpAcknowledgement(CHAIN, sealUpAcknowledgement(CHAIN, UP, WITNESS)).bodyBytes);
  assert.equal(up, `880148${run("c1", 8)}54${run("d1", 20)}54${run("a1", 20)}50${run("b2", 16)}19012c19012d8350${run("b1", 16)}5885${beat}8219012c1905dc`);
  assert.equal(hex(encodeAcknowledgement({ bootId: ids.bootId, number: 258, isClear: true })), `840150${run("b1", 16)}19010201`);
});

test("what was signed comes back, the largest too, and holds for its key alone", () => {
  const largest = signBeat(CHAIN, { ...ids, number: U32_MAX, height: U32_MAX, timeMs: U64_MAX }, MACHINE);
  assert(encodeBeat(CHAIN, largest).length <= BEAT_BYTES_MAX);
  for (const beat of [BEAT, largest]) {
    assert.deepEqual(decodeBeat(CHAIN, encodeBeat(CHAIN, beat)), beat);
    assert(beatHolds(CHAIN, beat, publicKeyOf(MACHINE)));
    assert(!beatHolds(CHAIN, beat, publicKeyOf(WITNESS)));
    assert(!beatHolds(OTHER_CHAIN, beat, publicKeyOf(MACHINE)));
    assert(!beatHolds(CHAIN, { ...beat, number: 7 }, publicKeyOf(MACHINE)));
  }
  const most = { height: U32_MAX, sinceMs: U32_MAX };
  for (const suspicion of [SUSPICION, { ...SUSPICION, beat: null }, { ...SUSPICION, beat: largest, at: most, base: U32_MAX }]) {
    const sent = sealSuspicion(CHAIN, suspicion, WITNESS);
    assert(sent.length <= STATEMENT_BYTES_MAX);
    assert.deepEqual(openSuspicion(CHAIN, sent).statement, suspicion);
    assert(suspicionHolds(openSuspicion(CHAIN, sent), publicKeyOf(WITNESS)));
    assert(!suspicionHolds(openSuspicion(CHAIN, sent), publicKeyOf(MACHINE)));
  }
  for (const up of [UP, { ...UP, before: { ...UP.before, beat: null } }, { ...UP, height: U32_MAX, base: U32_MAX, before: { bootId: ids.bootId, beat: largest, at: most } }]) {
    const sent = sealUpAcknowledgement(CHAIN, up, WITNESS);
    assert(sent.length <= STATEMENT_BYTES_MAX);
    assert.deepEqual(openUpAcknowledgement(CHAIN, sent).statement, up);
    assert(upAcknowledgementHolds(openUpAcknowledgement(CHAIN, sent), publicKeyOf(WITNESS)));
  }
  for (const isClear of [true, false]) assert.deepEqual(decodeAcknowledgement(encodeAcknowledgement({ bootId: ids.bootId, number: 1, isClear })), { bootId: ids.bootId, number: 1, isClear });
});

test("of another chain, of another machine's beat, cut short or too long: no statement", () => {
  const refused = { name: "CodecError" };
  const sent = sealSuspicion(CHAIN, SUSPICION, WITNESS);
  assert.throws(() => openSuspicion(OTHER_CHAIN, sent), refused);
  assert.throws(() => openSuspicion(CHAIN, sealSuspicion(CHAIN, { ...SUSPICION, machine: run("a2", 20) as Hex }, WITNESS)), refused);
  assert.throws(() => openUpAcknowledgement(CHAIN, sealUpAcknowledgement(CHAIN, { ...UP, before: { ...UP.before, bootId: run("b3", 16) as Hex } }, WITNESS)), refused);
  assert.throws(() => decodeBeat(CHAIN, encodeBeat(CHAIN, signBeat(CHAIN, { ...ids, number: 0, height: 1, timeMs: 1n }, MACHINE))), refused);
  for (let length = 0; length < sent.length; length += 7) assert.throws(() => openSuspicion(CHAIN, sent.slice(0, length)), refused);
  assert.throws(() => openSuspicion(CHAIN, new Uint8Array(STATEMENT_BYTES_MAX + 1)), refused);
  assert.throws(() => decodeAcknowledgement(encodeAcknowledgement({ bootId: ids.bootId, number: 1, isClear: true }).with(-1, 2)), refused);
});
