/**
 * What a machine says of the key under which it passes requests on and takes them from others: whose it is, of which boot, until when,
 * and where it listens.
 *
 *     [[1, chainId, machineKey, bootId, hopKey, notAfterMs, [[address, port], …]], by the machine, by the hop key]
 *
 * The machine key signs it, for it lends its name; the hop key signs it too, so that nobody can take another's key for its own. It
 * travels through anybody: a reader believes the signatures, and the ledger about the machine and its boot.
 */
import { HOP_ENDPOINTS_MAX, WIRE_VERSION } from "../constants.ts";
import { publicKeyOf, sign, verify } from "../crypto.ts";
import { type ChainId, type PublicKey, type TimeMs, chainId, publicKey, timeMs } from "../types.ts";
import { type Cbor, CodecError, decode, encode } from "./cbor.ts";
import { bytes, list, text, tuple, u32, u64, version } from "./schema.ts";

export type HopEndpoint = { readonly address: string; readonly port: number };
export type HopCertificate = {
  readonly chainId: ChainId;
  readonly machineKey: PublicKey;
  readonly bootId: Uint8Array;
  readonly hopKey: PublicKey;
  /** Header time from which it holds no longer. */
  readonly notAfterMs: TimeMs;
  /** Where hops to this machine are taken: IP addresses. */
  readonly endpoints: readonly HopEndpoint[];
};
export type SealedHop = { readonly certificate: HopCertificate; readonly body: Uint8Array; readonly byMachine: Uint8Array; readonly byHopKey: Uint8Array };

const BOOT_ID_BYTES = 16;
const ADDRESS_CHARACTERS_MAX = 45;
const PORT_MAX = 65_535;

export function sealHop(certificate: Omit<HopCertificate, "machineKey" | "hopKey">, machineSeed: Uint8Array, hopSeed: Uint8Array): Uint8Array {
  const { chainId: chain, bootId, notAfterMs, endpoints } = certificate;
  const body = encode([WIRE_VERSION, chain, publicKeyOf(machineSeed), bootId, publicKeyOf(hopSeed), notAfterMs, endpoints.map(({ address, port }) => [address, port])]);
  return encode([body, sign(machineSeed, "hop", body), sign(hopSeed, "hopKey", body)]);
}

/** Shape only; throws CodecError. */
export function decodeHop(input: Uint8Array): SealedHop {
  const [sealed, machineMark, hopMark] = tuple(decode(input), 3);
  const body = bytes(sealed);
  const [first, chain, machineKey, bootId, hopKey, notAfterMs, endpoints] = tuple(decode(body), 7);
  version(first);
  return {
    body, byMachine: bytes(machineMark, 64), byHopKey: bytes(hopMark, 64),
    certificate: {
      chainId: chainId(bytes(chain, 8)), machineKey: publicKey(bytes(machineKey, 32)), bootId: bytes(bootId, BOOT_ID_BYTES), hopKey: publicKey(bytes(hopKey, 32)),
      notAfterMs: timeMs(u64(notAfterMs)), endpoints: list(endpoints, HOP_ENDPOINTS_MAX).map(endpointFrom),
    },
  };
}

function endpointFrom(value: Cbor): HopEndpoint {
  const [address, port] = tuple(value, 2);
  const endpoint = { address: text(address, ADDRESS_CHARACTERS_MAX), port: u32(port) };
  if (!/^[0-9a-f.:]+$/.test(endpoint.address) || endpoint.port < 1 || endpoint.port > PORT_MAX) throw new CodecError("codec_value", "no address and port");
  return endpoint;
}

/** Whether both keys have signed it. */
export const hopHolds = ({ certificate, body, byMachine, byHopKey }: SealedHop): boolean =>
  verify("hop", byMachine, body, certificate.machineKey) && verify("hopKey", byHopKey, body, certificate.hopKey);
