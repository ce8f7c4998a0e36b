/**
 * One finalized header of each epoch that is over, with its certificate: what leads a light client, or a machine that joins, from one
 * set of validators to the next when the blocks themselves are pruned.
 *
 *   DIR/epochs   a frame file; an item is CBOR [epoch, header time, answer], the answer as it is given (codec/proof.ts): the state forgets old sets
 *
 * The newest 256, and all for as long as stake is unbonding: a checkpoint that is older is worth nothing. Each is there once; the file is written anew at an
 * opening that drops something. It decides nothing: one that is damaged is put aside.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { CodecError, decode, encode } from "#chain/codec/cbor.ts";
import { type EpochAnswer, decodeEpochAnswer, encodeEpochAnswer } from "#chain/codec/proof.ts";
import { bytes, tuple, u32, u64 } from "#chain/codec/schema.ts";
import { NodeError } from "./errors.ts";
import { FrameFile, replaceFrameFile } from "./frameFile.ts";
import { EPOCH_HEADERS_MIN } from "./limits.ts";

type Kept = { readonly timeMs: bigint; readonly answer: Uint8Array };

export class EpochHeaders {
  readonly #keptMs: bigint;
  readonly #known = new Map<number, Kept>();
  #file: FrameFile | null = null;

  private constructor(keptMs: bigint) {
    this.#keptMs = keptMs;
  }

  static async open(directory: string, keptMs: bigint): Promise<EpochHeaders> {
    const path = join(directory, "epochs");
    const headers = new EpochHeaders(keptMs);
    let count = 0;
    try {
      headers.#file = await FrameFile.open(path, { tailMayBeTorn: true, onItem: ({ bytes: item }) => {
        count++;
        headers.#note(...itemFrom(item));
      } });
    } catch (error) {
      if (!(error instanceof NodeError) && !(error instanceof CodecError) && !(error instanceof RangeError)) throw error;
      process.emitWarning(`Cannot read the headers of epochs in ${path}, so those that are over cannot be proven: ${error.message}`, { code: "godwit_epochs" });
      headers.#known.clear();
      await rm(path, { force: true });
      headers.#file = await FrameFile.open(path, { tailMayBeTorn: true, onItem: () => undefined });
      return headers;
    }
    if (headers.#known.size < count) {
      await headers.#file.close();
      await replaceFrameFile(path, [...headers.#known].map(([epoch, one]) => itemOf(epoch, one)));
      headers.#file = await FrameFile.open(path, { tailMayBeTorn: true, onItem: () => undefined });
    }
    return headers;
  }

  /** Encoded. */
  of(epoch: number): Uint8Array | null {
    return this.#known.get(epoch)?.answer ?? null;
  }

  async add(epoch: number, answer: EpochAnswer): Promise<void> {
    if (this.#known.has(epoch)) return;
    const kept = { timeMs: answer.header.timeMs, answer: encodeEpochAnswer(answer) };
    this.#note(epoch, kept);
    await this.#file?.append(itemOf(epoch, kept));
  }

  async close(): Promise<void> {
    await this.#file?.close();
  }

  #note(epoch: number, one: Kept): void {
    this.#known.set(epoch, one);
    for (const [old, { timeMs }] of this.#known) {
      if (this.#known.size <= EPOCH_HEADERS_MIN || timeMs + this.#keptMs >= one.timeMs) return;
      this.#known.delete(old);
    }
  }
}

const itemOf = (epoch: number, { timeMs, answer }: Kept): Uint8Array => encode([epoch, timeMs, answer]);

function itemFrom(item: Uint8Array): [epoch: number, one: Kept] {
  const [epoch, timeMs, answer] = tuple(decode(item), 3);
  // Once, so that nothing is given that nobody could read.
  decodeEpochAnswer(bytes(answer));
  return [u32(epoch), { timeMs: u64(timeMs), answer: bytes(answer).slice() }];
}
