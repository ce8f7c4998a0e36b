import assert from "node:assert/strict";
import test from "node:test";
import { Way, restartWhenEnded } from "./ending.ts";

test("every way out passes one door: steps in order, then the code that tells PID 1 what to do, once", async () => {
  const lines: string[] = [];
  const codes: number[] = [];
  const step = (name: string) => ({ name, run: async () => void lines.push(`did ${name}`) });
  const way = new Way([step("drained"), step("agent stopped")], (line) => lines.push(line), (code) => codes.push(code));
  await Promise.all([way.leave("powerOff", "power button"), way.leave("restart", "signal")]);
  assert.deepEqual(codes, [64]);
  assert.deepEqual(lines.filter((line) => line.startsWith("did")), ["did drained", "did agent stopped"]);
});

test("a step that fails keeps no machine from ending", async () => {
  const codes: number[] = [];
  const way = new Way([{ name: "drained", run: () => Promise.reject(new Error("stuck")) }], () => {}, (code) => codes.push(code));
  await way.leave("restart", "signal");
  assert.deepEqual(codes, [65]);
});

test("a step that never ends is left behind after 25 s", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const codes: number[] = [];
  const way = new Way([{ name: "drained", run: () => new Promise(() => {}) }], () => {}, (code) => codes.push(code));
  void way.leave("powerOff", "power button");
  t.mock.timers.tick(24_999);
  assert.deepEqual(codes, []);
  t.mock.timers.tick(1);
  assert.deepEqual(codes, [64]);
});

test("an agent that ends by itself restarts the machine", async () => {
  const { promise, resolve } = Promise.withResolvers<number>();
  const way = new Way([], () => {}, resolve);
  restartWhenEnded({ ended: Promise.resolve("machine_key_in_use") }, way);
  assert.equal(await promise, 65);
});

test("an agent that its chain has left behind is started anew, and the machine stays", async () => {
  const { promise, resolve } = Promise.withResolvers<number>();
  restartWhenEnded({ ended: Promise.resolve("left_behind") }, new Way([], () => {}, resolve));
  assert.equal(await promise, 67);
});
