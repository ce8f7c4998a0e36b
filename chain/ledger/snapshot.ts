/**
 * A whole state as items of bytes, and back: so that a node that starts again need not execute its chain from genesis.
 *
 * An image is taken at once and encoded later: entities are values, so what it holds stays as it was while blocks go on. Order is
 * that of the tree's slots, which the root depends on; then the archive. Whoever reads one compares the root with a header's.
 * That does not cover the archive, which is only as good as the disk.
 */
import assert from "node:assert";
import { type Cbor, CodecError, decode, encode } from "#chain/codec/cbor.ts";
import { type Genesis, chainIdOf, encodeGenesis } from "#chain/codec/genesis.ts";
import { bytes, list, text, tuple, u32, u64 } from "#chain/codec/schema.ts";
import { PRESETS, VALIDATORS_MAX } from "#chain/constants.ts";
import type { Escrow, Segment, Stream } from "#chain/ledger/escrow.ts";
import type { Ledger } from "#chain/ledger/ledger.ts";
import { UNBONDINGS_MAX } from "#chain/ledger/limits.ts";
import { type Archive, DEPLOYMENT_STATES, type Entity, LEASE_STATES, type Member, type Unbonding, VALIDATOR_STATES, leafOf } from "#chain/ledger/model.ts";
import { State } from "#chain/ledger/state.ts";
import type { LeaseEnd } from "#chain/ledger/view.ts";
import { type Address, address, digest, publicKey } from "#chain/types.ts";

export type Image = {
  /** By slot from 1; null: free. */
  readonly slots: readonly (Exclude<Entity, Archive> | null)[];
  readonly archives: readonly Archive[];
};
const KINDS = ["free", "account", "deployment", "lease", "machine", "totals", "archive", "end", "validator", "sets", "presence", "span"] as const;
const [FREE, ARCHIVE, END] = [0, 6, 7];
const ITEMS_MAX: number = 2 ** 31;
const TEXT_BYTES_MAX = 4_096;

export const imageOf = ({ state }: Ledger): Image => state.image();

/** One item an entity, and one that ends them. */
export function* encodeImage({ slots, archives }: Image): Generator<Uint8Array, void> {
  for (const entity of slots) yield encode(entity === null ? [FREE] : [KINDS.indexOf(entity.kind), leafOf(entity)]);
  for (const archive of archives) yield encode([ARCHIVE, archiveLeaf(archive)]);
  yield encode([END, [slots.length, archives.length]]);
}

export function decodeImage(items: readonly Uint8Array[]): Image {
  const slots: (Exclude<Entity, Archive> | null)[] = [];
  const archives: Archive[] = [];
  let counts = "";
  for (const item of items) {
    const [kind, leaf] = list(decode(item), 2);
    const name = KINDS[u32(kind)];
    if (name === undefined || counts !== "") throw new CodecError("codec_value", "Cannot read a snapshot: it has an item of no kind, or one after its end");
    if (name === "free") slots.push(null);
    else if (name === "archive") archives.push(archiveFrom(leaf));
    else if (name === "end") counts = list(leaf, 2).map(u32).join();
    else slots.push(FROM[name](leaf));
  }
  if (counts !== [slots.length, archives.length].join()) throw new CodecError("codec_value", "Cannot read a snapshot: it ends too early");
  return { slots, archives };
}

/** A ledger of its own in that state; its root says whether it is the right one. */
export function ledgerFrom(genesis: Genesis, image: Image): Ledger {
  const state = new State(PRESETS[genesis.parameters]);
  state.restore(image);
  return { chainId: chainIdOf(encodeGenesis(genesis)), rules: state.rules, state };
}

// ---- Leaves back to entities: the other half of `leafOf` --------------------------------------------------------------------

type Hashed = Exclude<Entity, Archive>;
const FROM: { readonly [K in Hashed["kind"]]: (leaf: Cbor | undefined) => Extract<Hashed, { kind: K }> } = {
  account: (leaf) => {
    const [id, balance, nonce, keys, threshold] = tuple(leaf as Cbor, 5);
    const keyFrom = (item: Cbor): { key: ReturnType<typeof publicKey>; scopes: number; limit: bigint; expiryMs: bigint } => {
      const [key, scopes, limit, expiryMs] = tuple(item, 4);
      return { key: publicKey(bytes(key, 32)), scopes: u32(scopes), limit: u64(limit), expiryMs: u64(expiryMs) };
    };
    return { kind: "account", address: id20(id), balance: u64(balance), nonce: u64(nonce), keys: list(keys, ITEMS_MAX).map(keyFrom), threshold: u32(threshold) };
  },
  deployment: (leaf) => {
    const [id, owner, name, state, component, configuration, memory, cpu, concurrency, replicas, rateMax, isolation, created, failures, failed, failedAt, last, reserved, escrow] = tuple(leaf as Cbor, 19);
    const configurationBytes = bytes(configuration);
    return {
      kind: "deployment", id: id20(id), owner: id20(owner), name: text(name, TEXT_BYTES_MAX), state: oneOf(DEPLOYMENT_STATES, state), componentDigest: digest(bytes(component, 32)),
      configurationDigest: configurationBytes.length === 0 ? null : digest(configurationBytes), memoryMib: u32(memory), cpuMillis: u32(cpu), concurrency: u32(concurrency),
      replicas: u32(replicas), rateMax: u64(rateMax), isolation: oneOf([0, 1] as const, isolation), createdHeight: u32(created), failures: u32(failures),
      failedMachines: list(failed, ITEMS_MAX).map(id20), failedAt: u64(failedAt), lastFailure: text(last, TEXT_BYTES_MAX), reservedRate: u64(reserved), escrow: escrowFrom(escrow),
    };
  },
  lease: (leaf) => {
    const [id, index, state, machine, rate, placedAt, tried, avoid, lastEnd] = tuple(leaf as Cbor, 9);
    return {
      kind: "lease", deploymentId: id20(id), index: u32(index), state: oneOf(LEASE_STATES, state), machine: id20OrNone(machine), rate: u64(rate), placedAt: u64(placedAt),
      triedHeight: u32(tried), avoid: id20OrNone(avoid), lastEnd: text(lastEnd, TEXT_BYTES_MAX) as LeaseEnd | "",
    };
  },
  machine: (leaf) => {
    const [id, key, operator, up, boot, memory, cpu, memoryUsed, cpuUsed, leases, gib, core, region, bond, strikes, from] = tuple(leaf as Cbor, 16);
    return {
      kind: "machine", id: id20(id), key: publicKey(bytes(key, 32)), operator: id20(operator), up: oneOf([0, 1] as const, up) === 1, bootId: bytes(boot, 16), memoryMib: u32(memory),
      cpuMillis: u32(cpu), memoryMibUsed: u32(memoryUsed), cpuMillisUsed: u32(cpuUsed), leases: u32(leases), pricePerGibSecond: u64(gib), pricePerCoreSecond: u64(core),
      region: text(region, TEXT_BYTES_MAX), bond: u64(bond), strikes: u32(strikes), placeableFrom: u64(from),
    };
  },
  validator: (leaf) => {
    const [id, key, operator, state, stake, unbonding] = tuple(leaf as Cbor, 6);
    const unbondingFrom = (item: Cbor): Unbonding => {
      const [amount, releaseMs, releaseEpoch] = tuple(item, 3);
      return { amount: u64(amount), releaseMs: u64(releaseMs), releaseEpoch: u32(releaseEpoch) };
    };
    return {
      kind: "validator", id: id20(id), key: publicKey(bytes(key, 32)), operator: id20(operator), state: oneOf(VALIDATOR_STATES, state), stake: u64(stake),
      unbonding: list(unbonding, UNBONDINGS_MAX).map(unbondingFrom),
    };
  },
  sets: (leaf) => {
    const [epoch, current, next] = tuple(leaf as Cbor, 3);
    return { kind: "sets", epoch: u32(epoch), current: membersFrom(current), next: membersFrom(next) };
  },
  presence: (leaf) => {
    const [blocks, signed, proposed] = tuple(leaf as Cbor, 3);
    return { kind: "presence", blocks: u32(blocks), signed: countsFrom(signed), proposed: countsFrom(proposed) };
  },
  span: (leaf) => {
    const [first, last, members] = tuple(leaf as Cbor, 3);
    return { kind: "span", first: u32(first), last: u32(last), members: membersFrom(members) };
  },
  totals: (leaf) => {
    const [height, timeMs, second, feePool, burnt, supply, upTo, until] = tuple(leaf as Cbor, 8);
    return {
      kind: "totals", height: u32(height), timeMs: u64(timeMs), moneySecond: u64(second), feePool: u64(feePool), burnt: u64(burnt), supply: u64(supply), stallUpTo: u64(upTo),
      stallUntil: u64(until),
    };
  },
};

const memberFrom = (item: Cbor): Member => {
  const [key, weight, operator] = tuple(item, 3);
  return { key: publicKey(bytes(key, 32)), weight: u32(weight), operator: id20(operator) };
};
const membersFrom = (items: Cbor | undefined): Member[] => list(items, VALIDATORS_MAX).map(memberFrom);
const countsFrom = (items: Cbor | undefined): number[] => list(items, VALIDATORS_MAX).map(u32);

function escrowFrom(value: Cbor | undefined): Escrow {
  const [balance, owed, rate, at, dry, streams, ended] = tuple(value as Cbor, 7);
  const [drySecond] = list(dry, 1);
  return {
    balance: u64(balance), owed: u64(owed), rate: u64(rate), at: u64(at), dry: drySecond === undefined ? null : u64(drySecond),
    streams: list(streams, ITEMS_MAX).map((item) => streamFrom(tuple(item, 6))),
    ended: list(ended, ITEMS_MAX).map((item): Segment => ({ ...streamFrom(tuple(item, 7)), end: u64(tuple(item, 7)[6]) })),
  };
}
const streamFrom = ([index, machine, operator, rate, openedAt, paidUntil]: readonly Cbor[]): Stream =>
  ({ index: u32(index), machine: id20(machine), operator: id20(operator), rate: u64(rate), openedAt: u64(openedAt), paidUntil: u64(paidUntil) });

function archiveLeaf({ deploymentId, owner, name, segments, earlier, paid, closedHeight, refunded }: Archive): Cbor {
  const paidOnes = segments.map(({ machine, index, rate, openedAt, end }): Cbor => {
    assert(end !== null, "a segment is in the archive when it is paid");
    return [machine, index, rate, openedAt, end];
  });
  return [deploymentId, owner, name, paidOnes, [earlier.segments, earlier.seconds, earlier.amount], paid, closedHeight === null ? [] : [closedHeight], refunded];
}

function archiveFrom(leaf: Cbor | undefined): Archive {
  const [id, owner, name, segments, earlier, paid, closed, refunded] = tuple(leaf as Cbor, 8);
  const [earlierSegments, seconds, amount] = tuple(earlier as Cbor, 3);
  const [closedHeight] = list(closed, 1);
  return {
    kind: "archive", deploymentId: id20(id), owner: id20(owner), name: text(name, TEXT_BYTES_MAX),
    segments: list(segments, ITEMS_MAX).map((item) => {
      const [machine, index, rateOf, opened, ended] = tuple(item, 5);
      const [rate, openedAt, end] = [u64(rateOf), u64(opened), u64(ended)];
      return { machine: id20(machine), index: u32(index), rate, openedAt, end, paidUntil: end, seconds: end - openedAt, amount: rate * (end - openedAt) };
    }),
    earlier: { segments: u32(earlierSegments), seconds: u64(seconds), amount: u64(amount) },
    paid: u64(paid), closedHeight: closedHeight === undefined ? null : u32(closedHeight), refunded: u64(refunded),
  };
}

const id20 = (value: Cbor | undefined): Address => address(bytes(value, 20));
const id20OrNone = (value: Cbor | undefined): Address | null => (bytes(value).length === 0 ? null : id20(value));
function oneOf<T>(of: readonly T[], value: Cbor | undefined): T {
  const found = of[u32(value)];
  if (found === undefined) throw new CodecError("codec_value", `Cannot read ${String(value)} as one of ${of.length}`);
  return found;
}
