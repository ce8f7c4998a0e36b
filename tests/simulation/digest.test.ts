/** A seed is one world, on every version of Node: its digest is pinned. */

import assert from "node:assert";
import { execFile } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { DIGESTS } from "#tests/golden/simulation.ts";
import { scenario } from "./scenarios.ts";
import { simulate } from "./world.ts";

const run = promisify(execFile);
const INSTALL_TIMEOUT_MS = 60_000;
const ROOT = join(import.meta.dirname, "..", "..");

test("a seed is one world: the same events, the same digest", () => {
  for (const seed of [1, 2, 3]) {
    const first = simulate(seed, scenario("restarts and a liar"));
    assert.strictEqual(simulate(seed, scenario("restarts and a liar")).digest, first.digest);
    assert.notStrictEqual(simulate(seed + 10, scenario("restarts and a liar")).digest, first.digest);
  }
});

test("the digests are those that are pinned, on this version of Node", () => {
  const now = Object.fromEntries(Object.keys(DIGESTS).map((name) => [name, [1, 2].map((seed) => simulate(seed, scenario(name)).digest)]));
  assert.deepStrictEqual(now, DIGESTS);
});

test("… and on Node 24, which has another V8", async (t) => {
  const node = await node24();
  if (node === null) return t.skip("Node 24 is not in the cache, and cannot be installed there");
  const { stdout } = await run(node, ["--no-warnings", "--import", join(import.meta.dirname, "olderNode.mjs"), join(ROOT, "tools", "simulate.ts"), "--pin"]);
  assert.deepStrictEqual(JSON.parse(`{${stdout.trim().replace(/,$/, "")}}`), DIGESTS);
});

/** Installed once, beside the other things that are built once; null without a registry. */
async function node24(): Promise<string | null> {
  const folder = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "godwit", "node24");
  const path = join(folder, "node_modules", "node", "bin", "node");
  if (existsSync(path)) return path;
  mkdirSync(folder, { recursive: true });
  await run("npm", ["install", "--no-audit", "--no-fund", "--prefix", folder, "node@24"], { timeout: INSTALL_TIMEOUT_MS }).catch(() => null);
  return existsSync(path) ? path : null;
}
