/**
 * The one door out: whatever ends a machine (power button, signal, operator, upgrade) comes through here, once.
 *
 * It stops what runs, in order, and ends this process with the code that tells PID 1 what to do; PID 1 syncs and does it, also when
 * a step takes too long (sandbox/native/init has the same numbers).
 */
/** `again`: the agent alone, which PID 1 starts anew as after a crash, and counts as one. */
export type Ending = "powerOff" | "restart" | "kexec" | "again";
export const EXIT_CODES: Readonly<Record<Ending, number>> = { powerOff: 64, restart: 65, kexec: 66, again: 67 };
/** Why an agent ends whose chain has gone on for longer than others keep blocks. */
export const LEFT_BEHIND = "left_behind";
/** Of PID 1's 30 s: what is left is for it. */
const STOP_MS_MAX = 25_000;

export type Step = { readonly name: string; readonly run: () => Promise<void> };

export class Way {
  #isOpen = false;
  readonly #steps: readonly Step[];
  readonly #say: (line: string) => void;
  readonly #exit: (code: number) => void;

  constructor(steps: readonly Step[], say: (line: string) => void, exit: (code: number) => void) {
    this.#steps = steps;
    this.#say = say;
    this.#exit = exit;
  }

  /** The first reason counts; later ones are already being answered. `last`: what is to be done when everything has stopped. */
  async leave(how: Ending, why: string, last?: () => Promise<void>): Promise<void> {
    if (this.#isOpen) return;
    this.#isOpen = true;
    this.#say(`stopping  ${why}`);
    const late = setTimeout(() => {
      this.#say(`stopping  not done after ${STOP_MS_MAX / 1000} s: going on without it`);
      this.#exit(EXIT_CODES[how]);
    }, STOP_MS_MAX);
    for (const { name, run } of this.#steps) {
      const begun = performance.now();
      await run().then(
        () => this.#say(`stopping  ${name}, ${Math.round(performance.now() - begun)} ms`),
        (error: unknown) => this.#say(`stopping  ${name} failed: ${error instanceof Error ? error.message : String(error)}`),
      );
    }
    await last?.();
    clearTimeout(late);
    this.#exit(EXIT_CODES[how]);
  }
}

/** An agent that ends by itself, as when its key is in use elsewhere, ends the machine: nobody else would start it again. One that its chain has left behind only begins anew. */
export function restartWhenEnded({ ended }: { readonly ended: Promise<string> }, way: Pick<Way, "leave">): void {
  void ended.then((why) => way.leave(why === LEFT_BEHIND ? "again" : "restart", `the agent ended: ${why}`));
}
