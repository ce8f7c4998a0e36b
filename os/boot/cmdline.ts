/**
 * The kernel's command line as the machine's settings. Pure: a text in, settings or everything that is wrong with it out, in sentences
 * for a screen that nobody can type at.
 *
 * Rules: ours are the words that begin with `godwit.`; all others are the kernel's and are not looked at (but `console=`). A word of ours
 * that is not known, given twice or malformed is an error: a machine that half understands where it belongs must not guess. A word is
 * cut at its first `=`; the kernel lets double quotes keep blanks together.
 */
import { parseAddress } from "#chain/codec/addressText.ts";
import { CHECKPOINT_FORM, type Checkpoint, parseCheckpoint } from "#chain/light/checkpointText.ts";
import type { Address } from "#chain/types.ts";
import { type Ipv4, type Mac, type Network, isHostAddress, isWithin, parseIpv4, parseMac, parseNetwork } from "./addresses.ts";

/** What an interface is meant by: its name, its hardware address, or whichever has a link first. */
export type InterfaceName = { readonly kind: "name"; readonly name: string } | { readonly kind: "mac"; readonly mac: Mac } | { readonly kind: "any" };
/** `vlan`: on a tagged interface on top of that one, and not on it. */
export type Addressing = { readonly interface: InterfaceName; readonly vlan?: number } & ({ readonly kind: "dhcp" } | { readonly kind: "static"; readonly network: Network; readonly gateway: Ipv4 | null });
export type Peer = { readonly host: string; readonly port: number };
/** Where the genesis comes from; whoever serves it, its bytes have this digest. */
export type GenesisSource = { readonly sha256: string; readonly url: string | null };
export type KeyPlaceName = "tpm" | "partition";
export type Settings = {
  readonly hostName: string | null;
  /** None named: DHCP on every wired interface. */
  readonly addressing: readonly Addressing[];
  readonly dns: readonly Ipv4[];
  /** Time servers; null: those of the lease; none: no NTP. */
  readonly ntp: readonly string[] | null;
  readonly genesis: GenesisSource | null;
  /** Where joining the chain begins to believe, instead of at its genesis. */
  readonly checkpoint: Checkpoint | null;
  /** Instead of a chain with others: one of its own, whose money is this account's. For trying out. */
  readonly alone: Address | null;
  /** This kernel was started by an upgrade: it has to be healthy soon, or the one before is started again. */
  readonly isTrial: boolean;
  readonly peers: readonly Peer[];
  readonly operator: Address | null;
  readonly region: string | null;
  readonly zone: string | null;
  /** The boot server: enrolment and vault. */
  readonly bootServer: string | null;
  readonly joinToken: string | null;
  /** Where the machine key outlives the power; null: wherever there is a place for it. */
  readonly keyPlace: KeyPlaceName | "none" | null;
  readonly apiPort: number | null;
  readonly httpPort: number | null;
  /** The operator's listener, for `/metrics`; null: there is none. */
  readonly metrics: { readonly address: Ipv4; readonly port: number } | null;
  /** Where `/dev/console` is: the last one named. */
  readonly console: string | null;
};
export type CmdlineError = { readonly word: string; readonly code: "unknown" | "twice" | "malformed" | "contradiction"; readonly message: string };
export type CmdlineResult = { readonly ok: true; readonly settings: Settings } | { readonly ok: false; readonly errors: readonly CmdlineError[] };

/** The kernel's own limit on x86. */
export const CMDLINE_BYTES_MAX = 2048;
export const PREFIX = "godwit.";
const PEERS_MAX = 16;
const SERVERS_MAX = 3;
const URL_LENGTH_MAX = 512;
const TOKEN = /^[A-Za-z0-9_-]{16,128}$/;
const HOST = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/;
const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
/** IFNAMSIZ less one. */
const INTERFACE = /^[a-z][a-z0-9._-]{0,14}$/;
/** IEEE 802.1Q: 0 and 4095 are no VLAN. */
const VLAN_MAX = 4094;

type Draft = { -readonly [Key in keyof Settings]: Settings[Key] };
type Key = {
  readonly form: string;
  readonly many?: true;
  /** Null, or what is wrong. */
  readonly take: (value: string, draft: Draft) => string | null;
};

/** Every word of ours: what it looks like, and what it sets. */
export const KEYS: Readonly<Record<string, Key>> = {
  hostname: { form: "NAME", take: (value, draft) => text(LABEL, value, (name) => { draft.hostName = name; }) },
  address: { form: "[INTERFACE[.VLAN],]dhcp or [INTERFACE[.VLAN],]A.B.C.D/BITS[,GATEWAY]", many: true, take: takeAddress },
  dns: { form: "A.B.C.D[,…]", take: (value, draft) => listOf(value, SERVERS_MAX, parseIpv4, (all) => { draft.dns = all; }) },
  ntp: { form: "HOST[,…] or off", take: (value, draft) => (value === "off" ? set(() => { draft.ntp = []; }) : listOf(value, SERVERS_MAX, hostOrNull, (all) => { draft.ntp = all; })) },
  genesis: { form: "sha256:DIGEST[@URL]", take: takeGenesis },
  checkpoint: { form: CHECKPOINT_FORM, take: (value, draft) => { const checkpoint = parseCheckpoint(value); return checkpoint === null ? "godwit status --verify prints one" : set(() => { draft.checkpoint = checkpoint; }); } },
  peer: { form: "HOST:PORT[,…]", many: true, take: takePeers },
  operator: { form: "gw1…", take: (value, draft) => { const operator = parseAddress(value); return operator === null ? "it is not an address of this kind" : set(() => { draft.operator = operator; }); } },
  alone: { form: "gw1…", take: (value, draft) => { const account = parseAddress(value); return account === null ? "it is not an address of this kind" : set(() => { draft.alone = account; }); } },
  trial: { form: "1", take: (value, draft) => (value === "1" ? set(() => { draft.isTrial = true; }) : "an upgrade sets it") },
  region: { form: "NAME", take: (value, draft) => text(LABEL, value, (name) => { draft.region = name; }) },
  zone: { form: "DOMAIN", take: (value, draft) => text(HOST, value, (name) => { draft.zone = name; }) },
  boot: { form: "http://HOST[:PORT]", take: (value, draft) => { const url = urlOrNull(value); return url === null ? "it is not such a URL" : set(() => { draft.bootServer = url.replace(/\/$/, ""); }); } },
  join: { form: "TOKEN", take: (value, draft) => text(TOKEN, value, (token) => { draft.joinToken = token; }) },
  key: { form: "tpm, partition or none", take: (value, draft) => (value === "tpm" || value === "partition" || value === "none" ? set(() => { draft.keyPlace = value; }) : "it is none of these") },
  "api-port": { form: "PORT", take: (value, draft) => { const port = portOrNull(value); return port === null ? "a port is a number from 1 to 65535" : set(() => { draft.apiPort = port; }); } },
  "http-port": { form: "PORT", take: (value, draft) => { const port = portOrNull(value); return port === null ? "a port is a number from 1 to 65535" : set(() => { draft.httpPort = port; }); } },
  metrics: { form: "A.B.C.D:PORT", take: takeMetrics },
};

export function parseCmdline(line: string): CmdlineResult {
  const errors: CmdlineError[] = [];
  const draft: Draft = {
    hostName: null, addressing: [], dns: [], ntp: null, genesis: null, checkpoint: null, alone: null, isTrial: false, peers: [], operator: null, region: null, zone: null, bootServer: null, joinToken: null, keyPlace: null, apiPort: null, httpPort: null, metrics: null, console: null,
  };
  const seen = new Set<string>();
  for (const word of wordsOf(line.slice(0, CMDLINE_BYTES_MAX))) {
    const [name, value] = cut(word);
    if (name === "console") draft.console = value;
    if (!name.startsWith(PREFIX)) continue;
    const key = name.slice(PREFIX.length);
    const known = Object.hasOwn(KEYS, key) ? KEYS[key] : undefined;
    if (known === undefined) errors.push({ word, code: "unknown", message: `${name} is not known: there are ${Object.keys(KEYS).map((one) => PREFIX + one).join(" ")}` });
    else if (seen.has(key) && !known.many) errors.push({ word, code: "twice", message: `${name} is given twice` });
    else {
      const wrong = known.take(value, draft);
      if (wrong !== null) errors.push({ word, code: "malformed", message: `${name} must be ${known.form}, not "${value}": ${wrong}` });
    }
    seen.add(key);
  }
  errors.push(...contradictions(draft));
  return errors.length > 0 ? { ok: false, errors } : { ok: true, settings: draft };
}

/** What is right alone and wrong together. */
function contradictions(draft: Draft): CmdlineError[] {
  const errors: CmdlineError[] = [];
  const say = (word: string, message: string): void => void errors.push({ word, code: "contradiction", message });
  const names = draft.addressing.map(({ interface: one, vlan }) => `${one.kind === "name" ? one.name : one.kind === "mac" ? one.mac : "any"}${vlan === undefined ? "" : `.${vlan}`}`);
  for (const [index, name] of names.entries()) if (names.indexOf(name) < index) say(`${PREFIX}address`, `${PREFIX}address is given twice for ${name === "any" ? "the same (unnamed) interface" : name}`);
  if (draft.joinToken !== null && draft.bootServer === null) say(`${PREFIX}join`, `${PREFIX}join needs ${PREFIX}boot: the server that the token is for`);
  if (draft.peers.length > 0 && draft.genesis === null) say(`${PREFIX}peer`, `${PREFIX}peer needs ${PREFIX}genesis: which chain the peers are of`);
  if (draft.alone !== null && draft.genesis !== null) say(`${PREFIX}alone`, `${PREFIX}alone makes a chain of its own, and ${PREFIX}genesis names another`);
  if (draft.genesis !== null && draft.genesis.url === null && draft.bootServer === null) say(`${PREFIX}genesis`, `${PREFIX}genesis needs a URL after the digest, or ${PREFIX}boot, to come from`);
  return errors;
}

/** Blanks part words, but not between double quotes, which are left out. */
function wordsOf(line: string): string[] {
  const words = line.trim().match(/(?:[^\s"]|"[^"]*"?)+/g) ?? [];
  return words.map((word) => word.replaceAll('"', ""));
}

function cut(word: string): readonly [name: string, value: string] {
  const at = word.indexOf("=");
  return at < 0 ? [word, ""] : [word.slice(0, at), word.slice(at + 1)];
}

function takeAddress(value: string, draft: Draft): string | null {
  const parts = value.split(",");
  const named = parts.length > 1 || (parts[0] !== "dhcp" && parseNetwork(parts[0] ?? "") === null) ? interfaceOf(parts[0] ?? "") : null;
  const [what = "", gatewayText, ...rest] = named === null ? parts : parts.slice(1);
  if (rest.length > 0) return "it has too many parts";
  const which = named ?? { interface: { kind: "any" } };
  if (what === "dhcp") return gatewayText === undefined ? set(() => { draft.addressing = [...draft.addressing, { ...which, kind: "dhcp" }]; }) : "with dhcp the gateway comes from the server";
  const network = parseNetwork(what);
  if (network === null || !isHostAddress(network.address)) return `"${what}" is neither dhcp nor an address of a machine with its prefix`;
  const gateway = gatewayText === undefined ? null : parseIpv4(gatewayText);
  if (gatewayText !== undefined && (gateway === null || !isWithin(gateway, network) || gateway === network.address)) return `the gateway "${gatewayText}" is not another address of that network`;
  return set(() => { draft.addressing = [...draft.addressing, { ...which, kind: "static", network, gateway }]; });
}

/** A name or a hardware address, with a tag behind a dot; or the tag alone, on whichever has a link first. */
function interfaceOf(text: string): Pick<Addressing, "interface" | "vlan"> | null {
  const [, name = "", tag] = /^(.*?)(?:\.([1-9]\d{0,3}))?$/.exec(text) ?? [];
  const mac = parseMac(name);
  const one: InterfaceName | null = mac !== null ? { kind: "mac", mac } : INTERFACE.test(name) && name !== "dhcp" ? { kind: "name", name } : name === "" && tag !== undefined ? { kind: "any" } : null;
  if (one === null) return null;
  if (tag === undefined) return { interface: one };
  return Number(tag) <= VLAN_MAX ? { interface: one, vlan: Number(tag) } : null;
}

function takeGenesis(value: string, draft: Draft): string | null {
  const at = value.indexOf("@");
  const digest = /^sha256:([0-9a-f]{64})$/.exec(at < 0 ? value : value.slice(0, at))?.[1];
  if (digest === undefined) return "the digest is 64 hex digits";
  const url = at < 0 ? null : urlOrNull(value.slice(at + 1));
  if (at >= 0 && url === null) return "what follows the @ is not an http URL";
  return set(() => { draft.genesis = { sha256: digest, url }; });
}

function takePeers(value: string, draft: Draft): string | null {
  return listOf(value, PEERS_MAX - draft.peers.length, peerOrNull, (all) => { draft.peers = [...draft.peers, ...all]; });
}

function takeMetrics(value: string, draft: Draft): string | null {
  const [, host = "", digits = ""] = /^([^:]*):(.*)$/.exec(value) ?? [];
  const [address, port] = [parseIpv4(host), portOrNull(digits)];
  if (address === null || port === null) return "it is an address of this machine, or 0.0.0.0 for all, and a port";
  return set(() => { draft.metrics = { address, port }; });
}

function peerOrNull(value: string): Peer | null {
  const at = value.lastIndexOf(":");
  const host = hostOrNull(value.slice(0, Math.max(at, 0)));
  const port = portOrNull(value.slice(at + 1));
  return host === null || port === null ? null : { host, port };
}

/** A name or an IPv4 address; digits and dots alone must be the latter. */
const hostOrNull = (value: string): string | null => (/^[\d.]+$/.test(value) ? parseIpv4(value) : HOST.test(value) ? value : null);
const urlOrNull = (value: string): string | null => {
  const [, host = "", port] = /^https?:\/\/([^/:@?#\s]+)(?::(\d+))?(?:\/[!-~]*)?$/.exec(value) ?? [];
  return value.length <= URL_LENGTH_MAX && hostOrNull(host) !== null && (port === undefined || portOrNull(port) !== null) ? value : null;
};
const portOrNull = (value: string): number | null => (/^[1-9]\d{0,4}$/.test(value) && Number(value) <= 65_535 ? Number(value) : null);

function set(assign: () => void): null {
  assign();
  return null;
}

function text(form: RegExp, value: string, assign: (value: string) => void): string | null {
  if (!form.test(value)) return "it has another form";
  return set(() => assign(value));
}

function listOf<Item>(value: string, countMax: number, parse: (text: string) => Item | null, assign: (items: readonly Item[]) => void): string | null {
  const items: Item[] = [];
  for (const part of value.split(",")) {
    const item = parse(part);
    if (item === null) return `"${part}" is not one`;
    items.push(item);
  }
  if (items.length > countMax) return "there are too many";
  return set(() => assign(items));
}
