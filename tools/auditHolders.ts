/**
 * The audit's own reckoning of what holders have besides a balance: locked transfers and names. Like `audit.ts` it imports nothing of the ledger: a second
 * reading of the rules (chain/README.md, T1 to T2) from blocks alone.
 */
import { addressText as name } from "#chain/codec/address.ts";
import { lockIdOf, proposalIdOf } from "#chain/codec/holderOperations.ts";
import type { Operation } from "#chain/codec/transaction.ts";
import { type Parameters, withValues } from "#chain/constants.ts";
import { sha256 } from "#chain/crypto.ts";
import type { Address } from "#chain/types.ts";

const DAY_MS = 86_400_000n;
/** Who sent an operation, and what names what it makes. */
export type Origin = { sender: Address; nonce: bigint; at: number };
/** What an operation adds to balances. */
type Flow = [who: string, amount: bigint][];

export class HolderBook {
  readonly #locks = new Map<string, { from: string; to: string; amount: bigint; hash: string; until: bigint }>();
  readonly #names = new Map<string, { owner: string; until: bigint }>();
  readonly #check: (holds: boolean, what: string) => void;

  readonly #rules: Parameters;
  #votes: { id: string; parameter: number; value: bigint; epoch: number; by: Set<string> }[] = [];
  #decided: { parameter: number; value: bigint; epoch: number }[] = [];

  constructor(rules: Parameters, check: (holds: boolean, what: string) => void) {
    this.#rules = rules;
    this.#check = check;
  }

  get locked(): bigint {
    return [...this.#locks.values()].reduce((sum, { amount }) => sum + amount, 0n);
  }

  /** Rent that goes from balances into the fee pool; and that a name is not had twice. */
  rentOf(op: Operation, { sender }: Origin, timeMs: bigint): bigint {
    if (op.kind !== "registerName" && op.kind !== "renewName" && op.kind !== "transferName" && op.kind !== "releaseName" && op.kind !== "pointName") return 0n;
    const held = this.#names.get(op.name);
    const isOver = held === undefined || timeMs >= held.until + 30n * DAY_MS;
    if (op.kind === "registerName") {
      this.#check(isOver, `name ${op.name} was registered, though it has an owner`);
      this.#names.set(op.name, { owner: name(sender), until: timeMs + BigInt(op.years) * 365n * DAY_MS });
      return BigInt(op.years) * this.#rules.nameRentPerYear;
    }
    // What nobody has, anybody may take off the state.
    if (isOver && held !== undefined && op.kind === "releaseName") return (this.#names.delete(op.name), 0n);
    if (isOver) return (this.#check(false, `${op.kind} of name ${op.name}, which nobody has, is said to have worked`), 0n);
    if (op.kind === "renewName") {
      held.until += BigInt(op.years) * 365n * DAY_MS;
      return BigInt(op.years) * this.#rules.nameRentPerYear;
    }
    this.#check(held.owner === name(sender), `${op.kind} of name ${op.name} by another than its owner is said to have worked`);
    if (op.kind === "transferName") held.owner = name(op.to);
    if (op.kind === "releaseName") this.#names.delete(op.name);
    return 0n;
  }

  /** What validators propose and vote for. */
  hear(op: Operation, { sender, nonce, at }: Origin, epoch: number): void {
    if (op.kind === "propose") this.#votes.push({ id: proposalIdOf(sender, nonce, at).toHex(), parameter: op.parameter, value: op.value, epoch, by: new Set([op.validator.toHex()]) });
    if (op.kind === "vote") this.#votes.find(({ id }) => id === op.proposal.toHex())!.by.add(op.validator.toHex());
  }
  /** The end of an epoch: what is decided and due becomes a rule, in the audit's own copy of them. */
  count(epoch: number, weights: ReadonlyMap<string, number>): void {
    for (const one of this.#decided.filter((each) => each.epoch <= epoch + 1)) Object.assign(this.#rules, withValues(this.#rules, [one]));
    this.#decided = this.#decided.filter((each) => each.epoch > epoch + 1);
    const total = [...weights.values()].reduce((sum, one) => sum + one, 0);
    const isPassed = ({ by }: { by: Set<string> }): boolean => [...by].reduce((sum, id) => sum + (weights.get(id) ?? 0), 0) * 3 > total * 2;
    for (const one of this.#votes.toSorted((a, b) => (a.id < b.id ? -1 : 1))) if (isPassed(one)) this.#decided.push({ parameter: one.parameter, value: one.value, epoch: epoch + 1 + this.#rules.delayEpochs });
    this.#votes = this.#votes.filter((one) => !isPassed(one) && epoch + 1 < one.epoch + this.#rules.voteEpochs);
  }

  operate(op: Operation, { sender, nonce, at }: Origin, timeMs: bigint): Flow {
    if (op.kind === "lock") {
      this.#locks.set(lockIdOf(sender, nonce, at).toHex(), { from: name(sender), to: name(op.to), amount: op.amount, hash: op.hash.toHex(), until: op.expiryMs });
      return [[name(sender), -op.amount]];
    }
    if (op.kind !== "claimLock" && op.kind !== "refundLock") return [];
    const id = op.lock.toHex();
    const held = this.#locks.get(id);
    this.#locks.delete(id);
    if (held === undefined) return (this.#check(false, `${op.kind} of lock ${id}, which is not there, is said to have worked`), []);
    if (op.kind === "claimLock") this.#check(timeMs < held.until && sha256(op.preimage).toHex() === held.hash, `lock ${id} was claimed too late, or with another secret`);
    else this.#check(timeMs >= held.until, `lock ${id} was refunded too early`);
    return [[op.kind === "claimLock" ? held.to : held.from, held.amount]];
  }
}
