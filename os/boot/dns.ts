/** Name servers: what the command line names goes before what leases bring; the C library looks at three at most. Pure. */
import type { Ipv4 } from "./addresses.ts";
import type { Lease } from "./dhcp.ts";

const SERVERS_MAX = 3;
const DOMAIN = /^(?=.{1,253}$)[a-z0-9-]+(\.[a-z0-9-]+)*$/i;

/** The text of resolv.conf. What a lease calls a domain and is none is left out: the file's lines are not a stranger's to write. */
export function resolverText(named: readonly Ipv4[], leases: readonly Pick<Lease, "dns" | "domain">[]): string {
  const servers = new Set([...named, ...leases.flatMap(({ dns }) => dns)]);
  const domain = leases.map((lease) => lease.domain).find((one) => one !== null && DOMAIN.test(one));
  return [...(domain === undefined ? [] : [`search ${domain}`]), ...[...servers].slice(0, SERVERS_MAX).map((server) => `nameserver ${server}`), ""].join("\n");
}
