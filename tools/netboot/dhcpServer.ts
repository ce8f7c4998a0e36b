/**
 * What the DHCP server answers, as a function of the message, the time and the pool. No socket here.
 *
 * Full: gives addresses and says what to boot. Proxy: gives no address (the network's own server does), answers only who wants to boot, and
 * again on port 4011, where firmware asks for the file that a proxy offered. Messages of a relay are not answered: they come from a
 * network that the server was not told of.
 */
import { ANY_ADDRESS, type Ipv4, type Network, ipv4Bytes, maskOf } from "#os/boot/addresses.ts";
import { type DhcpMessage, type MessageType, OPTION, addressOption, joined, messageType, messageTypeOption, textBytes, u32Bytes } from "#os/boot/dhcpMessage.ts";
import { LEASE_SECONDS } from "./limits.ts";
import type { AddressPool } from "./pool.ts";
import { type BootAnswer, type BootPlace, bootAnswer, serverOption } from "./way.ts";

export type DhcpSite = {
  readonly network: Network;
  readonly place: BootPlace;
  /** Null: proxy. */
  readonly pool: AddressPool | null;
  readonly router: Ipv4 | null;
  readonly dns: readonly Ipv4[];
};
/** `to` null: everybody on the interface. */
export type DhcpAnswer = { readonly message: DhcpMessage; readonly to: Ipv4 | null };

export function answerDhcp(site: DhcpSite, message: DhcpMessage, nowMs: number): DhcpAnswer | null {
  const type = messageType(message);
  if (message.op !== "request" || message.relay !== ANY_ADDRESS || type === null) return null;
  return site.pool === null ? proxyAnswer(site, message, type) : fullAnswer(site, site.pool, message, type, nowMs);
}

/** Beside another DHCP server: the address that a client takes there, which it says to all. Not every firmware comes to port 4011 afterwards. */
export const addressTaken = (message: DhcpMessage): Ipv4 | null => (messageType(message) === "request" && message.relay === ANY_ADDRESS ? addressOption(message, OPTION.requestedAddress) : null);

/** What came to port 4011: always from one who has an address and wants the file. */
export function answerBootQuestion(site: DhcpSite, message: DhcpMessage): DhcpMessage | null {
  const type = messageType(message);
  if (message.op !== "request" || message.relay !== ANY_ADDRESS || (type !== "request" && type !== "inform")) return null;
  const boot = bootAnswer(message, site.place, true);
  return boot === null || boot.bootFile === "" ? null : reply(site, message, "ack", ANY_ADDRESS, boot, []);
}

function proxyAnswer(site: DhcpSite, message: DhcpMessage, type: MessageType): DhcpAnswer | null {
  const boot = type === "discover" ? bootAnswer(message, site.place, true) : null;
  return boot === null || boot.bootFile === "" ? null : { message: reply(site, message, "offer", ANY_ADDRESS, boot, []), to: null };
}

function fullAnswer(site: DhcpSite, pool: AddressPool, message: DhcpMessage, type: MessageType, nowMs: number): DhcpAnswer | null {
  const { mac } = message;
  const named = addressOption(message, OPTION.server);
  const isForUs = named === null || named === site.network.address;
  const boot = bootAnswer(message, site.place, false);
  switch (type) {
    case "discover": {
      const address = pool.offer(mac, nowMs);
      return address === null ? null : { message: reply(site, message, "offer", address, boot, addressOptions(site)), to: null };
    }
    case "request": {
      if (!isForUs) return null;
      const wanted = message.client === ANY_ADDRESS ? addressOption(message, OPTION.requestedAddress) : message.client;
      if (wanted === null) return null;
      if (!pool.take(mac, wanted, nowMs)) return { message: reply(site, message, "nak", ANY_ADDRESS, null, []), to: null };
      return { message: reply(site, message, "ack", wanted, boot, addressOptions(site)), to: message.client === ANY_ADDRESS ? null : message.client };
    }
    case "decline": case "release": {
      const address = type === "release" ? message.client : addressOption(message, OPTION.requestedAddress);
      if (!isForUs || address === null) return null;
      if (type === "release") pool.release(mac, address);
      else pool.decline(mac, address, nowMs);
      return null;
    }
    case "inform": return message.client === ANY_ADDRESS ? null : { message: reply(site, message, "ack", ANY_ADDRESS, boot, networkOptions(site)), to: message.client };
    case "offer": case "ack": case "nak": return null;
    default: return type satisfies never;
  }
}

function networkOptions({ network, router, dns }: DhcpSite): (readonly [number, Uint8Array])[] {
  return [
    [OPTION.mask, u32Bytes(maskOf(network.prefix))], ...(router === null ? [] : [[OPTION.routers, ipv4Bytes(router)] as const]),
    ...(dns.length === 0 ? [] : [[OPTION.dns, joined(dns.map(ipv4Bytes))] as const]),
  ];
}

const addressOptions = (site: DhcpSite): (readonly [number, Uint8Array])[] => [[OPTION.leaseSeconds, u32Bytes(LEASE_SECONDS)], ...networkOptions(site)];

function reply(site: DhcpSite, question: DhcpMessage, type: MessageType, your: Ipv4, boot: BootAnswer | null, options: readonly (readonly [number, Uint8Array])[]): DhcpMessage {
  const clientId = question.options.get(OPTION.clientId);
  return {
    op: "reply", xid: question.xid, seconds: 0, broadcast: question.broadcast, client: type === "ack" ? question.client : ANY_ADDRESS, your,
    next: boot?.next ?? ANY_ADDRESS, relay: ANY_ADDRESS, mac: question.mac, bootFile: boot?.bootFile ?? "",
    options: new Map([
      messageTypeOption(type), serverOption(site.network.address), ...options, ...(boot?.options ?? []),
      ...(clientId === undefined ? [] : [[OPTION.clientId, clientId] as const]), ...(type === "nak" ? [[OPTION.message, textBytes("not this address")] as const] : []),
    ]),
  };
}
