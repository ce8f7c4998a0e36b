import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "#tests/compliance/manualClock.ts";
import { PROOFS_WAITING_MAX, PROOF_ROUND_MS } from "./limits.ts";
import { Proofs } from "./proofs.ts";

function stage() {
  const clock = new ManualClock();
  const rounds: (readonly string[])[] = [];
  const now = { finalId: "a", isProven: true };
  const bytesOf = (key: string): Uint8Array => new TextEncoder().encode(`${now.finalId} ${key}`);
  const proofs = new Proofs({
    clock, finalId: () => now.finalId,
    read: (keys) => {
      rounds.push(keys);
      return now.isProven ? keys.map(bytesOf) : null;
    },
  });
  return { clock, rounds, now, proofs, prove: async (key: string): Promise<string | null> => proofs.prove(key).then((bytes) => bytes && new TextDecoder().decode(bytes)) };
}

test("the first question is answered at once, those that come soon after it together, and of one key once", async () => {
  const { clock, rounds, prove } = stage();
  assert.equal(await prove("one"), "a one");
  const answers = Promise.all(["two", "three", "two"].map(prove));
  clock.advance(PROOF_ROUND_MS - 1);
  assert.deepEqual(rounds, [["one"]]);
  clock.advance(1);
  assert.deepEqual(await answers, ["a two", "a three", "a two"]);
  assert.deepEqual(rounds, [["one"], ["two", "three"]]);
});

test("what was proven of the final block is not proven again, and of the next one it is", async () => {
  const { clock, rounds, now, prove } = stage();
  await prove("one");
  for (let n = 0; n < 1_000; n++) assert.equal(await prove("one"), "a one");
  assert.equal(rounds.length, 1);
  now.finalId = "b";
  clock.advance(PROOF_ROUND_MS);
  assert.equal(await prove("one"), "b one");
});

test("what could not be proven is asked for again: its certificate may come", async () => {
  const { clock, now, prove } = stage();
  now.isProven = false;
  assert.equal(await prove("one"), null);
  clock.advance(PROOF_ROUND_MS);
  now.isProven = true;
  assert.equal(await prove("one"), "a one");
});

test("more than 128 who wait are refused: overloaded; and with a stop all who wait", async () => {
  const { proofs, prove } = stage();
  await prove("first");
  const waiting = Array.from({ length: PROOFS_WAITING_MAX }, (_, index) => prove(`${index}`));
  await assert.rejects(prove("one more"), { code: "overloaded" });
  assert.equal(await prove("first"), "a first");
  proofs.stop();
  for (const one of waiting) await assert.rejects(one, { code: "node_stopped" });
  await assert.rejects(prove("late"), { code: "node_stopped" });
});
