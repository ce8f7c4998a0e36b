/**
 * Proofs for whoever asks. Each is read from the tree at the final block, for which the speculative blocks are taken back and done
 * again; so that strangers cannot make a node do that at will, questions wait for a round that answers all of them at once, and what was
 * proven of a final block is kept until the next.
 */
import type { Clock } from "#chain/network/clock.ts";
import { NodeError } from "./errors.ts";
import { PROOFS_KEPT_MAX, PROOFS_WAITING_MAX, PROOF_ROUND_MS } from "./limits.ts";

type Waiting = { readonly resolve: (answer: Uint8Array | null) => void; readonly reject: (error: unknown) => void };
export type ProofsParts = {
  readonly clock: Clock;
  /** The final block, in one word. */
  readonly finalId: () => string;
  /** Answers about these keys, in their order; null while there is no certificate of the final block itself. */
  readonly read: (keys: readonly string[]) => readonly Uint8Array[] | null;
};

export class Proofs {
  readonly #parts: ProofsParts;
  readonly #waiting = new Map<string, Waiting[]>();
  #count = 0;
  readonly #kept = new Map<string, Uint8Array>();
  #keptOf = "";
  /** Until then no round begins. */
  #cancelRest: (() => void) | null = null;
  #isStopped = false;

  constructor(parts: ProofsParts) {
    this.#parts = parts;
  }

  prove(key: string): Promise<Uint8Array | null> {
    if (this.#isStopped) return Promise.reject(new NodeError("node_stopped", "Cannot prove anything: the node has stopped"));
    const kept = this.#keptNow().get(key);
    if (kept) return Promise.resolve(kept);
    if (this.#count >= PROOFS_WAITING_MAX) return Promise.reject(new NodeError("overloaded", `Cannot prove anything now: ${PROOFS_WAITING_MAX} others wait for a proof; try again soon`));
    const answer = new Promise<Uint8Array | null>((resolve, reject) => {
      const others = this.#waiting.get(key);
      if (others) others.push({ resolve, reject });
      else this.#waiting.set(key, [{ resolve, reject }]);
    });
    this.#count += 1;
    if (this.#cancelRest === null) this.#round();
    return answer;
  }
  stop(): void {
    this.#isStopped = true;
    this.#cancelRest?.();
    const error = new NodeError("node_stopped", "Cannot prove anything: the node has stopped");
    for (const { reject } of [...this.#waiting.values()].flat()) reject(error);
    this.#waiting.clear();
  }

  #round(): void {
    this.#cancelRest = null;
    if (this.#waiting.size === 0) return;
    this.#cancelRest = this.#parts.clock.setTimer(() => this.#round(), PROOF_ROUND_MS);
    const round = [...this.#waiting];
    this.#waiting.clear();
    this.#count = 0;
    try {
      const answers = this.#parts.read(round.map(([key]) => key));
      const kept = this.#keptNow();
      for (const [index, [key, callers]] of round.entries()) {
        const answer = answers?.[index] ?? null;
        if (answer && kept.size < PROOFS_KEPT_MAX) kept.set(key, answer);
        for (const { resolve } of callers) resolve(answer);
      }
    } catch (error) {
      for (const { reject } of round.flatMap(([, callers]) => callers)) reject(error);
    }
  }
  #keptNow(): Map<string, Uint8Array> {
    const finalId = this.#parts.finalId();
    if (finalId !== this.#keptOf) this.#kept.clear();
    this.#keptOf = finalId;
    return this.#kept;
  }
}
