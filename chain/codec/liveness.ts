/**
 * The bytes of who is alive (`chain/liveness`), each signed kind in a domain of its own, so that no consensus key signs two things
 * with one meaning:
 *
 *   beat               [1, chainId, machine, bootId, number, height, timeMs]                              machine key, `beat`
 *   suspicion          [1, chainId, witness, machine, bootId, beat or h'', [height, sinceMs], base]       consensus key, `suspicion`
 *   acknowledgement    [1, bootId, number, 0 or 1]                                                       not signed: the stream's word
 *   up-acknowledgement [1, chainId, witness, machine, bootId, height, base, [bootId, beat or h'', [height, sinceMs]]]  consensus key, `upAcknowledgement`
 *
 * They are sent as `[1, kind, bytes]`. What is signed is `[body as bytes, signature]`; a beat within another is sent whole. Machines and witnesses are addresses, boot ids have
 * 16 bytes. A beat that goes along must be of the machine and the boot id that the statement names: else it shows nothing.
 */
import { STATEMENT_BYTES_MAX, WIRE_VERSION } from "../constants.ts";
import { type Domain, sign, verify } from "../crypto.ts";
import { type ChainId, type Hex, type PublicKey, type Signature, chainId, fromHex, hex, signature, timeMs } from "../types.ts";
import { type Cbor, CodecError, decode, encode } from "./cbor.ts";
import { compareBytes } from "./envelope.ts";
import { bytes, bytesUpTo, tuple, u32, u64, version } from "./schema.ts";

/** A beat is 137 bytes at most; a statement that carries one, `STATEMENT_BYTES_MAX` at most. */
export const BEAT_BYTES_MAX = 160;
const ADDRESS_BYTES = 20;
const BOOT_ID_BYTES = 16;
const EMPTY = new Uint8Array(0);

/** L1: signed by the machine's key. */
export type Beat = {
  readonly machine: Hex;
  /** Random at each start: a machine that starts again is another one, to what ran on it. */
  readonly bootId: Hex;
  /** From 1, in each life. */
  readonly number: number;
  /** The newest final block that the machine knows, and its header time. */
  readonly height: number;
  readonly timeMs: bigint;
  readonly signature: Signature;
};

/** L5: a moment, by the block that was final and the milliseconds since. Nobody's wall clock is in it. */
export type Moment = { readonly height: number; readonly sinceMs: number };

/** L3: signed by the witness. */
export type Suspicion = {
  readonly witness: Hex;
  readonly machine: Hex;
  readonly bootId: Hex;
  /** The newest beat that the witness knows of, whoever heard it; null: none of this boot id. */
  readonly beat: Beat | null;
  /** When that came; when it came to another: 1.5 s before one learned of it. */
  readonly at: Moment;
  /** The witness's newest final block. */
  readonly base: number;
};

/** L11: to the machine alone. The stream it comes over is the witness's word; it is no part of any proof. */
export type Acknowledgement = { readonly bootId: Hex; readonly number: number; /** No suspicion of mine can still be taken, and you follow the chain. */ readonly isClear: boolean };

/** L12: signed by the witness: a machine with this boot id lives. */
export type UpAcknowledgement = {
  readonly witness: Hex;
  readonly machine: Hex;
  readonly bootId: Hex;
  /** The block that the new boot's beat named. */
  readonly height: number;
  readonly base: number;
  /** Of the boot id that was registered: its newest beat here, if one was heard, and when. */
  readonly before: { readonly bootId: Hex; readonly beat: Beat | null; readonly at: Moment };
};

/** What goes over a stream of beats: [1, kind, bytes], the kinds in this order from 0. */
export type LivenessMessage = { readonly kind: (typeof MESSAGE_KINDS)[number]; readonly bytes: Uint8Array };
const MESSAGE_KINDS = ["beat", "acknowledgement", "suspicion", "upAcknowledgement"] as const;

/** A statement, the bytes that were signed, and the signature: whose key it is is the caller's to know. */
export type Opened<T> = { readonly statement: T; readonly bodyBytes: Uint8Array; readonly signature: Signature };

// ---- Bodies ----------------------------------------------------------------------------------------------------------------

const beatBody = (chain: ChainId, b: Omit<Beat, "signature">): Uint8Array =>
  encode([WIRE_VERSION, chain, fromHex(b.machine), fromHex(b.bootId), b.number, b.height, timeMs(b.timeMs)]);

const suspicionBody = (chain: ChainId, s: Suspicion): Uint8Array =>
  encode([WIRE_VERSION, chain, fromHex(s.witness), fromHex(s.machine), fromHex(s.bootId), beatOrEmpty(chain, s.beat), momentItems(s.at), s.base]);

const upBody = (chain: ChainId, a: UpAcknowledgement): Uint8Array =>
  encode([WIRE_VERSION, chain, fromHex(a.witness), fromHex(a.machine), fromHex(a.bootId), a.height, a.base, [fromHex(a.before.bootId), beatOrEmpty(chain, a.before.beat), momentItems(a.before.at)]]);

const momentItems = ({ height, sinceMs }: Moment): Cbor => [height, sinceMs];
const beatOrEmpty = (chain: ChainId, beat: Beat | null): Uint8Array => (beat ? encodeBeat(chain, beat) : EMPTY);

// ---- Signing and sending -----------------------------------------------------------------------------------------------------

const seal = (domain: Domain, body: Uint8Array, seed: Uint8Array): Uint8Array => encode([body, sign(seed, domain, body)]);

/** The machine's signature over a beat; with it, `encodeBeat` gives what is sent. */
export const signBeat = (chain: ChainId, beat: Omit<Beat, "signature">, seed: Uint8Array): Beat => ({ ...beat, signature: sign(seed, "beat", beatBody(chain, beat)) });
export const encodeBeat = (chain: ChainId, beat: Beat): Uint8Array => encode([beatBody(chain, beat), beat.signature]);
export const sealSuspicion = (chain: ChainId, suspicion: Suspicion, seed: Uint8Array): Uint8Array => seal("suspicion", suspicionBody(chain, suspicion), seed);
export const sealUpAcknowledgement = (chain: ChainId, acknowledgement: UpAcknowledgement, seed: Uint8Array): Uint8Array => seal("upAcknowledgement", upBody(chain, acknowledgement), seed);
export const encodeAcknowledgement = ({ bootId, number, isClear }: Acknowledgement): Uint8Array => encode([WIRE_VERSION, fromHex(bootId), number, isClear ? 1 : 0]);

export const encodeLivenessMessage = ({ kind, bytes: content }: LivenessMessage): Uint8Array => encode([WIRE_VERSION, MESSAGE_KINDS.indexOf(kind), content]);

export const beatHolds = (chain: ChainId, beat: Beat, machineKey: PublicKey): boolean => verify("beat", beat.signature, beatBody(chain, beat), machineKey);
export const suspicionHolds = ({ bodyBytes, signature: mark }: Opened<Suspicion>, key: PublicKey): boolean => verify("suspicion", mark, bodyBytes, key);
export const upAcknowledgementHolds = ({ bodyBytes, signature: mark }: Opened<UpAcknowledgement>, key: PublicKey): boolean => verify("upAcknowledgement", mark, bodyBytes, key);

// ---- From strangers ----------------------------------------------------------------------------------------------------------

function opened(input: Uint8Array, bytesMax: number): { readonly bodyBytes: Uint8Array; readonly signature: Signature } {
  if (input.length > bytesMax) throw new CodecError("codec_length", `${input.length} bytes where at most ${bytesMax} belong`);
  const [body, mark] = tuple(decode(input), 2);
  return { bodyBytes: bytesUpTo(body, bytesMax), signature: signature(bytes(mark, 64)) };
}

const address = (value: Cbor | undefined): Hex => hex(bytes(value, ADDRESS_BYTES));
const bootId = (value: Cbor | undefined): Hex => hex(bytes(value, BOOT_ID_BYTES));

function ofChain(value: Cbor | undefined, chain: ChainId): void {
  if (compareBytes(chainId(bytes(value, 8)), chain) !== 0) throw new CodecError("codec_value", "it is of another chain");
}

function momentFrom(value: Cbor | undefined): Moment {
  const [height, sinceMs] = tuple(value, 2);
  return { height: u32(height), sinceMs: u32(sinceMs) };
}

export function decodeLivenessMessage(input: Uint8Array): LivenessMessage {
  const [first, number, content] = tuple(decode(input), 3);
  version(first);
  const kind = MESSAGE_KINDS[u32(number)];
  if (kind === undefined) throw new CodecError("codec_value", `${u32(number)} is no kind of message about who is alive`);
  return { kind, bytes: bytesUpTo(content, STATEMENT_BYTES_MAX) };
}

export function decodeBeat(chain: ChainId, input: Uint8Array): Beat {
  const { bodyBytes, signature: mark } = opened(input, BEAT_BYTES_MAX);
  const f = tuple(decode(bodyBytes), 7);
  version(f[0]);
  ofChain(f[1], chain);
  const number = u32(f[4]);
  if (number === 0) throw new CodecError("codec_value", "beats are numbered from 1");
  return { machine: address(f[2]), bootId: bootId(f[3]), number, height: u32(f[5]), timeMs: u64(f[6]), signature: mark };
}

function beatOf(chain: ChainId, value: Cbor | undefined, machine: Hex, boot: Hex): Beat | null {
  const input = bytesUpTo(value, BEAT_BYTES_MAX);
  if (input.length === 0) return null;
  const beat = decodeBeat(chain, input);
  if (beat.machine !== machine || beat.bootId !== boot) throw new CodecError("codec_value", "the beat that goes along is another machine's");
  return beat;
}

export function openSuspicion(chain: ChainId, input: Uint8Array): Opened<Suspicion> {
  const { bodyBytes, signature: mark } = opened(input, STATEMENT_BYTES_MAX);
  const f = tuple(decode(bodyBytes), 8);
  version(f[0]);
  ofChain(f[1], chain);
  const machine = address(f[3]);
  const boot = bootId(f[4]);
  return { statement: { witness: address(f[2]), machine, bootId: boot, beat: beatOf(chain, f[5], machine, boot), at: momentFrom(f[6]), base: u32(f[7]) }, bodyBytes, signature: mark };
}

export function openUpAcknowledgement(chain: ChainId, input: Uint8Array): Opened<UpAcknowledgement> {
  const { bodyBytes, signature: mark } = opened(input, STATEMENT_BYTES_MAX);
  const f = tuple(decode(bodyBytes), 8);
  version(f[0]);
  ofChain(f[1], chain);
  const machine = address(f[3]);
  const [boot, beat, at] = tuple(f[7], 3);
  const before = { bootId: bootId(boot), beat: beatOf(chain, beat, machine, bootId(boot)), at: momentFrom(at) };
  return { statement: { witness: address(f[2]), machine, bootId: bootId(f[4]), height: u32(f[5]), base: u32(f[6]), before }, bodyBytes, signature: mark };
}

export function decodeAcknowledgement(input: Uint8Array): Acknowledgement {
  const f = tuple(decode(input), 4);
  version(f[0]);
  const flag = u32(f[3]);
  if (flag > 1) throw new CodecError("codec_value", `${flag} is neither 0 nor 1`);
  return { bootId: bootId(f[1]), number: u32(f[2]), isClear: flag === 1 };
}
