/**
 * Who may send what, for the audit: that each transaction of a block is its sender's, for this chain, the next one and in time, and that what it is said to
 * have done was the sender's to do. A second reading of the rules (chain/README.md, L3, L6 and those of each operation) from blocks alone: nothing here is
 * the ledger's. On trust: what a key with a limit may still spend, and on which machine a lease was placed before that is ready.
 */
import { addressOf, addressText as name } from "#chain/codec/address.ts";
import { mayDo, scopeOf } from "#chain/codec/scopes.ts";
import { type DecodedTransaction, type Operation, machineProofMessage } from "#chain/codec/transaction.ts";
import type { Parameters } from "#chain/constants.ts";
import { verify } from "#chain/crypto.ts";
import type { Address, ChainId, PublicKey } from "#chain/types.ts";

type Key = { readonly key: PublicKey; readonly scopes: number; readonly expiryMs: bigint };
type Keys = { readonly keys: readonly Key[]; readonly threshold: number };
type Account = { nonce: bigint; now: Keys; before: Keys | null };
/** Of the deployment that an operation names: who owns it, where its leases run, and whether it has rested for so long that anybody may close it. */
export type Target = { readonly owner: string; readonly running: readonly { readonly index: number; readonly machine: string; readonly operator: string }[]; readonly isAbandoned: boolean };
type Names = {
  readonly machineOperator: (machine: string) => string | undefined;
  readonly validatorOperator: (validator: string) => string | undefined;
  readonly sharesOf: (validator: string, delegator: Address) => bigint;
};

const ALL: Pick<Key, "scopes" | "expiryMs"> = { scopes: 0xffff_ffff, expiryMs: 2n ** 64n - 1n };
const OWNERS: ReadonlySet<Operation["kind"]> = new Set(["resize", "scale", "autoscale", "constrain", "update", "promote", "rollBack"] as const);
const MACHINES: ReadonlySet<Operation["kind"]> = new Set(["up", "ready", "failed", "health", "left", "taskEnded", "load", "wake", "standby"] as const);
/** Of machines, those that speak of a lease which runs with them. */
const HOLDERS: ReadonlySet<Operation["kind"]> = new Set(["health", "taskEnded", "load", "wake", "standby"] as const);

export class SenderBook {
  readonly #chainId: ChainId;
  readonly #rules: Pick<Parameters, "validityWindowMs">;
  readonly #names: Names;
  readonly #accounts = new Map<string, Account>();

  constructor(chainId: ChainId, rules: Pick<Parameters, "validityWindowMs">, names: Names) {
    [this.#chainId, this.#rules, this.#names] = [chainId, rules, names];
  }

  /** What is wrong with a transaction that is in a block at all; null: nothing. */
  admit({ body, signatures }: DecodedTransaction, timeMs: bigint): string | null {
    const account = this.#accountOf(body.sender);
    const { keys, threshold } = account.before ?? account.now;
    const isHis = ({ key }: { readonly key: PublicKey }): boolean => {
      if (keys.length === 0) return signatures.length === 1 && addressOf(key).toHex() === body.sender.toHex();
      const known = keys.find((one) => one.key.toHex() === key.toHex());
      return known !== undefined && known.expiryMs >= timeMs && body.ops.every((op) => mayDo(known.scopes, scopeOf(op)));
    };
    const wrong =
      body.chainId.toHex() !== this.#chainId.toHex() ? "is for another chain" :
      body.nonce !== account.nonce ? `has nonce ${body.nonce} where ${account.nonce} is next` :
      body.validUntilMs < timeMs || body.validUntilMs > timeMs + this.#rules.validityWindowMs ? "is too late, or valid for too long" :
      signatures.length < threshold || !signatures.every(isHis) ? `is signed by keys that do not speak for ${name(body.sender)}` : null;
    account.nonce = body.nonce + 1n;
    if (account.now.keys.length === 0) account.now = { ...account.now, keys: signatures.slice(0, 1).map(({ key }) => ({ key, ...ALL })) };
    return wrong;
  }

  /** What is wrong with an operation that is said to have worked; null: it was the sender's to do. */
  judge(op: Operation, sender: Address, target: Target | null): string | null {
    const by = name(sender);
    const other = (whose: string): string => `${op.kind} by ${by}, who is not ${whose}`;
    const { machineOperator, validatorOperator, sharesOf } = this.#names;
    if (OWNERS.has(op.kind) && target?.owner !== by) return other("the owner");
    if (op.kind === "close" && target?.owner !== by && target?.isAbandoned !== true) return other("the owner");
    if (MACHINES.has(op.kind) && machineOperator(by) === undefined) return other("a machine");
    if ("index" in op && HOLDERS.has(op.kind) && target?.running.some(({ index, machine }) => index === op.index && machine === by) !== true) return other("where it runs");
    if (op.kind === "taskEnded" && target?.running.some(({ machine }) => machine === by) !== true) return other("where it runs");
    if (op.kind === "move" && target?.owner !== by && target?.running.some(({ index, operator }) => index === op.index && operator === by) !== true) return other("the owner, nor the machine's operator");
    if (op.kind === "drain" && name(op.machine) === by && machineOperator(by) !== undefined) return null;
    if ((op.kind === "drain" || op.kind === "retire" || op.kind === "label") && machineOperator(name(op.machine)) !== by) return other("the machine's operator");
    if (op.kind === "undelegate" && sharesOf(op.validator.toHex(), sender) < op.shares) return `${op.kind} of ${op.shares} shares by ${by}, who has fewer`;
    if (op.kind === "registerMachine") return this.#judgeMachine(op, sender);
    if (op.kind === "bond") return (validatorOperator(addressOf(op.consensusKey).toHex()) ?? by) === by && verify("validator", op.proof, machineProofMessage(this.#chainId, sender), op.consensusKey) ? null : other("the validator's operator");
    if ((op.kind === "unbond" || op.kind === "unjail" || op.kind === "setCommission" || op.kind === "propose" || op.kind === "vote") && validatorOperator(op.validator.toHex()) !== by) return other("the validator's operator");
    return null;
  }

  #judgeMachine(op: Extract<Operation, { kind: "registerMachine" }>, sender: Address): string | null {
    const id = addressOf(op.machineKey);
    const operator = this.#names.machineOperator(name(id));
    if (operator !== undefined) return operator === name(sender) ? null : `registerMachine of ${name(id)} by ${name(sender)}, who is not its operator`;
    return verify("machine", op.proof, machineProofMessage(this.#chainId, sender, this.#accountOf(id).nonce), op.machineKey) ? null : `registerMachine of ${name(id)} by ${name(sender)}, for whom its key did not sign`;
  }

  /** What an operation changes of who may send. */
  note(op: Operation, sender: Address): void {
    if (op.kind === "retire") this.#accountOf(op.machine).nonce += 1n;
    if (op.kind !== "authorise" && op.kind !== "revoke" && op.kind !== "setThreshold") return;
    const account = this.#accountOf(sender);
    account.before ??= account.now;
    const rest = account.now.keys.filter(({ key }) => op.kind === "setThreshold" || key.toHex() !== op.key.toHex());
    account.now = op.kind === "setThreshold" ? { keys: rest, threshold: op.threshold } : { ...account.now, keys: op.kind === "revoke" ? rest : [...rest, op] };
  }

  /** Changes of keys count from the next block. */
  endBlock(): void {
    for (const account of this.#accounts.values()) account.before = null;
  }

  #accountOf(id: Address): Account {
    const known = this.#accounts.get(id.toHex());
    const account = known ?? { nonce: 0n, now: { keys: [], threshold: 1 }, before: null };
    if (known === undefined) this.#accounts.set(id.toHex(), account);
    return account;
  }
}
