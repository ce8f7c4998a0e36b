/**
 * A faster way to work out the equation of an ed25519 signature, where a process was given one: a native part (AVX-512, AVX2) takes a
 * fifth of OpenSSL's time, and the four validators of a transfer pay it each. `chain/crypto.ts` uses it and stays the only door.
 *
 * What is accepted does not depend on it: which bytes are looked at at all is `isStrict`'s to say, before; the equation is the same, without
 * the cofactor (tests/vectors holds both and the browser's to the same answers). Who starts a process hands the native part in, as nothing of
 * the chain loads one; it answers some known signatures first, and one that errs is not used.
 *
 * A few of a turn are done on the loop, as waking a thread costs as much as one of them (16 µs); more go to libuv's pool together.
 */

export type NativeVerification = {
  /** Of the prefix and the message, one after the other. */
  holds(prefix: Uint8Array, message: Uint8Array, signature: Uint8Array, key: Uint8Array): boolean;
  /** On a thread of the pool: each is signature, key, length of the message in four bytes, lowest first, and message. A byte for each, 1 when it holds. */
  holdMany(batch: Uint8Array): Promise<Uint8Array>;
};

type Waiting = { readonly prefix: Uint8Array; readonly message: Uint8Array; readonly signature: Uint8Array; readonly key: Uint8Array; readonly done: (holds: boolean) => void };

/** Done on the loop, together 90 µs, if no more came in a turn. */
const ON_LOOP_MAX = 4;
/** Done on one thread at a time: 0.7 ms, for which a write to the disk may wait. */
const BATCH_MAX = 32;
const HEAD_BYTES = 64 + 32 + 4;

export class VerificationBatches {
  readonly #native: NativeVerification;
  #waiting: Waiting[] = [];

  constructor(native: NativeVerification) {
    this.#native = native;
  }

  /** `done` is called in a later turn; until then the bytes stay as they are. */
  add(prefix: Uint8Array, message: Uint8Array, signature: Uint8Array, key: Uint8Array, done: (holds: boolean) => void): void {
    this.#waiting.push({ prefix, message, signature, key, done });
    if (this.#waiting.length === 1) queueMicrotask(() => this.#start());
  }

  #start(): void {
    const all = this.#waiting;
    this.#waiting = [];
    if (all.length <= ON_LOOP_MAX) return this.#doNow(all);
    for (let at = 0; at < all.length; at += BATCH_MAX) {
      const some = all.slice(at, at + BATCH_MAX);
      this.#native.holdMany(pack(some)).then((verdicts) => {
        if (verdicts.length !== some.length) return this.#doNow(some);
        for (const [index, { done }] of some.entries()) done(verdicts[index] === 1);
      }, () => this.#doNow(some));
    }
  }
  #doNow(some: readonly Waiting[]): void {
    for (const { prefix, message, signature, key, done } of some) done(this.#native.holds(prefix, message, signature, key));
  }
}

function pack(some: readonly Waiting[]): Uint8Array {
  let length = 0;
  for (const { prefix, message } of some) length += HEAD_BYTES + prefix.length + message.length;
  const batch = new Uint8Array(length);
  const view = new DataView(batch.buffer);
  let at = 0;
  for (const { prefix, message, signature, key } of some) {
    batch.set(signature, at);
    batch.set(key, at + 64);
    view.setUint32(at + 96, prefix.length + message.length, true);
    batch.set(prefix, at + HEAD_BYTES);
    batch.set(message, at + HEAD_BYTES + prefix.length);
    at += HEAD_BYTES + prefix.length + message.length;
  }
  return batch;
}

/** key, message, signature, whether it holds: one of RFC 8032, the same for another message, and two by keys of mixed order, where only the equation without the cofactor tells one from the other. */
const KNOWN: readonly (readonly [key: string, message: string, signature: string, holds: boolean])[] = [
  ["3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00", true],
  ["3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "73",
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00", false],
  ["ef46333ffc7a91f0f2253c1b8c49a8d2cc03cc79b0fc17c3c0442e573da88b55", "676f64776974",
    "e180fca1e7d4511082cd6d6a4d8c5736db0e5d0441f7d3b007251b44a4ad4de1e4184d4480665df9d0df330fc41c5e5e73e109328de35b7e6d755d27aa858f02", true],
  ["ee87788a325c16457642f70c9efb5f24c7184818e704420c2c15ff124b1c6dc9", "676f64776974",
    "0452d79ac46d9e73973b91f34e5ef0bf5d2a64b9a59896f94fa6ed69dff2773e2cbc514b09e35bb097b2e482d6a4199303834e5df491cff41b99b7aa502e660a", false],
];
const EMPTY = new Uint8Array(0);

/** Whether it knows those, wherever the message is cut into prefix and message. Throws what it throws. */
export function answersKnown(native: NativeVerification): boolean {
  return KNOWN.every(([key, text, signature, expected]) => {
    const message = Uint8Array.fromHex(text);
    const [r, a] = [Uint8Array.fromHex(signature), Uint8Array.fromHex(key)];
    return native.holds(EMPTY, message, r, a) === expected && native.holds(message, EMPTY, r, a) === expected;
  });
}
