/**
 * Which addresses a tenant's request may be sent to: those of the public internet, in the one form in which everybody reads them
 * the same. A leaf and pure.
 *
 * By the registries of special-purpose addresses (RFC 6890) and what has been added to them. Of IPv6 only 2000::/3 is public at
 * all, so that mapped, compatible, translated, unique-local, link-local and multicast addresses are out without a line each.
 */

/** First address, length of the prefix, what it is for. */
type Range = readonly [string, number, string];

const REFUSED_IPV4: readonly Range[] = [
  ["0.0.0.0", 8, "this network"],
  ["10.0.0.0", 8, "private"],
  ["100.64.0.0", 10, "carrier-grade NAT"],
  ["127.0.0.0", 8, "loopback"],
  ["169.254.0.0", 16, "link-local"],
  ["172.16.0.0", 12, "private"],
  ["192.0.0.0", 24, "protocol assignments"],
  ["192.0.2.0", 24, "documentation"],
  ["192.88.99.0", 24, "6to4 relays"],
  ["192.168.0.0", 16, "private"],
  ["198.18.0.0", 15, "benchmarks"],
  ["198.51.100.0", 24, "documentation"],
  ["203.0.113.0", 24, "documentation"],
  ["224.0.0.0", 4, "multicast"],
  ["240.0.0.0", 4, "reserved, and broadcast"],
];
/** Within 2000::/3. */
const REFUSED_IPV6: readonly Range[] = [
  ["2001::", 23, "protocol assignments: Teredo, benchmarks, identifiers"],
  ["2001:db8::", 32, "documentation"],
  ["2002::", 16, "6to4: an IPv4 address inside"],
  ["3fff::", 20, "documentation"],
];

/** Why nothing may be sent to an address; null when it is public. What is no address, or is written in an odd way, is refused, too. */
export function addressRefusal(text: string): string | null {
  const bytes = parseAddress(text);
  if (bytes === null) return "no address";
  if (bytes.length === 4) return inside(bytes, REFUSED_IPV4);
  if ((bytes[0] ?? 0) >> 5 !== 1) return "not global unicast";
  return inside(bytes, REFUSED_IPV6);
}

/** Equal as addresses; an IPv4 address that is mapped into IPv6 is the same. */
export function isSameAddress(a: string, b: string): boolean {
  const [one, other] = [mapped(a), mapped(b)];
  return one !== null && other !== null && one.every((byte, index) => byte === other[index]);
}

function mapped(text: string): readonly number[] | null {
  const bytes = parseAddress(text);
  return bytes?.length === 4 ? [...zeros(10), 255, 255, ...bytes] : bytes;
}

function inside(bytes: readonly number[], ranges: readonly Range[]): string | null {
  return ranges.find(([first, length]) => hasPrefix(bytes, parseAddress(first) ?? [], length))?.[2] ?? null;
}

function hasPrefix(bytes: readonly number[], first: readonly number[], length: number): boolean {
  for (let bit = 0; bit < length; bit += 8) {
    const mask = length - bit >= 8 ? 255 : 255 & (255 << (8 - (length - bit)));
    if ((((bytes[bit / 8] ?? 0) ^ (first[bit / 8] ?? 0)) & mask) !== 0) return false;
  }
  return true;
}

/** 4 or 16 bytes; null when it is not an address in the usual notation (no brackets, zone, octal, hexadecimal or missing parts). */
function parseAddress(text: string): readonly number[] | null {
  return text.includes(":") ? parseIpv6(text) : parseIpv4(text);
}

function parseIpv4(text: string): readonly number[] | null {
  const parts = text.split(".");
  const isUsual = parts.length === 4 && parts.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) < 256);
  return isUsual ? parts.map(Number) : null;
}

function parseIpv6(text: string): readonly number[] | null {
  const halves = text.split("::");
  if (halves.length > 2) return null;
  const [head, tail] = [groupsOf(halves[0] ?? "", halves.length === 1), groupsOf(halves[1] ?? "", true)];
  if (head === null || tail === null) return null;
  const missing = 16 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 2) return null;
  return [...head, ...zeros(missing), ...tail];
}

const zeros = (length: number): number[] => Array.from({ length }, () => 0);

/** The bytes of groups between colons; the last may be an IPv4 address where an address ends. */
function groupsOf(text: string, isEnd: boolean): readonly number[] | null {
  if (text === "") return [];
  const groups = text.split(":");
  const bytes: number[] = [];
  for (const [index, group] of groups.entries()) {
    const ipv4 = isEnd && index === groups.length - 1 && group.includes(".") ? parseIpv4(group) : null;
    if (ipv4 !== null) bytes.push(...ipv4);
    else if (/^[0-9a-fA-F]{1,4}$/.test(group)) bytes.push(parseInt(group, 16) >> 8, parseInt(group, 16) & 255);
    else return null;
  }
  return bytes;
}
