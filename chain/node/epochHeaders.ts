/**
 * One finalized header of each epoch that is over, with its certificate: what leads a light client, or a machine that joins, from one
 * set of validators to the next when the blocks themselves are pruned.
 *
 *   DIR/epochs   a frame file; an item is CBOR [epoch, header, certificate]
 *
 * The newest 256, and all for as long as stake is unbonding: a checkpoint that is older is worth nothing. Each is there once; the file is written anew at an
 * opening that drops something. It decides nothing: one that is damaged is put aside.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { CodecError, decode, encode } from "#chain/codec/cbor.ts";
import { type BlockHeader, type Certificate, bytes, decodeCertificate, decodeHeader, encodeCertificate, encodeHeader, tuple, u32 } from "#chain/codec/schema.ts";
import { NodeError } from "./errors.ts";
import { FrameFile, replaceFrameFile } from "./frameFile.ts";
import { EPOCH_HEADERS_MIN } from "./limits.ts";

export type ProvenHeader = { readonly header: BlockHeader; readonly finalization: Certificate };

export class EpochHeaders {
  readonly #keptMs: bigint;
  readonly #known = new Map<number, ProvenHeader>();
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

  of(epoch: number): ProvenHeader | null {
    return this.#known.get(epoch) ?? null;
  }

  async add(epoch: number, one: ProvenHeader): Promise<void> {
    if (this.#known.has(epoch)) return;
    this.#note(epoch, one);
    await this.#file?.append(itemOf(epoch, one));
  }

  async close(): Promise<void> {
    await this.#file?.close();
  }

  #note(epoch: number, one: ProvenHeader): void {
    this.#known.set(epoch, one);
    for (const [old, { header }] of this.#known) {
      if (this.#known.size <= EPOCH_HEADERS_MIN || header.timeMs + this.#keptMs >= one.header.timeMs) return;
      this.#known.delete(old);
    }
  }
}

const itemOf = (epoch: number, { header, finalization }: ProvenHeader): Uint8Array => encode([epoch, encodeHeader(header), encodeCertificate(finalization)]);

function itemFrom(item: Uint8Array): [epoch: number, one: ProvenHeader] {
  const [epoch, header, certificate] = tuple(decode(item), 3);
  return [u32(epoch), { header: decodeHeader(bytes(header)), finalization: decodeCertificate(bytes(certificate)) }];
}
