/** Hosts by which machines answer (design 7): which one a name of the ledger is. */

/**
 * A label is a host under the zone, a name with dots one as it is. What lies under the zone with dots stands behind the label of that host, and behind the
 * hosts of accounts: null.
 */
export function hostOfName(name: string, zone: string): string | null {
  if (!name.includes(".")) return `${name}.${zone}`;
  return name === zone || name.endsWith(`.${zone}`) ? null : name;
}
