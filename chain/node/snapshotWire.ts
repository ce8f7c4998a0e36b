/**
 * The messages by which a new node takes a state from others, beside ranges of blocks on the channel "sync":
 *
 *   [1, 2]                  which snapshot do you have?   →  [1, 3, block, finalization, chunks in all], or [1, 8]: none
 *   [1, 4, height, index]   a chunk of it                 →  [1, 5, height, index, chunk]
 *   [1, 6, epoch]           the validators after it       →  [1, 7, epoch, answer] (codec/proof.ts, of an epoch)
 *   [1, 9]                  does your disk keep it all?   →  [1, 10, 1 or 0] (keepers.ts)
 *
 * Who does not have the rest does not answer. Everything in an answer but the last proves itself (join.ts); nothing here is believed.
 */
import { BLOCK_BYTES_MAX, MESSAGE_BYTES_MAX, WIRE_VERSION } from "#chain/constants.ts";
import { type Cbor, CodecError, decode, encode } from "#chain/codec/cbor.ts";
import { CERTIFICATE_BYTES_MAX } from "#chain/codec/certificate.ts";
import { type Certificate, bytesUpTo, decodeCertificate, encodeCertificate, list, u32, version } from "#chain/codec/schema.ts";
import { type HeldBlock, heldFromBytes } from "./heldBlocks.ts";
import { SNAPSHOT_CHUNKS_MAX } from "./limits.ts";

export type SnapshotMessage =
  | { readonly kind: "whichSnapshot" }
  | { readonly kind: "snapshot"; readonly block: HeldBlock; readonly finalization: Certificate; readonly count: number }
  | { readonly kind: "noSnapshot" }
  | { readonly kind: "wantChunk"; readonly height: number; readonly index: number }
  | { readonly kind: "chunk"; readonly height: number; readonly index: number; readonly bytes: Uint8Array }
  | { readonly kind: "wantEpoch"; readonly epoch: number }
  | { readonly kind: "epochEnd"; readonly epoch: number; readonly answer: Uint8Array }
  | { readonly kind: "doYouKeep" }
  | { readonly kind: "keeps"; readonly keeps: boolean };

export function encodeSnapshotMessage(message: SnapshotMessage): Uint8Array {
  switch (message.kind) {
    case "whichSnapshot": return encode([WIRE_VERSION, 2]);
    case "snapshot": return encode([WIRE_VERSION, 3, message.block.bytes, encodeCertificate(message.finalization), message.count]);
    case "noSnapshot": return encode([WIRE_VERSION, 8]);
    case "wantChunk": return encode([WIRE_VERSION, 4, message.height, message.index]);
    case "chunk": return encode([WIRE_VERSION, 5, message.height, message.index, message.bytes]);
    case "wantEpoch": return encode([WIRE_VERSION, 6, message.epoch]);
    case "epochEnd": return encode([WIRE_VERSION, 7, message.epoch, message.answer]);
    case "doYouKeep": return encode([WIRE_VERSION, 9]);
    case "keeps": return encode([WIRE_VERSION, 10, message.keeps ? 1 : 0]);
  }
}

/** Null: another kind of message of that channel (sync.ts). Throws CodecError. */
export function decodeSnapshotMessage(input: Uint8Array): SnapshotMessage | null {
  const [first, kindItem, ...rest] = list(decode(input), 5);
  version(first);
  const kind = u32(kindItem);
  if (kind < 2) return null;
  const items = ITEMS[kind];
  if (items !== rest.length) throw new CodecError("codec_value", `${rest.length} items in a message of kind ${kind}`);
  switch (kind) {
    case 2: return { kind: "whichSnapshot" };
    case 3: return { kind: "snapshot", block: blockFrom(rest[0]), finalization: certificateFrom(rest[1]), count: countFrom(rest[2]) };
    case 4: return { kind: "wantChunk", height: u32(rest[0]), index: u32(rest[1]) };
    case 5: return { kind: "chunk", height: u32(rest[0]), index: u32(rest[1]), bytes: bytesUpTo(rest[2], MESSAGE_BYTES_MAX) };
    case 6: return { kind: "wantEpoch", epoch: u32(rest[0]) };
    case 8: return { kind: "noSnapshot" };
    case 9: return { kind: "doYouKeep" };
    case 10: return { kind: "keeps", keeps: isOne(rest[0]) };
    default: return { kind: "epochEnd", epoch: u32(rest[0]), answer: bytesUpTo(rest[1], MESSAGE_BYTES_MAX) };
  }
}
const ITEMS: Readonly<Record<number, number>> = { 2: 0, 3: 3, 4: 2, 5: 3, 6: 1, 7: 2, 8: 0, 9: 0, 10: 1 };

function isOne(item: Cbor | undefined): boolean {
  const value = u32(item);
  if (value > 1) throw new CodecError("codec_value", `${value} where 0 or 1 belongs`);
  return value === 1;
}
const blockFrom = (item: Cbor | undefined): HeldBlock => heldFromBytes(bytesUpTo(item, BLOCK_BYTES_MAX));
const certificateFrom = (item: Cbor | undefined): Certificate => decodeCertificate(bytesUpTo(item, CERTIFICATE_BYTES_MAX));
function countFrom(item: Cbor | undefined): number {
  const count = u32(item);
  if (count > SNAPSHOT_CHUNKS_MAX) throw new CodecError("codec_length", `${count} chunks where at most ${SNAPSHOT_CHUNKS_MAX} belong`);
  return count;
}
