/** A whole site is switched off at once and loses what it has signed; its operators begin a new era with the commands that the README names. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { freePort } from "#tools/chain/machines.ts";
import { cli, cliJson, eventually, root, temporaryFolder } from "./stage.ts";

type Running = { readonly child: ChildProcess; height(): number; ended(): Promise<{ code: number | null; stderr: string }> };

function startValidator(t: TestContext, directory: string, port: number, peer: number, ...options: readonly string[]): Running {
  const child = spawn(join(root, "tools", "godwit"), ["chain", "validator", directory, "--listen", `127.0.0.1:${port}`, "--peer", `127.0.0.1:${peer}`, ...options], { stdio: ["ignore", "ignore", "pipe"] });
  t.after(() => child.kill("SIGKILL"));
  let stderr = "";
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const closed = once(child, "close") as Promise<[number | null]>;
  return {
    child, ended: async () => ({ code: (await closed)[0], stderr }),
    height: () => Number([...stderr.matchAll(/^height (\d+)/gm)].at(-1)?.[1] ?? 0),
  };
}

test("chain restart --era: all validators are off at once and votes are lost; the operators begin an era at the same block, and the chain goes on with its state", { timeout: 400_000 }, async (t) => {
  const folder = temporaryFolder(t);
  const directories = [join(folder, "a"), join(folder, "b")] as const;
  const ports = [await freePort(), await freePort()] as const;
  const keys = await Promise.all(directories.map((directory) => cliJson(null, ["chain", "keys", directory])));
  const file = join(folder, "genesis");
  await cliJson(null, ["chain", "genesis", file, "--parameters", "minimal", "--delta-ms", "200", "--account", `${keys[0].operator}=7`, ...keys.flatMap(({ consensusKey }) => ["--validator", consensusKey])]);
  const startBoth = (...options: readonly string[]): Running[] => directories.map((directory, n) => startValidator(t, directory, ports[n]!, ports[1 - n]!, ...options));

  const first = startBoth("--genesis", file, "--archive");
  await eventually("both have final blocks", async () => first.every((one) => one.height() >= 2), 90_000);
  for (const { child } of first) child.kill("SIGKILL");
  await Promise.all(first.map((one) => one.ended()));
  rmSync(join(directories[1], "chain", "votes"));
  const refused = await startValidator(t, directories[1], ports[1], ports[0]).ended();
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /vote_log_missing/);

  const stored = await Promise.all(directories.map((directory) => cliJson<{ height: number }>(null, ["chain", "replay", directory])));
  const height = Math.min(...stored.map((one) => one.height));
  const eras = await Promise.all(directories.map((directory) => cliJson(null, ["chain", "restart", directory, "--era", "1", "--height", String(height)])));
  assert.deepEqual([eras[0].chainId, eras[0].height, eras[0].id, eras[0].stateRoot], [eras[1].chainId, height, eras[1].id, eras[1].stateRoot]);
  assert.match(eras[0].checkpoint, /^0-\d+-[0-9a-f]{64}$/);
  assert.equal(eras[0].checkpoint, eras[1].checkpoint);
  for (const [n, directory] of directories.entries()) assert(existsSync(join(directory, "chain")) && existsSync(eras[n].before));
  const again = await cli(null, ["chain", "restart", directories[0], "--era", "1", "--json"]);
  assert.deepEqual([again.code, (JSON.parse(again.stderr.trim().split("\n").at(-1)!) as { error: { code: string } }).error.code], [1, "folder_in_use"]);

  const second = startBoth();
  await eventually("the era goes on above its block", async () => second.every((one) => one.height() > height), 90_000);
  for (const { child } of second) child.kill("SIGINT");
  assert.deepEqual((await Promise.all(second.map((one) => one.ended()))).map(({ code }) => code), [0, 0]);
});
