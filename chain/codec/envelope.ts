/**
 * The envelope of everything an account signs: `[body, [[publicKey, signature], …]]`.
 *
 * The body travels as a byte string, so that a signature never depends on encoding something again. Keys are in ascending
 * order and each is there once: one set of signers has one encoding.
 */
import { CodecError, decodeLent, encode } from "#chain/codec/cbor.ts";
import { bytes, list, tuple } from "#chain/codec/schema.ts";
import { type Domain, publicKeyOf, sign, verify } from "#chain/crypto.ts";
import { type PublicKey, type Signature, publicKey, signature } from "#chain/types.ts";

/** A key set has at most this many keys; more would only make a transaction dear to check. */
const SIGNATURES_MAX = 16;

export type SignedBy = { readonly key: PublicKey; readonly signature: Signature };
export type Envelope = { readonly bodyBytes: Uint8Array; readonly signatures: readonly SignedBy[] };

/** Signs `bodyBytes` with every seed and packs the result. */
export function seal(domain: Domain, bodyBytes: Uint8Array, seeds: readonly Uint8Array[]): Uint8Array {
  const signatures = seeds.map((seed): [PublicKey, Signature] => [publicKeyOf(seed), sign(seed, domain, bodyBytes)]);
  signatures.sort(([a], [b]) => compareBytes(a, b));
  return encode([bodyBytes, signatures]);
}

/** Parses an envelope, whose body stays in `raw`, which nobody may overwrite; whether its signatures hold is another question (`signaturesHold`). */
export function openEnvelope(raw: Uint8Array, bodyBytesMax: number): Envelope {
  const parts = tuple(decodeLent(raw), 2);
  const bodyBytes = bytes(parts[0]);
  if (bodyBytes.length > bodyBytesMax) throw new CodecError("codec_length", `Cannot read a body of ${bodyBytes.length} bytes as ${bodyBytesMax} is the limit`);
  let before: PublicKey | null = null;
  const signatures = list(parts[1], SIGNATURES_MAX).map((pair): SignedBy => {
    const [name, mark] = tuple(pair, 2);
    const key = publicKey(bytes(name, 32));
    if (before && compareBytes(before, key) >= 0) throw new CodecError("codec_value", "Cannot read signatures whose keys are not in ascending order");
    before = key;
    return { key, signature: signature(bytes(mark, 64)) };
  });
  return { bodyBytes, signatures };
}

/** True when there is at least one signature and all of them hold. Whether the keys may speak for the sender is the ledger's to say. */
export const signaturesHold = (domain: Domain, { bodyBytes, signatures }: Envelope): boolean =>
  signatures.length > 0 && signatures.every((by) => verify(domain, by.signature, bodyBytes, by.key));

/** Total order of byte strings: by byte, then by length. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const shared = a.length < b.length ? a.length : b.length;
  for (let i = 0; i < shared; i++) {
    const difference = (a[i] as number) - (b[i] as number);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}
