/**
 * Fields of an operation: how each is read from the wire and written to it. A layout is an operation's number and its fields in the
 * order of the bytes.
 */
import { type Cbor, CodecError } from "#chain/codec/cbor.ts";
import { bytes, text, u32, u64 } from "#chain/codec/schema.ts";
import { type Address, type Digest, type PublicKey, type Signature, address, digest, publicKey, signature } from "#chain/types.ts";

export type Field<T> = { readonly read: (value: Cbor) => T; readonly write: (value: T) => Cbor };
export type Layout<O extends { readonly kind: string }> = { readonly number: number; readonly fields: { readonly [K in Exclude<keyof O, "kind">]-?: Field<O[K]> } };

export const same = <T extends Cbor>(read: (value: Cbor) => T): Field<T> => ({ read, write: (value) => value });
export const U32: Field<number> = same(u32);
export const U64: Field<bigint> = same(u64);
export const ADDRESS: Field<Address> = same((value) => address(bytes(value, 20)));
export const DIGEST: Field<Digest> = same((value) => digest(bytes(value, 32)));
export const PUBLIC_KEY: Field<PublicKey> = same((value) => publicKey(bytes(value, 32)));
export const SIGNATURE: Field<Signature> = same((value) => signature(bytes(value, 64)));
/** h'' where there is none. */
export const orNone = <T extends Uint8Array>(field: Field<T>): Field<T | null> => ({
  read: (value) => (value instanceof Uint8Array && value.length === 0 ? null : field.read(value)),
  write: (value) => value ?? new Uint8Array(0),
});
export const DIGEST_OR_NONE: Field<Digest | null> = orNone(DIGEST);
export const ADDRESS_OR_NONE: Field<Address | null> = orNone(ADDRESS);
export const FLAG: Field<0 | 1> = same((value: Cbor): 0 | 1 => {
  const flag = u32(value);
  if (flag !== 0 && flag !== 1) throw new CodecError("codec_value", `Cannot read ${flag} as a flag of 0 or 1`);
  return flag;
});
export const textOf = (max: number): Field<string> => same((value) => text(value, max));
export const bytesOf = (count: number): Field<Uint8Array> => same((value) => bytes(value, count));
