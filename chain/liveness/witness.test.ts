import assert from "node:assert/strict";
import { test } from "node:test";
import type { Beat } from "#chain/codec/liveness.ts";
import { type Hex, signature } from "#chain/types.ts";
import { ANSWER_MS, SILENT_MS } from "./rules.ts";
import { newWitness, step } from "./witness.ts";
import type { LivenessView } from "./witnesses.ts";

const WEIGHTS = new Map([["v0", 1], ["v1", 1], ["v2", 1]] as [Hex, number][]);
const VIEW: LivenessView = {
  height: 1, timeMs: 0n, validators: WEIGHTS, sets: { current: WEIGHTS, previous: null, sinceMs: 0n },
  machines: new Map([["m0" as Hex, { validator: null, bootId: "b0" as Hex, isDown: false, sinceHeight: 1 }]]),
};
const beat = (bootId: string): Beat => ({ machine: "m0" as Hex, bootId: bootId as Hex, number: 1, height: 1, timeMs: 0n, signature: signature(new Uint8Array(64)) });

test("liveness L12: a silent machine that beats with ever new boot ids is answered, and written down, four times a second at most", () => {
  const state = newWitness("v0" as Hex, 0n, []);
  step(state, { kind: "final", nowMs: 0n, view: VIEW });
  step(state, { kind: "beat", nowMs: 1n, beat: beat("b0") });
  const silentMs = 1n + BigInt(SILENT_MS);
  const answers = Array.from({ length: 1_000 }, (_, i) => step(state, { kind: "beat", nowMs: silentMs + BigInt(i), beat: beat(`x${i}`) })[1]).flat();
  assert.equal(answers.length, 1_000 / ANSWER_MS);
  assert(answers.every(({ kind }) => kind === "acknowledgeUp"));
});
