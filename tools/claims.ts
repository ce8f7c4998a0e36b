/**
 * `npm run claims`: reruns the command behind each figure that a README or FIGURES.md states, and fails where it is gone or more than 30 % worse.
 *
 * A figure carries its claim beside it, as a comment in one line:
 *   <!-- claim {"run": "bench:http", "arguments": ["--rounds", "1"], "path": "summary.1.ratio", "value": 0.25, "better": "higher"} -->
 * `run` is a script of package.json that prints JSON as the last thing on stdout, `path` leads to the number in it. Commands that
 * several claims share run once.
 */
import { spawnSync } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";

export type Claim = { file: string; line: number; run: string; arguments: string[]; path: string; value: number; better: "higher" | "lower" };

const ROOT = join(import.meta.dirname, "..");
const WORSE_MAX = 0.3;
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;

/** All claims of a text; throws where a comment that says claim is not one. */
export function claimsOf(file: string, text: string): Claim[] {
  return text.split("\n").flatMap((row, index) =>
    [...row.matchAll(/<!-- claim (.*?) -->/g)].map((match) => {
      const claim = JSON.parse(match[1]!) as Omit<Claim, "file" | "line">;
      if (typeof claim.run !== "string" || typeof claim.path !== "string" || typeof claim.value !== "number" || !["higher", "lower"].includes(claim.better))
        throw new Error(`${file}:${index + 1}: a claim needs run, path, value and better`);
      return { ...claim, arguments: claim.arguments ?? [], file, line: index + 1 };
    }),
  );
}

/** How `measured` stands to the claim: its share that is worse (negative: better). */
export const worseBy = (claim: Pick<Claim, "value" | "better">, measured: number): number =>
  claim.better === "higher" ? (claim.value - measured) / claim.value : (measured - claim.value) / claim.value;

export function pick(answer: unknown, path: string): number | null {
  let at: unknown = answer;
  for (const key of path.split(".")) at = typeof at === "object" && at !== null ? (at as Record<string, unknown>)[key] : undefined;
  return typeof at === "number" ? at : null;
}

function run(claim: Claim): unknown {
  const { stdout, status } = spawnSync("npm", ["run", "--silent", claim.run, "--", ...claim.arguments], { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"], maxBuffer: OUTPUT_BYTES_MAX });
  if (status !== 0) return null;
  try {
    return JSON.parse(stdout.slice(stdout.indexOf("{")));
  } catch {
    return null;
  }
}

if (import.meta.main) {
  const files = globSync(["**/README.md", "**/FIGURES.md"], { cwd: ROOT, exclude: ["node_modules/**"] });
  const claims = files.flatMap((file) => claimsOf(file, readFileSync(join(ROOT, file), "utf8")));
  const answers = new Map<string, unknown>();
  let failed = 0;
  for (const claim of claims) {
    const key = JSON.stringify([claim.run, claim.arguments]);
    if (!answers.has(key)) answers.set(key, run(claim));
    const measured = pick(answers.get(key), claim.path);
    const verdict = measured === null ? "GONE" : worseBy(claim, measured) > WORSE_MAX ? "WORSE" : "holds";
    if (verdict !== "holds") failed++;
    console.log(`${verdict.padEnd(6)} ${claim.file}:${claim.line} ${claim.run} ${claim.path}: claimed ${claim.value}, measured ${measured}`);
  }
  console.log(`${claims.length} claims, ${failed} failed`);
  process.exitCode = failed > 0 ? 1 : 0;
}
