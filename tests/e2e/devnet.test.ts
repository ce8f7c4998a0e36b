/** `godwit devnet` from outside: four machines come up, one is killed, cut off and brought back by another process, and nothing is left. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import test from "node:test";
import { addressText } from "#chain/codec/address.ts";
import { address } from "#chain/types.ts";
import type { Row } from "#tools/devnet/devnet.ts";
import { needs } from "../require.ts";
import { cli, cliJson, descendants, eventually, remaining, root, temporaryFolder } from "./stage.ts";

const MACHINES = 4;
const receiver = addressText(address(new Uint8Array(20).fill(7)));

test("a devnet of four machines is shown, broken and healed by other processes, and Ctrl-C stops all of it", { timeout: 400_000 }, async (t) => {
  if (!needs(t, "cargo")) return;
  const folder = temporaryFolder(t);
  const up = spawn(`${root}/tools/godwit`, ["devnet", "up", "-n", String(MACHINES), "--data", folder, "--json"], { stdio: ["ignore", "pipe", "pipe"] });
  let [stdout, stderr] = ["", ""];
  up.stdout.on("data", (chunk: Uint8Array) => (stdout += Buffer.from(chunk).toString()));
  up.stderr.on("data", (chunk: Uint8Array) => (stderr += Buffer.from(chunk).toString()));
  const ended = once(up, "exit");
  t.after(() => up.kill("SIGKILL"));
  const rows = (): readonly Row[] => (JSON.parse(stdout.split("\n").at(-2) ?? "{}") as { machines: readonly Row[] }).machines;
  await eventually("all answer", async () => stdout.includes("\n") && rows().length === MACHINES && rows().every(({ height }) => height !== null), 60_000).catch((error: unknown) => assert.fail(`${String(error)}\n${stderr}`));
  const started = descendants(up.pid!);
  const act = async (...words: string[]): Promise<readonly Row[]> => (await cliJson<{ machines: readonly Row[] }>(null, ["devnet", ...words, "--data", folder])).machines;
  const refused = async (...words: string[]): Promise<string> => {
    const { code, stderr: said } = await cli(null, ["devnet", ...words, "--data", folder, "--json"]);
    assert.equal(code, 1);
    return (JSON.parse(said) as { error: { code: string } }).error.code;
  };
  /** An idle chain makes a block in five seconds: a transfer makes the next one come at once. */
  const nudge = (): Promise<unknown> => cliJson(null, ["transfer", receiver, "0.1"], { environment: { GODWIT_API: rows()[0]!.api, GODWIT_DATA: join(folder, "0") } });
  const heightOf = async (name: string): Promise<number> => {
    const { api } = rows().find((row) => row.name === name)!;
    return fetch(`${api}/v1/blocks/latest`, { signal: AbortSignal.timeout(2_000) }).then(async (answer) => ((await answer.json()) as { height: number }).height, () => 0);
  };

  await t.test("who is killed is dead, the others go on, and it catches up when it is started", async () => {
    const before = await heightOf("m1");
    assert.deepEqual((await act("kill", "m2")).map(({ state }) => state), ["up", "dead", "up", "up"]);
    await eventually("three go on", async () => (await nudge(), await heightOf("m1")) > before + 1, 30_000);
    assert.equal((await act("start", "m2"))[1]!.state, "up");
    await eventually("it follows", async () => (await heightOf("m2")) > before, 30_000);
  });

  await t.test("one that is cut off hears of no block until the cut is healed", async (u) => {
    if (!needs(u, "root")) return;
    assert.equal((await act("partition", "m3"))[2]!.isCut, true);
    const at = await heightOf("m3");
    await eventually("the others go on", async () => (await nudge(), await heightOf("m1")) > at + 2, 40_000);
    assert((await heightOf("m3")) <= at + 1);
    await act("heal");
    await eventually("it is told what it missed", async () => (await heightOf("m3")) > at + 2, 40_000);
  });

  await t.test("one behind a long line follows all the same", async () => {
    assert.equal((await act("slow", "m2", "--ms", "150"))[1]!.slowMs, 150);
    const at = await heightOf("m1");
    await eventually("it follows", async () => (await nudge(), await heightOf("m2")) > at, 40_000);
    assert.equal((await act("slow", "m2", "--ms", "0"))[1]!.slowMs, 0);
  });

  await t.test("what cannot be done is refused with its code", async () => {
    assert.equal(await refused("kill", "m9"), "machine_unknown");
    assert.equal(await refused("up", "-n", "2"), "devnet_running");
    await act("pause", "m4");
    assert.equal(await refused("pause", "m4"), "machine_not_up");
  });

  up.kill("SIGINT");
  assert.deepEqual(await ended, [0, null], stderr);
  assert.deepEqual(await remaining(started), []);
  assert.equal(await refused("kill", "m1"), "devnet_not_running");
});
