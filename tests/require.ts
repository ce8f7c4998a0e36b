/**
 * What a test needs of the computer. A test that lacks it skips with a line that says what; where `GODWIT_REQUIRE` names it
 * (comma separated), lacking it is a failure: a skip must not hide one.
 */
import { spawnSync } from "node:child_process";
import type { TestContext } from "node:test";

export type Need = "root" | "qemu" | "cargo" | "nft" | "chromium" | "swtpm";

const PRESENT: Record<Need, () => boolean> = {
  root: () => process.getuid?.() === 0,
  qemu: () => spawnSync("qemu-system-x86_64", ["--version"]).status === 0,
  cargo: () => spawnSync("cargo", ["--version"]).status === 0,
  nft: () => spawnSync("nft", ["--version"]).status === 0,
  chromium: () => spawnSync("chromium", ["--version"]).status === 0,
  swtpm: () => spawnSync("swtpm", ["--version"]).status === 0,
};

/** True when all of `what` is there; else marks the test skipped (or throws, see above) and the caller returns. */
export function needs(t: TestContext, ...what: Need[]): boolean {
  const required = (process.env["GODWIT_REQUIRE"] ?? "").split(",");
  for (const need of what) {
    if (PRESENT[need]()) continue;
    if (required.includes(need)) throw new Error(`This computer lacks "${need}", which GODWIT_REQUIRE names`);
    t.skip(`needs ${need}, which this computer lacks`);
    return false;
  }
  return true;
}
