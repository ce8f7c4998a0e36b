/**
 * Dials for guests: what a request of theirs wants is checked against the deployment's list, its name is resolved once, and only an
 * address of that answer that may be reached is connected to. Whoever gets the socket cannot make it go elsewhere.
 *
 * Knows sockets only by what it is given, so that its rules can be tested without any. The list says where a tenant wants to go;
 * private and special addresses, and those of the grid's machines, are refused even so.
 */
import dns from "node:dns/promises";
import { networkInterfaces } from "node:os";
import { addressRefusal, isSameAddress } from "./address.ts";
import { OUTGOING_ADDRESSES_TRIED_MAX, OUTGOING_CONNECT_MS_MAX, OUTGOING_DIALS_ALL_MAX, OUTGOING_DIALS_MAX, OUTGOING_NAME_MS_MAX } from "./limits.ts";
import { type OutgoingPlace, outgoingText, parseOutgoing } from "./outgoing.ts";

/** Why nothing was dialled; each has an error code of wasi:http that the guest sees. */
export type DialRefusal =
  | "denied" | "name_unknown" | "name_timeout" | "address_forbidden" | "connection_refused" | "connection_timeout" | "unreachable" | "too_many";
export type Dialled = { readonly fd: number; readonly code: "" } | { readonly fd: -1; readonly code: DialRefusal };
export type DialRequest = { readonly scheme: string; readonly host: string; readonly port: number; readonly timeoutMs: number };

/** What tests may loosen, and nothing else can. Whoever starts with it is told so on stderr. */
export type OutgoingTest = {
  /** Addresses that may be dialled although they are not public. */
  readonly addresses?: readonly string[];
  /** Certificates in DER that are trusted beside the public roots. */
  readonly roots?: readonly Uint8Array[];
};
export type OutgoingOptions = {
  /** Of the grid's machines: no request goes there. This machine's own are refused without being listed. */
  readonly ownAddresses?: () => Iterable<string>;
  /** Every address of a name, IPv4 and IPv6; an empty list when it has none. Default: the machine's name servers. */
  readonly resolve?: (name: string) => Promise<readonly string[]>;
  readonly test?: OutgoingTest;
};
/** The addon's part: connects to an address. */
export type Connect = (address: string, port: number, timeoutMs: number) => Promise<{ fd: number; code: string }>;
export type Dial = (scope: string, allowed: readonly OutgoingPlace[], wanted: DialRequest) => Promise<Dialled>;

/** `GODWIT_TEST_OUTGOING=127.0.0.1,::1 godwit dev`: for who tries a program against a server of their own computer. */
const testOfEnvironment = (): OutgoingTest => ({ addresses: (process.env["GODWIT_TEST_OUTGOING"] ?? "").split(",").filter((address) => address !== "") });

/** `scope` names whose dials are counted together: a deployment. */
export function createDial(connect: Connect, options: OutgoingOptions = {}): Dial {
  const { ownAddresses = () => [], resolve = lookUp, test = testOfEnvironment() } = options;
  const loosened = [...(test.addresses ?? []), ...(test.roots ?? []).map((root) => `a root certificate of ${root.length} bytes`)];
  if (loosened.length > 0) console.error(`godwit: FOR TESTS ONLY: outgoing requests may use ${loosened.join(", ")}`);
  const dialling = new Map<string, number>();
  let diallingAll = 0;

  const mayReach = (address: string): boolean => {
    if ((test.addresses ?? []).some((allowed) => isSameAddress(allowed, address))) return true;
    if (addressRefusal(address) !== null) return false;
    return ![...ownAddresses(), ...localAddresses()].some((own) => isSameAddress(own, address));
  };

  const dialOne = async (allowed: readonly OutgoingPlace[], wanted: DialRequest): Promise<Dialled> => {
    const endMs = performance.now() + Math.min(Math.max(wanted.timeoutMs, 0), OUTGOING_CONNECT_MS_MAX);
    const place = parseOutgoing(`${wanted.scheme}://${wanted.host}:${wanted.port}`);
    if (place === null || !allowed.some((one) => outgoingText(one) === outgoingText(place))) return refused("denied");
    const host = place.host.replace(/^\[|\]$/g, "");
    const addresses = isAddress(host) ? [host] : await within(resolve(host), Math.min(endMs - performance.now(), OUTGOING_NAME_MS_MAX));
    if (typeof addresses === "string") return refused(addresses);
    if (addresses.length === 0) return refused("name_unknown");
    const reachable = addresses.filter(mayReach).slice(0, OUTGOING_ADDRESSES_TRIED_MAX);
    let code: DialRefusal = "address_forbidden";
    for (const address of reachable) {
      const leftMs = Math.floor(endMs - performance.now());
      if (leftMs <= 0) return refused("connection_timeout");
      const connected = await connect(address, place.port, leftMs);
      if (connected.fd >= 0) return { fd: connected.fd, code: "" };
      code = refusalOf(connected.code);
    }
    return refused(code);
  };

  return async (scope, allowed, wanted) => {
    const count = dialling.get(scope) ?? 0;
    if (count >= OUTGOING_DIALS_MAX || diallingAll >= OUTGOING_DIALS_ALL_MAX) return refused("too_many");
    dialling.set(scope, count + 1);
    diallingAll += 1;
    try {
      return await dialOne(allowed, wanted);
    } finally {
      diallingAll -= 1;
      const left = (dialling.get(scope) ?? 1) - 1;
      if (left === 0) dialling.delete(scope);
      else dialling.set(scope, left);
    }
  };
}

const refused = (code: DialRefusal): Dialled => ({ fd: -1, code });
const isAddress = (host: string): boolean => host.includes(":") || /^[0-9.]+$/.test(host);
const refusalOf = (code: string): DialRefusal => (code === "connection_refused" || code === "connection_timeout" ? code : "unreachable");

function localAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((addresses) => (addresses ?? []).map(({ address }) => address.replace(/%.*$/, "")));
}

/** By the name servers, not by getaddrinfo: no file of this machine has a say, and no thread of libuv's pool waits. */
async function lookUp(name: string): Promise<readonly string[]> {
  const [ipv4, ipv6] = await Promise.allSettled([dns.resolve4(name), dns.resolve6(name)]);
  return [...(ipv4.status === "fulfilled" ? ipv4.value : []), ...(ipv6.status === "fulfilled" ? ipv6.value : [])];
}

async function within(names: Promise<readonly string[]>, timeoutMs: number): Promise<readonly string[] | "name_timeout" | "name_unknown"> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<"name_timeout">((resolve) => {
    timer = setTimeout(() => resolve("name_timeout"), Math.max(timeoutMs, 0));
  });
  try {
    return await Promise.race([names.catch(() => "name_unknown" as const), late]);
  } finally {
    clearTimeout(timer);
  }
}
