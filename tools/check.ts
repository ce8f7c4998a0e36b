/**
 * The gate before the tests: types (tsc) and lint (oxlint). Who may import whom is tests/tidy.test.ts.
 * Exit code 1 when one of them objects; both always run.
 */
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const CHECKS = [
  { name: "types", command: "tsc", args: ["-p", root] },
  { name: "lint", command: "oxlint", args: ["--type-aware", "--deny-warnings", "chain", "sandbox", "os", "tools", "tests", "workloads"] },
] as const;

let failed = 0;
for (const { name, command, args } of CHECKS) {
  const startedAtMs = performance.now();
  const { status, error } = spawnSync(join(root, "node_modules", ".bin", command), args, { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
  if (error) console.error(`Cannot run ${command}: ${error.message}`);
  if (status !== 0) failed++;
  console.error(`check: ${name} ${status === 0 ? "passed" : "FAILED"} in ${((performance.now() - startedAtMs) / 1000).toFixed(1)} s`);
}
process.exitCode = failed > 0 ? 1 : 0;
