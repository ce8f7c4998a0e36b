/**
 * What this validator has signed, on the disk before it is sent (R11). The only thing that must never be lost or read wrong:
 * a validator that signs twice is slashed, and more than a third of such can fork the chain.
 *
 *   owner  [0, chainId, publicKey]                 first item; a log is of one key on one chain
 *   vote   [1, epoch, view, kind, id, signed vote]
 *   block  [2, epoch, view, height, id, block]     a block that is voted for, in the same fsync as the vote: when every
 *                                                  machine loses power at once, what was notarized is still somewhere
 *   floor  [3, epoch, view]                        everything up to this view was dropped: nothing is signed there any more
 *   mute   [5, epoch, view]                        R12: nothing is signed up to this view of the epoch, whatever was forgotten
 *   lost   [6]                                     R12: the log before this one is gone: nothing is signed until a mute follows
 *   silence [7, machine, boot id, header time]     liveness L11: the newest suspicion of a machine, or that another boot of it lives
 *   certificate [4, epoch, view, kind, certificate]  what permits a vote, in the same fsync; once per kind and view, and not
 *                                                  for views that are final on the disk
 *
 * `record` refuses whatever contradicts the log, however sure the caller is: one notarize and one finalize per view, never
 * finalize and nullify in one view. Signing the same again is no contradiction and costs no write.
 * Rewriting (`forget`) writes aside, fsyncs, renames, fsyncs the folder: a crash leaves the old log or the new one, whole.
 */
import { stat } from "node:fs/promises";
import { type Cbor, decode, encode } from "#chain/codec/cbor.ts";
import type { Signed } from "#chain/liveness/witness.ts";
import { type ChainId, type Hex, type PublicKey, fromHex, hex } from "#chain/types.ts";
import { NodeError } from "./errors.ts";
import { FrameFile, type FrameFileOptions, replaceFrameFile } from "./frameFile.ts";
import { VOTE_LOG_BYTES_MAX, VOTE_LOG_VIEWS_KEPT } from "./limits.ts";

export const NOTARIZE = 0;
export const NULLIFY = 1;
export const FINALIZE = 2;
export type LoggedVote = { readonly epoch: number; readonly view: number; readonly kind: number; readonly id: Uint8Array; readonly bytes: Uint8Array };
export type LoggedBlock = { readonly epoch: number; readonly view: number; readonly height: number; readonly id: Uint8Array; readonly bytes: Uint8Array };
/** View and kind are the certificate's own: of a finalize vote the same view's, of another the one's before. */
export type LoggedCertificate = { readonly epoch: number; readonly view: number; readonly kind: number; readonly bytes: Uint8Array };
type Floor = { readonly epoch: number; readonly view: number };

export type VoteLogOptions = {
  readonly chainId: ChainId;
  readonly publicKey: PublicKey;
  /** A node that has blocks has a log; without it nobody knows what was signed. */
  readonly mustExist: boolean;
  /** R12: if there is none, there was one, and it is gone. */
  readonly wasLost?: boolean;
  readonly bytesMax?: number;
  readonly sync?: FrameFileOptions["sync"];
};

export class VoteLog {
  readonly path: string;
  readonly #options: VoteLogOptions;
  #file: FrameFile;
  /** By epoch, view and kind. */
  readonly #votes = new Map<string, LoggedVote>();
  readonly #blocks = new Map<string, LoggedBlock>();
  readonly #certificates = new Map<string, LoggedCertificate>();
  #floor: Floor = { epoch: 0, view: 0 };
  /** View of a final block that the block store has on its disk, with its finalization. */
  #durable: Floor = { epoch: 0, view: 0 };
  readonly #mutes = new Map<number, number>();
  /** By machine. */
  readonly #silences = new Map<Hex, Signed>();
  #lost = false;
  #wasLost = false;
  #owned = false;
  #droppedBytes = 0;
  /** Writes and rewrites, one after the other. */
  #turn: Promise<void> = Promise.resolve();

  private constructor(path: string, options: VoteLogOptions) {
    this.path = path;
    this.#options = options;
    this.#file = undefined as unknown as FrameFile;
  }

  static async open(path: string, options: VoteLogOptions): Promise<VoteLog> {
    if (options.mustExist && options.wasLost !== true && !(await exists(path))) {
      throw new NodeError("vote_log_missing", `Cannot open vote log ${path}: the folder has blocks but no log of what this key has signed; bring the log back, or start with a new validator key`);
    }
    const log = new VoteLog(path, options);
    log.#file = await FrameFile.open(path, { onItem: (item) => log.#load(item.bytes), ...(options.sync ? { sync: options.sync } : {}) });
    log.#wasLost = log.#lost;
    if (log.#owned) return log;
    log.#lost ||= options.wasLost === true;
    log.#wasLost = log.#lost;
    // First, and flushed: a log with an owner and without this says that it has forgotten nothing.
    if (log.#lost) await log.#append([encode([6])]);
    await log.#append([encode([0, options.chainId, options.publicKey])]);
    return log;
  }

  get repairedBytes(): number {
    return this.#file.repairedBytes;
  }
  get bytesTotal(): number {
    return this.#file.bytesTotal;
  }
  get floorView(): number {
    return this.#floor.view;
  }
  /** R12: what was signed before is not in here, and nothing may be until `mute`. */
  get isLost(): boolean {
    return this.#lost;
  }
  /** Whether it was so when it was opened. */
  get wasLost(): boolean {
    return this.#wasLost;
  }
  mutedUpTo(epoch: number): number {
    return this.#mutes.get(epoch) ?? 0;
  }
  /** R12: what a quorum has said. In the next epoch the first view is mute too: it may have been signed in already. */
  mute(epoch: number, view: number): Promise<void> {
    this.#mutes.set(epoch, Math.max(view, this.mutedUpTo(epoch)));
    this.#mutes.set(epoch + 1, Math.max(1, this.mutedUpTo(epoch + 1)));
    return this.#next(() => this.#append([encode([5, epoch, view]), encode([5, epoch + 1, 1])])).then(() => { this.#lost = false; });
  }
  votes(): readonly LoggedVote[] {
    return [...this.#votes.values()];
  }
  blocks(): readonly LoggedBlock[] {
    return [...this.#blocks.values()];
  }
  certificates(): readonly LoggedCertificate[] {
    return [...this.#certificates.values()];
  }

  /** What was said of machines and can still be taken, for the witness at its start. */
  silences(): readonly (readonly [Hex, Signed])[] {
    return [...this.#silences];
  }
  /** Resolves when it is on the disk; only then may what says so leave. */
  recordSilence(machine: Hex, signed: Signed): Promise<void> {
    const known = this.#silences.get(machine);
    // Said before: on the disk once what is under way is.
    if (known?.bootId === signed.bootId && known.baseMs === signed.baseMs) return this.#turn;
    if (known) this.#droppedBytes += SILENCE_BYTES;
    this.#silences.set(machine, signed);
    return this.#next(() => this.#append([encodeSilence(machine, signed)]));
  }
  /** What was signed on blocks before this header time is void. */
  forgetSilence(beforeMs: bigint): void {
    for (const [machine, { baseMs }] of this.#silences) {
      if (baseMs >= beforeMs) continue;
      this.#silences.delete(machine);
      this.#droppedBytes += SILENCE_BYTES;
    }
  }

  /** The code of what stands against this vote, or null. */
  refusal(vote: Pick<LoggedVote, "epoch" | "view" | "kind" | "id">): "vote_conflict" | "vote_below_floor" | "vote_muted" | null {
    const of = (kind: number): LoggedVote | undefined => this.#votes.get(voteKey(vote.epoch, vote.view, kind));
    const same = of(vote.kind);
    if (same) return Buffer.compare(same.id, vote.id) === 0 ? null : "vote_conflict";
    if (isUpTo(vote, this.#floor)) return "vote_below_floor";
    if (vote.view <= this.mutedUpTo(vote.epoch)) return "vote_muted";
    if (vote.kind === NULLIFY && of(FINALIZE)) return "vote_conflict";
    if (vote.kind === FINALIZE && of(NULLIFY)) return "vote_conflict";
    const notarized = of(NOTARIZE);
    if (vote.kind === FINALIZE && notarized && Buffer.compare(notarized.id, vote.id) !== 0) return "vote_conflict";
    return null;
  }

  /** Resolves when vote, block and certificate are on the disk; only then may the vote leave. Rejects when it may not be signed. */
  record(vote: LoggedVote, block?: LoggedBlock, certificate?: LoggedCertificate): Promise<void> {
    const code = this.refusal(vote);
    if (code !== null) return Promise.reject(new NodeError(code, `Cannot sign kind ${vote.kind} of view ${vote.view}: the vote log says otherwise`));
    const key = voteKey(vote.epoch, vote.view, vote.kind);
    const items: Uint8Array[] = [];
    if (block && !this.#blocks.has(blockKey(block))) {
      this.#blocks.set(blockKey(block), block);
      items.push(encodeBlock(block));
    }
    if (certificate && !isUpTo(certificate, this.#durable) && !this.#certificates.has(certificateKey(certificate))) {
      this.#certificates.set(certificateKey(certificate), certificate);
      items.push(encodeCertificate(certificate));
    }
    if (!this.#votes.has(key)) {
      this.#votes.set(key, vote);
      items.push(encodeVote(vote));
    }
    // Even a repeated vote waits its turn: its first write may still be under way.
    return this.#next(() => this.#append(items));
  }

  /**
   * Drops what is final and in the block store, on its disk, up to this view and height: votes VOTE_LOG_VIEWS_KEPT views below,
   * blocks and certificates at once, for the store has the blocks and a finalization.
   */
  forget(epoch: number, viewFinal: number, heightDurable: number): Promise<void> {
    if (!isUpTo({ epoch, view: viewFinal }, this.#durable)) this.#durable = { epoch, view: viewFinal };
    const floor = { epoch, view: Math.max(0, viewFinal - VOTE_LOG_VIEWS_KEPT) };
    if (!isUpTo(floor, this.#floor)) this.#floor = floor;
    for (const of of this.#mutes.keys()) if (of < epoch) this.#mutes.delete(of);
    for (const [key, vote] of this.#votes) if (isUpTo(vote, this.#floor)) this.#drop(this.#votes, key, vote.bytes);
    for (const [key, block] of this.#blocks) if (block.height <= heightDurable) this.#drop(this.#blocks, key, block.bytes);
    for (const [key, certificate] of this.#certificates) if (isUpTo(certificate, this.#durable)) this.#drop(this.#certificates, key, certificate.bytes);
    const bytes = this.#file.bytesTotal;
    if (bytes < (this.#options.bytesMax ?? VOTE_LOG_BYTES_MAX) || this.#droppedBytes * 2 < bytes) return Promise.resolve();
    this.#droppedBytes = 0;
    return this.#next(() => this.#rewrite());
  }

  async close(): Promise<void> {
    await this.#turn.catch(() => undefined);
    await this.#file.close();
  }

  #drop<T>(map: Map<string, T>, key: string, bytes: Uint8Array): void {
    map.delete(key);
    this.#droppedBytes += bytes.length + ITEM_OVERHEAD_BYTES;
  }

  #next(work: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(work);
    this.#turn = turn;
    turn.catch(() => undefined);
    return turn;
  }

  async #append(items: readonly Uint8Array[]): Promise<void> {
    await Promise.all(items.map((item) => this.#file.append(item)));
  }

  async #rewrite(): Promise<void> {
    const { chainId, publicKey, sync } = this.#options;
    const items = [encode([0, chainId, publicKey]), encode([3, this.#floor.epoch, this.#floor.view])];
    if (this.#lost) items.push(encode([6]));
    for (const [epoch, view] of this.#mutes) items.push(encode([5, epoch, view]));
    for (const [machine, signed] of this.#silences) items.push(encodeSilence(machine, signed));
    for (const block of this.#blocks.values()) items.push(encodeBlock(block));
    for (const certificate of this.#certificates.values()) items.push(encodeCertificate(certificate));
    for (const vote of this.#votes.values()) items.push(encodeVote(vote));
    await this.#file.close();
    await replaceFrameFile(this.path, items);
    this.#file = await FrameFile.open(this.path, { onItem: () => undefined, ...(sync ? { sync } : {}) });
  }

  #load(item: Uint8Array): void {
    const [kind, ...fields] = decode(item) as [number, ...Cbor[]];
    switch (kind) {
      case 0: {
        const [chain, key] = fields as [Uint8Array, Uint8Array];
        if (Buffer.compare(chain, this.#options.chainId) !== 0 || Buffer.compare(key, this.#options.publicKey) !== 0) {
          throw new NodeError("vote_log_other_key", `Cannot open vote log ${this.path}: it belongs to validator key ${key.toHex()} on chain ${chain.toHex()}`);
        }
        this.#owned = true;
        break;
      }
      case 1: {
        const [epoch, view, voteKind, id, bytes] = fields as [number, number, number, Uint8Array, Uint8Array];
        const vote = { epoch, view, kind: voteKind, id, bytes };
        if (this.refusal(vote) === "vote_conflict") throw new NodeError("vote_conflict", `Cannot open vote log ${this.path}: it holds two votes against each other in view ${view}`);
        this.#votes.set(voteKey(epoch, view, voteKind), vote);
        break;
      }
      case 2: {
        const [epoch, view, height, id, bytes] = fields as [number, number, number, Uint8Array, Uint8Array];
        const block = { epoch, view, height, id, bytes };
        this.#blocks.set(blockKey(block), block);
        break;
      }
      case 3: {
        const [epoch, view] = fields as [number, number];
        this.#floor = { epoch, view };
        break;
      }
      case 4: {
        const [epoch, view, certificateKind, bytes] = fields as [number, number, number, Uint8Array];
        const certificate = { epoch, view, kind: certificateKind, bytes };
        this.#certificates.set(certificateKey(certificate), certificate);
        break;
      }
      case 5: {
        const [epoch, view] = fields as [number, number];
        this.#mutes.set(epoch, Math.max(view, this.mutedUpTo(epoch)));
        this.#lost = false;
        break;
      }
      case 7: {
        const [machine, boot, baseMs] = fields as [Uint8Array, Uint8Array, number | bigint];
        this.#silences.set(hex(machine), { bootId: hex(boot), baseMs: BigInt(baseMs) });
        break;
      }
      case 6:
        this.#lost = true;
        break;
      default:
        throw new NodeError("record_corrupt", `Cannot open vote log ${this.path}: there is no item of kind ${String(kind)}`);
    }
  }
}

/** Frame and item headers, and the fields around the bytes of a vote, a block or a certificate: about this much. */
const ITEM_OVERHEAD_BYTES = 64;
const SILENCE_BYTES = 64;
/** Whether it is of an earlier epoch, or of an earlier view or the same. */
const isUpTo = (at: Floor, limit: Floor): boolean => at.epoch < limit.epoch || (at.epoch === limit.epoch && at.view <= limit.view);
const voteKey = (epoch: number, view: number, kind: number): string => `${epoch}/${view}/${kind}`;
const blockKey = (block: LoggedBlock): string => `${block.epoch}/${block.view}/${block.id.toHex()}`;
const certificateKey = ({ epoch, view, kind }: LoggedCertificate): string => `${epoch}/${view}/${kind}`;
const encodeVote = ({ epoch, view, kind, id, bytes }: LoggedVote): Uint8Array => encode([1, epoch, view, kind, id, bytes]);
const encodeSilence = (machine: Hex, { bootId, baseMs }: Signed): Uint8Array => encode([7, fromHex(machine), fromHex(bootId), baseMs]);
const encodeBlock = ({ epoch, view, height, id, bytes }: LoggedBlock): Uint8Array => encode([2, epoch, view, height, id, bytes]);
const encodeCertificate = ({ epoch, view, kind, bytes }: LoggedCertificate): Uint8Array => encode([4, epoch, view, kind, bytes]);

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch {
    return false;
  }
}
