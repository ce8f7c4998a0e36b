/**
 * A small ledger with a cast, for histories: accounts and machines with known keys, and one call per block.
 *
 * Transactions are made without signing: whoever applies a block has verified its signatures, and ed25519 would be all that a
 * thousand histories do; `signed` makes real ones. Every block is applied, checked, taken back, and applied again when `thorough` is set.
 */
import assert from "node:assert";
import { addressOf } from "#chain/codec/address.ts";
import { type Genesis, chainIdOf, encodeGenesis } from "#chain/codec/genesis.ts";
import { signBinding } from "#chain/codec/hello.ts";
import { type DecodedTransaction, type Operation, decodeTransaction, decoded, encodeBody, signMachineProof, signTransaction } from "#chain/codec/transaction.ts";
import type { PresetName } from "#chain/constants.ts";
import { publicKeyOf, sha256 } from "#chain/crypto.ts";
import * as ledgerModule from "#chain/ledger/ledger.ts";
import { type Applied, type Ledger, type applyBlock, feeFor } from "#chain/ledger/ledger.ts";
import { isFreeOperation } from "#chain/ledger/operations.ts";
import * as viewModule from "#chain/ledger/view.ts";
import type { LedgerView } from "#chain/ledger/view.ts";
import { type Address, type Digest, type PublicKey, digest, signature, timeMs } from "#chain/types.ts";

export type Actor = { readonly seed: Uint8Array; readonly key: PublicKey; readonly id: Address };
export type Random = { readonly next: () => number; readonly int: (below: number) => number; readonly pick: <T>(items: readonly T[]) => T };

const actors = new Map<number, Actor>();
/** The n-th member of the cast; always the same keys. Tenants count from 1, machines from 1001. */
export function actor(n: number): Actor {
  const known = actors.get(n);
  if (known) return known;
  const seed = sha256(new TextEncoder().encode(`actor ${n}`));
  const key = publicKeyOf(seed);
  const made = { seed, key, id: addressOf(key) };
  actors.set(n, made);
  return made;
}

/** Mulberry32: a seed, a history. */
export function random(seed: number): Random {
  let state = Math.imul(seed, 0x9e3779b1) >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const int = (below: number): number => Math.floor(next() * below);
  return { next, int, pick: (items) => items[int(items.length)] as (typeof items)[number] };
}

export const TOKEN: bigint = 10n ** 9n;
export const component: Digest = digest(new Uint8Array(32).fill(7));

/** Validators of a world, by index: one unless it is asked for more. */
export const validatorActor = (index: number): Actor => actor(index === 0 ? 0 : 2000 + index);

export function genesisFor(accounts: readonly Actor[], balance: bigint, parameters: PresetName = "minimal", validators: number = 1): Genesis {
  return {
    version: 1, name: "test", timeMs: timeMs(1_700_000_000_000n), deltaMs: 100, parameters,
    validators: Array.from({ length: validators }, (_, index) => ({ publicKey: validatorActor(index).key, weight: 1, operator: actor(0).id })),
    accounts: accounts.map(({ id }) => ({ address: id, balance })),
  };
}

/** The ledger that a world runs: the product's, or one with a bug planted in it (tests/simulation/mutants.ts). */
export type WorldCode = Pick<typeof ledgerModule, "applyBlock" | "faultOfLedger" | "nextMoneySecond" | "openLedger" | "revert"> & Pick<typeof viewModule, "viewOf">;
const CODE: WorldCode = { ...ledgerModule, ...viewModule };

export type WorldOptions = { readonly code?: WorldCode; readonly accounts?: number; readonly balance?: bigint; readonly parameters?: PresetName; readonly thorough?: boolean; readonly signed?: boolean; readonly validators?: number };

/** Who signed a block's parent, and who proposes it: nobody, where that is not the point. */
export type Signed = { readonly parentBitmap?: Uint8Array; readonly proposer?: number; readonly evidence?: readonly Uint8Array[]; readonly suspicions?: readonly Uint8Array[] };

export class World {
  readonly genesis: Genesis;
  readonly ledger: Ledger;
  readonly view: LedgerView;
  readonly history: { readonly applied: Applied; readonly transactions: readonly DecodedTransaction[]; readonly timeMs: bigint; readonly moneySecond: bigint; readonly previousId: Digest; readonly parentBitmap?: Uint8Array; readonly proposer?: number; readonly evidence?: readonly Uint8Array[]; readonly suspicions?: readonly Uint8Array[] }[] = [];
  #queue: DecodedTransaction[] = [];
  #nonces = new Map<string, bigint>();
  #timeMs: bigint;
  #previousId: Digest;
  readonly #thorough: boolean;
  readonly #signed: boolean;
  readonly #code: WorldCode;

  constructor({ accounts = 6, balance = 1_000n * TOKEN, parameters = "minimal", thorough = false, signed = false, validators = 1, code = CODE }: WorldOptions = {}) {
    this.#code = code;
    this.genesis = genesisFor(Array.from({ length: accounts }, (_, i) => actor(i + 1)), balance, parameters, validators);
    this.ledger = code.openLedger(this.genesis);
    this.view = code.viewOf(this.ledger);
    this.#timeMs = this.genesis.timeMs;
    this.#previousId = sha256(encodeGenesis(this.genesis));
    this.#thorough = thorough;
    this.#signed = signed;
  }

  get second(): bigint {
    return this.view.moneySecond;
  }

  /** Puts a transaction into the next block; `changes` makes it a wrong one. Free operations carry no fee. */
  send(sender: Actor, ops: readonly Operation[], changes: { nonce?: bigint; fee?: bigint; validUntilMs?: bigint; key?: PublicKey; signers?: readonly Actor[]; chainId?: DecodedTransaction["body"]["chainId"] } = {}): DecodedTransaction {
    const name = sender.id.toHex();
    const nonce = changes.nonce ?? this.#nonces.get(name) ?? this.view.account(sender.id)?.nonce ?? 0n;
    this.#nonces.set(name, nonce + 1n);
    const free = ops.every((op) => isFreeOperation(op) && (op.kind !== "drain" || op.machine.toHex() === name));
    const fee = changes.fee ?? (free ? 0n : feeFor(this.ledger.rules, 400));
    const body = { chainId: changes.chainId ?? chainIdOf(encodeGenesis(this.genesis)), sender: sender.id, nonce, validUntilMs: changes.validUntilMs ?? this.#timeMs + 600_000n, fee, ops };
    const bodyBytes = encodeBody(body);
    const transaction = this.#signed || changes.signers ? decodeTransaction(signTransaction(body, (changes.signers ?? [sender]).map(({ seed }) => seed))) : decoded({ bodyBytes, signatures: [{ key: changes.key ?? sender.key, signature: signature(new Uint8Array(64)) }] }, body, 400);
    this.#queue.push(transaction);
    return transaction;
  }

  /** Applies a block `seconds` later (a fifth of a second when 0), and checks what holds after every block. */
  block(seconds: number = 1, signed: Signed = {}): Applied {
    const result = this.tryBlock(seconds, signed);
    assert(result.ok, result.ok ? "" : result.message);
    return result;
  }

  tryBlock(seconds: number = 1, signed: Signed = {}): ReturnType<typeof applyBlock> {
    const at = this.#timeMs + (seconds === 0 ? 200n : BigInt(seconds) * 1000n);
    const input = { height: this.view.height + 1, timeMs: at, moneySecond: this.#code.nextMoneySecond(this.ledger, at), previousId: this.#previousId, ...signed, transactions: this.#queue };
    this.#queue = [];
    this.#nonces.clear();
    const before = this.ledger.state.root;
    const applied = this.#code.applyBlock(this.ledger, input);
    if (!applied.ok) {
      assert.strictEqual(this.ledger.state.root.toHex(), before.toHex());
      return applied;
    }
    assert.strictEqual(this.#code.faultOfLedger(this.ledger), null);
    assert.strictEqual(this.view.supply().total, this.ledger.state.totals.supply);
    if (this.#thorough) {
      this.#code.revert(this.ledger, applied.undo);
      assert.strictEqual(this.ledger.state.root.toHex(), before.toHex());
      assert.strictEqual(this.#code.faultOfLedger(this.ledger), null);
    }
    const last = this.#thorough ? this.#code.applyBlock(this.ledger, input) : applied;
    assert(last.ok);
    assert.strictEqual(last.stateRoot.toHex(), applied.stateRoot.toHex());
    this.#timeMs = at;
    this.history.push({ ...input, applied: last });
    this.#previousId = sha256(this.#previousId, last.stateRoot);
    return last;
  }

  /** Registers machine n of operator `owner` and brings it up, in one block. */
  machine(n: number, owner: Actor, { memoryMib = 4096, cpuMillis = 4000, gib = 1024n, core = 1000n, bond = 20n * TOKEN }: { memoryMib?: number; cpuMillis?: number; gib?: bigint; core?: bigint; bond?: bigint } = {}): Actor {
    const machine = actor(1000 + n);
    this.send(owner, [registration(this.ledger, machine, owner, { memoryMib, cpuMillis, gib, core, bond })]);
    this.send(machine, [comesUp(this.ledger, machine, bootId(n, 0))]);
    return machine;
  }

  /** Says ready for everything that is placed on these machines; the block is still to come. */
  ready(...machines: readonly Actor[]): void {
    for (const machine of machines) {
      const ops = this.view.leasesOfMachine(machine.id).filter(({ state }) => state === "placed")
        .map(({ deploymentId, index, rate }): Operation => ({ kind: "ready", deploymentId, index, rate }));
      for (let i = 0; i < ops.length; i += 16) this.send(machine, ops.slice(i, i + 16));
    }
  }
}

export const bootId = (n: number, boot: number): Uint8Array => new Uint8Array(16).fill(n).fill(boot, 8);

const bindings = new Map<string, ReturnType<typeof signBinding>>();
/** Of a machine that hosts the only validator, so that its own word is enough. (Here all do: who speaks for whom is not what these worlds are about.) */
export function comesUp({ chainId }: Pick<Ledger, "chainId">, machine: Actor, boot: Uint8Array): Operation {
  const name = machine.id.toHex() + chainId.toHex();
  const binding = bindings.get(name) ?? signBinding(actor(0).seed, chainId, machine.key);
  bindings.set(name, binding);
  return { kind: "up", bootId: boot, consensusKey: actor(0).key, binding, acknowledgements: [] };
}

const proofs = new Map<string, ReturnType<typeof signMachineProof>>();
export function registration(
  ledger: Pick<Ledger, "chainId" | "state">, machine: Actor, owner: Actor, { memoryMib, cpuMillis, gib, core, bond }: { memoryMib: number; cpuMillis: number; gib: bigint; core: bigint; bond: bigint },
): Operation {
  const nonce = ledger.state.account(machine.id)?.nonce ?? 0n;
  const name = `${machine.id.toHex()}${ledger.chainId.toHex()}${owner.id.toHex()}${nonce}`;
  const proof = proofs.get(name) ?? signMachineProof(machine.seed, ledger.chainId, owner.id, nonce);
  proofs.set(name, proof);
  return { kind: "registerMachine", ...proof, memoryMib, cpuMillis, pricePerGibSecond: gib, pricePerCoreSecond: core, region: "test", bond };
}

export const deployment = (name: string, changes: Partial<Extract<Operation, { kind: "deploy" }>> = {}): Operation => ({
  kind: "deploy", name, componentDigest: component, configurationDigest: null, memoryMib: 64, cpuMillis: 100, concurrency: 8, replicas: 1, deposit: 10n * TOKEN, rateMax: 0n, isolation: 0, ...changes,
});
