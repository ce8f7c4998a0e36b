/**
 * Which machines may hop here and can be hopped to: their certificates (codec/hop.ts), gathered from everybody and judged by the ledger.
 *
 *   channel "hops": [1, 0, certificate, …]   what the sender knows      [1, 1, digest]   of all that it knows: is it the same with you?
 *
 * A certificate counts while its machine is up with the boot that it names and the header time is before its end. What is new is passed
 * on to all peers, once; a peer that passes on what does not hold is let go of. Held are as many as there are machines. A validator that no
 * machine hosts has none of its own and hops nowhere, and passes on those of machines that may know each other by it alone.
 */
import { randomBytes } from "node:crypto";
import { networkInterfaces } from "node:os";
import { addressOf } from "#chain/codec/address.ts";
import { CodecError, decode, encode } from "#chain/codec/cbor.ts";
import { type HopCertificate, type HopEndpoint, type SealedHop, decodeHop, hopHolds, sealHop } from "#chain/codec/hop.ts";
import { bytes, list, u32, version } from "#chain/codec/schema.ts";
import { HOP_CERTIFICATE_MS, HOP_ENDPOINTS_MAX, WIRE_VERSION } from "#chain/constants.ts";
import { sha256 } from "#chain/crypto.ts";
import type { PeerId, Transport } from "#chain/network/transport.ts";
import type { ChainNode, FinalBlock } from "#chain/node/chainNode.ts";
import { type Address, type Hex, address, fromHex, hex, timeMs } from "#chain/types.ts";
import type { Elsewhere, Endpoint } from "#sandbox/sandbox.ts";
import { codeOf } from "./error.ts";
import type { KeyPair } from "./keys.ts";
import {
  HOP_CERTIFICATES_PER_MESSAGE, HOP_CERTIFICATE_BYTES_MAX, HOP_CERTIFICATE_INTERVAL_MS, HOP_CERTIFICATE_MS_MAX, HOP_COMPARE_MS, HOP_PEERS_ASKED_FIRST, HOP_PEERS_REMEMBERED_MAX, HOP_RENEW_MS, HOP_STRANGERS_MAX,
} from "./limits.ts";

export type HopsOptions = {
  readonly node: Pick<ChainNode, "chainId" | "view" | "head">;
  readonly transport: Transport;
  /** The machine that hops; null: none. */
  readonly own: {
    readonly machine: KeyPair;
    readonly bootId: Hex;
    /** Where this machine takes hops. */
    readonly endpoints: () => readonly HopEndpoint[];
    readonly elsewhere: Pick<Elsewhere, "identify" | "peers">;
  } | null;
  readonly nowMs?: () => number;
};
type Known = { readonly certificate: HopCertificate; readonly bytes: Uint8Array; readonly atMs: number };

/** After these the ledger may think otherwise of a machine. */
const OF_MACHINES: ReadonlySet<string> = new Set(["machine", "registered", "retired"]);
const KIND = { certificates: 0, compare: 1 } as const;

export class Hops {
  readonly #options: HopsOptions;
  readonly #seed: Uint8Array = new Uint8Array(randomBytes(32));
  readonly #known = new Map<Hex, Known>();
  /** Of machines that the ledger does not know yet, unread. */
  readonly #strangers = new Map<Hex, Uint8Array>();
  /** Of all that are known; null: they have changed since. */
  #digestNow: Hex | null = null;
  /** When a peer that compared was answered. */
  readonly #answeredMs = new Map<PeerId, number>();
  /** Key by machine, as the runner was told. */
  #told: ReadonlyMap<Hex, string> = new Map();
  #endMs = 0n;
  readonly #unsubscribe: (() => void)[];
  readonly #timer: NodeJS.Timeout;
  readonly #nowMs: () => number;
  /** Address of the machine that hops. */
  readonly #own: Hex | null;
  #isStopped = false;

  constructor(options: HopsOptions) {
    this.#options = options;
    this.#own = options.own && hex(options.own.machine.address);
    this.#nowMs = options.nowMs ?? ((): number => performance.now());
    const { transport } = options;
    this.#unsubscribe = [
      transport.onMessage((from, channel, message) => { if (channel === "hops") this.#receive(from, message); }),
      transport.onPeer((peer) => this.#sendAll(peer)),
    ];
    this.#timer = setInterval(() => this.#compare(), HOP_COMPARE_MS).unref();
    this.#tell((elsewhere) => elsewhere.identify(this.#seed));
    this.#refresh();
    // Who came while this machine was not yet listening has told it in vain.
    const peers = transport.peers();
    const from = peers.length === 0 ? 0 : randomBytes(4).readUInt32LE() % peers.length;
    for (const peer of [...peers.slice(from), ...peers.slice(0, from)].slice(0, HOP_PEERS_ASKED_FIRST)) this.#ask(peer);
  }

  /** Where a machine takes hops; empty for one that may not be hopped to. */
  reach(peer: string): readonly Endpoint[] {
    const known = this.#known.get(peer as Hex);
    return known === undefined || !this.#told.has(peer as Hex) ? [] : known.certificate.endpoints;
  }
  onFinal({ events, header }: Pick<FinalBlock, "events" | "header">): void {
    if (header.timeMs >= this.#endMs || events.some(({ kind }) => OF_MACHINES.has(kind))) this.#refresh();
  }
  stop(): void {
    this.#isStopped = true;
    clearInterval(this.#timer);
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
  }

  // ---- What holds now ----------------------------------------------------------------------------------------------------

  #isUp(machine: Address, bootId: Uint8Array): boolean {
    const known = this.#options.node.view().machine(machine);
    return known !== null && known.state === "up" && hex(known.bootId) === hex(bootId);
  }

  /** After the ledger, the time or a certificate changed: renews its own, and tells the runner who is a peer. */
  #refresh(): void {
    const { node } = this.#options;
    const nowMs = node.head().timeMs;
    this.#renew(nowMs);
    for (const [id, sealed] of this.#strangers) {
      if (node.view().machine(address(fromHex(id))) === null) continue;
      this.#strangers.delete(id);
      this.#take(sealed);
    }
    const peers = new Map<Hex, string>();
    let endMs = nowMs + BigInt(HOP_CERTIFICATE_MS);
    for (const [id, { certificate }] of this.#known) {
      const { machineKey, bootId, hopKey, notAfterMs } = certificate;
      const own = addressOf(machineKey);
      const isOwn = id === this.#own;
      // One that is over would never be taken by who does not have it: there would be something to tell at every comparison.
      if (node.view().machine(own) === null || (!isOwn && notAfterMs <= nowMs)) this.#forget(id);
      if (isOwn || notAfterMs > nowMs) endMs = least(endMs, isOwn ? notAfterMs - BigInt(HOP_RENEW_MS) : notAfterMs);
      if (!isOwn && notAfterMs > nowMs && this.#isUp(own, bootId)) peers.set(id, hex(hopKey));
    }
    this.#endMs = endMs;
    const set = [...peers].filter(([id, key]) => this.#told.get(id) !== key).map(([id, key]) => ({ id, key }));
    const remove = [...this.#told.keys()].filter((id) => !peers.has(id));
    this.#told = peers;
    if (set.length + remove.length > 0) this.#tell((elsewhere) => elsewhere.peers(set, remove));
  }
  #renew(nowMs: bigint): void {
    const { node, transport } = this.#options;
    if (this.#options.own === null) return;
    const { machine, bootId, endpoints } = this.#options.own;
    const own = this.#known.get(hex(machine.address));
    if (!this.#isUp(machine.address, fromHex(bootId)) || (own !== undefined && own.certificate.notAfterMs > nowMs + BigInt(HOP_RENEW_MS))) return;
    const sealed = sealHop({ chainId: node.chainId, bootId: fromHex(bootId), notAfterMs: timeMs(nowMs + BigInt(HOP_CERTIFICATE_MS)), endpoints: endpoints().slice(0, HOP_ENDPOINTS_MAX) }, machine.seed, this.#seed);
    this.#remember(hex(machine.address), { certificate: decodeHop(sealed).certificate, bytes: sealed, atMs: this.#nowMs() });
    transport.broadcast("hops", encode([WIRE_VERSION, KIND.certificates, sealed]));
  }
  /** A runner that is stopped is told nothing any more. */
  #tell(work: (elsewhere: Pick<Elsewhere, "identify" | "peers">) => Promise<void>): void {
    const { own } = this.#options;
    if (own !== null) work(own.elsewhere).catch((error: unknown) => { if (!this.#isStopped && codeOf(error) !== "runner_stopped") process.emitWarning(`Cannot tell the runner of other machines: ${String(error)}`, { code: "godwit_hops" }); });
  }

  // ---- Messages ----------------------------------------------------------------------------------------------------------

  #receive(from: PeerId, message: Uint8Array): void {
    const { transport } = this.#options;
    try {
      const [first, kind, ...rest] = list(decode(message), 2 + HOP_CERTIFICATES_PER_MESSAGE);
      version(first);
      if (u32(kind) === KIND.compare) {
        if (hex(bytes(rest[0], 32)) !== this.#digest() && this.#mayAnswer(from)) this.#sendAll(from);
        return;
      }
      if (u32(kind) !== KIND.certificates) throw new CodecError("codec_value", `${u32(kind)} is no kind of message`);
      const taken: Uint8Array[] = [];
      try {
        for (const one of rest) if (this.#judge(from, bytes(one))) taken.push(bytes(one));
      } finally {
        // Those before one that cannot be read are known now, and would be new to nobody the next time.
        this.#passOn(from, taken);
      }
    } catch (error) {
      if (!(error instanceof CodecError)) throw error;
      transport.report(from, "malformed");
    }
  }
  #passOn(from: PeerId, taken: readonly Uint8Array[]): void {
    const { transport } = this.#options;
    if (taken.length === 0) return;
    for (const peer of transport.peers()) if (peer !== from) transport.send(peer, "hops", encode([WIRE_VERSION, KIND.certificates, ...taken]));
    this.#refresh();
  }
  /** Whether it is new here and holds. */
  #judge(from: PeerId, sealed: Uint8Array): boolean {
    if (sealed.length > HOP_CERTIFICATE_BYTES_MAX) throw new CodecError("codec_length", `a certificate of ${sealed.length} bytes`);
    const verdict = this.#take(sealed);
    if (verdict === "forged") this.#options.transport.report(from, "forged");
    return verdict === "taken";
  }
  #take(sealed: Uint8Array): "taken" | "not now" | "forged" {
    const { node } = this.#options;
    const read: SealedHop = decodeHop(sealed);
    const { certificate } = read;
    const own = addressOf(certificate.machineKey);
    const [id, nowMs] = [hex(own), node.head().timeMs];
    if (hex(certificate.chainId) !== hex(node.chainId)) return "forged";
    if (id === this.#own) return "not now";
    if (node.view().machine(own) === null) {
      if (this.#strangers.size >= HOP_STRANGERS_MAX) this.#strangers.delete(this.#strangers.keys().next().value!);
      this.#strangers.set(id, sealed);
      return "not now";
    }
    const before = this.#known.get(id);
    if (before !== undefined && (!isBetter(certificate, sealed, before) || this.#nowMs() - before.atMs < HOP_CERTIFICATE_INTERVAL_MS)) return "not now";
    if (certificate.notAfterMs <= nowMs || certificate.notAfterMs > nowMs + BigInt(HOP_CERTIFICATE_MS_MAX)) return "not now";
    if (!hopHolds(read)) return "forged";
    this.#remember(id, { certificate, bytes: sealed, atMs: this.#nowMs() });
    return "taken";
  }
  #sendAll(peer: PeerId): void {
    const all = [...this.#known.values()].map((known) => known.bytes);
    for (let at = 0; at < all.length; at += HOP_CERTIFICATES_PER_MESSAGE) {
      this.#options.transport.send(peer, "hops", encode([WIRE_VERSION, KIND.certificates, ...all.slice(at, at + HOP_CERTIFICATES_PER_MESSAGE)]));
    }
  }
  #compare(): void {
    const peers = this.#options.transport.peers();
    const peer = peers[randomBytes(4).readUInt32LE() % Math.max(1, peers.length)];
    if (peer !== undefined) this.#ask(peer);
  }
  /** It tells what it knows, if that is not the same. */
  #ask(peer: PeerId): void {
    this.#options.transport.send(peer, "hops", encode([WIRE_VERSION, KIND.compare, fromHex(this.#digest())]));
  }
  #remember(id: Hex, known: Known): void {
    this.#known.set(id, known);
    this.#digestNow = null;
  }
  #forget(id: Hex): void {
    this.#known.delete(id);
    this.#digestNow = null;
  }
  /** All that is known is much for a question of a few bytes: once for each round of comparing. */
  #mayAnswer(peer: PeerId): boolean {
    const nowMs = this.#nowMs();
    if (nowMs - (this.#answeredMs.get(peer) ?? -Infinity) < HOP_COMPARE_MS / 2) return false;
    this.#answeredMs.delete(peer);
    this.#answeredMs.set(peer, nowMs);
    if (this.#answeredMs.size > HOP_PEERS_REMEMBERED_MAX) this.#answeredMs.delete(this.#answeredMs.keys().next().value!);
    return true;
  }
  #digest(): Hex {
    return this.#digestNow ??= hex(sha256(...[...this.#known].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, known]) => sha256(known.bytes))));
  }
}

/** Later; of two that end at once everybody keeps the same one. */
const isBetter = ({ notAfterMs }: HopCertificate, sealed: Uint8Array, before: Known): boolean =>
  notAfterMs === before.certificate.notAfterMs ? hex(sha256(sealed)) < hex(sha256(before.bytes)) : notAfterMs > before.certificate.notAfterMs;
const least = (a: bigint, b: bigint): bigint => (a < b ? a : b);

const ANY: ReadonlySet<string> = new Set(["0.0.0.0", "::"]);
/** Where others reach a door on `address`: there; or wherever this computer is on a network, for one that is everywhere. */
export function endpointsOf(address: string, port: number): HopEndpoint[] {
  if (!ANY.has(address)) return [{ address, port }];
  const addresses = Object.values(networkInterfaces()).flatMap((all) => all ?? []).filter((one) => !one.internal && !one.address.startsWith("fe80:"));
  return addresses.map((one) => ({ address: one.address, port })).sort((a, b) => Number(a.address.includes(":")) - Number(b.address.includes(":")));
}
