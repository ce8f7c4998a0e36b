/**
 * Addresses of a network as text, bytes and prefixes. Pure; a text is accepted in one form only (no leading zeros, no short forms),
 * so that two that are equal are written equally.
 */
import assert from "node:assert/strict";

/** `10.0.0.1` */
export type Ipv4 = string & { readonly brand: "Ipv4" };
/** `52:54:00:12:34:56`, in lower case. */
export type Mac = string & { readonly brand: "Mac" };
export type Network = { readonly address: Ipv4; /** Bits of the network's part. */ readonly prefix: number };

export const IPV4_BYTES = 4;
export const MAC_BYTES = 6;
export const ANY_ADDRESS: Ipv4 = "0.0.0.0" as Ipv4;
export const BROADCAST_ADDRESS: Ipv4 = "255.255.255.255" as Ipv4;

export function parseIpv4(text: string): Ipv4 | null {
  if (!/^(0|[1-9]\d{0,2})(\.(0|[1-9]\d{0,2})){3}$/.test(text)) return null;
  return text.split(".").every((part) => Number(part) <= 255) ? (text as Ipv4) : null;
}

export function ipv4Text(bytes: Uint8Array): Ipv4 {
  assert(bytes.length === IPV4_BYTES);
  return bytes.join(".") as Ipv4;
}

export const ipv4Bytes = (address: Ipv4): Uint8Array => Uint8Array.from(address.split("."), Number);
export const ipv4Number = (address: Ipv4): number => ipv4Bytes(address).reduce((sum, byte) => sum * 256 + byte, 0);
export const ipv4Of = (value: number): Ipv4 => ipv4Text(Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value));

/** Three forms are in use: with colons, with dashes, and bare as iPXE's `${net0/mac:hexraw}`. */
export function parseMac(text: string): Mac | null {
  const bare = /^[0-9a-f]{12}$/i.test(text) ? text : /^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i.test(text) ? text.replaceAll(/[:-]/g, "") : null;
  return bare === null ? null : macText(Uint8Array.fromHex(bare));
}

export function macText(bytes: Uint8Array): Mac {
  assert(bytes.length === MAC_BYTES);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":") as Mac;
}

export const macBytes = (mac: Mac): Uint8Array => Uint8Array.fromHex(mac.replaceAll(":", ""));

/** `10.0.0.2/24`: an address of a machine with its network, not the network's own. */
export function parseNetwork(text: string): Network | null {
  const [host = "", bits = "", ...rest] = text.split("/");
  const address = parseIpv4(host);
  if (address === null || rest.length > 0 || !/^([1-9]|[12]\d|3[0-2])$/.test(bits)) return null;
  return { address, prefix: Number(bits) };
}

export const maskOf = (prefix: number): number => (prefix === 0 ? 0 : (0xffffffff << (32 - prefix)) >>> 0);

/** The prefix of a mask, or null when its ones are not all in front. */
export function prefixOf(mask: Uint8Array): number | null {
  if (mask.length !== IPV4_BYTES) return null;
  const value = ipv4Number(ipv4Text(mask));
  for (let prefix = 1; prefix <= 32; prefix++) if (maskOf(prefix) === value) return prefix;
  return null;
}

export const isWithin = (address: Ipv4, network: Network): boolean =>
  ((ipv4Number(address) ^ ipv4Number(network.address)) & maskOf(network.prefix)) === 0;

/** One that a machine may have: not this network, not loopback, not multicast or reserved. */
export function isHostAddress(address: Ipv4): boolean {
  const first = ipv4Bytes(address)[0] ?? 0;
  return first !== 0 && first !== 127 && first < 224;
}
