import assert from "node:assert/strict";
import test from "node:test";
import { addressOf } from "#chain/codec/address.ts";
import { decode, encode } from "#chain/codec/cbor.ts";
import { signRequest } from "#chain/codec/request.ts";
import { sha256 } from "#chain/crypto.ts";
import { MemoryNetwork } from "#chain/network/memory.ts";
import { type Offence, type Transport, peerId } from "#chain/network/transport.ts";
import { type Address, type Hex, chainId } from "#chain/types.ts";
import { judgeLogWords } from "./api/logs.ts";
import { AgentError } from "./error.ts";
import { type KeyPair, keyPair } from "./keys.ts";
import { LOG_GRANT_MS, LOG_LINES_MAX, LOG_RELAY_BYTES_MAX } from "./limits.ts";
import { LogRelay, type SignedWords } from "./logRelay.ts";
import type { LogLine } from "./logs.ts";

const CHAIN = chainId(new Uint8Array(8).fill(1));
const [OWNER, STRANGER, ASKED, HAS, THIRD] = [1, 2, 3, 4, 5].map((n) => keyPair(new Uint8Array(32).fill(n))) as [KeyPair, KeyPair, KeyPair, KeyPair, KeyPair];
const ID = "ab".repeat(20) as Hex;
const NOW_MS = 1_000_000;
const line = (sequence: number, text = `line ${sequence}`): LogLine => ({ sequence, timeMs: 5, stream: "stdout", requestId: sequence % 2 === 0 ? "r1" : null, line: text });

type Seat = { readonly relay: LogRelay; readonly lines: LogLine[]; readonly judged: () => number; readonly offences: Offence[]; readonly transport: Transport };
class Stage {
  readonly network = new MemoryNetwork();
  nowMs = NOW_MS;
  seat(t: test.TestContext, machine: KeyPair): Seat {
    const transport = this.network.join(peerId(machine.publicKey), machine.publicKey);
    const lines: LogLine[] = [];
    const offences: Offence[] = [];
    let judged = 0;
    t.mock.method(transport, "report", (_peer: unknown, offence: Offence) => void offences.push(offence));
    const relay = new LogRelay({
      transport, nowMs: () => this.nowMs, keyOf: (id) => (id.toHex() === HAS.address.toHex() ? HAS.publicKey : null),
      logs: { has: (id) => id === ID && lines.length > 0, tail: (_id, count) => (count === 0 ? [] : lines.slice(-count)), after: (_id, sequence, limit) => lines.filter((one) => one.sequence > sequence).slice(0, limit) },
      judge: (words) => {
        judged++;
        return judgeLogWords(words, { chainId: CHAIN, machine: machine.address, nowMs: BigInt(this.nowMs) }, (id, sender) => {
          if (id !== ID || sender.toHex() !== OWNER.address.toHex()) throw new AgentError("not_owner", "as the test says");
        });
      },
    });
    t.after(() => relay.stop());
    return { relay, lines, judged: () => judged, offences, transport };
  }
}
function words({ signer = OWNER, machine = HAS.address, path = `/v1/deployments/${ID}/logs?tail=5`, expiryMs = NOW_MS + 60_000 }: { signer?: KeyPair; machine?: Address; path?: string; expiryMs?: number } = {}): SignedWords {
  return { path, authorization: signRequest({ chainId: CHAIN, sender: addressOf(signer.publicKey), method: "GET", path, bodyDigest: sha256(new Uint8Array(0)), machine, expiryMs: BigInt(expiryMs) }, signer.seed) };
}
const rejects = (work: () => Promise<unknown>, code: string): Promise<void> => assert.rejects(async () => work(), (error: unknown) => error instanceof AgentError && error.code === code);

test("lines come from the machine that has them, the newest or those after one, as they are there", async (t) => {
  const stage = new Stage();
  const [asked, has] = [stage.seat(t, ASKED), stage.seat(t, HAS)];
  for (let n = 1; n <= 9; n++) has.lines.push(line(n));
  has.lines.push({ ...line(10, "\ud800 half a letter"), stream: "system" });
  assert.deepEqual(await asked.relay.lines(HAS.address, words(), { tail: 2 }), [line(9), { ...line(10, "\ufffd half a letter"), stream: "system" }]);
  assert.deepEqual(await asked.relay.lines(HAS.address, words(), { after: 3, limit: 2 }), [line(4), line(5)]);
  assert.deepEqual(await asked.relay.lines(HAS.address, words(), { tail: 0 }), []);
  assert.deepEqual([asked.offences, has.offences], [[], []]);
});

test("which machines have lines is found out by asking all that are connected; one that says nothing counts for none", async (t) => {
  const stage = new Stage();
  const [asked, has] = [stage.seat(t, ASKED), stage.seat(t, HAS)];
  const silent = stage.network.join(peerId(THIRD.publicKey), THIRD.publicKey);
  t.after(() => silent.close());
  const holders = async (id: Hex): Promise<readonly Address[]> => (await asked.relay.holders(id)).machines;
  assert.deepEqual(await holders(ID), []);
  has.lines.push(line(1));
  assert.deepEqual(await holders(ID), [HAS.address]);
  assert.deepEqual(await holders("cd".repeat(20) as Hex), []);
  // An answer of another kind than was asked for is none.
  silent.onMessage((from, _channel, message) => silent.send(from, "logs", encode([1, 1, Number((decode(message) as readonly unknown[])[2]), []])));
  assert.deepEqual(await holders(ID), [HAS.address]);
  assert(asked.offences.includes("useless"));
});

test("a machine that ran it and is not connected is looked for and asked; one that is not reached is named", async (t) => {
  const stage = new Stage();
  const asked = stage.seat(t, ASKED);
  const seek = t.mock.method(asked.transport, "seek", () => {
    if (has === null) (has = stage.seat(t, HAS)).lines.push(line(1));
  });
  let has: Seat | null = null;
  // Whom the ledger does not know nobody can look for.
  assert.deepEqual(await asked.relay.holders(ID, [STRANGER.address, HAS.address]), { machines: [HAS.address], silent: [STRANGER.address] });
  assert.deepEqual(seek.mock.calls.map(({ arguments: [key] }) => key), [HAS.publicKey]);
  assert.deepEqual(await asked.relay.holders(ID, [HAS.address]), { machines: [HAS.address], silent: [] });
});

test("only what the owner signed for that machine and that log is answered, whoever asks; each refusal has its code", async (t) => {
  const stage = new Stage();
  const [asked, has] = [stage.seat(t, ASKED), stage.seat(t, HAS)];
  has.lines.push(line(1, "secret"));
  for (const [wrong, code] of [
    [words({ signer: STRANGER }), "not_owner"], [words({ machine: ASKED.address }), "wrong_machine"], [words({ path: `/v1/deployments/${ID}/usage` }), "wrong_request"],
    [{ ...words(), path: `/v1/deployments/${ID}/logs?tail=6` }, "wrong_request"], [words({ expiryMs: NOW_MS - 1 }), "expired"], [{ ...words(), authorization: "Godwit AA" }, "bad_authorization"],
    [words({ path: `/v1/deployments/${"cd".repeat(20)}/logs` }), "not_owner"],
  ] as const) await rejects(() => asked.relay.lines(HAS.address, wrong, { tail: 5 }), code);
  await rejects(() => asked.relay.lines(THIRD.address, words(), { tail: 5 }), "machine_unreachable");
});

test("a request that was judged good holds while it is asked for again, for that peer alone, and not for long after", async (t) => {
  const stage = new Stage();
  const [asked, has, third] = [stage.seat(t, ASKED), stage.seat(t, HAS), stage.seat(t, THIRD)];
  has.lines.push(line(1));
  const signed = words({ path: `/v1/deployments/${ID}/logs?follow=true&tail=5` });
  for (let n = 0; n < 20; n++) {
    assert.equal((await asked.relay.lines(HAS.address, signed, { tail: 5 })).length, 1);
    stage.nowMs += LOG_GRANT_MS - 1;
  }
  assert.equal(has.judged(), 1);
  const once = words({ expiryMs: stage.nowMs });
  for (let n = 0; n < 3; n++) assert.equal((await asked.relay.lines(HAS.address, once, { tail: 5 })).length, 1);
  assert.equal(has.judged(), 4, "one that is no stream is judged each time");
  await rejects(() => third.relay.lines(HAS.address, signed, { tail: 5 }), "expired");
  stage.nowMs += LOG_GRANT_MS;
  await rejects(() => asked.relay.lines(HAS.address, signed, { tail: 5 }), "expired");
});

test("what comes at once fits into a message: of the newest the newest, and a follower gets all in order", async (t) => {
  const stage = new Stage();
  const [asked, has] = [stage.seat(t, ASKED), stage.seat(t, HAS)];
  for (let n = 1; n <= 200; n++) has.lines.push(line(n, String(n % 10).repeat(8_192)));
  const newest = await asked.relay.lines(HAS.address, words(), { tail: LOG_LINES_MAX });
  assert(newest.length > 1 && newest.length * 3 * 8_192 <= LOG_RELAY_BYTES_MAX);
  assert.equal(newest.at(-1)!.sequence, 200);
  const seen: number[] = [];
  const all = Promise.withResolvers<void>();
  const stop = asked.relay.follow(HAS.address, words(), 180, ({ sequence }) => {
    seen.push(sequence);
    if (sequence === 201) all.resolve();
  }, () => all.reject(new Error("lost")));
  has.lines.push(line(201));
  await all.promise;
  stop();
  assert.deepEqual(seen, Array.from({ length: 21 }, (_, index) => 181 + index));
});

test("a follower is told when it is refused, and what is no message costs its sender and nobody else", async (t) => {
  const stage = new Stage();
  const [asked, has] = [stage.seat(t, ASKED), stage.seat(t, HAS)];
  await new Promise<void>((resolve) => { asked.relay.follow(HAS.address, words({ signer: STRANGER }), 0, () => assert.fail("it is not his"), resolve); });
  for (const bytes of [Uint8Array.of(1), encode([1, 9, 0]), encode([1, 0, 0, 5, "x", 0, 0n, 1]), encode([1, 1, 7, [[0n, 0n, 9, "", ""]]]), encode([1, 2, 7, "No Code"])]) asked.transport.send(has.transport.self, "logs", bytes);
  asked.transport.send(has.transport.self, "logs", encode([1, 1, 7, []]));
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(has.offences, ["malformed", "malformed", "malformed", "malformed", "malformed", "useless"]);
  has.lines.push(line(1));
  assert.equal((await asked.relay.lines(HAS.address, words(), { tail: 5 })).length, 1);
});
