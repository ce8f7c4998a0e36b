/**
 * Sockets that `node:dgram` cannot make: bound to one interface before they are bound to a port, or no IP sockets at all.
 *
 * What these functions return is a descriptor: `dgram.createSocket(…).bind({ fd })` adopts one of UDP and closes it; who keeps
 * another closes it with `fs.closeSync`.
 */
import { closeSync } from "node:fs";
import { calls, checked } from "./calls.ts";

export const AF_INET = 2;
export const AF_NETLINK = 16;
const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const AF_INET6 = 10;
const IPPROTO_IPV6 = 41;
const IPPROTO_ICMPV6 = 58;
const IPV6_MULTICAST_HOPS = 18;
const ROUTER_ADVERTISEMENT = 134;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_RCVTIMEO = 20;
const SO_BINDTODEVICE = 25;
const INTERFACE_NAME_BYTES_MAX = 15;

export function openSocket(family: number, type: number, protocol: number, options: { readonly blocking?: boolean } = {}): number {
  return checked(`open a socket of family ${family}`, calls().socket(family, type | SOCK_CLOEXEC | (options.blocking === true ? 0 : SOCK_NONBLOCK), protocol));
}

export function setSocketOption(descriptor: number, level: number, option: number, value: Uint8Array): void {
  checked(`set option ${level}/${option} of a socket`, calls().setsockopt(descriptor, level, option, value, value.length));
}

/** From then on the socket sends and receives through this interface only. */
export function bindToInterface(descriptor: number, name: string): void {
  const bytes = new TextEncoder().encode(name);
  if (bytes.length === 0 || bytes.length > INTERFACE_NAME_BYTES_MAX) throw new RangeError(`Cannot bind a socket to interface "${name}": the name has 1 to ${INTERFACE_NAME_BYTES_MAX} bytes`);
  const terminated = new Uint8Array(bytes.length + 1);
  terminated.set(bytes);
  checked(`bind a socket to interface ${name}`, calls().setsockopt(descriptor, SOL_SOCKET, SO_BINDTODEVICE, terminated, terminated.length));
}

/** A blocking call on the socket gives up (EAGAIN) after this. */
export function setReceiveTimeout(descriptor: number, timeoutMs: number): void {
  const value = new Uint8Array(16);
  const view = new DataView(value.buffer);
  view.setBigInt64(0, BigInt(Math.floor(timeoutMs / 1000)), true);
  view.setBigInt64(8, BigInt((timeoutMs % 1000) * 1000), true);
  setSocketOption(descriptor, SOL_SOCKET, SO_RCVTIMEO, value);
}

/**
 * A UDP socket on one interface, bound to `address` (default 0.0.0.0) and `port`: it can send to 255.255.255.255 where there is no
 * route yet, and hears nothing of other interfaces. For `dgram.bind({ fd })`.
 */
export const udpOnInterface = (name: string, port: number, address = "0.0.0.0"): number => onInterface(SOCK_DGRAM, name, port, address);

/** A TCP socket that is bound likewise and does not listen yet: for `server.listen({ fd })`. */
export const tcpOnInterface = (name: string, port: number, address = "0.0.0.0"): number => onInterface(SOCK_STREAM, name, port, address);

function onInterface(type: number, name: string, port: number, address: string): number {
  const descriptor = openSocket(AF_INET, type, 0);
  try {
    bindToInterface(descriptor, name);
    setSocketOption(descriptor, SOL_SOCKET, SO_REUSEADDR, new Uint8Array([1, 0, 0, 0]));
    const where = new Uint8Array(16);
    new DataView(where.buffer).setUint16(0, AF_INET, true);
    new DataView(where.buffer).setUint16(2, port, false);
    where.set(ipv4Bytes(address), 4);
    checked(`bind port ${port} on ${name}`, calls().bind(descriptor, where, where.length));
    return descriptor;
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

/** Opens what `announceNoRouter` sends with: ICMPv6 on one interface, every packet with the hop limit that neighbours demand. */
export function icmp6OnInterface(name: string): number {
  const descriptor = openSocket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
  try {
    bindToInterface(descriptor, name);
    setSocketOption(descriptor, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, new Uint8Array([255, 0, 0, 0]));
    return descriptor;
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

/**
 * Tells all on that link that there is no IPv6 router and no address to make: a router advertisement (RFC 4861 §4.2) with lifetime 0. A
 * loader that waits for one goes on at once. The kernel fills the checksum in.
 */
export function announceNoRouter(descriptor: number): void {
  const message = new Uint8Array(16);
  message[0] = ROUTER_ADVERTISEMENT;
  const everybody = new Uint8Array(28);
  new DataView(everybody.buffer).setUint16(0, AF_INET6, true);
  everybody.set([0xff, 0x02], 8);
  everybody[23] = 1;
  checked("send a router advertisement", calls().sendto(descriptor, message, BigInt(message.length), 0, everybody, everybody.length));
}

/** Four bytes of a dotted address. */
export function ipv4Bytes(text: string): Uint8Array {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text)?.slice(1).map(Number);
  if (parts === undefined || parts.some((part) => part > 255)) throw new RangeError(`Cannot read "${text}" as an IPv4 address`);
  return new Uint8Array(parts);
}
