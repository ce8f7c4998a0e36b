/**
 * The words of the protocol as types: branded numbers and byte strings, made in this file only.
 *
 * Invariants: a u64 is a bigint and a u32 a number, everywhere; bytes are `Uint8Array` and never written to after they were
 * made; `Hex` is lower case without prefix and serves as a Map key.
 */

declare const brand: unique symbol;
export type Branded<T, B extends string> = T & { readonly [brand]: B };

/** u32: number of a block; genesis is 0. */
export type Height = Branded<number, "Height">;
/** u32: a round of Simplex; genesis is 0, the first proposal is in view 1. */
export type View = Branded<number, "View">;
/** u32: a span of blocks with one validator set. */
export type Epoch = Branded<number, "Epoch">;
/** u64: seconds of money time (design 4.1), which stands still while the chain does. */
export type MoneySecond = Branded<bigint, "MoneySecond">;
/** u64: milliseconds since 1970 as headers carry them. */
export type TimeMs = Branded<bigint, "TimeMs">;
/** 20 bytes: an account, a machine. */
export type Address = Branded<Uint8Array, "Address">;
/** 32 bytes: a sha256. */
export type Digest = Branded<Uint8Array, "Digest">;
/** 32 bytes: an ed25519 public key. */
export type PublicKey = Branded<Uint8Array, "PublicKey">;
/** 64 bytes: an ed25519 signature. */
export type Signature = Branded<Uint8Array, "Signature">;
/** 8 bytes: which chain a signature is for. */
export type ChainId = Branded<Uint8Array, "ChainId">;
/** Lower-case hex of some bytes. */
export type Hex = Branded<string, "Hex">;

export const U32_MAX = 0xffff_ffff;
export const U64_MAX = 0xffff_ffff_ffff_ffffn;

const u32 = (name: string, n: number): number => {
  if (!Number.isInteger(n) || n < 0 || n > U32_MAX) throw new RangeError(`${name} ${n} is not a u32`);
  return n;
};
const u64 = (name: string, n: bigint): bigint => {
  if (n < 0n || n > U64_MAX) throw new RangeError(`${name} ${n} is not a u64`);
  return n;
};
const sized = (name: string, bytes: Uint8Array, length: number): Uint8Array => {
  if (bytes.length !== length) throw new RangeError(`${name} has ${bytes.length} bytes, not ${length}`);
  return bytes;
};

export const height = (n: number): Height => u32("height", n) as Height;
export const view = (n: number): View => u32("view", n) as View;
export const epoch = (n: number): Epoch => u32("epoch", n) as Epoch;
export const moneySecond = (n: bigint): MoneySecond => u64("money second", n) as MoneySecond;
export const timeMs = (n: bigint): TimeMs => u64("time", n) as TimeMs;
export const address = (bytes: Uint8Array): Address => sized("address", bytes, 20) as Address;
export const digest = (bytes: Uint8Array): Digest => sized("digest", bytes, 32) as Digest;
export const publicKey = (bytes: Uint8Array): PublicKey => sized("public key", bytes, 32) as PublicKey;
export const signature = (bytes: Uint8Array): Signature => sized("signature", bytes, 64) as Signature;
export const chainId = (bytes: Uint8Array): ChainId => sized("chain id", bytes, 8) as ChainId;

export const hex = (bytes: Uint8Array): Hex => bytes.toHex() as Hex;
export const fromHex = (text: string): Uint8Array => Uint8Array.fromHex(text);

/** A refusal by the protocol: a normal answer, not an exception. `code` is stable, `message` is for people. */
export type Refusal = { readonly ok: false; readonly code: string; readonly message: string };
export const refuse = (code: string, message: string): Refusal => ({ ok: false, code, message });
