/**
 * A secret of 32 bytes in the memory of a TPM 2.0 (NV), which is given out again only while PCR 7 is what it was: the firmware's Secure Boot is on with the same keys,
 * or off as it was. Not PCR 11, which is another with each image: an upgrade would lose the machine.
 *
 * Commands as the TPM library specification, part 3, has them; the owner of the TPM has no password, as it comes. What the TPM answers is parsed as a stranger's.
 */
import { AgentError } from "../error.ts";

/** Sends one command and gives the answer. */
export type TpmWire = (command: Uint8Array) => Promise<Uint8Array>;

/** Of the range that the specification leaves to owners. */
const INDEX = 0x0180_6757;
export const SECRET_BYTES = 32;
const OWNER = 0x4000_0001;
const NULL_HANDLE = 0x4000_0007;
const PASSWORD_SESSION = 0x4000_0009;
const SHA256 = 0x000b;
const NO_ALGORITHM = 0x0010;
const DIGEST_BYTES = 32;
const NONCE_BYTES = 16;
const POLICY = 1;
const TRIAL = 3;
/** Written by the owner, read under the policy only; wrong tries lock nobody out. */
const ATTRIBUTES: number = 2 ** 1 + 2 ** 19 + 2 ** 25;
const WRITTEN = 2 ** 29;
const CODE = { nvDefineSpace: 0x12a, nvWrite: 0x137, nvRead: 0x14e, flush: 0x165, nvReadPublic: 0x169, startSession: 0x176, policyPcr: 0x17f, policyDigest: 0x189 } as const;
const TAG = { plain: 0x8001, sessions: 0x8002 } as const;
const NO_SUCH_HANDLE = 0x18b;
const POLICY_FAILED = 0x99d;
const HEADER_BYTES = 10;
/** SHA-256, three bytes of bits, bit 7. */
const PCR_7: readonly Uint8Array[] = [u32(1), u16(SHA256), Uint8Array.of(3, 0x80, 0, 0)];

/** Null: it holds none of ours. Throws `tpm_sealed` when it does and does not give it. */
export async function readSecret(wire: TpmWire): Promise<Uint8Array | null> {
  const space = await ask(wire, "look for the machine key", TAG.plain, CODE.nvReadPublic, [u32(INDEX)], [NO_SUCH_HANDLE]);
  if (space.code !== 0) return null;
  const attributes = space.body.u32At(8);
  if (space.body.u16At(12 + space.body.u16At(12) + 2) !== SECRET_BYTES) throw new AgentError("tpm_foreign", "Cannot use the TPM: what stands where the machine key should be has another size");
  if ((attributes & WRITTEN) === 0) return null;
  const session = await openSession(wire, POLICY);
  const { code, body } = await ask(wire, "read the machine key", TAG.sessions, CODE.nvRead, [u32(INDEX), u32(INDEX), authorisation(session), u16(SECRET_BYTES), u16(0)], [POLICY_FAILED]);
  if (code !== 0) {
    await close(wire, session);
    throw new AgentError("tpm_sealed", "Cannot read the machine key: the TPM gives it to a machine with the Secure Boot keys and state that it was sealed under, which are others now");
  }
  // The size of the parameters, then the bytes with their length.
  if (body.u16At(4) !== SECRET_BYTES) throw broken();
  return body.bytesAt(6, SECRET_BYTES);
}

/** In the place of ours that is there, or in a new one. */
export async function writeSecret(wire: TpmWire, secret: Uint8Array): Promise<void> {
  const { code } = await ask(wire, "look for the machine key", TAG.plain, CODE.nvReadPublic, [u32(INDEX)], [NO_SUCH_HANDLE]);
  if (code !== 0) {
    const policy = await policyDigest(wire);
    const space = joined([u32(INDEX), u16(SHA256), u32(ATTRIBUTES), sized(policy), u16(SECRET_BYTES)]);
    await ask(wire, "make a place for the machine key", TAG.sessions, CODE.nvDefineSpace, [u32(OWNER), authorisation(PASSWORD_SESSION), sized(new Uint8Array()), sized(space)]);
  }
  await ask(wire, "write the machine key", TAG.sessions, CODE.nvWrite, [u32(OWNER), u32(INDEX), authorisation(PASSWORD_SESSION), sized(secret), u16(0)]);
}

async function policyDigest(wire: TpmWire): Promise<Uint8Array> {
  const session = await openSession(wire, TRIAL);
  const { body } = await ask(wire, "learn the policy", TAG.plain, CODE.policyDigest, [u32(session)]);
  await close(wire, session);
  if (body.u16At(0) !== DIGEST_BYTES) throw broken();
  return body.bytesAt(2, DIGEST_BYTES);
}

/** One that names PCR 7 as it is now. Its nonces protect nothing: the wire is inside this machine. */
async function openSession(wire: TpmWire, kind: typeof POLICY | typeof TRIAL): Promise<number> {
  const { body } = await ask(wire, "open a session", TAG.plain, CODE.startSession, [u32(NULL_HANDLE), u32(NULL_HANDLE), sized(new Uint8Array(NONCE_BYTES)), sized(new Uint8Array()), Uint8Array.of(kind), u16(NO_ALGORITHM), u16(SHA256)]);
  const session = body.u32At(0);
  await ask(wire, "name PCR 7", TAG.plain, CODE.policyPcr, [u32(session), sized(new Uint8Array()), ...PCR_7]);
  return session;
}

const close = async (wire: TpmWire, session: number): Promise<void> => void (await ask(wire, "close a session", TAG.plain, CODE.flush, [u32(session)]));

/** The area of one authorisation: handle, no nonce, no attributes, no password. A policy session ends with the command. */
const authorisation = (session: number): Uint8Array => joined([u32(9), u32(session), u16(0), Uint8Array.of(0), u16(0)]);

type Body = { u16At(at: number): number; u32At(at: number): number; bytesAt(at: number, length: number): Uint8Array };

async function ask(wire: TpmWire, what: string, tag: number, code: number, parts: readonly Uint8Array[], expected: readonly number[] = []): Promise<{ readonly code: number; readonly body: Body }> {
  const body = joined(parts);
  const answer = await wire(joined([u16(tag), u32(HEADER_BYTES + body.length), u32(code), body]));
  if (answer.length < HEADER_BYTES) throw broken();
  const view = new DataView(answer.buffer, answer.byteOffset, answer.byteLength);
  const result = view.getUint32(6);
  if (result !== 0 && !expected.includes(result)) throw new AgentError("tpm_refused", `Cannot ${what}: the TPM answers 0x${result.toString(16)}`);
  return { code: result, body: readable(answer.subarray(HEADER_BYTES)) };
}

function readable(bytes: Uint8Array): Body {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const within = (at: number, length: number): void => {
    if (at + length > bytes.length) throw broken();
  };
  return {
    u16At: (at) => (within(at, 2), view.getUint16(at)),
    u32At: (at) => (within(at, 4), view.getUint32(at)),
    bytesAt: (at, length) => (within(at, length), new Uint8Array(bytes.subarray(at, at + length))),
  };
}

const broken = (): AgentError => new AgentError("tpm_broken", "Cannot use the TPM: its answer is not one");

function u16(value: number): Uint8Array {
  return Uint8Array.of(value >>> 8, value & 255);
}
function u32(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
}
function sized(bytes: Uint8Array): Uint8Array {
  return joined([u16(bytes.length), bytes]);
}
function joined(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}
