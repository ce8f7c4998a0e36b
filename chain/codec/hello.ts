/**
 * How a node introduces itself on a new connection, before anything else is read from it.
 *
 * The connection proves the machine key (noise). A validator adds its consensus key and that key's signature over chain and machine
 * key, in the domain `peer`: so a consensus key never takes part in a handshake, one machine cannot pass for another's validator,
 * and a connection is known by the key that votes. Without one it is known by its machine key.
 *
 *     first:  [1, chainId, consensusKey or h'', signature or h'', [address, …]]
 *     later:  [1, 0] a sign of life · [1, 1, [address, …]] where validators can be dialled
 */
import { ADDRESSES_PER_MESSAGE_MAX, ADDRESS_BYTES_MAX, WIRE_VERSION } from "../constants.ts";
import { sign, verify } from "../crypto.ts";
import { type ChainId, type PublicKey, type Signature, chainId, publicKey, signature } from "../types.ts";
import { type Cbor, CodecError, decode, encode } from "./cbor.ts";
import { bytes, bytesUpTo, list, text, tuple, u32, version } from "./schema.ts";

export type Hello = {
  readonly chainId: ChainId;
  /** Who votes here, with the proof; null: nobody. */
  readonly validator: { readonly publicKey: PublicKey; readonly signature: Signature } | null;
  /** Where this node can be dialled: multiaddresses as text. */
  readonly addresses: readonly string[];
};

const EMPTY = new Uint8Array(0);
const bindingOf = (chain: ChainId, machineKey: PublicKey): Uint8Array => encode([WIRE_VERSION, chain, machineKey]);

/** What a validator shows to speak through a machine. */
export const signBinding = (seed: Uint8Array, chain: ChainId, machineKey: PublicKey): Signature => sign(seed, "peer", bindingOf(chain, machineKey));

export const bindingHolds = (chain: ChainId, machineKey: PublicKey, consensusKey: PublicKey, mark: Signature): boolean => verify("peer", mark, bindingOf(chain, machineKey), consensusKey);

export const helloHolds = ({ chainId: chain, validator }: Hello, machineKey: PublicKey): boolean =>
  validator === null || bindingHolds(chain, machineKey, validator.publicKey, validator.signature);

export const encodeHello = ({ chainId: chain, validator, addresses }: Hello): Uint8Array =>
  encode([WIRE_VERSION, chain, validator?.publicKey ?? EMPTY, validator?.signature ?? EMPTY, addresses]);

export function decodeHello(input: Uint8Array): Hello {
  const [first, chain, key, mark, addresses] = tuple(decode(input), 5);
  version(first);
  return { chainId: chainId(bytes(chain, 8)), validator: validatorFrom(key, mark), addresses: list(addresses, ADDRESSES_PER_MESSAGE_MAX).map((one) => text(one, ADDRESS_BYTES_MAX)) };
}

function validatorFrom(key: Cbor | undefined, mark: Cbor | undefined): Hello["validator"] {
  if (bytesUpTo(key, 32).length === 0) {
    bytes(mark, 0);
    return null;
  }
  return { publicKey: publicKey(bytes(key, 32)), signature: signature(bytes(mark, 64)) };
}

/** What follows the greeting on the same stream: that one is there, where others are, and where a machine is that one looks for. */
export type Control = { readonly kind: "ping" } | { readonly kind: "addresses"; readonly addresses: readonly string[] } | { readonly kind: "seek"; readonly machine: PublicKey };

export const encodeControl = (control: Control): Uint8Array =>
  encode(control.kind === "ping" ? [WIRE_VERSION, 0] : control.kind === "addresses" ? [WIRE_VERSION, 1, control.addresses] : [WIRE_VERSION, 2, control.machine]);

export function decodeControl(input: Uint8Array): Control {
  const [first, kind, ...rest] = list(decode(input), 3);
  version(first);
  if (u32(kind) === 0 && rest.length === 0) return { kind: "ping" };
  if (u32(kind) === 1 && rest.length === 1) return { kind: "addresses", addresses: list(rest[0], ADDRESSES_PER_MESSAGE_MAX).map((one) => text(one, ADDRESS_BYTES_MAX)) };
  if (u32(kind) === 2 && rest.length === 1) return { kind: "seek", machine: publicKey(bytes(rest[0], 32)) };
  throw new CodecError("codec_value", `${u32(kind)} with ${rest.length} items is no control message`);
}
