/** The steps of something long, each with the time it took, as lines on stderr for whoever watches. */
import type { Shell } from "./command.ts";
import { paint, plain } from "./table.ts";

export class Steps {
  readonly #shell: Shell;
  #lastMs: number;

  constructor(shell: Shell) {
    this.#shell = shell;
    this.#lastMs = shell.nowMs();
  }

  /** A step has ended; the next begins. */
  done(what: string): void {
    const nowMs = this.#shell.nowMs();
    if (this.#shell.quiet !== true) this.#shell.stderr.write(`${paint(this.#shell, this.#shell.stderr, "dim", `${String(Math.round(nowMs - this.#lastMs)).padStart(6)} ms`)}  ${plain(what)}\n`);
    this.#lastMs = nowMs;
  }
}
