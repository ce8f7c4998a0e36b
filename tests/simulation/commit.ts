/** Which sources a failing seed belongs to. */

import { execFileSync } from "node:child_process";

/** Of these sources; "unknown" outside a repository. */
export function commit(): string {
  try {
    return execFileSync("git", ["rev-parse", "HEAD"], { cwd: import.meta.dirname, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return "unknown";
  }
}
