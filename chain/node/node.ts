/**
 * A chain node on a data folder: the store, the mempool, the ledger and consensus put together.
 *
 *     submit → mempool → build / validate → consensus → commit → final state, block store, listeners
 *
 * Opening replays the stored blocks into the ledger; the vote log brings back what was voted for and is not stored yet. So
 * kill -9 at any point is an ordinary end: the next start has the same state root and contradicts nothing it has signed.
 */
import { addressOf } from "#chain/codec/address.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import { lastHeightOf } from "#chain/codec/epoch.ts";
import { type GenesisFacts, chainIdOf, decodeGenesis, factsOf } from "#chain/codec/genesis.ts";
import { type EpochAnswer, encodeAnswer, encodeEpochAnswer } from "#chain/codec/proof.ts";
import { type Certificate, decodeBlock, encodeCertificate } from "#chain/codec/schema.ts";
import { PRESETS, type Parameters } from "#chain/constants.ts";
import { type Clock, systemClock } from "#chain/network/clock.ts";
import { type Channel, type PeerId, peerId } from "#chain/network/transport.ts";
import type { LedgerView } from "#chain/ledger/view.ts";
import { type ChainId, type Digest, type Hex, type MoneySecond, type PublicKey, hex, timeMs } from "#chain/types.ts";
import { Beats } from "./beats.ts";
import { BlockWork } from "./blockWork.ts";
import type { BlockRecord, ChainNode, FinalBlock, Head, NodeOptions, NodeStatus, TransactionStatus } from "./chainNode.ts";
import { type DataFolder, openDataFolder } from "./dataFolder.ts";
import { EpochHost } from "./epochHost.ts";
import { type EpochFacts, epochFacts } from "./epochs.ts";
import { NodeError } from "./errors.ts";
import { Executor } from "./executor.ts";
import { FinalBlocks, statusOf } from "./finalBlocks.ts";
import { FinalHead } from "./finalHead.ts";
import { Waiters } from "./finality.ts";
import { Gossip } from "./gossip.ts";
import { type HeldBlock, HeldBlocks } from "./heldBlocks.ts";
import { EARLY_BYTES_MAX, EARLY_MESSAGES_MAX } from "./limits.ts";
import { Intake } from "./intake.ts";
import { joinFromSnapshot } from "./join.ts";
import { forgetLeftBehind, holdsChain, isLeftBehind, noteLeftBehind } from "./joinedFolder.ts";
import { Keepers, isOnDisk } from "./keepers.ts";
import { LOCAL, Mempool } from "./mempool.ts";
import { Proofs } from "./proofs.ts";
import { restoreBlocks } from "./restore.ts";
import { type Snapshot, type StoredChunks, type StoredSnapshot, readSnapshot } from "./snapshotFile.ts";
import { Snapshots } from "./snapshots.ts";
import { SnapshotServer } from "./snapshotServer.ts";
import { Sync } from "./sync.ts";

export type { BlockRecord, ChainNode, FinalBlock, Head, NodeOptions, NodeStatus, Outcome, TransactionStatus } from "./chainNode.ts";
export { NodeError } from "./errors.ts";

export async function openNode(options: NodeOptions): Promise<ChainNode> {
  const genesis = decodeGenesis(options.genesis);
  const chainId = chainIdOf(options.genesis);
  const key = options.validatorSeed ? publicKeyOf(options.validatorSeed) : null;
  const open = (): Promise<DataFolder> => openDataFolder(options.directory, options.genesis, chainId, key, options.votesLost === true);
  if (options.joins === true && !(await holdsChain(options.directory))) await joinFromSnapshot(options);
  let folder = await open();
  try {
    if (await beginsAnew(options, folder)) {
      await folder.close();
      folder = await open();
    }
    const snapshot = await readSnapshot(options.directory, genesis, chainId, folder.blocks);
    if (genesis.era && snapshot === null) throw new NodeError("state_missing", `Cannot open ${options.directory}: the state with which era ${genesis.era.number} began is not there; an empty folder begins at a checkpoint (--checkpoint; godwit chain restart printed the first)`);
    return new Node(options, factsOf(genesis), chainId, key, folder, snapshot, await isOnDisk(options.directory));
  } catch (error) {
    await folder.close();
    throw error;
  }
}

/** It has all blocks of its chain, and is not thrown away by itself. */
const isWhole = ({ archive }: NodeOptions, { heightFirst }: DataFolder["blocks"]): boolean => archive === true && heightFirst <= 1;

/** Whether peers have gone on without this folder for longer than they keep blocks, and one of them had a snapshot. */
async function beginsAnew(options: NodeOptions, { blocks }: DataFolder): Promise<boolean> {
  const leftBehind = await isLeftBehind(options.directory);
  const newest = !isWhole(options, blocks) && (options.joins === true || leftBehind) ? blocks.read(blocks.height) : null;
  const height = newest && (await joinFromSnapshot(options, { header: decodeBlock(newest.bytes).header, isLeftBehind: leftBehind }));
  await forgetLeftBehind(options.directory);
  return height !== null;
}

class Node implements ChainNode {
  readonly chainId: ChainId;
  readonly genesis: GenesisFacts;
  readonly #options: NodeOptions;
  readonly #clock: Clock;
  readonly #rules: Parameters;
  readonly #key: PublicKey | null;
  readonly #folder: DataFolder;
  /** Of the epoch that a child of the final block belongs to. */
  #facts: EpochFacts;
  readonly #executor: Executor;
  readonly #pool: Mempool;
  readonly #held = new HeldBlocks();
  readonly #consensus: EpochHost;
  readonly #work: BlockWork;
  readonly #beats: Beats;
  readonly #gossip: Gossip;
  readonly #proofs: Proofs;
  readonly #intake: Intake;
  readonly #sync: Sync;
  readonly #snapshotServer: SnapshotServer;
  readonly #final: FinalBlocks;
  readonly #waiters = new Waiters();
  readonly #unsubscribe: (() => void)[] = [];
  readonly #head: FinalHead;
  readonly #snapshots: Snapshots;
  readonly #keepers: Keepers;
  #early: [PeerId, Channel, Uint8Array][] = [];
  #started = false;
  /** Consensus has taken its first step: messages go to it. */
  #greeting = false;
  #stopping: Promise<void> | null = null;
  #halted: NodeError | null = null;

  constructor(options: NodeOptions, genesis: GenesisFacts, chainId: ChainId, key: PublicKey | null, folder: DataFolder, snapshot: StoredSnapshot | null, onDisk: boolean) {
    this.chainId = chainId;
    this.genesis = genesis;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#rules = { ...PRESETS[genesis.parameters], deltaMs: genesis.deltaMs };
    this.#key = key;
    this.#folder = folder;
    this.#final = new FinalBlocks(folder.blocks, options.genesis);
    this.#executor = new Executor(options.genesis, (transactions) => this.#pool?.tipMoved(transactions), snapshot);
    this.#pool = new Mempool({
      account: (sender) => this.#executor.account(sender),
      refusalOf: (transaction, noncesAhead) => this.#executor.refusalOf(transaction, BigInt(this.#clock.nowMs()), noncesAhead),
    }, {
      onDrop: ({ txid }, code) => this.#waiters.reject(hex(txid), code, `Cannot make transaction ${hex(txid)} final: ${code}`),
      onForged: (source, code) => { if (source !== LOCAL) options.transport.report(source as PeerId, code === "bad_signature" ? "forged" : "malformed"); },
    });
    this.#head = new FinalHead(options.genesis, genesis.timeMs);
    const restored = restoreBlocks(options.directory, folder.blocks, snapshot, this.#executor, this.#final);
    if (restored) this.#head.restore(restored);
    this.#snapshots = new Snapshots({
      directory: options.directory, chainId, clock: this.#clock, blocks: folder.blocks, height: snapshot?.height ?? 0, epochBlocks: this.#rules.epochBlocks, take: () => this.#snapshotNow(),
      ...(options.snapshotBlocks === undefined ? {} : { everyBlocks: options.snapshotBlocks }),
    });
    // What finalized the block with which an era begins is of the era before: nobody here can check it.
    if (this.#head.ref.height === genesis.era?.height) this.#head.forgetFinalization();
    this.#facts = this.#factsNow();
    this.#nameValidators();
    this.#beats = new Beats({
      chainId, transport: options.transport, clock: this.#clock, view: () => this.#executor.final, validatorSeed: options.validatorSeed ?? null, votes: folder.votes, machine: options.machine ?? null,
      onWaiting: () => this.#tellWaiting(), onSuspected: (validator, isSuspected) => this.#tellSuspected(validator, isSuspected), onFailure: (error) => this.#background(Promise.reject(error)),
    });
    this.#work = new BlockWork({
      chainId, genesis, rules: this.#rules, executor: this.#executor, pool: this.#pool, held: this.#held, final: this.#final,
      facts: () => this.#facts, finalRef: () => this.#head.ref, suspicions: () => this.#beats.candidates(), onTipMoved: () => this.#tellWaiting(),
    });
    this.#consensus = new EpochHost({
      chainId, genesis, rules: this.#rules, clock: this.#clock, folder, transport: options.transport, seed: options.validatorSeed ?? null, ...(options.trace === undefined ? {} : { trace: options.trace }),
      held: this.#held, final: this.#final, executor: this.#executor, work: this.#work, facts: () => this.#facts, head: this.#head,
      isRunning: () => this.#started && this.#stopping === null && this.#halted === null, commit: (held, finalization) => this.#commit(held, finalization), onTip: () => this.#tellWaiting(), onStart: () => this.#tellAll(), onBehind: (finalization) => this.#sync.want(finalization), onLater: (from) => this.#sync.hint(from), onHalt: (error) => this.#halt(error),
    });
    this.#proofs = new Proofs({ clock: this.#clock, finalId: () => hex(this.#head.ref.id), read: (keys) => this.#proofsOf(keys) });
    this.#gossip = new Gossip(options.transport, this.#clock);
    this.#sync = new Sync({ transport: options.transport, clock: this.#clock, blocks: folder.blocks, heightFinal: () => this.#head.ref.height, take: (blocks, finalization) => this.#takeSynced(blocks, finalization), weightOf: (peer) => this.#weightOf(peer), onLeftBehind: () => this.#background(this.#leftBehind()) });
    options.transport.flood?.onMessage((from, bytes) => (this.#greeting ? this.#intake.judgeFlood(from, bytes) : Promise.resolve("ignore")));
    const keepsState = (): boolean => onDisk && this.#halted === null;
    this.#keepers = new Keepers({ transport: options.transport, clock: this.#clock, validators: () => this.#facts.set, self: () => this.#facts.validator, keepsState });
    this.#snapshotServer = new SnapshotServer({ transport: options.transport, clock: this.#clock, blocks: folder.blocks, open: () => this.newestSnapshot(), proveEpoch: (of) => this.proveEpoch(of), keepsState, onKeeps: (peer, keeps) => this.#keepers.note(peer, keeps) });
    this.#intake = new Intake({
      transport: options.transport, pool: this.#pool, gossip: this.#gossip, sync: this.#sync, snapshotServer: this.#snapshotServer, final: this.#final,
      isValidator: (peer) => this.#facts.set.validators.some(({ publicKey }) => peerId(publicKey) === peer), onWaiting: () => { if (this.#started) this.#tellWaiting(); }, background: (work) => this.#background(work),
    });
    this.#unsubscribe.push(options.transport.onMessage((from, channel, bytes) => this.#receive(from, channel, bytes)), options.transport.onPeer((peer) => this.#greet(peer)));
  }

  // ---- Life ------------------------------------------------------------------------------------------------------------

  start(): void {
    if (this.#started || this.#stopping) return;
    this.#started = true;
    this.#consensus.start();
    // A microtask later, so that consensus has taken its first step: it knows its own votes, and wants those of others.
    queueMicrotask(() => {
      this.#greeting = true;
      for (const peer of this.#options.transport.peers()) this.#greet(peer);
      for (const [from, channel, bytes] of this.#early) this.#receive(from, channel, bytes);
      this.#early = [];
      if (this.#stopping) return;
      this.#beats.start();
      this.#keepers.start();
    });
  }

  #tellAll(): void {
    this.#tellWaiting();
    for (const validator of this.#beats.suspected) this.#tellSuspected(validator, true);
  }
  #tellWaiting(): void {
    const count = this.#pool.readyCount + this.#beats.candidates().length;
    this.#consensus.host.waiting(count);
    if (count > 0) this.#beats.due();
  }
  #tellSuspected(validator: Hex, isSuspected: boolean): void {
    const index = this.#facts.set.validators.findIndex(({ publicKey }) => hex(addressOf(publicKey)) === validator);
    if (index >= 0) this.#consensus.host.suspected(index, isSuspected);
  }

  #receive(from: PeerId, channel: Channel, bytes: Uint8Array): void {
    if (!this.#greeting) {
      // Peers that were faster: what they said at greeting they will not say again soon.
      if (this.#early.length < EARLY_MESSAGES_MAX && bytes.length <= EARLY_BYTES_MAX) this.#early.push([from, channel, bytes]);
    } else if (channel === "consensus") this.#consensus.host.receive(from, bytes);
    else if (channel === "beats") this.#beats.receive(from, bytes);
    else if (channel === "sync") this.#intake.takeSync(from, bytes);
    else if (channel === "transactions") this.#intake.takeBatch(from, bytes);
  }

  #greet(peer: PeerId): void {
    if (!this.#greeting || this.#stopping) return;
    this.#consensus.host.greet(peer);
    this.#gossip.greet(peer, this.#pool.all());
    this.#keepers.ask(peer);
  }

  stop(): Promise<void> {
    this.#stopping ??= (async () => {
      this.#consensus.host.stop();
      this.#beats.stop();
      this.#proofs.stop();
      this.#keepers.stop();
      this.#gossip.stop();
      this.#sync.stop();
      for (const unsubscribe of this.#unsubscribe) unsubscribe();
      this.#waiters.rejectAll("node_stopped", "Cannot wait any longer: the node stops");
      await this.#options.transport.close();
      await this.#snapshots.stop(this.#head.ref.height, this.#halted ? null : this.#executor.entityCount);
      await this.#snapshotServer.close();
      await this.#folder.close();
    })();
    return this.#stopping;
  }

  status(): NodeStatus {
    return {
      validators: this.#facts.set.validators.length, validator: this.#facts.validator, epoch: this.#facts.epoch, view: this.#consensus.host.view, signing: this.#consensus.host.signing, peers: this.#options.transport.peers().length,
      mempool: { count: this.#pool.count, bytes: this.#pool.bytesTotal }, halted: this.#halted?.code ?? null, stateKept: this.#keepers.kept(),
    };
  }

  // ---- What others ask ---------------------------------------------------------------------------------------------------

  async submit(bytes: Uint8Array): Promise<{ txid: Digest }> {
    if (this.#stopping) throw new NodeError("node_stopped", "Cannot take a transaction: the node stops");
    if (this.#halted) throw new NodeError("node_halted", `Cannot take a transaction: the node halted (${this.#halted.code})`);
    return { txid: await this.#intake.submit(bytes) };
  }

  whenFinal(txid: Uint8Array, options: { timeoutMs?: number; signal?: AbortSignal } = {}): Promise<TransactionStatus> {
    const known = this.transaction(txid);
    if (known) return Promise.resolve(known);
    if (this.#stopping) return Promise.reject(new NodeError("node_stopped", "Cannot wait for a transaction: the node stops"));
    return this.#waiters.wait(hex(txid), options);
  }

  head(): Head {
    const { id, height: at, timeMs: time } = this.#head.ref;
    const { moneySecond, stateRoot } = this.#executor.final;
    return { height: at, id, timeMs: time, moneySecond: moneySecond as MoneySecond, stateRoot };
  }
  view(): LedgerView {
    return this.#executor.final;
  }
  moneySecondNow(): MoneySecond {
    return this.#executor.moneySecondAt(timeMs(BigInt(this.#clock.nowMs())));
  }

  block(at: number): BlockRecord | null {
    return this.#final.record(at);
  }
  prove(key: string): Promise<Uint8Array | null> {
    return this.#proofs.prove(key);
  }
  #proofsOf(keys: readonly string[]): Uint8Array[] | null {
    const of = this.#head.proof;
    return of && this.#executor.prove(keys).map((proof) => encodeAnswer({ ...of, proof }));
  }
  newestSnapshot(): Promise<StoredChunks | null> {
    return this.#snapshots.newestChunks(this.#head.ref.height);
  }
  proveEpoch(of: number): Uint8Array | null {
    const kept = this.#folder.epochs.of(of);
    const proven = kept === null ? this.#epochProven(of) : null;
    return kept ?? (proven && encodeEpochAnswer(proven));
  }
  #epochProven(of: number): EpochAnswer | null {
    const next = this.#executor.final.validatorsOf(of + 1)?.map(({ key, weight }) => ({ publicKey: key, weight }));
    const proven = next && this.#final.provenOf(of, this.#rules.epochBlocks);
    return proven ? { ...proven, next } : null;
  }
  transaction(txid: Uint8Array): TransactionStatus | null {
    return this.#final.transaction(txid);
  }
  onFinal(listener: (block: FinalBlock) => void): () => void {
    return this.#head.onFinal(listener);
  }

  // ---- Blocks ----------------------------------------------------------------------------------------------------------------

  #factsNow(): EpochFacts {
    return epochFacts(this.#executor.final, this.chainId, this.#rules.epochBlocks, this.#key)!;
  }

  /** Those of the next epoch too: when it begins they are connected. */
  #nameValidators(): void {
    const { epoch: now } = this.#facts;
    this.#options.transport.setValidators([now, now + 1].flatMap((of) => this.#executor.final.validatorsOf(of) ?? []).map(({ key }) => peerId(key)));
  }

  #commit(held: HeldBlock, finalization: Certificate): void {
    const { ref, block } = held;
    // What sync took first comes a second time from consensus; and of a range that is still under way at a stop nothing can be stored any more.
    if (ref.height <= this.#head.ref.height || this.#stopping !== null) return;
    const { transactions, results } = this.#executor.commit(ref.id);
    this.#head.move(held, finalization);
    const written = this.#final.add(held, encodeCertificate(finalization), transactions, results);
    this.#background(written.then(() => this.#folder.votes?.forget(block.header.epoch, ref.view, this.#folder.blocks.heightDurable)));
    for (const one of block.body.evidence) this.#work.forget(one);
    if (ref.height === this.#facts.lastHeight) {
      this.#facts = this.#factsNow();
      this.#nameValidators();
      this.#consensus.end(finalization);
      this.#background(this.#endEpoch(block.header.epoch));
    }
    this.#snapshots.committed(ref.height);
    this.#held.prune(ref.height, ref.view);
    this.#pool.final(transactions, ref.timeMs);
    this.#beats.final(results.events.some(({ kind }) => kind === "machine" || kind === "registered" || kind === "retired"));
    if (this.#started) this.#tellWaiting();
    if (this.#waiters.count > 0) for (const [index, outcome] of results.outcomes.entries()) this.#waiters.resolve(hex(outcome.txid), statusOf(ref.height, index, outcome));
    this.#head.tell({ height: ref.height, id: ref.id, header: block.header, outcomes: results.outcomes, events: results.events });
  }

  #weightOf(peer: PeerId): number {
    const { validator, set: { validators } } = this.#facts;
    return validators.find(({ publicKey }, index) => index !== validator && peerId(publicKey) === peer)?.weight ?? 0;
  }
  /** The next opening begins anew with a snapshot (join.ts). */
  async #leftBehind(): Promise<void> {
    if (isWhole(this.#options, this.#folder.blocks)) {
      return process.emitWarning("This node was away for longer than its peers keep blocks: it goes on when one that keeps all of them is connected", { code: "godwit_left_behind" });
    }
    await noteLeftBehind(this.#options.directory);
    if (this.#options.onLeftBehind) return this.#options.onLeftBehind();
    process.emitWarning("This node was away for longer than others keep blocks: opened again, it begins with a snapshot", { code: "godwit_left_behind" });
  }

  /** Keeps a header that proves the next set, and prunes: the last epoch's blocks stay, and those since the newest snapshot. */
  async #endEpoch(ended: number): Promise<void> {
    const { blocks, epochs } = this.#folder;
    blocks.roll();
    const proven = this.#epochProven(ended);
    if (proven) await epochs.add(ended, proven);
    if (this.#options.archive !== true) await blocks.prune(Math.min(lastHeightOf(ended, this.#rules.epochBlocks) - this.#rules.epochBlocks + 1, this.#snapshots.heightStored));
  }

  async #takeSynced(blocks: readonly HeldBlock[], finalization: Certificate): Promise<boolean> {
    // The set of the next epoch is known before it begins.
    const facts = finalization.epoch === this.#facts.epoch ? this.#facts : epochFacts(this.#executor.final, this.chainId, this.#rules.epochBlocks, this.#key, finalization.epoch);
    if (!(await this.#work.takeRange(blocks, finalization, facts, (held) => this.#commit(held, finalization)))) return false;
    if (this.#consensus.host.epoch !== this.#facts.epoch) this.#consensus.change();
    // Not the one taken here: another range, asked for as this one was slow, may have come further, and a final block above what finalized it is nonsense.
    else if (this.#head.finalization?.epoch === this.#facts.epoch) this.#consensus.host.synced(this.#head.ref, this.#executor.finalDueMs(), this.#head.finalization);
    return true;
  }

  /** Only of a block whose header is finalized itself: who joins by it needs no block after it. */
  #snapshotNow(): Snapshot | null {
    const { proof, ref: { height: at, id } } = this.#head;
    return proof && { height: at, id, ...proof, image: this.#executor.image(), index: this.#final.dumpIndex() };
  }

  #background(work: Promise<unknown>): void {
    work.catch((error: unknown) => this.#halt(error instanceof NodeError ? error : new NodeError("node_failed", `Cannot go on: ${String(error)}`, { cause: error })));
  }

  #halt(error: NodeError): void {
    if (this.#halted || this.#stopping) return;
    this.#halted = error;
    this.#consensus.host.stop();
    this.#beats.stop();
    this.#sync.stop();
    if (this.#options.onHalt) this.#options.onHalt(error);
    else process.emitWarning(error.message, { code: error.code });
  }
}

/** What identifies a node to its peers: its validator key, or for a node without one any key it likes. */
export const peerIdOf = (seed: Uint8Array): ReturnType<typeof peerId> => peerId(publicKeyOf(seed));
