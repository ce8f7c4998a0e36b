/**
 * Strict deterministic CBOR: the one way in which anything that is hashed or signed becomes bytes.
 *
 * A profile of RFC 8949 §4.2.1 that is small enough to have no choices: unsigned integers, byte strings, text strings and
 * arrays, definite lengths, every head in its shortest form. No maps, no negative numbers, no floats, no tags, no null.
 * So `encode(decode(bytes))` is `bytes`, always, and two implementations cannot read one message in two ways.
 *
 * A decoded integer is a number below 2^32 and a bigint from there on; `schema.ts` turns it into what the field demands.
 * Decoded bytes are copies: they stay valid when the input is overwritten, and they do not keep a whole block alive.
 */

import assert from "node:assert";

export type Cbor = number | bigint | Uint8Array | string | readonly Cbor[];

export type CodecCode =
  | "codec_truncated" | "codec_trailing" | "codec_not_shortest" | "codec_type" | "codec_indefinite" | "codec_utf8"
  | "codec_depth" | "codec_items" | "codec_length" | "codec_range" | "codec_value";

/** Bytes that are not what they should be. Whoever sent them is wrong; nobody else's work stops. */
export class CodecError extends Error {
  readonly code: CodecCode;
  constructor(code: CodecCode, message: string) {
    super(message);
    this.name = "CodecError";
    this.code = code;
  }
}

/** Arrays within arrays: a proposal inside a message needs 6; the stack has room for far more. */
export const CBOR_DEPTH_MAX = 16;
/** Items in one message: bounds what a few bytes of input can make us allocate. A full block has about 1,100. */
const CBOR_ITEMS_MAX = 65_536;

/** Arrays up to this length are made in one piece. */
const SHORT_ITEMS_MAX = 16;

const UINT = 0;
const BYTES = 2;
const TEXT = 3;
const ARRAY = 4;

const utf8Encoder = new TextEncoder();
// Without ignoreBOM a leading U+FEFF would vanish, and two encodings would read alike.
const utf8Decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Throws CodecError `codec_range`, `codec_utf8`, `codec_type` or `codec_depth` when the value lies outside the profile. */
export const encode = (value: Cbor): Uint8Array => encoded(value, (bytes) => bytes.slice());
/** What is encoded grows in here and leaves as a copy of its own length. Null while it is in use. */
let spare: Uint8Array | null = null;
const SPARE_BYTES_MAX = 16_384;

/** The value that these bytes, all of them, encode. Throws CodecError. */
export const decode = (bytes: Uint8Array): Cbor => read(bytes, Number.MAX_SAFE_INTEGER);

/**
 * The same for bytes that nobody will overwrite: byte strings of more than 64 bytes are views of them and keep them alive. Shorter ones are
 * copies as ever, for a view costs as much as a few bytes within the heap; beyond that each has memory outside of it, and that is dear.
 */
export const decodeLent = (bytes: Uint8Array): Cbor => read(bytes, COPIED_BYTES_MAX);
const COPIED_BYTES_MAX = 64;

/** Encodes, and shows the bytes for as long as `use` runs: for what is only hashed. */
export function encoded<T>(value: Cbor, use: (bytes: Uint8Array) => T): T {
  const writer = new Writer(spare ?? new Uint8Array(SPARE_BYTES_MAX));
  spare = null;
  try {
    writer.value(value, 0);
    return use(writer.written());
  } finally {
    spare = writer.room();
  }
}

function read(bytes: Uint8Array, copiedBytesMax: number): Cbor {
  const reader = new Reader(bytes, copiedBytesMax);
  const value = reader.value(0);
  if (reader.at !== bytes.length) throw new CodecError("codec_trailing", `${bytes.length - reader.at} bytes follow the value`);
  return value;
}

class Writer {
  readonly #first: Uint8Array;
  #bytes: Uint8Array;
  #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#first = bytes;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }

  value(value: Cbor, depth: number): void {
    if (typeof value === "number" || typeof value === "bigint") this.#head(UINT, value);
    else if (typeof value === "string") {
      if (!value.isWellFormed()) throw new CodecError("codec_utf8", "the text has a lone surrogate");
      const text = utf8Encoder.encode(value);
      this.#head(TEXT, text.length);
      this.#raw(text);
    } else if (value instanceof Uint8Array) {
      this.#head(BYTES, value.length);
      this.#raw(value);
    } else if (!Array.isArray(value)) {
      throw new CodecError("codec_type", `the profile has no ${value === null ? "null" : typeof value}`);
    } else {
      if (depth >= CBOR_DEPTH_MAX) throw new CodecError("codec_depth", `arrays nest deeper than ${CBOR_DEPTH_MAX}`);
      this.#head(ARRAY, value.length);
      for (const item of value) this.value(item, depth + 1);
    }
  }

  written(): Uint8Array {
    return this.#bytes.subarray(0, this.#at);
  }
  /** For the next one. */
  room(): Uint8Array {
    return this.#first;
  }

  #head(major: number, n: number | bigint): void {
    if (typeof n === "bigint") {
      if (n < 0n || n > 0xffff_ffff_ffff_ffffn) throw new CodecError("codec_range", `${n} is not a u64`);
      if (n > 0xffff_ffffn) return this.#long(major, n);
      n = Number(n);
    }
    if (!Number.isSafeInteger(n) || n < 0) throw new CodecError("codec_range", `${n} is not a u53`);
    if (n > 0xffff_ffff) return this.#long(major, BigInt(n));
    this.#need(5);
    const bytes = this.#bytes;
    const top = major << 5;
    if (n < 24) bytes[this.#at++] = top | n;
    else if (n < 0x100) {
      bytes[this.#at++] = top | 24;
      bytes[this.#at++] = n;
    } else {
      const wide = n >= 0x1_0000;
      bytes[this.#at++] = top | (wide ? 26 : 25);
      if (wide) {
        bytes[this.#at++] = n >>> 24;
        bytes[this.#at++] = n >>> 16;
      }
      bytes[this.#at++] = n >>> 8;
      bytes[this.#at++] = n;
    }
  }

  #long(major: number, n: bigint): void {
    this.#need(9);
    this.#bytes[this.#at] = (major << 5) | 27;
    this.#view.setBigUint64(this.#at + 1, n);
    this.#at += 9;
  }

  #raw(bytes: Uint8Array): void {
    this.#need(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  #need(length: number): void {
    if (this.#at + length <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#at + length));
    larger.set(this.#bytes);
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
  }
}

class Reader {
  at = 0;
  #items = 0;
  readonly #bytes: Uint8Array;
  readonly #copiedBytesMax: number;

  constructor(bytes: Uint8Array, copiedBytesMax: number) {
    this.#copiedBytesMax = copiedBytesMax;
    // A Buffer would hand out Buffers, and its slice() shares memory.
    this.#bytes = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  value(depth: number): Cbor {
    if (++this.#items > CBOR_ITEMS_MAX) throw new CodecError("codec_items", `more than ${CBOR_ITEMS_MAX} items`);
    const initial = this.#take(1);
    const major = this.#bytes[initial]! >>> 5;
    if (major !== UINT && major !== BYTES && major !== TEXT && major !== ARRAY) {
      throw new CodecError("codec_type", `major type ${major} at byte ${initial} is outside the profile`);
    }
    const n = this.#argument(this.#bytes[initial]! & 31);
    if (major === UINT) return n;
    // Every item takes a byte at least, so this bounds arrays too, before anything is allocated for them.
    if (n > this.#bytes.length - this.at) throw new CodecError("codec_truncated", `${n} announced at byte ${initial} are not there`);
    assert(typeof n === "number");
    if (major === ARRAY) return this.#array(n, depth);
    const start = this.#take(n);
    if (major === BYTES) return n > this.#copiedBytesMax ? this.#bytes.subarray(start, this.at) : this.#bytes.slice(start, this.at);
    try {
      return utf8Decoder.decode(this.#bytes.subarray(start, this.at));
    } catch (cause) {
      throw new CodecError("codec_utf8", `the text at byte ${initial} is not UTF-8: ${String(cause)}`);
    }
  }

  #array(length: number, depth: number): Cbor[] {
    if (depth >= CBOR_DEPTH_MAX) throw new CodecError("codec_depth", `arrays nest deeper than ${CBOR_DEPTH_MAX}`);
    // One that grows from nothing has room for seventeen; a long one may be announced by a liar.
    const items: Cbor[] = length <= SHORT_ITEMS_MAX ? new Array<Cbor>(length) : []; // oxlint-disable-line unicorn/no-new-array
    for (let i = 0; i < length; i++) items[i] = this.value(depth + 1);
    return items;
  }

  #argument(additional: number): number | bigint {
    if (additional < 24) return additional;
    if (additional === 31) throw new CodecError("codec_indefinite", `indefinite length at byte ${this.at - 1}`);
    if (additional > 27) throw new CodecError("codec_type", `reserved head at byte ${this.at - 1}`);
    const size = 1 << (additional - 24);
    const start = this.#take(size);
    let high = 0;
    let low = 0;
    for (let i = 0; i < size; i++) {
      if (i < size - 4) high = high * 256 + this.#bytes[start + i]!;
      else low = low * 256 + this.#bytes[start + i]!;
    }
    const shortest = size === 1 ? low >= 24 : size === 2 ? low > 0xff : size === 4 ? low > 0xffff : high > 0;
    if (!shortest) throw new CodecError("codec_not_shortest", `a longer head than needed at byte ${start - 1}`);
    return size === 8 ? (BigInt(high) << 32n) | BigInt(low) : low;
  }

  #take(length: number): number {
    const start = this.at;
    if (length > this.#bytes.length - start) throw new CodecError("codec_truncated", `the bytes end within an item at byte ${start}`);
    this.at = start + length;
    return start;
  }
}
