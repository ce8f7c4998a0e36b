/**
 * The DHCP client of one interface as a step function (RFC 2131 §4.4): `step(state, event) → [state, effects]`. Pure: time and chance
 * come with the event; dhcpClient.ts is the shell.
 *
 * Rules: it never gives up, and never asks faster than the back-off allows. A lease is used until it is over or refused, whatever the
 * link does; after a link that was down the same address is asked for first. An offer without an address (a proxy's) is none.
 * Nothing but an answer to this interface's own question, with the same transaction number, changes anything.
 */
import { ANY_ADDRESS, type Ipv4, type Mac, ipv4Bytes, isHostAddress, macBytes, prefixOf } from "./addresses.ts";
import { type DhcpMessage, OPTION, addressOption, addressesOption, joined, messageType, messageTypeOption, secondsOption, textBytes, textOption } from "./dhcpMessage.ts";

export type Lease = {
  readonly address: Ipv4;
  readonly prefix: number;
  readonly routers: readonly Ipv4[];
  readonly dns: readonly Ipv4[];
  readonly ntp: readonly Ipv4[];
  readonly domain: string | null;
  readonly hostName: string | null;
  readonly server: Ipv4;
  /** Where a netboot server of ours says that it is: `http://10.0.0.1`. */
  readonly bootServer: string | null;
  /** Monotonic; null for a lease without an end. */
  readonly times: { readonly renewMs: number; readonly rebindMs: number; readonly endMs: number } | null;
};
type Asking = { readonly xid: number; readonly attempt: number; readonly sinceMs: number; readonly retryMs: number };
export type Phase =
  | { readonly kind: "no_link"; readonly lease: Lease | null }
  | ({ readonly kind: "selecting" } & Asking)
  | ({ readonly kind: "requesting"; readonly address: Ipv4; readonly server: Ipv4 } & Asking)
  | ({ readonly kind: "rebooting"; readonly lease: Lease } & Asking)
  | { readonly kind: "bound"; readonly lease: Lease }
  | ({ readonly kind: "renewing" | "rebinding"; readonly lease: Lease } & Asking);
export type DhcpState = { readonly mac: Mac; readonly hostName: string | null; readonly phase: Phase };
export type DhcpEvent = { readonly nowMs: number; /** A random u32. */ readonly draw: number } & (
  | { readonly kind: "link"; readonly up: boolean }
  | { readonly kind: "message"; readonly message: DhcpMessage }
  | { readonly kind: "time" }
);
export type DhcpEffect =
  | { readonly kind: "send"; /** Null: to everybody. */ readonly to: Ipv4 | null; readonly message: DhcpMessage }
  | { readonly kind: "configure"; readonly lease: Lease }
  | { readonly kind: "unconfigure"; readonly lease: Lease; readonly why: "refused" | "over" | "replaced" };
type Step = readonly [DhcpState, readonly DhcpEffect[]];

/** The first question is asked again soon: a switch that has just brought the link up may have dropped it. */
const RETRY_MS_FIRST = 500;
/** A switch with spanning tree passes nothing for 30 s: what asks every 8 s has its lease soon after. */
const RETRY_MS_MAX = 8_000;
/** So many unanswered requests of an offer, and the server is looked for anew. */
const REQUESTS_MAX = 4;
/** After a link that was down: unanswered, the lease is simply used on. */
const REBOOTS_MAX = 4;
/** A renewal is asked again after half of what is left, but not sooner. */
const RENEW_RETRY_MS_MIN = 5_000;
/** A server that says less is not asked more often for it. */
const LEASE_SECONDS_MIN = 10;
const INFINITE_SECONDS = 0xffffffff;
const DNS_MAX = 3;
const SIZE_MAX = 1472;
const VENDOR_CLASS = "godwit";
const ASKED_FOR = [OPTION.mask, OPTION.routers, OPTION.dns, OPTION.hostName, OPTION.domain, OPTION.ntp, OPTION.leaseSeconds, OPTION.renewSeconds, OPTION.rebindSeconds];

export const dhcpState = (mac: Mac, hostName: string | null = null): DhcpState => ({ mac, hostName, phase: { kind: "no_link", lease: null } });

/** When `time` is wanted next; null: only an event from outside changes anything. */
export function wakeMs({ phase }: DhcpState): number | null {
  switch (phase.kind) {
    case "no_link": return phase.lease?.times?.endMs ?? null;
    case "bound": return phase.lease.times?.renewMs ?? null;
    case "selecting": case "requesting": return phase.retryMs;
    case "rebooting": return Math.min(phase.retryMs, phase.lease.times?.endMs ?? phase.retryMs);
    case "renewing": return Math.min(phase.retryMs, phase.lease.times?.rebindMs ?? phase.retryMs);
    case "rebinding": return Math.min(phase.retryMs, phase.lease.times?.endMs ?? phase.retryMs);
    default: return phase satisfies never;
  }
}

export const leaseOf = ({ phase }: DhcpState): Lease | null => ("lease" in phase ? phase.lease : null);

export function step(state: DhcpState, event: DhcpEvent): Step {
  switch (event.kind) {
    case "link": return onLink(state, event);
    case "message": return onMessage(state, event, event.message);
    case "time": return onTime(state, event);
    default: return event satisfies never;
  }
}

function onLink(state: DhcpState, event: DhcpEvent & { kind: "link" }): Step {
  const { phase } = state;
  if (!event.up) return [{ ...state, phase: { kind: "no_link", lease: leaseOf(state) } }, []];
  if (phase.kind !== "no_link") return [state, []];
  if (phase.lease === null) return select(state, event);
  return ask(state, { kind: "rebooting", lease: phase.lease, ...firstAsk(event) }, event.nowMs);
}

function onTime(state: DhcpState, event: DhcpEvent): Step {
  const due = wakeMs(state);
  if (due === null || event.nowMs < due) return [state, []];
  const { phase } = state;
  const lease = leaseOf(state);
  const over = lease?.times !== undefined && lease.times !== null && event.nowMs >= lease.times.endMs;
  if (lease !== null && over) return lose(state, event, lease, "over");
  switch (phase.kind) {
    case "no_link": return [state, []];
    case "selecting": return ask(state, { ...phase, ...nextAsk(phase, event) }, event.nowMs);
    case "requesting": return phase.attempt + 1 >= REQUESTS_MAX ? select(state, event) : ask(state, { ...phase, ...nextAsk(phase, event) }, event.nowMs);
    case "rebooting": return phase.attempt + 1 >= REBOOTS_MAX ? [{ ...state, phase: { kind: "bound", lease: phase.lease } }, []] : ask(state, { ...phase, ...nextAsk(phase, event) }, event.nowMs);
    case "bound": return ask(state, renewal("renewing", phase.lease, event), event.nowMs);
    case "renewing": {
      const late = phase.lease.times !== null && event.nowMs >= phase.lease.times.rebindMs;
      return ask(state, renewal(late ? "rebinding" : "renewing", phase.lease, event, phase), event.nowMs);
    }
    case "rebinding": return ask(state, renewal("rebinding", phase.lease, event, phase), event.nowMs);
    default: return phase satisfies never;
  }
}

function onMessage(state: DhcpState, event: DhcpEvent, message: DhcpMessage): Step {
  const { phase } = state;
  if (message.op !== "reply" || message.mac !== state.mac || !("xid" in phase) || message.xid !== phase.xid) return [state, []];
  const type = messageType(message);
  const server = addressOption(message, OPTION.server);
  if (server === null) return [state, []];
  if (phase.kind === "selecting") {
    if (type !== "offer" || !isHostAddress(message.your)) return [state, []];
    return ask(state, { kind: "requesting", address: message.your, server, xid: phase.xid, attempt: 0, sinceMs: phase.sinceMs, retryMs: event.nowMs + jittered(RETRY_MS_FIRST, event.draw) }, event.nowMs);
  }
  if (phase.kind === "requesting" && server !== phase.server) return [state, []];
  // Whoever answers a question to everybody may; a renewal is between two.
  if (phase.kind === "renewing" && server !== phase.lease.server) return [state, []];
  const before = leaseOf(state);
  if (type === "nak") return before === null ? select(state, event) : lose(state, event, before, "refused");
  if (type !== "ack") return [state, []];
  const lease = leaseFrom(message, server, phase.kind === "requesting" ? phase.address : phase.lease.address, event.nowMs);
  if (lease === null) return [state, []];
  const replaced: DhcpEffect[] = before !== null && (before.address !== lease.address || before.prefix !== lease.prefix) ? [{ kind: "unconfigure", lease: before, why: "replaced" }] : [];
  return [{ ...state, phase: { kind: "bound", lease } }, [...replaced, { kind: "configure", lease }]];
}

/** What an `ack` gives, or null when it is not the address that was asked for. */
function leaseFrom(message: DhcpMessage, server: Ipv4, wanted: Ipv4, nowMs: number): Lease | null {
  const address = message.your === ANY_ADDRESS ? wanted : message.your;
  if (address !== wanted || !isHostAddress(address)) return null;
  const mask = message.options.get(OPTION.mask);
  const prefix = mask === undefined ? classPrefix(address) : prefixOf(mask);
  if (prefix === null) return null;
  const seconds = secondsOption(message, OPTION.leaseSeconds);
  return {
    address, prefix, server, bootServer: bootServerIn(message), routers: addressesOption(message, OPTION.routers).filter(isHostAddress).slice(0, 1), dns: addressesOption(message, OPTION.dns).filter((one) => one !== ANY_ADDRESS).slice(0, DNS_MAX),
    ntp: addressesOption(message, OPTION.ntp).filter(isHostAddress), domain: textOption(message, OPTION.domain), hostName: textOption(message, OPTION.hostName),
    times: seconds === null || seconds === INFINITE_SECONDS ? null : timesOf(Math.max(seconds, LEASE_SECONDS_MIN), secondsOption(message, OPTION.renewSeconds), secondsOption(message, OPTION.rebindSeconds), nowMs),
  };
}

/** Only ours puts a URL there; others put their own things. */
function bootServerIn(message: DhcpMessage): string | null {
  const text = textOption(message, OPTION.vendor);
  return text !== null && /^http:\/\/[0-9.]{7,15}(:\d{1,5})?$/.test(text) ? text : null;
}

/** T1 and T2 as the server says, if they are in order; else a half and seven eighths. */
function timesOf(seconds: number, renew: number | null, rebind: number | null, nowMs: number): Lease["times"] {
  const asTold = renew !== null && rebind !== null && renew > 0 && renew < rebind && rebind < seconds;
  const [t1, t2] = asTold ? [renew * 1000, rebind * 1000] : [seconds * 500, seconds * 875];
  return { renewMs: nowMs + t1, rebindMs: nowMs + t2, endMs: nowMs + seconds * 1000 };
}

/** The network of an address from before there were masks. */
function classPrefix(address: Ipv4): number {
  const first = ipv4Bytes(address)[0] ?? 0;
  return first < 128 ? 8 : first < 192 ? 16 : 24;
}

const select = (state: DhcpState, event: DhcpEvent): Step => ask(state, { kind: "selecting", ...firstAsk(event) }, event.nowMs);

function lose(state: DhcpState, event: DhcpEvent, lease: Lease, why: "refused" | "over"): Step {
  const gone: DhcpEffect = { kind: "unconfigure", lease, why };
  if (state.phase.kind === "no_link") return [{ ...state, phase: { kind: "no_link", lease: null } }, [gone]];
  const [next, effects] = select(state, event);
  return [next, [gone, ...effects]];
}

const firstAsk = ({ nowMs, draw }: DhcpEvent): Asking => ({ xid: draw, attempt: 0, sinceMs: nowMs, retryMs: nowMs + jittered(RETRY_MS_FIRST, draw) });
const nextAsk = (asking: Asking, { nowMs, draw }: DhcpEvent): Asking => {
  const attempt = asking.attempt + 1;
  return { xid: asking.xid, attempt, sinceMs: asking.sinceMs, retryMs: nowMs + jittered(Math.min(RETRY_MS_FIRST * 2 ** Math.min(attempt, 10), RETRY_MS_MAX), draw) };
};
/** A tenth more or less, so that machines that were switched on together do not ask together. */
const jittered = (ms: number, draw: number): number => ms + Math.trunc((ms * ((draw % 2001) - 1000)) / 10_000);

function renewal(kind: "renewing" | "rebinding", lease: Lease, event: DhcpEvent, before?: Asking): Phase {
  const endMs = (kind === "renewing" ? lease.times?.rebindMs : lease.times?.endMs) ?? event.nowMs;
  const waitMs = Math.max(Math.trunc((endMs - event.nowMs) / 2), RENEW_RETRY_MS_MIN);
  return { kind, lease, xid: before?.xid ?? event.draw, attempt: (before?.attempt ?? -1) + 1, sinceMs: before?.sinceMs ?? event.nowMs, retryMs: Math.min(event.nowMs + waitMs, endMs) };
}

/** Goes into the phase and sends its question. */
function ask(state: DhcpState, phase: Phase, nowMs: number): Step {
  const next = { ...state, phase };
  return [next, [{ kind: "send", to: phase.kind === "renewing" ? phase.lease.server : null, message: questionOf(next, nowMs) }]];
}

function questionOf({ mac, hostName, phase }: DhcpState, nowMs: number): DhcpMessage {
  const asking = "xid" in phase ? phase : { xid: 0, attempt: 0, sinceMs: 0, retryMs: 0 };
  const lease = "lease" in phase ? phase.lease : null;
  const holds = phase.kind === "renewing" || phase.kind === "rebinding";
  const options: (readonly [number, Uint8Array])[] = [
    messageTypeOption(phase.kind === "selecting" ? "discover" : "request"), [OPTION.clientId, joined([Uint8Array.of(1), macBytes(mac)])],
    [OPTION.sizeMax, Uint8Array.of(SIZE_MAX >> 8, SIZE_MAX & 255)], [OPTION.vendorClass, textBytes(VENDOR_CLASS)], [OPTION.parameters, Uint8Array.from(ASKED_FOR)],
  ];
  if (hostName !== null) options.push([OPTION.hostName, textBytes(hostName)]);
  if (phase.kind === "requesting") options.push([OPTION.requestedAddress, ipv4Bytes(phase.address)], [OPTION.server, ipv4Bytes(phase.server)]);
  if (phase.kind === "rebooting") options.push([OPTION.requestedAddress, ipv4Bytes(phase.lease.address)]);
  return {
    op: "request", xid: asking.xid, seconds: Math.min(Math.trunc((nowMs - asking.sinceMs) / 1000), 0xffff), broadcast: !holds, client: holds && lease !== null ? lease.address : ANY_ADDRESS,
    your: ANY_ADDRESS, next: ANY_ADDRESS, relay: ANY_ADDRESS, mac, bootFile: "", options: new Map(options),
  };
}
