/**
 * What a test puts in the place of the world: a clock that stands, random numbers that repeat, and who answers a guest's requests.
 *
 * Only this engine has it, and only tests ask for it. Where a guest may send is judged before the mock is asked, as a machine would.
 */
import { createHash } from "node:crypto";

export type MockedRequest = { readonly method: string; readonly url: string; readonly headers: Headers; readonly body: Uint8Array };
export type Mock = {
  /** Milliseconds since 1970 at which the wall clock stands; the monotonic clock and waiting are real. */
  readonly clockMs?: number;
  /** The same seed gives the same numbers, from the beginning in each instance. */
  readonly randomSeed?: number;
  /** Answers instead of the network. What it throws is a connection that was refused. */
  readonly outgoing?: (request: MockedRequest) => Response | Promise<Response>;
};
/** What of it goes along to the guest's thread. */
export type MockSetting = Pick<Mock, "clockMs" | "randomSeed">;

/** As a part of a call's setting: only what a thread can be told. */
export const mockSetting = (mock: Mock | undefined): { mock?: MockSetting } =>
  mock === undefined ? {} : { mock: { ...(mock.clockMs === undefined ? {} : { clockMs: mock.clockMs }), ...(mock.randomSeed === undefined ? {} : { randomSeed: mock.randomSeed }) } };

/** Bytes of sha256(seed ‖ counter): even, and the same everywhere. */
export class SeededRandom {
  readonly #seed: number;
  #counter = 0;
  #left = new Uint8Array();

  constructor(seed: number) {
    this.#seed = seed;
  }

  bytes(length: number): Uint8Array {
    const drawn = new Uint8Array(length);
    for (let at = 0; at < length; ) {
      if (this.#left.length === 0) this.#left = new Uint8Array(createHash("sha256").update(`${this.#seed} ${(this.#counter += 1)}`).digest());
      const part = this.#left.subarray(0, length - at);
      drawn.set(part, at);
      at += part.length;
      this.#left = this.#left.subarray(part.length);
    }
    return drawn;
  }
}
