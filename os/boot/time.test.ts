import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { test } from "node:test";
import type { Ipv4 } from "./addresses.ts";
import { resolverText } from "./dns.ts";
import { agreed, encodeQuestion, parseAnswer, type NtpSample } from "./ntp.ts";
import { askNtp, decideTime } from "./time.ts";

const YEAR_MS = 365 * 86_400_000;
const NOW_MS = Date.UTC(2026, 10, 26);
const BUILT_MS = NOW_MS - 30 * 86_400_000;
const NONCE = 0x0123_4567_89ab_cdefn;
const stamp = (ms: number): bigint => ((BigInt(ms) << 32n) / 1000n + (2_208_988_800n << 32n)) & 0xffff_ffff_ffff_ffffn;

function answer(nonce: bigint, serverMs: number, change: Partial<{ first: number; stratum: number }> = {}): Uint8Array {
  const raw = new Uint8Array(48);
  const view = new DataView(raw.buffer);
  raw.set([change.first ?? 0x24, change.stratum ?? 2]);
  view.setBigUint64(24, nonce);
  view.setBigUint64(32, stamp(serverMs));
  view.setBigUint64(40, stamp(serverMs));
  return raw;
}

test("a clock that is off by years, either way, is told by how much; also beyond 2036", () => {
  for (const trueMs of [NOW_MS, Date.UTC(2036, 1, 8), Date.UTC(2050, 0, 1)]) {
    for (const offMs of [-30 * YEAR_MS, -5_000, 0, 250, 12 * YEAR_MS]) {
      const sample = parseAnswer(answer(NONCE, trueMs), NONCE, trueMs - offMs - 10, 20);
      assert(sample !== null && Math.abs(sample.offsetMs - offMs) <= 2, `${offMs}: ${sample?.offsetMs}`);
    }
  }
});

test("an answer to another question, of a server that is not set, or late, is none", () => {
  const good = answer(NONCE, NOW_MS);
  assert.notEqual(parseAnswer(good, NONCE, NOW_MS, 5), null);
  assert.equal(parseAnswer(good, NONCE + 1n, NOW_MS, 5), null);
  assert.equal(parseAnswer(good, NONCE, NOW_MS, 1_001), null);
  assert.equal(parseAnswer(good.slice(0, 47), NONCE, NOW_MS, 5), null);
  for (const change of [{ first: 0xe4 }, { first: 0x23 }, { stratum: 0 }, { stratum: 16 }]) assert.equal(parseAnswer(answer(NONCE, NOW_MS, change), NONCE, NOW_MS, 5), null);
  assert.equal(parseAnswer(encodeQuestion(NONCE), NONCE, NOW_MS, 5), null);
});

test("one liar among three time servers is outvoted; without a majority there is no answer", () => {
  const one = (offsetMs: number, delayMs = 10) => ({ offsetMs, delayMs });
  assert.deepEqual(agreed([one(-YEAR_MS, 1), one(100), one(120, 5)]), one(120, 5));
  assert.equal(agreed([one(0), one(10_000), one(20_000)]), null);
  assert.deepEqual(agreed([one(7, 30), one(9_000, 5)]), one(9_000, 5));
  assert.equal(agreed([]), null);
});

test("what a quorum has signed goes before NTP, and NTP before a wrong clock", () => {
  const live = { headerMs: NOW_MS - 2_000, ageMs: 2_000, isLive: true };
  const far = NOW_MS - 20 * YEAR_MS;
  const ntp = (toMs: number, clockMs: number) => ({ offsetMs: toMs - clockMs, delayMs: 10 });
  const decide = (clockMs: number, toMs: number | null, chain: typeof live | null) => decideTime({ clockMs, builtMs: BUILT_MS, ntp: toMs === null ? null : ntp(toMs, clockMs), chain });
  assert.deepEqual(decide(far, NOW_MS, null), { kind: "set", toMs: NOW_MS, source: "ntp" });
  assert.deepEqual(decide(far, null, null), { kind: "set", toMs: BUILT_MS, source: "image" });
  assert.deepEqual(decide(far, null, live), { kind: "set", toMs: NOW_MS, source: "chain" });
  assert.deepEqual(decide(NOW_MS + 3 * YEAR_MS, null, live), { kind: "set", toMs: NOW_MS, source: "chain" });
  assert.deepEqual(decide(far, NOW_MS - YEAR_MS, live), { kind: "set", toMs: NOW_MS, source: "chain" });
  assert.deepEqual(decide(far, NOW_MS + YEAR_MS, live), { kind: "set", toMs: NOW_MS, source: "chain" });
  assert.deepEqual(decide(NOW_MS - 2_000, NOW_MS, live), { kind: "set", toMs: NOW_MS, source: "ntp" });
  assert.deepEqual(decide(NOW_MS, NOW_MS + 100, live), { kind: "keep" });
  assert.deepEqual(decide(NOW_MS, NOW_MS + YEAR_MS, live), { kind: "keep" });
  // A chain that stands still bounds from below only.
  const halted = { headerMs: NOW_MS - 86_400_000, ageMs: 1_000, isLive: false };
  assert.deepEqual(decide(far, NOW_MS, halted), { kind: "set", toMs: NOW_MS, source: "ntp" });
  assert.deepEqual(decide(far, far + 1_000, halted), { kind: "set", toMs: halted.headerMs + 1_000, source: "chain" });
});

test("a time server is asked over UDP; a silent one costs a second", async (t) => {
  const server = createSocket("udp4");
  t.after(() => server.close());
  await new Promise<void>((resolve) => server.bind(0, "127.0.0.1", resolve));
  server.on("message", (bytes, from) => {
    const nonce = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(40);
    server.send(answer(nonce + 1n, NOW_MS), from.port, from.address);
    server.send(answer(nonce, Date.now() + 90_000), from.port, from.address);
  });
  // An answer that took a second is none: a busy computer may be that slow, so it is asked again.
  let sample: NtpSample | null = null;
  for (let asked = 0; sample === null && asked < 30; asked++) sample = await askNtp(["127.0.0.1", "name.invalid"], server.address().port);
  assert(sample !== null && Math.abs(sample.offsetMs - 90_000) < 1_000);
  server.removeAllListeners("message");
  assert.equal(await askNtp(["127.0.0.1"], server.address().port), null);
});

test("name servers: the command line's first, three at most, and no line of a stranger", () => {
  const ip = (text: string): Ipv4 => text as Ipv4;
  assert.equal(resolverText([ip("9.9.9.9")], [{ dns: [ip("10.0.0.1"), ip("9.9.9.9")], domain: "grid.example" }, { dns: [ip("10.1.0.1"), ip("10.1.0.2")], domain: null }]),
    "search grid.example\nnameserver 9.9.9.9\nnameserver 10.0.0.1\nnameserver 10.1.0.1\n");
  assert.equal(resolverText([], [{ dns: [], domain: "x\nnameserver 6.6.6.6" }]), "");
});
