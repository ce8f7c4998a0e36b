import assert from "node:assert/strict";
import test from "node:test";
import { type ScreenFacts, statusScreen } from "./statusScreen.ts";

const FACTS: ScreenFacts = {
  version: "1.2.3", name: "kitchen", machine: "gw1machine", operator: "gw1operator", addresses: ["eth0 10.0.0.2/24"], api: "http://10.0.0.2:7480", uptimeSeconds: 90_061, state: "up",
  chain: { height: 1234, ageSeconds: 3, machines: 5 }, leases: { count: 2, memoryMibUsed: 192, memoryMib: 2048, cpuMillisUsed: 500, cpuMillis: 2000 }, load: [0.1, 1.25, 10],
  memory: { usedMib: 231, totalMib: 977 }, lines: Array.from({ length: 30 }, (_, n) => `line ${n}`),
};

test("the screen says name, address, height, leases and load, and what the machine said last", () => {
  const screen = statusScreen(FACTS, 80, 25);
  const text = screen.join("\n");
  for (const part of [/kitchen.*up 1 d 1 h/, /eth0 10\.0\.0\.2\/24/, /http:\/\/10\.0\.0\.2:7480/, /gw1machine +up/, /gw1operator/, /height 1234, 3 s ago; 5 machines/, /leases +2; 192 of 2048 MiB, 500 of 2000/, /0\.10 +1\.25 +10\.00/, /231 of 977 MiB/]) assert.match(text, part);
  assert.match(screen.at(-1)!, /^ line 29 *$/);
});

test("it fills a screen of any size exactly, so that a repaint leaves nothing of the one before", () => {
  for (const [columns, rows] of [[80, 25], [40, 12], [240, 67], [1, 1], [20, 3]] as const) {
    for (const facts of [FACTS, { ...FACTS, lines: [], addresses: [], state: "unknown" as const, uptimeSeconds: 59 }, { ...FACTS, lines: ["x".repeat(500)] }]) {
      const screen = statusScreen(facts, columns, rows);
      assert.equal(screen.length, rows);
      assert.deepEqual(screen.filter((line) => line.length !== columns), []);
    }
  }
});
