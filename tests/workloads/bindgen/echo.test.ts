/**
 * Values through bindings in V8: every kind of type, then types that nobody chose; nothing is freed early, nothing is kept.
 * GODWIT_BINDGEN_SEEDS=N tries N random worlds, GODWIT_BINDGEN_CALLS=N makes N calls where memory is watched.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { startEcho, type Echo } from "./echo.ts";
import { randomWit } from "./random-wit.ts";
import { TORTURE } from "./torture.ts";
import { Chance } from "./values.ts";

const seeds = Number(process.env["GODWIT_BINDGEN_SEEDS"] ?? 3);
const calls = Number(process.env["GODWIT_BINDGEN_CALLS"] ?? 100_000);
const ROUNDS = 10;

function rounds(echo: Echo, seed: number, length = 8): void {
  const chance = new Chance(seed);
  for (let round = 0; round < ROUNDS; round++) for (const func of echo.functions) echo.call(func, chance, Math.min(round, length));
}

for (const runtime of ["incremental", "minimal", "stub"] as const) {
  test(`every type comes back from the host as it went, under the ${runtime} runtime`, async () => {
    const echo = await startEcho(TORTURE, { runtime });
    assert(echo.functions.length > 70);
    rounds(echo, 1);
  });
}

test("with a full collection at every step of the runtime nothing is freed before its time", async () => {
  rounds(await startEcho(TORTURE, { isStressed: true }), 2, 3);
});

test("optimised bindings say the same", async () => {
  rounds(await startEcho(TORTURE, { optimise: true }), 3);
});

test("after each call no block is pinned, held or lent any more", async () => {
  const echo = await startEcho(TORTURE, { isCounted: true });
  const chance = new Chance(6);
  for (const func of echo.functions) {
    for (let i = 0; i < 6; i++) {
      echo.call(func, chance, i);
      assert.equal(echo.left(), 0, func.name);
    }
  }
});

for (const runtime of ["incremental", "minimal"] as const) {
  test(`${calls} calls, each with lists and texts of all kinds, end in the memory in which they began, under the ${runtime} runtime`, async () => {
    const echo = await startEcho(TORTURE, { runtime });
    const chance = new Chance(4);
    const prepared = echo.functions.flatMap((func) => Array.from({ length: 4 }, () => echo.prepare(func, chance, 3)));
    const turn = (count: number): void => {
      for (let i = 0; i < count; i++) prepared[i % prepared.length]?.();
    };
    // Under half the memory that is there is in use after the first tenth; a block lost in every call would double it.
    turn(calls / 10);
    const before = echo.memoryBytes();
    turn((calls * 9) / 10);
    assert.equal(echo.memoryBytes(), before);
  });
}

for (let seed = 1; seed <= seeds; seed++) {
  test(`random types come back as they went and leave nothing behind, seed ${seed}`, async () => {
    const isStressed = seed % 3 === 0; // Not under the minimal runtime, which may collect only where no frame is left.
    const echo = await startEcho(randomWit(new Chance(seed)), { runtime: seed % 2 === 0 && !isStressed ? "minimal" : "incremental", isStressed, isCounted: true });
    rounds(echo, seed, 4);
    assert.equal(echo.left(), 0);
  });
}
