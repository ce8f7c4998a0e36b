/**
 * TFTP, reading only (RFC 1350; options of RFC 2347–2349 and windows of RFC 7440): packets, and one transfer as a step function. Pure.
 *
 * Rules: a block's number is its low 16 bits, so a file may have more than 65,535 blocks; an acknowledgement that repeats an old one is not answered (the
 * sorcerer's apprentice would double every packet for ever); silence is, with longer and longer waits, a few times. A client that aborts with an
 * error packet (EDK2 does after it has asked for the size) ends its transfer, and nothing else.
 */
import { TFTP_BLOCK_BYTES_MAX, TFTP_BLOCK_BYTES_MIN, TFTP_REQUEST_BYTES_MAX, TFTP_RETRIES_MAX, TFTP_RETRY_MS, TFTP_TIMEOUT_SECONDS_MAX, TFTP_WINDOW_BLOCKS_MAX } from "./limits.ts";

export const TFTP_PORT = 69;
const OPCODE = { read: 1, data: 3, acknowledge: 4, error: 5, options: 6 } as const;
export const TFTP_ERROR = { undefined: 0, notFound: 1, illegal: 4, refusedOptions: 8 } as const;
const BLOCK_BYTES_DEFAULT = 512;
const TEXTS_MAX = 32;

export type TftpPacket =
  | { readonly kind: "read"; readonly file: string; readonly options: ReadonlyMap<string, string> }
  | { readonly kind: "acknowledge"; readonly block: number }
  | { readonly kind: "error"; readonly code: number; readonly text: string };

export function decodeTftp(raw: Uint8Array): TftpPacket | null {
  if (raw.length < 4) return null;
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  switch (view.getUint16(0)) {
    case OPCODE.acknowledge: return { kind: "acknowledge", block: view.getUint16(2) };
    case OPCODE.error: return { kind: "error", code: view.getUint16(2), text: textsOf(raw.subarray(4, TFTP_REQUEST_BYTES_MAX))?.[0] ?? "" };
    case OPCODE.read: return decodeRead(raw);
    default: return null;
  }
}

function decodeRead(raw: Uint8Array): TftpPacket | null {
  const texts = raw.length > TFTP_REQUEST_BYTES_MAX ? null : textsOf(raw.subarray(2));
  if (texts === null) return null;
  const [file = "", mode = "", ...rest] = texts;
  // Firmware asks for octets; text mode would change the bytes.
  if (file === "" || mode.toLowerCase() !== "octet") return null;
  const options = new Map<string, string>();
  for (let at = 0; at + 1 < rest.length; at += 2) options.set((rest[at] ?? "").toLowerCase(), rest[at + 1] ?? "");
  return { kind: "read", file: file.replace(/^\/+/, ""), options };
}

/** The zero-terminated texts, printable ASCII only; null when the bytes are something else. */
function textsOf(bytes: Uint8Array): string[] | null {
  const texts = String.fromCharCode(...bytes).split("\0");
  if (texts.length > TEXTS_MAX + 1 || texts.some((one) => !/^[\x20-\x7e]*$/.test(one))) return null;
  // What follows the last zero is no text.
  return texts.slice(0, -1);
}

export function encodeError(code: number, text: string): Uint8Array {
  return Uint8Array.of(0, OPCODE.error, code >> 8, code & 255, ...new TextEncoder().encode(text), 0);
}

export function encodeBlock(block: number, content: Uint8Array): Uint8Array {
  const packet = new Uint8Array(4 + content.length);
  packet.set([0, OPCODE.data, (block >>> 8) & 255, block & 255]);
  packet.set(content, 4);
  return packet;
}

export type Transfer = {
  readonly fileBytes: number;
  readonly blockBytes: number;
  readonly windowBlocks: number;
  readonly retryMs: number;
  /** Twice as long each time; not when the client said how long. */
  readonly isDoubled: boolean;
  /** The options in force, to be acknowledged with block 0 before the first block; null when none were asked for. */
  readonly accepted: ReadonlyMap<string, string> | null;
  /** Blocks that have arrived; -1: the options have not. */
  readonly arrived: number;
  readonly retries: number;
  readonly wakeMs: number;
};
export type TransferEffect =
  | { readonly kind: "options"; readonly packet: Uint8Array }
  /** Blocks `first` to `last`, counted from 1. */
  | { readonly kind: "blocks"; readonly first: number; readonly last: number }
  | { readonly kind: "end"; readonly why: "done" | "aborted" | "silent" };
type Step = readonly [Transfer, readonly TransferEffect[]];

export function beginTransfer(asked: ReadonlyMap<string, string>, fileBytes: number, nowMs: number): Step {
  const accepted = new Map<string, string>();
  const count = (name: string, min: number, max: number): number | null => {
    const text = asked.get(name);
    return text !== undefined && /^\d{1,5}$/.test(text) && Number(text) >= min ? Math.min(Number(text), max) : null;
  };
  const blockBytes = count("blksize", TFTP_BLOCK_BYTES_MIN, TFTP_BLOCK_BYTES_MAX);
  const windowBlocks = count("windowsize", 1, TFTP_WINDOW_BLOCKS_MAX);
  const timeoutSeconds = count("timeout", 1, TFTP_TIMEOUT_SECONDS_MAX);
  if (blockBytes !== null) accepted.set("blksize", String(blockBytes));
  if (asked.has("tsize")) accepted.set("tsize", String(fileBytes));
  // RFC 2349: a timeout is taken as it is or not at all.
  if (timeoutSeconds !== null && timeoutSeconds === Number(asked.get("timeout"))) accepted.set("timeout", String(timeoutSeconds));
  if (windowBlocks !== null) accepted.set("windowsize", String(windowBlocks));
  const transfer: Transfer = {
    fileBytes, blockBytes: blockBytes ?? BLOCK_BYTES_DEFAULT, windowBlocks: windowBlocks ?? 1, retryMs: accepted.has("timeout") ? (timeoutSeconds ?? 1) * 1_000 : TFTP_RETRY_MS, isDoubled: !accepted.has("timeout"),
    accepted: accepted.size > 0 ? accepted : null, arrived: accepted.size > 0 ? -1 : 0, retries: 0, wakeMs: 0,
  };
  return sendFrom(transfer, nowMs);
}

/** How many blocks there are: the last one is shorter than the others, and may be empty. */
export const blockCount = ({ fileBytes, blockBytes }: Pick<Transfer, "fileBytes" | "blockBytes">): number => Math.floor(fileBytes / blockBytes) + 1;

export function stepTransfer(transfer: Transfer, event: TftpPacket | { readonly kind: "time" }, nowMs: number): Step {
  switch (event.kind) {
    case "read": return [transfer, []];
    case "error": return [transfer, [{ kind: "end", why: "aborted" }]];
    case "time": {
      if (nowMs < transfer.wakeMs) return [transfer, []];
      if (transfer.retries >= TFTP_RETRIES_MAX) return [transfer, [{ kind: "end", why: "silent" }]];
      return sendFrom({ ...transfer, retries: transfer.retries + 1 }, nowMs);
    }
    case "acknowledge": {
      if (transfer.arrived < 0) return event.block === 0 ? sendFrom({ ...transfer, arrived: 0, retries: 0 }, nowMs) : [transfer, []];
      const ahead = ((event.block - transfer.arrived) << 16) >> 16;
      if (ahead <= 0 || ahead > transfer.windowBlocks) return [transfer, []];
      const next = { ...transfer, arrived: transfer.arrived + ahead, retries: 0 };
      return next.arrived >= blockCount(next) ? [next, [{ kind: "end", why: "done" }]] : sendFrom(next, nowMs);
    }
    default: return event satisfies never;
  }
}

function sendFrom(transfer: Transfer, nowMs: number): Step {
  const next = { ...transfer, wakeMs: nowMs + transfer.retryMs * (transfer.isDoubled ? 2 ** transfer.retries : 1) };
  if (transfer.arrived < 0) return [next, [{ kind: "options", packet: encodeOptions(transfer.accepted ?? new Map()) }]];
  return [next, [{ kind: "blocks", first: transfer.arrived + 1, last: Math.min(transfer.arrived + transfer.windowBlocks, blockCount(transfer)) }]];
}

const encodeOptions = (options: ReadonlyMap<string, string>): Uint8Array => Uint8Array.of(0, OPCODE.options, ...new TextEncoder().encode([...options].map(([name, value]) => `${name}\0${value}\0`).join("")));
