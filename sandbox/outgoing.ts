/**
 * A place that a deployment may send requests to, as its manifest names it: `https://api.example.com`, `http://10.0.0.1:8080`.
 *
 * A leaf and pure. One place has one text, so that what a configuration holds has one digest: lower case, the port always there.
 * That a place is named here says only that the tenant wants it; what may never be dialled is refused where it is dialled.
 */
export type OutgoingPlace = {
  readonly scheme: "http" | "https";
  /** A name, an IPv4 address, or an IPv6 address in brackets. */
  readonly host: string;
  readonly port: number;
};

const PORTS: Readonly<Record<OutgoingPlace["scheme"], number>> = { http: 80, https: 443 };
const PLACE = /^(https?):\/\/([a-z0-9.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?\/?$/;
/** RFC 1035: a name has at most 253 characters, a label 63; neither begins or ends with a hyphen. */
const HOST_LENGTH_MAX = 253;
const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** null when the text is no scheme, host and port, or has anything else in it (a path, a user, a wildcard). */
export function parseOutgoing(text: string): OutgoingPlace | null {
  const [, scheme, host = "", port] = PLACE.exec(text.toLowerCase()) ?? [];
  if (scheme !== "http" && scheme !== "https") return null;
  if (host.length > HOST_LENGTH_MAX || !isHost(host)) return null;
  const number = port === undefined ? PORTS[scheme] : Number(port);
  return number >= 1 && number <= 65_535 ? { scheme, host: canonical(host), port: number } : null;
}

export const outgoingText = ({ scheme, host, port }: OutgoingPlace): string => `${scheme}://${host}:${port}`;

function isHost(host: string): boolean {
  if (!URL.canParse(`http://${host}/`)) return false;
  // "0x7f.1" and "2130706433" are addresses to a resolver: only the form in which everybody reads the same one passes.
  return host.startsWith("[") || (host.split(".").every((label) => LABEL.test(label)) && (!endsInNumber(host) || canonical(host) === host));
}

const endsInNumber = (host: string): boolean => /(^|\.)(0x[0-9a-f]*|[0-9]+)$/.test(host);
const canonical = (host: string): string => new URL(`http://${host}/`).hostname;
