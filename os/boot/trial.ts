/**
 * An image on trial is one that an upgrade has started: it accepts work within TRIAL_MS_MAX, or the machine goes back to the image before, which its firmware starts.
 *
 * Rules: time is the kernel's since it started, which no clock that is set moves, and which goes on through crashes of the agent: one that ends again and again, too seldom for PID 1
 * to give it up, begins no new trial each time. Who has accepted work once is on trial no more.
 */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TRIAL_MS_MAX } from "../limits.ts";

/** Memory of this boot: there is nothing of it after the next start. */
const FOLDER = "/run";
const PASSED_FILE = "trial-passed";

export class Trial {
  readonly #passed: string;
  #timer: NodeJS.Timeout | undefined;

  /** `onFailed`: time is up, at once where it has been for long. */
  constructor(uptimeMs: number, onFailed: () => void, folder: string = FOLDER) {
    this.#passed = join(folder, PASSED_FILE);
    if (existsSync(this.#passed)) return;
    this.#timer = setTimeout(onFailed, Math.max(0, TRIAL_MS_MAX - uptimeMs));
  }

  /** This image accepts work. */
  pass(): void {
    clearTimeout(this.#timer);
    writeFileSync(this.#passed, "");
  }
}
