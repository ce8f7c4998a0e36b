import assert from "node:assert/strict";
import test from "node:test";
import type { Usage } from "./control.ts";
import { ISOLATED_MAX } from "./limits.ts";
import type { Front, RunnerOptions } from "./runner.ts";
import { startTrustClasses } from "./trustClasses.ts";

const USAGE: Usage = { requests: 1, errors: 0, fuel: 0, cpuNs: 0, memoryBytes: 0, memoryBytesPeak: 0, running: 1, waiting: 0, logLinesDropped: 0 };
const compiled = { digest: "00" };
/** A runner of which what matters is when it comes up, and that what it runs goes on. */
function front(loaded: Set<string>): Front {
  const nothing = async (): Promise<void> => {};
  return {
    pid: 1, pidOf: async () => 1, elsewhere: {} as Front["elsewhere"], open: nothing, hop: nothing, unload: nothing, stop: nothing, stopTask: nothing, fence: () => {}, task: () => assert.fail("no task"),
    load: async ({ id }) => void loaded.add(id), usage: async () => Object.fromEntries([...loaded].map((id) => [id, USAGE])),
  };
}
const stage = (own: (options: RunnerOptions) => Promise<Front>): ReturnType<typeof startTrustClasses> => {
  let count = 0;
  return startTrustClasses({ listener: { fd: 0 }, listen: async () => ({ fd: 0, port: 1, close: () => {} }), startRunner: (options) => (++count === 1 ? Promise.resolve(front(new Set())) : own(options)) });
};

test("a runner that is on its way up keeps nobody from the usage of the others", async () => {
  const { promise, resolve } = Promise.withResolvers<Front>();
  const classes = await stage(() => promise);
  await classes.load({ id: "shared", hosts: ["a"], compiled });
  const loading = classes.load({ id: "own", hosts: ["b"], compiled, isolation: "process" });
  assert.deepEqual(Object.keys(await classes.usage()), ["shared"]);
  resolve(front(new Set()));
  await loading;
  assert.deepEqual(Object.keys(await classes.usage()), ["shared", "own"]);
  await classes.stop();
});

test("runners whose deployments are gone and whose requests go on are bounded too: one more has to wait", async () => {
  const classes = await stage(async () => front(new Set()));
  const load = (n: number): Promise<void> => classes.load({ id: `d${n}`, hosts: [`h${n}`], compiled, isolation: "process" });
  for (let n = 0; n < 2 * ISOLATED_MAX; n += 1) {
    await load(n);
    await classes.unload(`d${n}`);
  }
  await assert.rejects(load(99), { code: "runner_busy" });
  await classes.stop();
});
