/** Who gets the CPU when several want more than there is: what each pays for, and what is left by the same measure. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import test, { after } from "node:test";
import { LIMITS_MAX } from "#sandbox/limits.ts";
import { nativeIsThere, serving, sharedCache, until } from "./serving.ts";

const cache = sharedCache();
after(cache.remove);
const STRETCHES_MAX = 8;
const STRETCH_NS = 0.6e9;
const limits = { wallTimeMsMax: 20_000, cpuTimeMsMax: LIMITS_MAX.cpuTimeMsMax, fuelPerCallMax: LIMITS_MAX.fuelPerCallMax };

test("heavy tenants of the weights 1:2:4 have CPU time 1:2:4 within 10 %, however many requests each has", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner } = await serving(t, cache.directory);
  // More is promised than there is, so that all of it is shared by weight.
  const tenants = [["a", 1_000, 6], ["b", 2_000, 3], ["c", 4_000, 4]] as const;
  for (const [id, cpuWeight] of tenants) await load(id, "rogue", { limits, cpuWeight });
  const gone = new AbortController();
  const loops = tenants.flatMap(([id, , requests]) => Array.from({ length: requests }, () => get("/loop", { host: `${id}.localhost`, signal: gone.signal })));
  const spent = async (): Promise<number[]> => {
    const usage = await runner.usage();
    return tenants.map(([id]) => usage[id]?.cpuNs ?? 0);
  };
  await until(async () => (await spent()).every((ns) => ns > 10_000_000), "all of them at work", 8_000);
  // Stretch after stretch of CPU time, however long each takes on this computer: who was ahead as they began, or lost a core to somebody else for a
  // while, is even soon.
  let parts: number[] = [];
  const isFair = (): boolean => [1, 2, 4].every((weight, index) => Math.abs((parts[index] ?? 0) / weight - 1) < 0.1);
  for (let stretch = 0; stretch < STRETCHES_MAX && !isFair(); stretch++) {
    const before = await spent();
    await until(async () => {
      const had = (await spent()).map((ns, index) => ns - (before[index] ?? 0));
      const sum = had.reduce((total, ns) => total + ns, 0);
      parts = had.map((ns) => (ns / sum) * 7);
      return sum > STRETCH_NS;
    }, "the CPU time", 15_000);
    t.diagnostic(`of seven parts: ${parts.map((part) => part.toFixed(2)).join(" : ")}`);
  }
  gone.abort();
  await Promise.all(loops);
  assert.ok(isFair(), `weights 1, 2 and 4 had ${parts.join(", ")} of 7`);
});

test("what a heavy tenant pays for it gets, though others have short requests without end", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner } = await serving(t, cache.directory);
  await load("flood", "rogue", { limits, cpuWeight: 10 });
  await load("a", "rogue", { limits, cpuWeight: 300 });
  const gone = new AbortController();
  let flooding = true;
  const floods = Array.from({ length: 12 }, async () => {
    while (flooding) assert.equal((await get("/", { host: "flood.localhost" })).status, 200);
  });
  const loop = get("/loop", { signal: gone.signal });
  await until(async () => ((await runner.usage())["a"]?.cpuNs ?? 0) > 10_000_000, "it works");
  const spent = async (): Promise<number[]> => {
    const usage = await runner.usage();
    return ["a", "flood"].map((id) => usage[id]?.cpuNs ?? 0);
  };
  const [begunMs, before] = [performance.now(), await spent()];
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  const [paid = 0, flooded = 0] = (await spent()).map((ns, index) => ns - (before[index] ?? 0));
  const cores = paid / 1e6 / (performance.now() - begunMs);
  // Of a computer that others use, too, nobody gets all that he pays for: then his part of what there is.
  const part = paid / (paid + flooded);
  flooding = false;
  gone.abort();
  await Promise.all([...floods, loop]);
  t.diagnostic(`of 0.3 cores paid for it had ${cores.toFixed(2)}, ${(part * 100).toFixed(0)} % of what guests had`);
  assert.ok(cores > 0.25 || part > 0.25, `${cores} cores, ${part} of what guests had`);
});

/** POST /count whose body comes a while after its head; the text of the answer. */
function lateBody(port: number, host: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = connect({ port, host: "127.0.0.1", noDelay: true }, () => {
      socket.write(`POST /count HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 5\r\nConnection: close\r\n\r\n`);
      setTimeout(() => socket.write("hello"), 20);
    });
    socket.setTimeout(30_000, () => socket.destroy(new Error("no answer within 30 s")));
    socket.setEncoding("latin1").on("data", (chunk: string) => (text += chunk));
    socket.on("end", () => resolve(text)).on("error", reject);
  });
}

test("a request that is short but waits for its body goes before heavy ones, whatever its tenant had before", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner, port } = await serving(t, cache.directory);
  await load("short", "rogue", { limits, cpuWeight: 10 });
  await load("heavy", "rogue", { limits, cpuWeight: 1_000 });
  const gone = new AbortController();
  const loops = Array.from({ length: 4 }, () => get("/loop", { host: "heavy.localhost", signal: gone.signal }));
  const heavyMs = async (): Promise<number> => ((await runner.usage())["heavy"]?.cpuNs ?? 0) / 1e6;
  await until(async () => (await heavyMs()) > 10, "heavy ones at work", 30_000);
  const hadMs: number[] = [];
  for (let round = 0; round < 5; round++) {
    // By weight, what these had is a second or two of the heavy one's.
    for (let sent = 0; sent < 300; sent += 10) await Promise.all(Array.from({ length: 10 }, () => get("/", { host: "short.localhost" })));
    const before = await heavyMs();
    assert.match(await lateBody(port, "short.localhost"), /^HTTP\/1\.1 200 .*\r\n5(\r\n|$)/s);
    hadMs.push((await heavyMs()) - before);
  }
  gone.abort();
  await Promise.all(loops);
  t.diagnostic(`heavy ones had ${hadMs.map((ms) => ms.toFixed(0)).join(", ")} ms meanwhile`);
  assert.ok([...hadMs].sort((a, b) => a - b)[2]! < 600, `heavy ones had ${hadMs.join(", ")} ms of CPU time before short ones were answered`);
});
