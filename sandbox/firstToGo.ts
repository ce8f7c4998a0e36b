/**
 * Starts a process that the kernel ends first when the computer's memory is used up: a runner or a compiler, and never who started it.
 *
 * What the kernel goes by is inherited at the fork: so it is ours for that moment. Whoever has no right to lower it again than to what it was needs none.
 */
import { type ChildProcess, type ChildProcessWithoutNullStreams, type SpawnOptions, spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";

const SCORE_FILE = "/proc/self/oom_score_adj";
/** Of -1000 to 1000: as if it had half of the memory more than it has. */
const FIRST_TO_GO = 500;

export function spawnFirstToGo(program: string, args: readonly string[], options: SpawnOptions & { readonly stdio: "pipe" }): ChildProcessWithoutNullStreams;
export function spawnFirstToGo(program: string, args: readonly string[], options: SpawnOptions): ChildProcess;
export function spawnFirstToGo(program: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  const own = readScore();
  if (own === null || own >= FIRST_TO_GO || !writeScore(FIRST_TO_GO)) return spawn(program, args, options);
  try {
    return spawn(program, args, options);
  } finally {
    writeScore(own);
  }
}

function readScore(): number | null {
  try {
    return Number(readFileSync(SCORE_FILE, "utf8"));
  } catch {
    return null;
  }
}

function writeScore(score: number): boolean {
  try {
    writeFileSync(SCORE_FILE, String(score));
    return true;
  } catch {
    return false;
  }
}
