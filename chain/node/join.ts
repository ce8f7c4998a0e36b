/**
 * A new machine takes the state from its peers, instead of executing the chain from genesis: seconds instead of hours.
 *
 *   1  one peer after the other is asked for its newest snapshot, until one's is taken
 *   2  the sets of validators are followed from genesis, or from the checkpoint that an operator gave: a final block of each epoch, finalized by
 *      its set, names the next one. So a snapshot is as good as that beginning. Nothing of its state is taken before its header is known to be final
 *   3  its chunks come from that peer, several at a time; each proves itself against the header's state root
 *   4  the block and the snapshot are written to the data folder as if this node had made them (joinedFolder.ts); openNode goes on from there
 *
 * Whatever fails leaves the folder as it was: the next peer is tried, and without any the chain is fetched block by block. Not so with a checkpoint:
 * from genesis on would be to believe those whom the checkpoint is there to doubt.
 *
 * A folder that peers have left behind begins anew the same way. It believes from its own newest block on, and not from genesis; a
 * validator keeps its vote log, and signs again at once: what it has signed is all in there.
 */
import { type ValidatorSet, finalizes, validatorSet, validatorsHash } from "#chain/codec/certificate.ts";
import { CodecError } from "#chain/codec/cbor.ts";
import { isSeal } from "#chain/codec/epoch.ts";
import { chainIdOf, decodeGenesis } from "#chain/codec/genesis.ts";
import { type EpochAnswer, decodeEpochAnswer, verifyEpoch } from "#chain/codec/proof.ts";
import { type BlockHeader, type Certificate, bodyRoot } from "#chain/codec/schema.ts";
import { PRESETS } from "#chain/constants.ts";
import { type Part, areAll, verifyChunk } from "#chain/ledger/snapshot.ts";
import { type Checkpoint, checkCheckpoint, checkpointText, setAt } from "#chain/light/checkpoint.ts";
import { limitsOf } from "#chain/light/light.ts";
import { type Clock, systemClock } from "#chain/network/clock.ts";
import type { PeerId, Transport } from "#chain/network/transport.ts";
import { epoch, hex } from "#chain/types.ts";
import { CertificateChecks } from "./certificateChecks.ts";
import { NodeError } from "./errors.ts";
import type { HeldBlock } from "./heldBlocks.ts";
import { writeJoinedState } from "./joinedFolder.ts";
import { CHUNKS_ASKED_AT_ONCE, CHUNK_TIMEOUT_MS, JOIN_BLOCKS_MIN, JOIN_BYTES_MAX, JOIN_WAIT_MS, MORE_PEERS_MS, NEXT_PEER_MS, PEERS_WAIT_MS } from "./limits.ts";
import { type SnapshotMessage, decodeSnapshotMessage, encodeSnapshotMessage } from "./snapshotWire.ts";

export type JoinOptions = {
  readonly directory: string;
  readonly genesis: Uint8Array;
  readonly transport: Transport;
  readonly clock?: Clock;
  /** Where to begin to believe, instead of at genesis. */
  readonly checkpoint?: Checkpoint;
  /** For tests. */
  readonly bytesMax?: number;
};
type Offer = { readonly peer: PeerId; readonly block: HeldBlock; readonly finalization: Certificate; readonly count: number };

/** Of a folder that holds a chain: its newest final block, and whether peers have said that nobody has the one after it. */
export type Kept = { readonly header: BlockHeader; readonly isLeftBehind: boolean };

/**
 * The height at which the folder begins now; null: nothing was done. `kept` is begun anew where peers need not have the block after it: they prune.
 * Throws checkpoint_old, and checkpoint_unknown when no peer leads from the checkpoint to a snapshot, of an empty folder. */
export async function joinFromSnapshot(options: JoinOptions, kept: Kept | null = null): Promise<number | null> {
  const { clock = systemClock } = options;
  const { unbondingMs, epochBlocks, blockIntervalMsMin } = PRESETS[decodeGenesis(options.genesis).parameters];
  // Blocks come no faster: who was away for less has missed less than an epoch, which everybody keeps.
  if (kept !== null && !kept.isLeftBehind && BigInt(clock.nowMs()) - kept.header.timeMs < BigInt(epochBlocks * blockIntervalMsMin)) return null;
  const old = options.checkpoint && checkCheckpoint(options.checkpoint, limitsOf(unbondingMs), BigInt(clock.nowMs()));
  if (old && kept === null) throw new NodeError(old.code, old.message);
  const heightMin = kept === null ? JOIN_BLOCKS_MIN : kept.header.height + (kept.isLeftBehind ? 1 : 2 * epochBlocks);
  const checkpoint = kept === null ? options.checkpoint : newer(kept.header, old ? undefined : options.checkpoint);
  const asking = new Asking(options.transport, clock);
  try {
    for await (const offer of asking.offers()) {
      if (offer.block.ref.height >= heightMin && (await take(options, checkpoint, asking, offer))) return offer.block.ref.height;
    }
    if (checkpoint && kept === null) throw new NodeError("checkpoint_unknown", `Cannot begin at the checkpoint ${checkpointText(checkpoint)}: no peer has a snapshot and the validators that lead there from it`);
    return null;
  } finally {
    asking.stop();
  }
}

/** What this node has seen final, or what its operator names where that is later. */
const newer = ({ epoch: of, timeMs, validatorsHash: hash }: BlockHeader, named: Checkpoint | undefined): Checkpoint =>
  named !== undefined && named.epoch > of ? named : { epoch: of, timeMs, validatorsHash: hash };

async function take({ directory, genesis: genesisBytes, transport, bytesMax = JOIN_BYTES_MAX }: JoinOptions, checkpoint: Checkpoint | undefined, asking: Asking, { peer, block: held, finalization, count }: Offer): Promise<boolean> {
  const genesis = decodeGenesis(genesisBytes);
  const chainId = chainIdOf(genesisBytes);
  const { header, body } = held.block;
  // R14: what finalizes a seal finalizes the block below it; it is no block itself.
  const isBlock = hex(header.chainId) === hex(chainId) && hex(header.bodyRoot) === hex(bodyRoot(body)) && !isSeal(header, PRESETS[genesis.parameters].epochBlocks);
  if (!isBlock || !finalizes(finalization, held.ref.id)) {
    transport.report(peer, "forged");
    return false;
  }
  const founders = validatorSet(chainId, epoch(0), genesis.validators);
  const begin = checkpoint === undefined ? founders : setAt(checkpoint, chainId, checkpoint.epoch === 0 ? founders.validators : ((await asking.epochEnd(peer, checkpoint.epoch - 1))?.next ?? []));
  const set = begin && (await setOf(begin, header, asking, peer));
  // One that joined itself cannot show what was before it: that is no fault.
  if (set === null) return false;
  if (!(await new CertificateChecks(set).holds(finalization))) {
    transport.report(peer, "forged");
    return false;
  }
  const chunks = await asking.chunks(peer, header, count, bytesMax);
  if (chunks === null) return false;
  await writeJoinedState(directory, held, finalization, chunks);
  return true;
}

/** The validators of a header's epoch, followed from those of an earlier one; null when the peer cannot show how they came about. */
async function setOf(begin: ValidatorSet, header: BlockHeader, asking: Asking, peer: PeerId): Promise<ValidatorSet | null> {
  let set = begin;
  while (set.epoch < header.epoch) {
    const answer = await asking.epochEnd(peer, set.epoch);
    const verdict = answer && verifyEpoch(set, answer);
    if (!verdict?.ok) return null;
    set = verdict.next;
  }
  return set.epoch === header.epoch && hex(validatorsHash(set.validators)) === hex(header.validatorsHash) ? set : null;
}

const POLL_MS = 50;

/** Questions to peers and their answers. */
class Asking {
  readonly #transport: Transport;
  readonly #clock: Clock;
  readonly #waiting = new Map<string, (message: SnapshotMessage) => void>();
  readonly #offers: Offer[] = [];
  /** Peers that have answered which snapshot they have, or that they have none. */
  readonly #answered = new Set<PeerId>();
  readonly #asked = new Set<PeerId>();
  readonly #stop: () => void;

  constructor(transport: Transport, clock: Clock) {
    this.#transport = transport;
    this.#clock = clock;
    this.#stop = transport.onMessage((from, channel, bytes) => { if (channel === "sync") this.#receive(from, bytes); });
  }
  stop(): void {
    this.#stop();
  }
  /** One peer after the other is asked, each when nothing came of the one before: it may have to write a snapshot for it, which is work. */
  async *offers(): AsyncGenerator<Offer, void> {
    let [sinceAskedMs, offered] = [0, 0];
    for (let waitedMs = 0; waitedMs < JOIN_WAIT_MS; waitedMs += POLL_MS, sinceAskedMs += POLL_MS) {
      await this.#sleep(POLL_MS);
      for (; offered < this.#offers.length; offered++) yield this.#offers[offered]!;
      const peers = this.#transport.peers();
      const next = peers.find((peer) => !this.#asked.has(peer));
      const isAnswered = [...this.#asked].every((peer) => this.#answered.has(peer) || !peers.includes(peer));
      if (next === undefined && isAnswered && (offered > 0 || waitedMs > (peers.length > 0 ? MORE_PEERS_MS : PEERS_WAIT_MS))) return;
      if (next === undefined || (!isAnswered && sinceAskedMs < NEXT_PEER_MS)) continue;
      this.#asked.add(next);
      sinceAskedMs = 0;
      this.#transport.send(next, "sync", encodeSnapshotMessage({ kind: "whichSnapshot" }));
    }
  }
  /** All of them as they came; each was verified, and so was that they are all. */
  async chunks(peer: PeerId, header: BlockHeader, count: number, bytesMax: number): Promise<Uint8Array[] | null> {
    const found: Uint8Array[] = [];
    const parts: Part[] = [];
    let [next, bytesTotal, isWrong] = [0, 0, false];
    const work = async (): Promise<void> => {
      while (next < count && !isWrong) {
        const index = next++;
        const answer = await this.#ask(peer, `chunk ${header.height} ${index}`, { kind: "wantChunk", height: header.height, index });
        const verdict = answer?.kind === "chunk" ? verifyChunk(header.stateRoot, answer.bytes) : null;
        if (answer?.kind === "chunk") bytesTotal += answer.bytes.length;
        if (answer?.kind === "chunk" && verdict?.ok && bytesTotal <= bytesMax) {
          found[index] = answer.bytes;
          parts[index] = verdict.part;
        } else isWrong = true;
        if (verdict?.ok === false) this.#transport.report(peer, "forged");
      }
    };
    await Promise.all(Array.from({ length: CHUNKS_ASKED_AT_ONCE }, work));
    if (isWrong) return null;
    if (areAll(parts)) return found;
    this.#transport.report(peer, "forged");
    return null;
  }
  async epochEnd(peer: PeerId, of: number): Promise<EpochAnswer | null> {
    const answer = await this.#ask(peer, `epoch ${of}`, { kind: "wantEpoch", epoch: of });
    try {
      return answer?.kind === "epochEnd" ? decodeEpochAnswer(answer.answer) : null;
    } catch (error) {
      if (!(error instanceof CodecError)) throw error;
      this.#transport.report(peer, "malformed");
      return null;
    }
  }

  #ask(peer: PeerId, name: string, message: SnapshotMessage): Promise<SnapshotMessage | null> {
    return new Promise((resolve) => {
      const key = `${peer} ${name}`;
      const done = (answer: SnapshotMessage | null): void => {
        cancel();
        this.#waiting.delete(key);
        resolve(answer);
      };
      const cancel = this.#clock.setTimer(() => done(null), CHUNK_TIMEOUT_MS);
      this.#waiting.set(key, done);
      this.#transport.send(peer, "sync", encodeSnapshotMessage(message));
    });
  }
  #receive(from: PeerId, bytes: Uint8Array): void {
    try {
      const message = decodeSnapshotMessage(bytes);
      // Another that joins at the same time need not wait for this one.
      if (message?.kind === "whichSnapshot") this.#transport.send(from, "sync", encodeSnapshotMessage({ kind: "noSnapshot" }));
      if (message?.kind === "snapshot" || message?.kind === "noSnapshot") this.#answered.add(from);
      if (message?.kind === "snapshot") {
        if (!this.#offers.some(({ peer }) => peer === from)) this.#offers.push({ ...message, peer: from });
      } else if (message?.kind === "chunk") this.#waiting.get(`${from} chunk ${message.height} ${message.index}`)?.(message);
      else if (message?.kind === "epochEnd") this.#waiting.get(`${from} epoch ${message.epoch}`)?.(message);
    } catch (error) {
      if (!(error instanceof CodecError)) throw error;
      this.#transport.report(from, "malformed");
    }
  }
  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => { this.#clock.setTimer(() => resolve(), ms); });
  }
}
