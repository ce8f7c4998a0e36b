/**
 * How `npm test` judges its files: a reporter of node:test that keeps for each file how long it took and how it failed (the default export), and
 * the rule for the files that failed (`judge`). A file that failed beside others is run once more, alone: on a noisy computer a test that waits
 * can lose against its neighbours. One that fails alone is a failure, so is one of too many, and what was run twice is said loudly. Plain
 * JavaScript, as setup.mjs reads it on any Node ≥ 18.
 */
import { resolve } from "node:path";
import { inspect } from "node:util";

/** More than a few are no noise. */
export const SECOND_RUN_FILES_MAX = 3;
/** Of what a file printed its end says why it failed. */
const OUTPUT_CHARACTERS_MAX = 20_000;
const SLOWEST_COUNT = 10;

/** One line of JSON for each file when it has ended: `{ file, elapsedMs, failure }`, the failure null or all that there is to read about it. */
export default async function* reportFiles(events) {
  const printed = new Map();
  const failures = new Map();
  for await (const { type, data } of events) {
    const file = data.entryFile ?? data.file;
    if (file === undefined) continue;
    if (type === "test:stdout" || type === "test:stderr") printed.set(file, ((printed.get(file) ?? "") + data.message).slice(-OUTPUT_CHARACTERS_MAX));
    // A file is a test of its own whose name is its path, from where the run began or whole, and ends with the last of its tests.
    const isWhole = data.nesting === 0 && resolve(data.name ?? "") === file;
    if (type === "test:fail" && !isWhole) failures.set(file, `${failures.get(file) ?? ""}✖ ${data.name}\n${inspect(data.details.error.cause ?? data.details.error)}\n`);
    if (type !== "test:complete" || !isWhole) continue;
    const hasFailed = failures.has(file) || data.details.error !== undefined;
    yield `${JSON.stringify({ file, elapsedMs: Math.round(data.details.duration_ms ?? 0), failure: hasFailed ? `${failures.get(file) ?? ""}${printed.get(file) ?? ""}` : null })}\n`;
    printed.delete(file);
    failures.delete(file);
  }
}

export const parseReport = (text) => text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));

export const slowestOf = (files) => [...files].sort((a, b) => b.elapsedMs - a.elapsedMs).slice(0, SLOWEST_COUNT);

/** The exit code of all: of `code` and `files` as the run beside each other ended, `runAlone(file)` resolving to the exit code of one run by itself. */
export async function judge({ code, files, isStopped, runAlone, say }) {
  const failed = files.filter(({ failure }) => failure !== null);
  if (code === 0 && failed.length === 0) return 0;
  // Stopped, or broken in a way that no file answers for; or there was nobody beside it.
  if (isStopped() || failed.length === 0 || files.length === 1) return code || 1;
  if (failed.length > SECOND_RUN_FILES_MAX) {
    say(`${failed.length} files failed, more than ${SECOND_RUN_FILES_MAX}: none is run again`);
    return 1;
  }
  const outcomes = [];
  for (const { file, failure } of failed) {
    say(`FAILED beside others: ${file}\n${failure}`);
    say(`once more, alone: ${file}`);
    const again = await runAlone(file);
    if (isStopped()) return 1;
    outcomes.push({ file, again });
  }
  for (const { file, again } of outcomes) say(again === 0 ? `FAILED BESIDE OTHERS, PASSED ALONE: ${file}` : `FAILED TWICE, beside others and alone: ${file}`);
  return outcomes.some(({ again }) => again !== 0) ? 1 : 0;
}
