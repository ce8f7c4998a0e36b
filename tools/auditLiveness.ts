/**
 * The audit's own verdicts: which machines go down in a block, which come up, and from which second on what ran there is not paid.
 * Like `audit.ts` it imports nothing of the ledger, nor of `chain/liveness`: a second reading of L3 to L7 and L12 from blocks alone.
 */
import { addressOf } from "#chain/codec/address.ts";
import { encode } from "#chain/codec/cbor.ts";
import { type Moment, beatHolds, openSuspicion, openUpAcknowledgement, suspicionHolds, upAcknowledgementHolds } from "#chain/codec/liveness.ts";
import type { Operation } from "#chain/codec/transaction.ts";
import { hashWithDomain } from "#chain/crypto.ts";
import type { Address, ChainId, PublicKey } from "#chain/types.ts";

type Seat = { readonly publicKey: PublicKey; readonly weight: number };
type Block = { readonly height: number; readonly timeMs: bigint; readonly second: bigint };
type Machine = { readonly key: PublicKey; boot: string; isDown: boolean; since: number; validator: string | null };
type Word = { readonly witness: string; readonly base: number; readonly at: Moment; readonly number: number; readonly names: number };
export type Silenced = { readonly machine: string; readonly end: bigint };
const idOf = ({ publicKey }: Seat): string => addressOf(publicKey).toHex();

export class WitnessBook {
  readonly #chainId: ChainId;
  readonly #epochBlocks: number;
  readonly #seatsOf: (epoch: number) => readonly Seat[];
  readonly #machines = new Map<string, Machine>();
  #blocks: Block[];
  #sinceMs: bigint;

  constructor(chainId: ChainId, epochBlocks: number, genesisMs: bigint, seatsOf: (epoch: number) => readonly Seat[]) {
    [this.#chainId, this.#epochBlocks, this.#seatsOf, this.#sinceMs] = [chainId, epochBlocks, seatsOf, genesisMs];
    this.#blocks = [{ height: 0, timeMs: genesisMs, second: 0n }];
  }

  note(height: number, timeMs: bigint, second: bigint): void {
    if (height % this.#epochBlocks === 1) this.#sinceMs = this.#blocks.at(-1)!.timeMs;
    this.#blocks.push({ height, timeMs, second });
    while (this.#blocks.length > 8 && this.#blocks[0]!.timeMs < timeMs - 40_000n) this.#blocks.shift();
  }
  register(key: PublicKey): void {
    const id = addressOf(key).toHex();
    if (!this.#machines.has(id)) this.#machines.set(id, { key, boot: "00".repeat(16), isDown: true, since: this.#now.height, validator: null });
  }
  retire(machine: Address): void {
    this.#machines.delete(machine.toHex());
  }

  /** The end of what ran there; null: nothing ends by it. `onFalse` hears of one that too few witnesses speak for. */
  up({ bootId, consensusKey, acknowledgements }: Extract<Operation, { kind: "up" }>, sender: Address, onFalse: () => void): bigint | null {
    const machine = this.#machines.get(sender.toHex())!;
    const boot = bootId.toHex();
    if (!machine.isDown && machine.boot === boot) return null;
    const validator = consensusKey === null ? null : addressOf(consensusKey).toHex();
    const seats = this.#seatsOf(this.#epoch);
    const isOwn = seats.length === 1 && idOf(seats[0]!) === validator;
    const ran = !machine.isDown;
    const end = isOwn ? this.#blocks.at(-2)!.second : this.#attested(machine, sender.toHex(), boot, validator, acknowledgements, onFalse);
    Object.assign(machine, { boot, validator, isDown: false, since: this.#now.height });
    return ran ? end : null;
  }

  #attested(machine: Machine, id: string, boot: string, validator: string | null, sealed: readonly Uint8Array[], onFalse: () => void): bigint {
    const words = sealed.map((bytes) => openUpAcknowledgement(this.#chainId, bytes)).filter((opened) => {
      const { statement: { machine: of, bootId, witness, height, base, before } } = opened;
      const key = this.#keyOf(witness);
      return of === id && bootId === boot && height >= machine.since && this.#isFresh(base) && key !== null && upAcknowledgementHolds(opened, key) && (before.beat === null || beatHolds(this.#chainId, before.beat, machine.key));
    }).map(({ statement }) => statement);
    const set = this.#sets(validator).find((one) => 3 * weigh(one, words.map(({ witness }) => witness)) >= 2 * weigh(one, [...one.keys()]));
    if (!set) {
      onFalse();
      return this.#now.second;
    }
    const before = words.filter(({ witness, before: { bootId } }) => set.has(witness) && bootId === machine.boot);
    const heard = before.filter((one) => one.before.beat !== null);
    const vouching = heard.length > 0 ? heard : before;
    const newest = vouching.toSorted((a, b) => (b.before.beat?.number ?? 0) - (a.before.beat?.number ?? 0))[0];
    if (!newest) return this.#now.second;
    const timed = vouching.map((one) => ({ witness: one.witness, second: this.#secondOf(one.before.at) })).toSorted((a, b) => Number(b.second - a.second));
    const whole = weigh(set, [...set.keys()]);
    const attested = timed.find((_, at) => 3 * weigh(set, timed.slice(0, at + 1).map(({ witness }) => witness)) > whole) ?? timed.at(-1)!;
    return this.#between(attested.second, newest.before.beat?.height ?? machine.since);
  }

  /** Machines that these take down; `onFalse` hears of one that does not hold. */
  silence(sealed: readonly Uint8Array[], onFalse: () => void): Silenced[] {
    const words = new Map<string, Word[]>();
    for (const bytes of sealed) {
      const opened = openSuspicion(this.#chainId, bytes);
      const { witness, machine: id, bootId, beat, at, base } = opened.statement;
      const [key, machine] = [this.#keyOf(witness), this.#machines.get(id)];
      const holds = key !== null && machine !== undefined && suspicionHolds(opened, key) && (beat === null || beatHolds(this.#chainId, beat, machine.key))
        && bootId === machine.boot && !machine.isDown && base >= machine.since && this.#isFresh(base);
      if (holds) words.set(id, [...(words.get(id) ?? []), { witness, base, at, number: beat?.number ?? 0, names: beat?.height ?? machine.since }]);
      else onFalse();
    }
    return [...words].toSorted(([a], [b]) => (a < b ? -1 : 1)).flatMap(([id, all]) => {
      const machine = this.#machines.get(id)!;
      const set = this.#sets(machine.validator).find((one) => 3 * weigh(one, all.map(({ witness }) => witness)) > 2 * weigh(one, [...one.keys()]));
      if (!set || new Set(all.map(({ number }) => number)).size !== 1) {
        onFalse();
        return [];
      }
      Object.assign(machine, { isDown: true, since: this.#now.height });
      return [{ machine: id, end: this.#between(this.#median(set, all), Math.min(...all.map(({ names }) => names))) }];
    });
  }

  /** Half of the weight that spoke says this second or an earlier one. */
  #median(set: ReadonlyMap<string, number>, words: readonly Word[]): bigint {
    const timed = words.map(({ witness, at }) => ({ witness, second: this.#secondOf(at) })).toSorted((a, b) => Number(a.second - b.second));
    const whole = weigh(set, timed.map(({ witness }) => witness));
    return timed.find((_, at) => 2 * weigh(set, timed.slice(0, at + 1).map(({ witness }) => witness)) >= whole)!.second;
  }

  get #now(): Block {
    return this.#blocks.at(-1)!;
  }
  get #epoch(): number {
    return Math.floor((this.#now.height - 1) / this.#epochBlocks);
  }
  #sets(own: string | null): ReadonlyMap<string, number>[] {
    const epochs = this.#epoch > 0 && this.#now.timeMs - this.#sinceMs < 20_000n ? [this.#epoch, this.#epoch - 1] : [this.#epoch];
    return epochs.map((epoch) => {
      const drawn = this.#seatsOf(epoch).map((seat) => ({ id: idOf(seat), weight: seat.weight }));
      const draw = (id: string): string => hashWithDomain("witnesses", encode([this.#chainId, epoch, Uint8Array.fromHex(id)])).toHex();
      const chosen = drawn.length <= 20 ? drawn : drawn.toSorted((a, b) => (draw(a.id) < draw(b.id) ? -1 : 1)).slice(0, 20);
      return new Map(chosen.filter(({ id }) => id !== own || chosen.length === 1).map(({ id, weight }) => [id, weight]));
    });
  }
  #keyOf(witness: string): PublicKey | null {
    const seats = [this.#epoch, this.#epoch - 1].flatMap((epoch) => (epoch < 0 ? [] : this.#seatsOf(epoch)));
    return seats.find((seat) => idOf(seat) === witness)?.publicKey ?? null;
  }
  #isFresh(base: number): boolean {
    const block = this.#blocks.find(({ height }) => height === base);
    return block !== undefined && this.#now.timeMs - block.timeMs <= 10_000n;
  }
  #at(height: number): number {
    return Math.max(0, this.#blocks.findLastIndex((block) => block.height <= height));
  }
  #secondOf({ height, sinceMs }: Moment): bigint {
    const at = this.#at(height);
    const [{ timeMs, second }, next] = [this.#blocks[at]!, this.#blocks[at + 1] ?? this.#now];
    const reckoned = second + BigInt(Math.floor((Number(timeMs % 1000n) + sinceMs) / 1000));
    return reckoned < next.second ? reckoned : next.second;
  }
  #between(second: bigint, height: number): bigint {
    const named = this.#blocks[this.#at(height)]!.second;
    const raised = second < named ? named : second;
    return raised < this.#now.second ? raised : this.#now.second;
  }
}

function weigh(set: ReadonlyMap<string, number>, witnesses: readonly string[]): number {
  let sum = 0;
  for (const witness of new Set(witnesses)) sum += set.get(witness) ?? 0;
  return sum;
}
