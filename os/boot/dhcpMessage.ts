/**
 * DHCP messages as bytes (RFC 2131, options of RFC 2132, long and overloaded options of RFC 3396), for the client here and the server of
 * tools/netboot. Pure.
 *
 * Rules: what is not a whole message of an Ethernet client decodes to null and is dropped; an option that runs over the end makes
 * the message none; options are kept as bytes until somebody asks for one in its type, and a wrong length is as if it were not there.
 */
import { ANY_ADDRESS, IPV4_BYTES, type Ipv4, MAC_BYTES, type Mac, ipv4Bytes, ipv4Text, macBytes, macText } from "./addresses.ts";

export const DHCP_SERVER_PORT = 67;
export const DHCP_CLIENT_PORT = 68;
export const MESSAGE_TYPES = ["discover", "offer", "request", "decline", "ack", "nak", "release", "inform"] as const;
export type MessageType = (typeof MESSAGE_TYPES)[number];
export const OPTION = {
  mask: 1, routers: 3, dns: 6, hostName: 12, domain: 15, broadcast: 28, ntp: 42, vendor: 43, requestedAddress: 50, leaseSeconds: 51, overload: 52, messageType: 53,
  server: 54, parameters: 55, message: 56, sizeMax: 57, renewSeconds: 58, rebindSeconds: 59, vendorClass: 60, clientId: 61, bootServer: 66, bootFile: 67, userClass: 77,
  architecture: 93, machineId: 97, ipxe: 175,
} as const;

export type DhcpMessage = {
  readonly op: "request" | "reply";
  readonly xid: number;
  readonly seconds: number;
  /** The client cannot take what is sent to an address that it does not have yet. */
  readonly broadcast: boolean;
  /** Addresses: the client's own now, the one it gets, the server of its next boot stage, the relay between. */
  readonly client: Ipv4;
  readonly your: Ipv4;
  readonly next: Ipv4;
  readonly relay: Ipv4;
  readonly mac: Mac;
  readonly bootFile: string;
  readonly options: ReadonlyMap<number, Uint8Array>;
};

const OP = { request: 1, reply: 2 } as const;
const ETHERNET = 1;
const COOKIE = 0x63825363;
const OPTIONS_AT = 240;
const SERVER_NAME = [44, 108] as const;
const BOOT_FILE = [108, 236] as const;
/** Relays and old clients drop what is shorter than a BOOTP packet. */
const BYTES_MIN = 300;
/** One Ethernet frame and a little; nobody sends more. */
const BYTES_MAX = 1536;
const PAD = 0;
const END = 255;
const BROADCAST_FLAG = 0x8000;

export function decodeDhcp(raw: Uint8Array): DhcpMessage | null {
  if (raw.length < OPTIONS_AT || raw.length > BYTES_MAX) return null;
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const op = raw[0] === OP.request ? "request" : raw[0] === OP.reply ? "reply" : null;
  if (op === null || raw[1] !== ETHERNET || raw[2] !== MAC_BYTES || view.getUint32(236) !== COOKIE) return null;
  const options = new Map<number, Uint8Array>();
  if (!readOptions(raw.subarray(OPTIONS_AT), options)) return null;
  const overload = options.get(OPTION.overload)?.[0] ?? 0;
  if ((overload & 1) !== 0 && !readOptions(raw.subarray(...BOOT_FILE), options)) return null;
  if ((overload & 2) !== 0 && !readOptions(raw.subarray(...SERVER_NAME), options)) return null;
  const address = (at: number): Ipv4 => ipv4Text(raw.subarray(at, at + IPV4_BYTES));
  return {
    op, xid: view.getUint32(4), seconds: view.getUint16(8), broadcast: (view.getUint16(10) & BROADCAST_FLAG) !== 0,
    client: address(12), your: address(16), next: address(20), relay: address(24), mac: macText(raw.subarray(28, 28 + MAC_BYTES)),
    bootFile: (overload & 1) !== 0 ? "" : asciiUntilZero(raw.subarray(...BOOT_FILE)), options,
  };
}

/** Adds what `bytes` hold; parts of one option are joined. False when the last one is cut short. */
function readOptions(bytes: Uint8Array, into: Map<number, Uint8Array>): boolean {
  for (let at = 0; at < bytes.length; ) {
    const code = bytes[at] ?? END;
    if (code === END) return true;
    if (code === PAD) {
      at += 1;
      continue;
    }
    const length = bytes[at + 1];
    if (length === undefined || at + 2 + length > bytes.length) return false;
    const value = bytes.slice(at + 2, at + 2 + length);
    const before = into.get(code);
    into.set(code, before === undefined ? value : joined([before, value]));
    at += 2 + length;
  }
  return true;
}

export function encodeDhcp(message: DhcpMessage): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const [code, value] of message.options) {
    // RFC 3396: longer than one length byte can say goes in parts.
    for (let at = 0; at === 0 || at < value.length; at += 255) {
      const part = value.subarray(at, at + 255);
      parts.push(Uint8Array.of(code, part.length), part);
    }
  }
  const options = joined([...parts, Uint8Array.of(END)]);
  const raw = new Uint8Array(Math.max(BYTES_MIN, OPTIONS_AT + options.length));
  const view = new DataView(raw.buffer);
  raw.set([OP[message.op], ETHERNET, MAC_BYTES, 0]);
  view.setUint32(4, message.xid);
  view.setUint16(8, message.seconds);
  view.setUint16(10, message.broadcast ? BROADCAST_FLAG : 0);
  for (const [index, address] of [message.client, message.your, message.next, message.relay].entries()) raw.set(ipv4Bytes(address), 12 + index * IPV4_BYTES);
  raw.set(macBytes(message.mac), 28);
  const [from, to] = BOOT_FILE;
  // A name that does not fit is in option 67 only.
  if (message.bootFile.length < to - from) raw.set(new TextEncoder().encode(message.bootFile).subarray(0, to - from - 1), from);
  view.setUint32(236, COOKIE);
  raw.set(options, OPTIONS_AT);
  return raw;
}

export function joined(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export const messageType = ({ options }: DhcpMessage): MessageType | null => {
  const value = options.get(OPTION.messageType);
  return value?.length === 1 ? (MESSAGE_TYPES[(value[0] ?? 0) - 1] ?? null) : null;
};

export const messageTypeOption = (type: MessageType): readonly [number, Uint8Array] => [OPTION.messageType, Uint8Array.of(MESSAGE_TYPES.indexOf(type) + 1)];

export function addressesOption({ options }: DhcpMessage, code: number): readonly Ipv4[] {
  const value = options.get(code);
  if (value === undefined || value.length % IPV4_BYTES !== 0) return [];
  return Array.from({ length: value.length / IPV4_BYTES }, (_, index) => ipv4Text(value.subarray(index * IPV4_BYTES, (index + 1) * IPV4_BYTES)));
}

export function addressOption(message: DhcpMessage, code: number): Ipv4 | null {
  const [address, ...rest] = addressesOption(message, code);
  return address === undefined || rest.length > 0 || address === ANY_ADDRESS ? null : address;
}

export function secondsOption({ options }: DhcpMessage, code: number): number | null {
  const value = options.get(code);
  return value?.length === 4 ? new DataView(value.buffer, value.byteOffset).getUint32(0) : null;
}

/** Printable ASCII up to the first zero byte, or null. */
export function textOption({ options }: DhcpMessage, code: number): string | null {
  const value = options.get(code);
  const text = value === undefined ? "" : asciiUntilZero(value);
  return text === "" ? null : text;
}

export const u32Bytes = (value: number): Uint8Array => Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
export const textBytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function asciiUntilZero(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  const text = String.fromCharCode(...(end < 0 ? bytes : bytes.subarray(0, end)));
  return /^[\x20-\x7e]*$/.test(text) ? text : "";
}
