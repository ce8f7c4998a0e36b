/**
 * A chain node that is only what the test says: a view made of maps, blocks that a test adds, transactions that become final when
 * it says so. For tests of the API's own doing; the real node is in agent.test.ts.
 */
import { addressOf } from "#chain/codec/address.ts";
import { txidOf, decodeTransaction } from "#chain/codec/transaction.ts";
import { PRESETS } from "#chain/constants.ts";
import { hashWithDomain, publicKeyOf, sha256 } from "#chain/crypto.ts";
import type { AccountView, BillView, DeploymentView, LeaseView, LedgerView, MachineView, Page, PageRequest } from "#chain/ledger/view.ts";
import { type BlockRecord, type ChainNode, type FinalBlock, NodeError, type TransactionStatus } from "#chain/node/node.ts";
import { type Address, type Hex, address, chainId, height, hex, moneySecond, timeMs } from "#chain/types.ts";

export const seedOf = (n: number): Uint8Array => new Uint8Array(32).fill(n);
export const accountOf = (n: number): Address => addressOf(publicKeyOf(seedOf(n)));
export const idOf = (n: number): Address => address(hashWithDomain("deployment", Uint8Array.of(n)).slice(0, 20));

export type FakeNode = ChainNode & {
  readonly accounts: Map<Hex, AccountView>;
  readonly deploymentMap: Map<Hex, DeploymentView>;
  readonly machineMap: Map<Hex, MachineView>;
  readonly leases: LeaseView[];
  readonly bills: Map<Hex, BillView>;
  readonly blocks: BlockRecord[];
  readonly finals: Map<Hex, TransactionStatus>;
  /** Who hears of a final block. */
  readonly finalListeners: Set<() => void>;
  headMs: bigint;
  refusal: string | null;
};

const NAME = { name: "shop.example", owner: accountOf(1), deployment: idOf(1), expiryMs: 7n };
const DELEGATION = { id: idOf(1), validator: accountOf(1), delegator: accountOf(2), shares: 2n ** 64n - 1n, amount: 1n, leaving: [{ amount: 1n, releaseMs: 2n, releaseEpoch: 3 }] };
const LOCK = { id: idOf(1), sender: accountOf(1), recipient: accountOf(2), amount: 2n ** 64n - 1n, hash: sha256(Uint8Array.of(1)), expiryMs: 5n };
const NOTHING = sha256(new Uint8Array(0));

export function fakeNode(nowMs: number): FakeNode {
  const page = <T>(rows: ReadonlyMap<Hex, T>, { after, limit = 100 }: PageRequest = {}): Page<T> => {
    const keys = [...rows.keys()].toSorted().filter((key) => after === undefined || key > after);
    const chosen = keys.slice(0, limit);
    return { items: chosen.map((key) => rows.get(key) as T), next: keys.length > limit ? (chosen.at(-1) ?? null) : null };
  };
  const ofOwner = (owner: Address): Map<Hex, DeploymentView> => new Map([...node.deploymentMap].filter(([, deployment]) => hex(deployment.owner) === hex(owner)));
  const view: LedgerView = {
    height: 3, timeMs: BigInt(nowMs), moneySecond: 9n, stateRoot: NOTHING,
    account: (id) => node.accounts.get(hex(id)) ?? null,
    deployment: (id) => node.deploymentMap.get(hex(id)) ?? null,
    deploymentByName: (owner, name) => [...ofOwner(owner).values()].find((deployment) => deployment.name === name) ?? null,
    deploymentsOf: (owner, request) => page(ofOwner(owner), request),
    deployments: (request) => page(node.deploymentMap, request),
    machine: (id) => node.machineMap.get(hex(id)) ?? null,
    machines: (request) => page(node.machineMap, request),
    task: () => null,
    leasesOfDeployment: (id) => node.leases.filter((lease) => hex(lease.deploymentId) === hex(id)),
    leasesOfMachine: (id) => node.leases.filter((lease) => lease.machine !== null && hex(lease.machine) === hex(id)),
    scaling: () => null,
    bill: (id) => node.bills.get(hex(id)) ?? null,
    epoch: 0, validatorsOf: () => null, validator: () => null, validators: () => ({ items: [{ id: accountOf(1), key: publicKeyOf(seedOf(1)), operator: accountOf(2), state: "jailed", stake: 5n, unbonding: [{ amount: 1n, releaseMs: 2n, releaseEpoch: 3 }], weight: 1, weightNext: 0, commissionBps: 1_000, delegated: 7n, delegatedShares: 6n, leaving: 5n }], next: null }),
    supply: () => ({ balances: 5n, escrows: 4n, bonds: 3n, stakes: 0n, locked: 0n, feePool: 2n, burnt: 1n, total: 15n }),
    parameters: () => PRESETS.default, scheduled: () => [{ parameter: "feeBase", value: 1n, epoch: 2 }], proposals: () => [{ id: idOf(1), parameter: "feeBase", value: 1n, validator: accountOf(1), epoch: 2, votes: [accountOf(1)] }],
    name: (name) => ({ ...NAME, name }), namesOf: () => ({ items: [NAME], next: null }), namesTo: () => [],
    delegation: () => null, delegationsOf: () => ({ items: [DELEGATION], next: null }), delegationsTo: () => ({ items: [DELEGATION], next: null }),
    lock: (id) => ({ ...LOCK, id }), locksOf: () => ({ items: [LOCK], next: null }),
    nextDueMoneySecond: () => null,
    liveness: () => { throw new Error("not played"); }, court: () => { throw new Error("not played"); },
  };
  const node: FakeNode = {
    prove: async (key) => (key.startsWith("01") ? new TextEncoder().encode(key) : null), proveEpoch: (epoch) => (epoch === 0 ? Uint8Array.of(1, 2, 3) : null), newestSnapshot: async () => null,
    accounts: new Map(), deploymentMap: new Map(), machineMap: new Map(), leases: [], bills: new Map(), blocks: [], finals: new Map(), finalListeners: new Set(),
    headMs: BigInt(nowMs), refusal: null,
    chainId: chainId(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)),
    genesis: { version: 1, name: "fake", timeMs: timeMs(0n), deltaMs: 100, parameters: "default", validators: [{ publicKey: publicKeyOf(seedOf(1)), weight: 1, operator: accountOf(2) }],  },
    submit: async (bytes) => {
      if (node.refusal !== null) throw new NodeError(node.refusal, "as the test says");
      try {
        return { txid: txidOf(decodeTransaction(bytes).bodyBytes) };
      } catch (cause) {
        throw new NodeError("transaction_malformed", "as the real one says", { cause });
      }
    },
    whenFinal: async (txid, { signal } = {}) => {
      const found = node.finals.get(hex(txid));
      if (found !== undefined) return found;
      if (signal?.aborted === true) throw new NodeError("aborted", "gone");
      throw new NodeError("timeout", "not final");
    },
    head: () => ({ height: height(node.blocks.length > 0 ? node.blocks.length - 1 : 0), id: NOTHING, timeMs: timeMs(node.headMs), moneySecond: moneySecond(9n), stateRoot: NOTHING }),
    view: () => view,
    block: (at) => node.blocks[at] ?? null,
    transaction: (txid) => node.finals.get(hex(txid)) ?? null,
    onFinal: (listener) => {
      const told = (): void => listener({ height: node.head().height, outcomes: [], events: [] } as unknown as FinalBlock);
      node.finalListeners.add(told);
      return () => node.finalListeners.delete(told);
    },
    moneySecondNow: () => moneySecond(11n),
    start: () => {},
    stop: async () => {},
    status: () => ({ validators: 1, validator: 0, epoch: 0, view: 1, signing: "yes", peers: 0, mempool: { count: 0, bytes: 0 }, halted: null, stateKept: { weight: 1, weightKnown: 1, weightMin: 1, weightAll: 1 } }),
  };
  return node;
}
