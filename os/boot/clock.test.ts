import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { followChain, setByNtp } from "./clock.ts";
import { releasedMsIn } from "./identity.ts";

const YEAR_MS = 365 * 86_400_000;
const NOW_MS = Date.UTC(2026, 10, 26);

/** A machine whose clock is off, and the blocks that reach it. */
function world(offMs: number, builtMs = 0): { clockMs: () => number; pass(ms: number): void; final(headerMs: number): void; nowMs: () => number } {
  let [monotonicMs, offset] = [0, offMs];
  const nowMs = (): number => NOW_MS + monotonicMs;
  const clockMs = (): number => nowMs() + offset;
  const chain = followChain(builtMs, () => {}, (toMs) => { offset = toMs - nowMs(); }, clockMs, () => monotonicMs);
  return { clockMs, nowMs, pass: (ms) => { monotonicMs += ms; }, final: (headerMs) => chain.final(headerMs) };
}

test("a machine whose clock is years behind has the chain's time when it has caught up", () => {
  const one = world(-20 * YEAR_MS);
  for (let block = 0; block < 400; block++) {
    one.pass(50);
    one.final(NOW_MS - (400 - block) * 5_000);
  }
  one.pass(5_000);
  one.final(one.nowMs() - 200);
  assert(Math.abs(one.clockMs() - one.nowMs()) < 16_000, String(one.clockMs() - one.nowMs()));
});

test("a clock that is years ahead is put back, but only by a chain that goes on as time does", () => {
  const one = world(3 * YEAR_MS);
  for (let block = 0; block < 100; block++) {
    one.pass(200);
    one.final(NOW_MS - 10 * YEAR_MS + block * 5_000);
  }
  assert(one.clockMs() - one.nowMs() > 2 * YEAR_MS, "old blocks that come fast say nothing of now");
  for (let block = 0; block < 4; block++) {
    one.pass(5_000);
    one.final(one.nowMs() - 200);
  }
  assert(Math.abs(one.clockMs() - one.nowMs()) < 16_000);
});

test("a clock that is right is left alone", () => {
  const one = world(300);
  for (let block = 0; block < 20; block++) {
    one.pass(5_000);
    one.final(one.nowMs() - 200);
  }
  assert.equal(one.clockMs() - one.nowMs(), 300);
});

test("a chain that makes many blocks a second is seen to go on as time does", () => {
  const one = world(3 * YEAR_MS);
  for (let block = 0; block < 200; block++) {
    one.pass(100);
    one.final(one.nowMs() - 200);
  }
  assert(Math.abs(one.clockMs() - one.nowMs()) < 16_000, String(one.clockMs() - one.nowMs()));
});

/** Blocks every second, each of them late by what a starved machine makes of it: half a minute at worst, now and then none. */
function starve(one: ReturnType<typeof world>, seconds: number): number[] {
  return Array.from({ length: seconds }, (_, second) => {
    one.pass(1_000);
    one.final(one.nowMs() - 300 - 30_000 * Math.abs(Math.sin(second / 7)));
    return one.clockMs() - one.nowMs();
  });
}

test("a slow machine that has blocks up to 30 s late leaves a clock alone that is right", () => {
  const one = world(300);
  one.pass(1_000);
  one.final(one.nowMs() - 300);
  assert.deepEqual([...new Set(starve(one, 600))], [300]);
});

test("on a slow machine a clock that is years ahead is put back once, and then goes forward only, to within 16 s", () => {
  const one = world(3 * YEAR_MS);
  one.pass(1_000);
  one.final(one.nowMs() - 12_000);
  const offs = starve(one, 600);
  const back = offs.filter((off, n) => n > 0 && off < offs[n - 1]! - 1);
  assert.equal(back.length, 1);
  assert(Math.abs(offs.at(-1)!) < 16_000, String(offs.at(-1)));
});

test("no clock stays before the day of the image, with a time server or without one", async () => {
  const released = Date.UTC(2026, 10, 1);
  let clockMs = Date.UTC(1980, 0, 1);
  const { text } = await setByNtp([], released, (toMs) => { clockMs = toMs; }, () => clockMs);
  assert.equal(clockMs, released);
  assert.match(text, /image/);
  await setByNtp([], released, () => assert.fail("a clock that may be right is left alone"), () => released + 1);
  const one = world(-20 * YEAR_MS, released);
  one.final(released - YEAR_MS);
  assert.equal(one.clockMs(), released, "an old block is no later than the image");
});

test("the image says when it was released; a description without a day says nothing", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "godwit-identity-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "image.json");
  writeFileSync(file, JSON.stringify({ signer: null, release: 3, releasedAt: "2026-11-26T00:00:00Z" }));
  assert.equal(releasedMsIn(file), Date.UTC(2026, 10, 26));
  writeFileSync(file, JSON.stringify({ signer: null, release: 3 }));
  assert.equal(releasedMsIn(file), 0);
  assert.equal(releasedMsIn(join(folder, "none")), 0);
});
