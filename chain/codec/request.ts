/**
 * Signed API requests: the value of `Authorization: Godwit <base64url>`.
 *
 * The same envelope as a transaction under a domain of its own; body = [1, chainId, sender, method, path, bodyDigest, machine,
 * expiryMs]. It holds for one method, one path with its query, one body, one machine and at most five minutes, so that one who
 * overhears it can repeat it nowhere else and not for long.
 */
import { addressOf } from "#chain/codec/address.ts";
import { CodecError, decode, encode } from "#chain/codec/cbor.ts";
import { compareBytes, openEnvelope, seal, signaturesHold } from "#chain/codec/envelope.ts";
import { bytes, text, tuple, u32, u64 } from "#chain/codec/schema.ts";
import { type Address, type ChainId, type Digest, type PublicKey, type Refusal, address, chainId, digest, refuse } from "#chain/types.ts";

const REQUEST_SCHEME = "Godwit";
/** Longer than clocks are apart and a request is under way; who overhears one has no longer to repeat it. */
const REQUEST_LIFETIME_MS_MAX = 300_000n;
const REQUEST_BYTES_MAX = 4096;
const METHOD_BYTES_MAX = 16;
const PATH_BYTES_MAX = 2048;
const VERSION = 1;

export type RequestBody = {
  readonly chainId: ChainId;
  readonly sender: Address;
  readonly method: string;
  /** With the query, as it is sent. */
  readonly path: string;
  /** sha256 of the body; of no bytes when there is none. */
  readonly bodyDigest: Digest;
  readonly machine: Address;
  readonly expiryMs: bigint;
};
export type RequestExpected = {
  readonly chainId: ChainId;
  readonly method: string;
  readonly path: string;
  readonly machine: Address;
  readonly nowMs: bigint;
  /** Less than the protocol's own limit, for what must not be repeated. */
  readonly lifetimeMsMax?: bigint;
  /** Left out: the caller compares `bodyDigest` of the answer when the body has arrived. */
  readonly bodyDigest?: Digest;
  /** Keys that may speak for an account; left out or null: the key that hashes to its address. */
  readonly keysOf?: (sender: Address) => readonly PublicKey[] | null;
};
export type RequestVerified = { readonly ok: true; readonly sender: Address; readonly key: PublicKey; readonly bodyDigest: Digest };

/** The whole value of the header, scheme included. */
export function signRequest(body: RequestBody, seed: Uint8Array): string {
  const encoded = encode([VERSION, body.chainId, body.sender, body.method, body.path, body.bodyDigest, body.machine, body.expiryMs]);
  return `${REQUEST_SCHEME} ${base64url(seal("request", encoded, [seed]))}`;
}

const base64url = (raw: Uint8Array): string => raw.toBase64({ alphabet: "base64url", omitPadding: true });

export function verifyRequest(headerText: string | undefined, expected: RequestExpected): RequestVerified | Refusal {
  if (headerText === undefined) return refuse("unsigned", "Cannot serve this without a signature: send Authorization: Godwit …");
  const parsed = parseRequest(headerText);
  if (parsed === null) return refuse("bad_authorization", "Cannot read the Authorization header as a signed request");
  const { body, envelope } = parsed;
  const equal = (a: Uint8Array, b: Uint8Array): boolean => compareBytes(a, b) === 0;
  if (!equal(body.chainId, expected.chainId)) return refuse("wrong_chain", "Cannot accept the request as it is signed for another chain");
  if (!equal(body.machine, expected.machine)) return refuse("wrong_machine", "Cannot accept the request as it is signed for another machine");
  if (body.method !== expected.method || body.path !== expected.path) return refuse("wrong_request", `Cannot accept the request as ${body.method} ${body.path} was signed`);
  if (body.expiryMs < expected.nowMs) return refuse("expired", `Cannot accept the request as it held until ${body.expiryMs} and it is ${expected.nowMs}`);
  const lifetimeMsMax = expected.lifetimeMsMax ?? REQUEST_LIFETIME_MS_MAX;
  if (body.expiryMs > expected.nowMs + lifetimeMsMax) return refuse("expiry_too_far", `Cannot accept the request as it holds for more than ${lifetimeMsMax} ms`);
  if (expected.bodyDigest && !equal(body.bodyDigest, expected.bodyDigest)) return refuse("digest_mismatch", "Cannot accept the request as its body is not the one that was signed");
  const key = envelope.signatures[0]?.key;
  if (key === undefined || envelope.signatures.length !== 1 || !signaturesHold("request", envelope)) return refuse("bad_signature", "Cannot accept the request as its signature does not hold");
  const keys = expected.keysOf?.(body.sender) ?? null;
  const speaks = keys === null ? equal(addressOf(key), body.sender) : keys.some((known) => equal(known, key));
  if (!speaks) return refuse("bad_signature", "Cannot accept the request as this key does not speak for its sender");
  return { ok: true, sender: body.sender, key, bodyDigest: body.bodyDigest };
}

function parseRequest(headerText: string): { body: RequestBody; envelope: ReturnType<typeof openEnvelope> } | null {
  const [scheme, encoded, ...rest] = headerText.split(" ");
  if (scheme !== REQUEST_SCHEME || encoded === undefined || rest.length > 0 || encoded.length > REQUEST_BYTES_MAX * 2) return null;
  try {
    const raw = Uint8Array.fromBase64(encoded, { alphabet: "base64url", lastChunkHandling: "loose" });
    if (base64url(raw) !== encoded) return null;
    const envelope = openEnvelope(raw, REQUEST_BYTES_MAX);
    const [version, chain, sender, method, path, body, machine, expiry] = tuple(decode(envelope.bodyBytes), 8);
    if (u32(version) !== VERSION) return null;
    return {
      envelope,
      body: {
        chainId: chainId(bytes(chain, 8)), sender: address(bytes(sender, 20)), method: text(method, METHOD_BYTES_MAX), path: text(path, PATH_BYTES_MAX),
        bodyDigest: digest(bytes(body, 32)), machine: address(bytes(machine, 20)), expiryMs: u64(expiry),
      },
    };
  } catch (error) {
    // A bad header is the client's mistake; anything but "not base64" and "not our CBOR" is ours.
    if (error instanceof CodecError || error instanceof SyntaxError) return null;
    throw error;
  }
}
