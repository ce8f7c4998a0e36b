/**
 * Interfaces, addresses and routes over rtnetlink (rtnetlink(7)): what `ip` does, for a machine that has no `ip`.
 *
 * Each request is a socket of its own and one blocking exchange with the kernel, which answers at once; the receive timeout is
 * for a kernel that does not. What comes back is parsed with bounds checked, though it comes from the kernel.
 */
import { closeSync } from "node:fs";
import { calls, checked, systemCallError } from "./calls.ts";
import { AF_INET, AF_NETLINK, SOCK_RAW, ipv4Bytes, openSocket, setReceiveTimeout } from "./sockets.ts";

export type Link = {
  readonly index: number;
  readonly name: string;
  /** `52:54:00:12:34:56`, or empty. */
  readonly mac: string;
  /** ARPHRD_…: 1 is Ethernet, 772 is loopback. */
  readonly type: number;
  readonly isUp: boolean;
  /** A cable is in, and the other end speaks. */
  readonly hasCarrier: boolean;
};
export const LINK_ETHERNET = 1;
export const LINK_LOOPBACK = 772;

const ROUTE = 0;
const RECEIVE_TIMEOUT_MS = 2_000;
const RECEIVE_BYTES = 65_536;
/** An answer of more messages than this is no answer to what is asked here. */
const MESSAGES_MAX = 4_096;
const HEADER_BYTES = 16;
const TYPE = { error: 2, done: 3, newLink: 16, getLink: 18, newAddress: 20, deleteAddress: 21, getAddress: 22, newRoute: 24, deleteRoute: 25 } as const;
const FLAG = { request: 1, acknowledge: 4, dump: 0x300, create: 0x400, replace: 0x100, exclusive: 0x200 } as const;
const IFF_UP = 1;
const IFF_LOWER_UP = 0x10000;
const RTNH_F_ONLINK = 4;

export function readLinks(): Link[] {
  return request("list the interfaces", TYPE.getLink, FLAG.dump, new Uint8Array(16)).map(parseLink);
}

/** The IPv4 addresses of the interfaces, of those without a cable too, which `os.networkInterfaces` leaves out. */
export function readAddresses(): { readonly index: number; readonly address: string; readonly prefix: number }[] {
  const body = new Uint8Array(8);
  body[0] = AF_INET;
  return request("list the addresses", TYPE.getAddress, FLAG.dump, body).flatMap((message) => {
    const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
    const attributes = readAttributes(message.subarray(HEADER_BYTES + 8));
    // The local one; for all but point-to-point links the other is the same.
    const address = attributes.get(2) ?? attributes.get(1);
    return address?.length === 4 ? [{ index: view.getUint32(HEADER_BYTES + 4, true), address: address.join("."), prefix: message[HEADER_BYTES + 1] ?? 0 }] : [];
  });
}

export function setLinkUp(index: number, isUp = true): void {
  const body = new Uint8Array(16);
  const view = new DataView(body.buffer);
  view.setInt32(4, index, true);
  view.setUint32(8, isUp ? IFF_UP : 0, true);
  view.setUint32(12, IFF_UP, true);
  request(`set interface ${index} ${isUp ? "up" : "down"}`, TYPE.newLink, FLAG.acknowledge, body);
}

/** Adds the address, or renews it where it is already. */
export function addAddress(index: number, address: string, prefix: number): void {
  request(`give interface ${index} the address ${address}/${prefix}`, TYPE.newAddress, FLAG.acknowledge | FLAG.create | FLAG.replace, addressBody(index, address, prefix));
}

export function removeAddress(index: number, address: string, prefix: number): void {
  request(`take the address ${address}/${prefix} from interface ${index}`, TYPE.deleteAddress, FLAG.acknowledge, addressBody(index, address, prefix));
}

/** The way to everywhere through `router`. With several interfaces the lowest metric is taken. `isOnLink`: it is on this wire though not within the interface's network. */
export function setDefaultRoute(index: number, router: string, metric = 0, isOnLink = false): void {
  request(`route through ${router} on interface ${index}`, TYPE.newRoute, FLAG.acknowledge | FLAG.create | FLAG.replace, routeBody(index, router, metric, isOnLink ? RTNH_F_ONLINK : 0));
}

export function removeDefaultRoute(index: number, router: string, metric = 0): void {
  request(`take the route through ${router} from interface ${index}`, TYPE.deleteRoute, FLAG.acknowledge, routeBody(index, router, metric));
}

/** A tagged interface on top of `parent`: frames of VLAN `tag` only. */
export function addVlan(parent: number, name: string, tag: number): void {
  const kind = joined([attribute(1, text("vlan")), attribute(2, attribute(1, u16(tag)))]);
  const body = joined([new Uint8Array(16), attribute(5, u32(parent)), attribute(3, text(`${name}\0`)), attribute(18, kind)]);
  request(`make VLAN ${tag} on interface ${parent}`, TYPE.newLink, FLAG.acknowledge | FLAG.create | FLAG.exclusive, body);
}

function addressBody(index: number, address: string, prefix: number): Uint8Array {
  const head = new Uint8Array(8);
  head[0] = AF_INET;
  head[1] = prefix;
  new DataView(head.buffer).setUint32(4, index, true);
  return joined([head, attribute(2, ipv4Bytes(address)), attribute(1, ipv4Bytes(address))]);
}

function routeBody(index: number, router: string, metric: number, flags = 0): Uint8Array {
  // Family, two prefixes, type of service, table main, made at boot, scope universe, unicast, flags.
  const head = new Uint8Array([AF_INET, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0]);
  new DataView(head.buffer).setUint32(8, flags, true);
  return joined([head, attribute(5, ipv4Bytes(router)), attribute(4, u32(index)), ...(metric === 0 ? [] : [attribute(6, u32(metric))])]);
}

function parseLink(message: Uint8Array): Link {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const flags = view.getUint32(HEADER_BYTES + 8, true);
  const attributes = readAttributes(message.subarray(HEADER_BYTES + 16));
  return {
    index: view.getInt32(HEADER_BYTES + 4, true), type: view.getUint16(HEADER_BYTES + 2, true), isUp: (flags & IFF_UP) !== 0, hasCarrier: (flags & IFF_LOWER_UP) !== 0,
    name: new TextDecoder().decode(attributes.get(3) ?? new Uint8Array()).replace(/\0.*$/s, ""),
    mac: [...(attributes.get(1) ?? [])].map((byte) => byte.toString(16).padStart(2, "0")).join(":"),
  };
}

/** Attributes of a netlink message by their type; what does not hold its length ends them. */
export function readAttributes(bytes: Uint8Array): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + 4 <= bytes.length;) {
    const length = view.getUint16(at, true);
    if (length < 4 || at + length > bytes.length) break;
    found.set(view.getUint16(at + 2, true) & 0x3fff, bytes.subarray(at + 4, at + length));
    at += aligned(length);
  }
  return found;
}

/** Sends one request and gives the messages of the answer; throws what the kernel refused with. */
function request(what: string, type: number, flags: number, body: Uint8Array): Uint8Array[] {
  const message = new Uint8Array(HEADER_BYTES + body.length);
  const view = new DataView(message.buffer);
  view.setUint32(0, message.length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags | FLAG.request, true);
  message.set(body, HEADER_BYTES);
  const descriptor = openSocket(AF_NETLINK, SOCK_RAW, ROUTE, { blocking: true });
  try {
    setReceiveTimeout(descriptor, RECEIVE_TIMEOUT_MS);
    checked(what, calls().send(descriptor, message, BigInt(message.length), 0));
    return receive(what, descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function receive(what: string, descriptor: number): Uint8Array[] {
  const messages: Uint8Array[] = [];
  const buffer = new Uint8Array(RECEIVE_BYTES);
  const view = new DataView(buffer.buffer);
  while (messages.length < MESSAGES_MAX) {
    const count = checked(what, calls().recv(descriptor, buffer, BigInt(buffer.length), 0));
    for (let at = 0; at + HEADER_BYTES <= count;) {
      const length = view.getUint32(at, true);
      const type = view.getUint16(at + 4, true);
      if (length < HEADER_BYTES || at + length > count) break;
      if (type === TYPE.done) return messages;
      if (type === TYPE.error) {
        const errno = -view.getInt32(at + HEADER_BYTES, true);
        if (errno !== 0) throw systemCallError(what, errno);
        return messages;
      }
      messages.push(buffer.slice(at, at + length));
      at += aligned(length);
    }
  }
  throw new RangeError(`Cannot ${what}: the kernel answers without an end`);
}

const aligned = (length: number): number => (length + 3) & ~3;
const text = (value: string): Uint8Array => new TextEncoder().encode(value);

function attribute(type: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(aligned(4 + value.length));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 4 + value.length, true);
  view.setUint16(2, type, true);
  bytes.set(value, 4);
  return bytes;
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

function u16(value: number): Uint8Array {
  return u32(value).subarray(0, 2);
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
