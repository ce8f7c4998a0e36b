/**
 * The audit's own reckoning of stake: who validates in which epoch, what each is paid, who is jailed, what is slashed and given
 * back. Like `audit.ts` it imports nothing of the ledger: a second reading of the rules (chain/README.md, E1 to E6) from blocks alone.
 */
import { addressOf, parseAddress, addressText as name } from "#chain/codec/address.ts";
import { accusedOf, decodeEvidence } from "#chain/codec/evidence.ts";
import { delegationIdOf } from "#chain/codec/holderOperations.ts";
import type { GenesisValidator } from "#chain/codec/genesis.ts";
import type { BlockHeader } from "#chain/codec/schema.ts";
import type { Operation } from "#chain/codec/transaction.ts";
import { type Parameters, STAKE_PER_WEIGHT } from "#chain/constants.ts";
import { type Address, type PublicKey, address } from "#chain/types.ts";

type Stake = { key: PublicKey; id: string; operator: string; state: "active" | "jailed" | "tombstoned"; bonded: bigint; leaving: { amount: bigint; ms: bigint; epoch: number }[]; bps: bigint; others: Shared; going: Shared };
/** Money of many, and the parts it is cut in. */
type Shared = { money: bigint; parts: bigint };
type Behind = { id: string; validator: string; delegator: string; parts: bigint; going: { parts: bigint; ms: bigint; epoch: number }[] };
/** What the chain makes of what is delegated: what others have, at most ten times the operator's own. */
const heft = ({ bonded, others: { money } }: Stake): bigint => bonded + (money < bonded * 10n ? money : bonded * 10n);
type Seat = { publicKey: PublicKey; weight: number; operator: string };

export class StakeBook {
  /** By epoch. */
  readonly sets: Map<number, readonly Seat[]> = new Map();
  readonly #stakes = new Map<string, Stake>();
  readonly #behind = new Map<string, Behind>();
  readonly #rules: Parameters;
  #epoch = 0;
  #blocks = 0;
  #signed = new Map<number, number>();
  #proposers = new Set<number>();

  constructor(validators: readonly GenesisValidator[], rules: Parameters) {
    this.#rules = rules;
    const seats = validators.map(({ publicKey, weight, operator }): Seat => ({ publicKey, weight, operator: name(operator) }));
    for (const epoch of [0, 1]) this.sets.set(epoch, seats);
    for (const { publicKey: key, weight, operator } of seats) this.#put({ key, id: addressOf(key).toHex(), operator, state: "active", bonded: BigInt(weight) * STAKE_PER_WEIGHT, ...alone() });
  }

  get epoch(): number {
    return this.#epoch;
  }
  /** Of this epoch's set, by validator. */
  get weights(): Map<string, number> {
    return new Map(this.sets.get(this.#epoch)!.map(({ publicKey, weight }) => [addressOf(publicKey).toHex(), weight]));
  }
  get total(): bigint {
    let sum = 0n;
    for (const { bonded, leaving, others, going } of this.#stakes.values()) for (const amount of [bonded, others.money, going.money, ...leaving.map((one) => one.amount)]) sum += amount;
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
      const stake = this.#stakes.get(id) ?? this.#put({ key: op.consensusKey, id, operator: sender, state: "active", bonded: 0n, ...alone() });
      stake.bonded += op.amount;
      return op.amount;
    }
    if (op.kind === "delegate" || op.kind === "undelegate") return this.#lend(op, sender, timeMs);
    if (op.kind === "setCommission") this.#stakes.get(op.validator.toHex())!.bps = BigInt(op.bps);
    const stake = "validator" in op ? this.#stakes.get(op.validator.toHex()) : undefined;
    if (stake && op.kind === "unbond") {
      stake.bonded -= op.amount;
      stake.leaving.push({ amount: op.amount, ms: timeMs + this.#rules.unbondingMs, epoch: this.#epoch + 3 });
    }
    if (stake && op.kind === "unjail") stake.state = "active";
    return 0n;
  }

  #lend(op: Extract<Operation, { kind: "delegate" | "undelegate" }>, delegator: string, timeMs: bigint): bigint {
    const stake = this.#stakes.get(op.validator.toHex())!;
    const id = delegationIdOf(op.validator, parseAddress(delegator)!).toHex();
    const behind = this.#behind.get(id) ?? { id, validator: stake.id, delegator, parts: 0n, going: [] };
    this.#behind.set(id, behind);
    if (op.kind === "delegate") {
      behind.parts += enter(stake.others, op.amount);
      return op.amount;
    }
    behind.parts -= op.shares;
    behind.going.push({ parts: enter(stake.going, leave(stake.others, op.shares)), ms: timeMs + this.#rules.unbondingMs, epoch: this.#epoch + 3 });
    return 0n;
  }

  /** Who took delegated tokens back, and whose time is over: the first 32 of all who wait, by time. */
  release(timeMs: bigint): [delegator: string, amount: bigint][] {
    const first = (one: Behind): bigint => one.going[0]!.ms;
    const waiting = [...this.#behind.values()].filter(({ going }) => going.length > 0).sort((a, b) => (first(a) === first(b) ? (a.id < b.id ? -1 : 1) : first(a) < first(b) ? -1 : 1));
    return waiting.slice(0, 32).map((behind) => {
      const due = behind.going.filter(({ ms, epoch }) => ms <= timeMs && epoch <= this.#epoch);
      behind.going = behind.going.filter((one) => !due.includes(one));
      return [behind.delegator, due.reduce((sum, { parts }) => sum + leave(this.#stakes.get(behind.validator)!.going, parts), 0n)];
    });
  }

  /** Whom evidence accuses: taken to hold, as a block with such that does not is invalid. */
  punish(encoded: Uint8Array, reporter: string | null): { reporter: string | null; reward: bigint; burnt: bigint } {
    const { epoch, validator } = accusedOf(decodeEvidence(encoded));
    const { reward, burnt } = this.slash(addressOf(this.sets.get(epoch)![validator]!.publicKey).toHex());
    return reporter === null ? { reporter, reward: 0n, burnt: reward + burnt } : { reporter, reward, burnt };
  }
  operatorOfValidator(id: string): string | undefined {
    return this.#stakes.get(id)?.operator;
  }
  sharesOf(validator: string, delegator: Address): bigint {
    return this.#behind.get(delegationIdOf(address(Uint8Array.fromHex(validator)), delegator).toHex())?.parts ?? 0n;
  }
  operatorOf(index: number): string | null {
    return this.sets.get(this.#epoch)![index]?.operator ?? null;
  }

  /** A twentieth of each amount is gone: what the reporter gets, and what is burnt. */
  slash(id: string): { reward: bigint; burnt: bigint } {
    const stake = this.#stakes.get(id)!;
    let cut = stake.bonded / 20n;
    stake.bonded -= stake.bonded / 20n;
    for (const shared of [stake.others, stake.going]) {
      cut += shared.money / 20n;
      shared.money -= shared.money / 20n;
    }
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
      if (!stake || stake.others.money === 0n) continue;
      const part = (((paid[index]![1] * stake.others.money) / (stake.bonded + stake.others.money)) * (10_000n - stake.bps)) / 10_000n;
      stake.others.money += part;
      paid[index]![1] -= part;
    }
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
    able.sort((a, b) => (heft(a) === heft(b) ? (a.id < b.id ? -1 : 1) : heft(a) < heft(b) ? 1 : -1));
    const seats = able.slice(0, this.#rules.validatorsMax);
    const fits = seats.reduce((sum, one) => sum + heft(one), 0n) / (2n ** 31n - 1n) + 1n;
    const unit = fits > STAKE_PER_WEIGHT ? fits : STAKE_PER_WEIGHT;
    const chosen = seats.map((one): Seat => ({ publicKey: one.key, operator: one.operator, weight: Number(heft(one) / unit) })).filter(({ weight }) => weight > 0);
    this.sets.set(this.#epoch + 2, chosen.length > 0 ? chosen : this.sets.get(this.#epoch + 1)!);
    this.#epoch += 1;
    [this.#blocks, this.#signed, this.#proposers] = [0, new Map(), new Set()];
  }

  #put(stake: Stake): Stake {
    this.#stakes.set(stake.id, stake);
    return stake;
  }
}

const alone = (): Pick<Stake, "leaving" | "bps" | "others" | "going"> => ({ leaving: [], bps: 1_000n, others: { money: 0n, parts: 0n }, going: { money: 0n, parts: 0n } });
/** Parts for money, rounded down; the first gets one each. */
function enter(shared: Shared, money: bigint): bigint {
  const parts = shared.parts === 0n ? money : (money * shared.parts) / shared.money;
  [shared.money, shared.parts] = [shared.money + money, shared.parts + parts];
  return parts;
}
/** Money for parts, rounded down; all parts get all of it. */
function leave(shared: Shared, parts: bigint): bigint {
  const money = shared.parts === 0n ? 0n : (shared.money * parts) / shared.parts;
  [shared.money, shared.parts] = [shared.money - money, shared.parts - parts];
  return money;
}
