/**
 * The network of a machine: every wired interface up, each with the address that the command line gives it or DHCP does, a way out, name
 * servers. Lives as long as the machine: leases are renewed, links come and go.
 *
 * A VLAN is an interface of its own on top of one; the one below has an address only where the command line gives it one too.
 *
 * Rules: interfaces are taken in the kernel's order, and of several ways out the first interface's is taken; what the command line says
 * goes before what a lease says; a fault of one interface leaves the others alone.
 */
import { writeFileSync } from "node:fs";
import { messageOf } from "../error.ts";
import { LINK_ETHERNET, LINK_LOOPBACK, type Link, addAddress, addVlan, readLinks, removeAddress, removeDefaultRoute, setDefaultRoute, setLinkUp } from "../linux/netlink.ts";
import { type Ipv4, isWithin, parseMac } from "./addresses.ts";
import type { Addressing, InterfaceName, Settings } from "./cmdline.ts";
import type { Lease } from "./dhcp.ts";
import { DhcpClient } from "./dhcpClient.ts";
import { resolverText } from "./dns.ts";

/** A cable that is plugged in is seen after this. While no interface has an address it is looked for more often. */
const LOOK_MS = 1_000;
const LOOK_MS_FIRST = 50;
const METRIC_FIRST = 100;
/** IFNAMSIZ less one. */
const INTERFACE_NAME_LENGTH_MAX = 15;
const RESOLVER_FILE = "/etc/resolv.conf";

export type Interface = { readonly name: string; readonly address: Ipv4; readonly prefix: number; readonly router: Ipv4 | null; readonly lease: Lease | null };
export type Network = {
  /** Interfaces with an address, the one with the way out first. */
  current(): readonly Interface[];
  /** The first address is there. */
  readonly ready: Promise<void>;
  stop(): void;
};
export type NetworkOptions = {
  readonly settings: Pick<Settings, "addressing" | "dns" | "hostName">;
  readonly onLine: (line: string) => void;
  /** Default: /etc/resolv.conf. */
  readonly resolverFile?: string;
};
type Entry = { readonly link: Link; readonly metric: number; hasCarrier: boolean; addressing: Addressing | null; client: DhcpClient | null; isStarting: boolean; given: Interface | null; /** What `given` has as its way out is not taken yet; said: it was told why. */ route: "taken" | "wanted" | "said" };

export type Vlan = { readonly name: string; readonly tag: number; readonly parent: number; readonly addressing: Addressing };

/** The tagged interfaces that the command line asks for on these, and what they are called. `anyParent`: which one has a link first. */
export function vlansOf(settings: Pick<Settings, "addressing">, links: readonly Pick<Link, "index" | "name" | "mac">[], anyParent: number | null): Vlan[] {
  return settings.addressing.flatMap((addressing): Vlan[] => {
    const { interface: which, vlan: tag } = addressing;
    if (tag === undefined) return [];
    const suffix = `.${tag}`;
    const parent = links.find(({ index, name, mac }) => !name.endsWith(suffix) && (which.kind === "any" ? index === anyParent : which.kind === "name" ? which.name === name : which.mac === mac));
    return parent === undefined ? [] : [{ name: `${parent.name.slice(0, INTERFACE_NAME_LENGTH_MAX - suffix.length)}${suffix}`, tag, parent: parent.index, addressing }];
  });
}

/** How an interface gets its address, or null when nothing is said of it though something is of others. */
export function addressingOf(settings: Pick<Settings, "addressing">, link: Pick<Link, "name" | "mac">, takesUnnamed: boolean): Addressing | null {
  if (settings.addressing.length === 0) return { interface: { kind: "any" }, kind: "dhcp" };
  const means = (which: InterfaceName): boolean => (which.kind === "name" ? which.name === link.name : which.kind === "mac" && which.mac === link.mac);
  const untagged = settings.addressing.filter(({ vlan }) => vlan === undefined);
  return untagged.find(({ interface: which }) => means(which)) ?? (takesUnnamed ? untagged.find(({ interface: which }) => which.kind === "any") : undefined) ?? null;
}

export function startNetwork(options: NetworkOptions): Network {
  const entries = new Map<number, Entry>();
  const ready = Promise.withResolvers<void>();
  let timer: NodeJS.Timeout | undefined;
  let anyParent: number | null = null;
  const refused = new Set<string>();
  let isStopped = false;

  const current = (): Interface[] => [...entries.values()].toSorted((a, b) => a.metric - b.metric).flatMap(({ given }) => (given === null ? [] : [given])).toSorted((a, b) => Number(b.router !== null) - Number(a.router !== null));
  const changed = (): void => {
    const leased = current().flatMap(({ lease }) => (lease === null ? [] : [lease]));
    try {
      writeFileSync(options.resolverFile ?? RESOLVER_FILE, resolverText(options.settings.dns, leased));
    } catch (error) {
      options.onLine(`Cannot write the name servers: ${messageOf(error)}`);
    }
    if (current().length > 0) ready.resolve();
  };
  const give = (entry: Entry, next: Interface): void => {
    const { link: { index, name }, metric, given } = entry;
    if (given?.address !== next.address || given.prefix !== next.prefix) options.onLine(`${name}: ${next.address}/${next.prefix}${next.router === null ? "" : ` by ${next.router}`}${next.lease === null ? "" : ` from ${next.lease.server}`}`);
    addAddress(index, next.address, next.prefix);
    if (given?.router !== undefined && given.router !== null && given.router !== next.router) removeDefaultRoute(index, given.router, metric);
    // Before its way out: a machine whose router cannot be taken is reached on its own network, and goes on.
    entry.given = next;
    changed();
    entry.route = next.router === null ? "taken" : "wanted";
    takeRoute(entry);
  };
  /** A way out that the kernel does not take now is tried at each look. */
  const takeRoute = (entry: Entry): void => {
    const { given, route, link: { index, name }, metric } = entry;
    if (route === "taken" || given === null || given.router === null) return;
    try {
      setDefaultRoute(index, given.router, metric, !isWithin(given.router, given));
      if (route === "said") options.onLine(`${name}: the way out by ${given.router} is taken`);
      entry.route = "taken";
    } catch (error) {
      if (route === "wanted") options.onLine(`${name}: ${messageOf(error)}`);
      entry.route = "said";
    }
  };
  const take = (entry: Entry, why: string): void => {
    if (entry.given === null) return;
    options.onLine(`${entry.link.name}: ${entry.given.address} is gone (${why})`);
    // Its routes go with it.
    removeAddress(entry.link.index, entry.given.address, entry.given.prefix);
    entry.given = null;
    changed();
  };
  const startDhcp = async (entry: Entry): Promise<void> => {
    const mac = parseMac(entry.link.mac);
    if (mac === null || entry.client !== null || entry.isStarting) return;
    entry.isStarting = true;
    try {
      const client = await DhcpClient.start({
        interfaceName: entry.link.name, mac, hostName: options.settings.hostName,
        onLease: (lease) => attempt(entry, () => give(entry, { name: entry.link.name, address: lease.address, prefix: lease.prefix, router: lease.routers[0] ?? null, lease })),
        onLost: (_lease, why) => attempt(entry, () => take(entry, why)), onFault: (error) => options.onLine(`${entry.link.name}: ${error.message}`),
      });
      if (isStopped) return client.stop();
      entry.client = client;
      client.setLink(entry.hasCarrier);
    } finally {
      entry.isStarting = false;
    }
  };
  const attempt = (entry: Entry, work: () => void): void => {
    try {
      work();
    } catch (error) {
      options.onLine(`${entry.link.name}: ${messageOf(error)}`);
    }
  };
  const apply = (entry: Entry): void => {
    const taken = [...entries.values()].some((other) => other !== entry && other.addressing?.interface.kind === "any" && other.addressing.vlan === undefined && other.addressing.kind === "static");
    entry.addressing ??= addressingOf(options.settings, entry.link, entry.hasCarrier && !taken);
    const how = entry.addressing;
    if (how === null) return;
    if (how.kind === "dhcp") void startDhcp(entry).catch((error: unknown) => options.onLine(`${entry.link.name}: ${messageOf(error)}`));
    else if (entry.given === null) give(entry, { name: entry.link.name, ...how.network, router: how.gateway, lease: null });
  };
  /** Makes those that are not there yet. */
  const tagged = (links: readonly Link[]): ReadonlyMap<string, Vlan> => {
    const wired = links.filter(({ type }) => type === LINK_ETHERNET);
    anyParent ??= wired.find(({ hasCarrier }) => hasCarrier)?.index ?? null;
    const vlans = vlansOf(options.settings, wired, anyParent);
    for (const { name, tag, parent } of vlans) {
      if (links.some((link) => link.name === name)) continue;
      try {
        addVlan(parent, name, tag);
        options.onLine(`${name}: VLAN ${tag}`);
      } catch (error) {
        if (!refused.has(name)) options.onLine(`${name}: ${messageOf(error)}`);
        refused.add(name);
      }
    }
    return new Map(vlans.map((vlan) => [vlan.name, vlan]));
  };
  const look = (): void => {
    const links = readLinks();
    const vlans = tagged(links);
    for (const link of links) {
      if (link.type === LINK_LOOPBACK && !link.isUp) setLinkUp(link.index);
      if (link.type !== LINK_ETHERNET) continue;
      let entry = entries.get(link.index);
      if (entry === undefined) {
        entry = { link, metric: METRIC_FIRST + entries.size, hasCarrier: false, addressing: null, client: null, isStarting: false, given: null, route: "taken" };
        entry.addressing = vlans.get(link.name)?.addressing ?? null;
        entries.set(link.index, entry);
      }
      const known = entry;
      attempt(known, () => {
        if (!link.isUp) setLinkUp(link.index);
        if (link.hasCarrier !== known.hasCarrier) {
          known.hasCarrier = link.hasCarrier;
          options.onLine(`${link.name}: ${link.hasCarrier ? "the link is up" : "no link"}`);
          known.client?.setLink(link.hasCarrier);
        }
        takeRoute(known);
        apply(known);
      });
    }
  };
  const loop = (): void => {
    try {
      look();
    } catch (error) {
      options.onLine(`Cannot look at the interfaces: ${messageOf(error)}`);
    }
    if (!isStopped) timer = setTimeout(loop, current().length === 0 ? LOOK_MS_FIRST : LOOK_MS);
  };
  loop();
  return {
    current, ready: ready.promise,
    stop: () => {
      isStopped = true;
      clearTimeout(timer);
      for (const { client } of entries.values()) client?.stop();
    },
  };
}
