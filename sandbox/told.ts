/**
 * The deployments that one runner process was told of, and where each may dial. What has ended there is known for a while yet: its last requests
 * write lines. Then it is forgotten, as a runner lives for months and tenants come and go.
 */
import { LIMITS_MAX } from "./limits.ts";
import type { OutgoingPlace } from "./outgoing.ts";

/** Twice as long as any request may take. */
export const ENDED_KEPT_MS: number = 2 * LIMITS_MAX.wallTimeMsMax;

export class Told {
  readonly #places = new Map<string, readonly OutgoingPlace[]>();
  /** Until when each is known; the one that ended first comes first. */
  readonly #ended = new Map<string, number>();
  readonly #nowMs: () => number;

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  get count(): number {
    return this.#places.size + this.#ended.size;
  }

  begin(id: string, places: readonly OutgoingPlace[]): void {
    this.#ended.delete(id);
    this.#places.set(id, places);
  }

  end(id: string): void {
    if (!this.#places.delete(id)) return;
    const nowMs = this.#nowMs();
    for (const [other, untilMs] of this.#ended) {
      if (untilMs > nowMs) break;
      this.#ended.delete(other);
    }
    this.#ended.set(id, nowMs + ENDED_KEPT_MS);
  }

  has(id: string): boolean {
    return this.#places.has(id) || this.#ended.has(id);
  }

  /** What has ended dials nowhere. */
  placesOf(id: string): readonly OutgoingPlace[] {
    return this.#places.get(id) ?? [];
  }
}
