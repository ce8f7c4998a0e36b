/**
 * The transport between machines: libp2p streams, in the twin that real nodes use.
 *
 *     connection ─ noise: machine key ─ greeting: chain, consensus key ─► a peer by name ─► one stream per channel and direction
 *
 * Validators keep a full mesh and are always let in; others are few at a time (`FOLLOWERS_MAX`), and look for a few peers. Who breaks a
 * rule is disconnected, counted (`offences`) and not let in again for a minute (scores.ts).
 */
import type { Connection, Libp2p } from "@libp2p/interface";
import { multiaddr } from "@multiformats/multiaddr";
import { type Control, type Hello, helloHolds, signBinding } from "#chain/codec/hello.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import { type ChainId, type PublicKey, hex } from "#chain/types.ts";
import { Addresses, isLoopback, hostOf } from "./addresses.ts";
import { frameOf } from "./frames.ts";
import { machineKeyAt, openHost } from "./libp2p.ts";
import { ADDRESSES_PER_MESSAGE_MAX } from "#chain/constants.ts";
import { CHANNEL_BYTES_MAX, DIALS_MAX, DIAL_TIMEOUT_MS, FOLLOWED_MAX, FOLLOWERS_MAX, QUEUES_BYTES_MAX, SEEK_AGAIN_MS, SEEK_ASKED_MAX, SEEK_MS, SILENCE_MS_MAX, SOUGHT_MAX, TICK_MS, UNGREETED_MAX, WAITS, type Waits } from "./limits.ts";
import { Link, type LinkEvents, protocolOf } from "./link.ts";
import type { QueuedBytes } from "./outbox.ts";
import { Scores } from "./scores.ts";
import { CHANNELS, type Channel, type Flood, type FloodVerdict, type MessageListener, type Offence, type PeerId, type Transport, peerId } from "./transport.ts";

export type StreamsOptions = {
  readonly chainId: ChainId;
  /** Identity of the connections. */
  readonly machineSeed: Uint8Array;
  /** Consensus key, used once to bind it to the machine key. */
  readonly validatorSeed?: Uint8Array;
  /** Multiaddresses to listen on; port 0 is any. */
  readonly listen: readonly string[];
  /** Multiaddresses of the operator's list. */
  readonly peers: readonly string[];
  /** Names of the chain's validators, until the node knows of others (`setValidators`). */
  readonly validators: Iterable<PeerId>;
  readonly waits?: Partial<Waits>;
  /** Find machines of this chain on the LAN. */
  readonly mdns?: boolean;
  /** Transactions to everybody through everybody: for more validators than send to each other directly. */
  readonly floods?: boolean;
};
/** Two connections of one pair this close together were dialled at the same time by both. */
const CROSSED_MS = 2_000;
const STOP_MS_MAX = 1_000;

export async function openStreams(options: StreamsOptions): Promise<StreamTransport> {
  const transport = new StreamTransport(options);
  await transport.open();
  return transport;
}

export class StreamTransport implements Transport {
  readonly self: PeerId;
  readonly #options: StreamsOptions;
  readonly #machineKey: PublicKey;
  readonly #binding: Hello["validator"];
  readonly #addresses: Addresses;
  readonly #scores = new Scores();
  readonly #queued: QueuedBytes = { bytes: 0, bytesMax: QUEUES_BYTES_MAX };
  readonly #links = new Map<string, Link>();
  readonly #byPeer = new Map<PeerId, Link>();
  readonly #listeners = new Set<MessageListener>();
  readonly #peerListeners = new Set<(peer: PeerId) => void>();
  readonly flood: Flood | undefined;
  #publish: (bytes: Uint8Array) => void = () => undefined;
  #judge: ((from: PeerId, bytes: Uint8Array) => Promise<FloodVerdict>) | null = null;
  #validators: ReadonlySet<PeerId>;
  #host: Libp2p | null = null;
  #timer: NodeJS.Timeout | null = null;
  #tickedMs: number = performance.now();
  #isClosed = false;
  /** Where peers say that they listen; and machines that are looked for, each until it may be again. */
  readonly #said = new WeakMap<Link, readonly string[]>();
  readonly #sought = new Map<string, number>();
  #seekingUntilMs = 0;

  constructor(options: StreamsOptions) {
    const { chainId, machineSeed, validatorSeed } = options;
    this.#options = options;
    this.#machineKey = publicKeyOf(machineSeed);
    this.#binding = validatorSeed === undefined ? null : { publicKey: publicKeyOf(validatorSeed), signature: signBinding(validatorSeed, chainId, this.#machineKey) };
    this.self = peerId(this.#binding?.publicKey ?? this.#machineKey);
    this.flood = options.floods === true ? { publish: (bytes) => this.#publish(bytes), onMessage: (listener) => { this.#judge = listener; } } : undefined;
    this.#linkEvents = { ...this.#linkEvents, waits: { ...WAITS, ...options.waits } };
    this.#validators = new Set(options.validators);
    this.#addresses = new Addresses(options.peers);
  }

  async open(): Promise<void> {
    const isWelcome = (key: PublicKey): boolean => hex(key) !== hex(this.#machineKey) && !this.#scores.isBanned(hex(key), performance.now());
    const { machineSeed, listen, mdns = false, chainId } = this.#options;
    const flood = this.flood && (await import("./flood.ts"));
    const host = await openHost({ machineSeed, listen, isWelcome, ...(mdns ? { mdnsName: `godwit-${hex(chainId)}` } : {}), ...(flood ? { services: flood.floodServices() } : {}) });
    this.#host = host;
    if (flood) this.#publish = flood.openFlood(host, { chainId, judge: (key, bytes) => this.#judgeFlood(key, bytes) });
    host.addEventListener("peer:discovery", ({ detail }) => { for (const address of detail.multiaddrs) this.#addresses.learn(address.toString().replace(/\/p2p\/.*$/, ""), null); });
    for (const name of [...CHANNELS, "control"] as const) {
      await host.handle(protocolOf(name), (stream, connection) => {
        const link = this.#links.get(connection.id);
        if (link) link.accept(name, stream);
        else stream.abort(new Error("not this connection"));
      });
    }
    host.addEventListener("connection:open", ({ detail }) => this.#opened(detail));
    host.addEventListener("connection:close", ({ detail }) => this.#closed(detail));
    for (const connection of host.getConnections()) this.#opened(connection);
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#tick();
  }

  /** Where this node listens, as multiaddresses without a name. */
  listening(): readonly string[] {
    return this.#host?.getMultiaddrs().map((one) => one.toString().replace(/\/p2p\/.*$/, "")) ?? [];
  }
  /** Offences of peers since the start, by kind. */
  offences(): ReturnType<Scores["counts"]> {
    return this.#scores.counts();
  }
  /** Bytes that wait for peers. */
  get queuedBytes(): number {
    return this.#queued.bytes;
  }
  setValidators(validators: Iterable<PeerId>): void {
    this.#validators = new Set(validators);
  }
  seek(machine: PublicKey): void {
    const nowMs = performance.now();
    const links = [...this.#byPeer.values()];
    for (const [key, untilMs] of this.#sought) if (untilMs <= nowMs) this.#sought.delete(key);
    if (this.#sought.has(hex(machine)) || this.#sought.size >= SOUGHT_MAX || links.some((link) => hex(link.machineKey) === hex(machine))) return;
    this.#sought.set(hex(machine), nowMs + SEEK_AGAIN_MS);
    this.#seekingUntilMs = nowMs + SEEK_MS;
    // Validators are connected to most.
    const asked = links.toSorted((a, b) => Number(this.#validators.has(b.peer!)) - Number(this.#validators.has(a.peer!))).slice(0, SEEK_ASKED_MAX);
    for (const link of asked) link.sendControl({ kind: "seek", machine });
  }

  addresses(): readonly string[] {
    const connected = this.#host?.getConnections().flatMap((connection) => hostOf(plain(connection)) ?? []) ?? [];
    return [...new Set([...this.#addresses.hosts(), ...connected])];
  }
  peers(): readonly PeerId[] {
    return [...this.#byPeer.keys()];
  }
  send(to: PeerId, channel: Channel, bytes: Uint8Array): boolean {
    return bytes.length <= CHANNEL_BYTES_MAX[channel] && (this.#byPeer.get(to)?.send(channel, frameOf(bytes)) ?? false);
  }
  broadcast(channel: Channel, bytes: Uint8Array): number {
    if (bytes.length > CHANNEL_BYTES_MAX[channel]) return 0;
    const frame = frameOf(bytes);
    let count = 0;
    for (const link of this.#byPeer.values()) if (link.send(channel, frame)) count++;
    return count;
  }
  onMessage(listener: MessageListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
  onPeer(listener: (peer: PeerId) => void): () => void {
    this.#peerListeners.add(listener);
    return () => this.#peerListeners.delete(listener);
  }
  machineOf(peer: PeerId): PublicKey | null {
    return this.#byPeer.get(peer)?.machineKey ?? null;
  }
  report(peer: PeerId, offence: Offence): void {
    const link = this.#byPeer.get(peer);
    if (link) this.#offended(link, offence);
  }
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#timer) clearInterval(this.#timer);
    for (const link of this.#links.values()) link.close("this node stops");
    this.#byPeer.clear();
    await Promise.race([this.#host?.stop(), new Promise((resolve) => setTimeout(resolve, STOP_MS_MAX).unref())]);
  }

  // ---- Connections -----------------------------------------------------------------------------------------------------

  #linkEvents: LinkEvents = {
    waits: WAITS,
    hello: () => ({ chainId: this.#options.chainId, validator: this.#binding, addresses: this.listening().slice(0, ADDRESSES_PER_MESSAGE_MAX) }),
    onHello: (link, hello) => this.#greeted(link, hello),
    onControl: (link, control) => this.#control(link, control),
    onMessage: ({ peer }, channel, message) => {
      if (!this.#isClosed) for (const listener of this.#listeners) listener(peer!, channel, message);
    },
    onOffence: (link, offence) => this.#offended(link, offence),
  };

  #opened(connection: Connection): void {
    if (this.#links.has(connection.id)) return;
    const machineKey = machineKeyAt(connection);
    const ungreeted = [...this.#links.values()].filter((link) => !link.isGreeted).length;
    if (this.#isClosed || machineKey === null || ungreeted >= UNGREETED_MAX) return connection.abort(new Error("not now"));
    this.#links.set(connection.id, new Link(connection, machineKey, this.#queued, this.#linkEvents));
  }
  #closed(connection: Connection): void {
    const link = this.#links.get(connection.id);
    if (!link) return;
    this.#links.delete(connection.id);
    link.close("it was closed");
    if (link.peer === null || this.#byPeer.get(link.peer) !== link) return;
    this.#byPeer.delete(link.peer);
    this.#addresses.lost(link.peer, performance.now());
  }

  #greeted(link: Link, hello: Hello): void {
    if (hex(hello.chainId) !== hex(this.#options.chainId)) return this.#offended(link, "wrong_chain");
    if (!helloHolds(hello, link.machineKey)) return this.#offended(link, "forged");
    const peer = peerId(hello.validator?.publicKey ?? link.machineKey);
    const isValidator = this.#validators.has(peer);
    const followers = [...this.#byPeer.keys()].filter((other) => !this.#validators.has(other)).length;
    if (peer === this.self || this.#scores.isBanned(peer, performance.now())) return link.close("it is not welcome");
    if (!isValidator && followers >= FOLLOWERS_MAX) return link.close("there are enough followers");
    const before = this.#byPeer.get(peer);
    if (before && !this.#isBetter(link, before)) return link.close("there is a connection already");
    link.greeted(peer);
    this.#said.set(link, hello.addresses);
    this.#byPeer.set(peer, link);
    before?.close("a newer connection took its place");
    const isRemote = !isLoopback(link.connection.remoteAddr.toString());
    if (isValidator) for (const address of hello.addresses) if (!isRemote || !isLoopback(address)) this.#addresses.learn(address, peer);
    if (link.connection.direction === "outbound") this.#addresses.reached(plain(link.connection), peer);
    const known = this.#addresses.of(this.#validators).slice(0, ADDRESSES_PER_MESSAGE_MAX);
    if (known.length > 0) link.sendControl({ kind: "addresses", addresses: known });
    // Later, so that whoever answers at once finds the link in its place.
    queueMicrotask(() => {
      if (!this.#isClosed && this.#byPeer.get(peer) === link) for (const listener of this.#peerListeners) listener(peer);
    });
  }
  /** Of two that were dialled at the same time both sides keep the one of the lesser machine key; else the newer one is the living one. */
  #isBetter(link: Link, before: Link): boolean {
    if (hex(link.machineKey) !== hex(before.machineKey) || link.connection.direction === before.connection.direction || link.openedMs - before.openedMs > CROSSED_MS) return true;
    const isOurs = link.connection.direction === "outbound";
    return (hex(this.#machineKey) < hex(link.machineKey)) === isOurs;
  }
  #control(link: Link, control: Control): void {
    if (control.kind === "ping") return;
    if (control.kind === "seek") {
      const found = [...this.#byPeer.values()].find((one) => hex(one.machineKey) === hex(control.machine));
      const addresses = found === undefined ? [] : (this.#said.get(found) ?? []);
      return addresses.length === 0 ? undefined : link.sendControl({ kind: "addresses", addresses });
    }
    const isRemote = !isLoopback(link.connection.remoteAddr.toString());
    for (const address of control.addresses) if (!isRemote || !isLoopback(address)) this.#addresses.learn(address, null);
  }
  async #judgeFlood(machineKey: PublicKey, bytes: Uint8Array): Promise<FloodVerdict> {
    const link = [...this.#byPeer.values()].find((one) => hex(one.machineKey) === hex(machineKey));
    if (!link?.peer || !this.#judge) return "ignore";
    if (!link.mayHandOn(bytes.length)) {
      this.#offended(link, "flood");
      return "ignore";
    }
    return this.#judge(link.peer, bytes);
  }
  #offended(link: Link, offence: Offence): void {
    const nowMs = performance.now();
    const names = [peerId(link.machineKey), ...(link.peer === null || link.peer === peerId(link.machineKey) ? [] : [link.peer])];
    const isBanned = this.#scores.add(names, offence, nowMs);
    if (!isBanned && offence === "useless") return;
    process.emitWarning(`Disconnected from peer ${names.at(-1)}: ${offence}${isBanned ? ", and it rests for a while" : ""}`, { code: "godwit_peer" });
    link.close(offence);
  }

  // ---- Time ------------------------------------------------------------------------------------------------------------

  #tick(): void {
    const nowMs = performance.now();
    const wasAsleep = nowMs - this.#tickedMs > SILENCE_MS_MAX / 2;
    this.#tickedMs = nowMs;
    for (const link of this.#links.values()) link.tick(nowMs, wasAsleep);
    const isFull = !this.#validators.has(this.self) && this.#byPeer.size >= FOLLOWED_MAX + (nowMs < this.#seekingUntilMs ? SOUGHT_MAX : 0);
    for (const address of this.#addresses.due(nowMs, DIALS_MAX, (peer) => this.#byPeer.has(peer) || peer === this.self, (isFixed) => isFixed || !isFull)) void this.#dial(address);
  }
  async #dial(address: string): Promise<void> {
    let isReached = false;
    try {
      const connection = await this.#host!.dial(multiaddr(address), { signal: AbortSignal.timeout(DIAL_TIMEOUT_MS), force: true });
      isReached = true;
      const link = this.#links.get(connection.id);
      if (link?.peer) this.#addresses.reached(address, link.peer);
    } catch {
      // Nobody is there now, or nobody we want.
    }
    this.#addresses.dialled(address, performance.now(), isReached);
  }
}

const plain = ({ remoteAddr }: Connection): string => remoteAddr.toString().replace(/\/p2p\/.*$/, "");
