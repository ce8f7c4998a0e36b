/**
 * Phases: what a machine does one after the other from the first line of ours to the agent, each with a name and its time.
 *
 * Rules: a phase says in one line what came of it; one that may fail says so in the table, and the machine goes on without it; any
 * other failure is shown on the screen and ends the start. A start after a crash of the agent runs the same table: each phase takes
 * what is there already for done.
 */
import { codeOf, messageOf } from "../error.ts";

export type Phase<State> = {
  readonly name: string;
  /** The machine is of use without it. */
  readonly optional?: true;
  /** What came of it, for the screen; empty: nothing to say. */
  readonly run: (state: State) => string | Promise<string>;
};
export type PhaseTime = { readonly name: string; readonly fromMs: number; readonly tookMs: number; readonly ok: boolean; readonly text: string };

export class PhaseError extends Error {
  readonly code: string;
  readonly phase: string;
  constructor(phase: string, cause: unknown) {
    super(`Cannot start this machine: ${phase}: ${messageOf(cause)}`, { cause });
    this.name = "PhaseError";
    this.phase = phase;
    this.code = codeOf(cause);
  }
}

/** `uptimeMs` is the kernel's: what is before the first phase is the firmware's and the kernel's share. */
export async function runPhases<State>(phases: readonly Phase<State>[], state: State, uptimeMs: () => number, say: (line: string) => void): Promise<PhaseTime[]> {
  const times: PhaseTime[] = [];
  for (const phase of phases) {
    const fromMs = uptimeMs();
    let ok = true;
    let text: string;
    try {
      text = await phase.run(state);
    } catch (error) {
      if (phase.optional !== true) throw new PhaseError(phase.name, error);
      ok = false;
      text = `${codeOf(error)}: ${messageOf(error)}`;
    }
    const time = { name: phase.name, fromMs, tookMs: uptimeMs() - fromMs, ok, text };
    times.push(time);
    say(phaseLine(time));
  }
  return times;
}

export function phaseLine({ name, tookMs, ok, text }: PhaseTime): string {
  return `${name.padEnd(9)} ${String(Math.round(tookMs)).padStart(5)} ms ${ok ? "" : "FAILED "}${text}`.trimEnd();
}
