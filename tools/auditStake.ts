/**
 * The audit's own reckoning of stake: who validates in which epoch, what each is paid, who is jailed, what is slashed and given
 * back. Like `audit.ts` it imports nothing of the ledger: a second reading of the rules (chain/README.md, E1 to E6) from blocks alone.
 */
import { addressOf, addressText as name } from "#chain/codec/address.ts";
import { accusedOf, decodeEvidence } from "#chain/codec/evidence.ts";
import type { GenesisValidator } from "#chain/codec/genesis.ts";
import type { BlockHeader } from "#chain/codec/schema.ts";
import type { Operation } from "#chain/codec/transaction.ts";
import { type Parameters, STAKE_PER_WEIGHT } from "#chain/constants.ts";
import type { PublicKey } from "#chain/types.ts";

type Stake = { key: PublicKey; id: string; operator: string; state: "active" | "jailed" | "tombstoned"; bonded: bigint; leaving: { amount: bigint; ms: bigint; epoch: number }[] };
type Seat = { publicKey: PublicKey; weight: number; operator: string };

export class StakeBook {
  /** By epoch. */
  readonly sets: Map<number, readonly Seat[]> = new Map();
  readonly #stakes = new Map<string, Stake>();
  readonly #rules: Parameters;
  #epoch = 0;
  #blocks = 0;
  #signed = new Map<number, number>();
  #proposers = new Set<number>();

  constructor(validators: readonly GenesisValidator[], rules: Parameters) {
    this.#rules = rules;
    const seats = validators.map(({ publicKey, weight, operator }): Seat => ({ publicKey, weight, operator: name(operator) }));
    for (const epoch of [0, 1]) this.sets.set(epoch, seats);
    for (const { publicKey: key, weight, operator } of seats) this.#put({ key, id: addressOf(key).toHex(), operator, state: "active", bonded: BigInt(weight) * STAKE_PER_WEIGHT, leaving: [] });
  }

  get total(): bigint {
    let sum = 0n;
    for (const { bonded, leaving } of this.#stakes.values()) for (const amount of [bonded, ...leaving.map((one) => one.amount)]) sum += amount;
    return sum;
  }

  /** Who signed the parent, bit by bit. The first block of an epoch tells of the epoch before, and counts for nobody. */
  note({ height, parentBitmap, proposer }: BlockHeader): void {
    this.#proposers.add(proposer);
    const seats = this.sets.get(this.#epoch)!.length;
    const bits = [...parentBitmap].flatMap((byte, at) => [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => (byte >> bit) & 1).map((bit) => at * 8 + bit));
    if (height % this.#rules.epochBlocks === 1 || parentBitmap.length !== Math.ceil(seats / 8) || bits.some((index) => index >= seats)) return;
    this.#blocks += 1;
    for (const index of bits) this.#signed.set(index, (this.#signed.get(index) ?? 0) + 1);
  }

  /** What an operation takes from its sender's balance. */
  operate(op: Operation, sender: string, timeMs: bigint): bigint {
    if (op.kind === "bond") {
      const id = addressOf(op.consensusKey).toHex();
      const stake = this.#stakes.get(id) ?? this.#put({ key: op.consensusKey, id, operator: sender, state: "active", bonded: 0n, leaving: [] });
      stake.bonded += op.amount;
      return op.amount;
    }
    const stake = "validator" in op ? this.#stakes.get(op.validator.toHex()) : undefined;
    if (stake && op.kind === "unbond") {
      stake.bonded -= op.amount;
      stake.leaving.push({ amount: op.amount, ms: timeMs + this.#rules.unbondingMs, epoch: this.#epoch + 3 });
    }
    if (stake && op.kind === "unjail") stake.state = "active";
    return 0n;
  }

  /** Whom evidence accuses: taken to hold, as a block with such that does not is invalid. */
  punish(encoded: Uint8Array, reporter: string | null): { reporter: string | null; reward: bigint; burnt: bigint } {
    const { epoch, validator } = accusedOf(decodeEvidence(encoded));
    const { reward, burnt } = this.slash(addressOf(this.sets.get(epoch)![validator]!.publicKey).toHex());
    return reporter === null ? { reporter, reward: 0n, burnt: reward + burnt } : { reporter, reward, burnt };
  }
  operatorOf(index: number): string | null {
    return this.sets.get(this.#epoch)![index]?.operator ?? null;
  }

  /** A twentieth of each amount is gone: what the reporter gets, and what is burnt. */
  slash(id: string): { reward: bigint; burnt: bigint } {
    const stake = this.#stakes.get(id)!;
    let cut = stake.bonded / 20n;
    stake.bonded -= stake.bonded / 20n;
    for (const one of stake.leaving) {
      cut += one.amount / 20n;
      one.amount -= one.amount / 20n;
    }
    stake.state = "tombstoned";
    return { reward: cut / 10n, burnt: cut - cut / 10n };
  }

  /** After the last block of an epoch: what each operator gets, and how much of that is from the pool. */
  end(height: number, timeMs: bigint, pool: bigint): { paid: [operator: string, amount: bigint][]; fromPool: bigint } {
    if (height % this.#rules.epochBlocks !== 0) return { paid: [], fromPool: 0n };
    const seats = this.sets.get(this.#epoch)!;
    const points = seats.map(({ weight }, index) => BigInt(weight * (this.#signed.get(index) ?? 0)));
    const all = points.reduce((sum, one) => sum + one, 0n);
    const paid = seats.map(({ operator }, index): [string, bigint] => [operator, all === 0n ? 0n : (pool * points[index]!) / all]);
    const fromPool = paid.reduce((sum, [, amount]) => sum + amount, 0n);
    for (const [index, { publicKey }] of seats.entries()) {
      const stake = this.#stakes.get(addressOf(publicKey).toHex());
      if (stake?.state === "active" && !this.#proposers.has(index) && (this.#signed.get(index) ?? 0) * 2 < this.#blocks) stake.state = "jailed";
    }
    for (const stake of this.#stakes.values()) {
      const due = stake.leaving.filter(({ ms, epoch }) => ms <= timeMs && epoch <= this.#epoch + 1);
      for (const { amount } of due) paid.push([stake.operator, amount]);
      stake.leaving = stake.leaving.filter((one) => !due.includes(one));
    }
    this.#next();
    return { paid, fromPool };
  }

  #next(): void {
    const able = [...this.#stakes.values()].filter(({ state, bonded }) => state === "active" && bonded >= STAKE_PER_WEIGHT);
    able.sort((a, b) => (a.bonded === b.bonded ? (a.id < b.id ? -1 : 1) : a.bonded < b.bonded ? 1 : -1));
    const seats = able.slice(0, this.#rules.validatorsMax);
    const fits = seats.reduce((sum, { bonded }) => sum + bonded, 0n) / (2n ** 31n - 1n) + 1n;
    const unit = fits > STAKE_PER_WEIGHT ? fits : STAKE_PER_WEIGHT;
    const chosen = seats.map(({ key, operator, bonded }): Seat => ({ publicKey: key, operator, weight: Number(bonded / unit) })).filter(({ weight }) => weight > 0);
    this.sets.set(this.#epoch + 2, chosen.length > 0 ? chosen : this.sets.get(this.#epoch + 1)!);
    this.#epoch += 1;
    [this.#blocks, this.#signed, this.#proposers] = [0, new Map(), new Set()];
  }

  #put(stake: Stake): Stake {
    this.#stakes.set(stake.id, stake);
    return stake;
  }
}
