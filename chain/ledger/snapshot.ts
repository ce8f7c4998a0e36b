/**
 * A whole state as chunks of bytes, and back: so that a node need not execute its chain from genesis, and a new one can take the
 * state from strangers.
 *
 *   chunk    [1, depth, level, index, [sibling…], [[kind, leaf, nextKey] or [0] …]]     the 2^level slots from index × 2^level
 *
 * A chunk proves itself: its leaves give a node of the state tree, its siblings lead from there to the root. Where the next new
 * leaf goes follows from the leaves alone, so that all chunks are all of the state. The archive (bills of the past) is beside
 * it, and only as good as the disk it was on: who joins from chunks has none, and says so (`since` of a bill).
 *
 * An image is taken at once and encoded later: entities are values, so what it holds stays as it was while blocks go on.
 */
import { type Cbor, CodecError, decode, encode } from "#chain/codec/cbor.ts";
import { type Genesis, chainIdOf, encodeGenesis } from "#chain/codec/genesis.ts";
import { DEPTH_MAX, HEAD_KEY, KEY_BYTES, STATE_KINDS, type StateKind, climb, leafHash, nodeHash, stateRootOf } from "#chain/codec/proof.ts";
import { bytes, id20, list, text, tuple, u32, u64, version } from "#chain/codec/schema.ts";
import { PRESETS, VALIDATORS_MAX } from "#chain/constants.ts";
import type { Escrow, Segment, Stream } from "#chain/ledger/escrow.ts";
import { type HoldingKind, holdingFrom, isHoldingKind } from "#chain/ledger/holdings.ts";
import type { Ledger } from "#chain/ledger/ledger.ts";
import { CHUNK_BYTES_AIM, CHUNK_LEVEL_MAX, UNBONDINGS_MAX } from "#chain/ledger/limits.ts";
import { type Archive, DEPLOYMENT_STATES, type Deployment, LEASE_STATES, type Member, type Predecessor, type Rollout, type Successor, type Unbonding, VALIDATOR_STATES, type Version, keyOf, leafOf, newArchive, valueHashOf } from "#chain/ledger/model.ts";
import type { Image } from "#chain/ledger/image.ts";
import type { Hashed } from "#chain/ledger/rows.ts";
import { State, parseId } from "#chain/ledger/state.ts";
import { EMPTY_TREES, depthOf } from "#chain/ledger/tree.ts";
import type { LeaseEnd } from "#chain/ledger/view.ts";
import type { RecentBlock } from "#chain/liveness/verdict.ts";
import { type Address, type Refusal, digest, hex, publicKey, refuse } from "#chain/types.ts";

export type Chunk = {
  readonly depth: number;
  /** Slots from `first`; null: free, and the head where `first` is 0. */
  readonly first: number;
  readonly entities: readonly (Hashed | null)[];
};
type ReadChunk = Chunk & { readonly level: number; readonly index: number; readonly siblings: readonly Uint8Array[]; readonly nexts: readonly string[] };

const [FREE, HEAD] = [0, 10];
/** As in the keys of leaves, but for one that came to be when the head had its number here. */
const NUMBERS: Readonly<Record<StateKind, number>> = { ...STATE_KINDS, clocks: 11 };
const KINDS: ReadonlyMap<number, StateKind> = new Map((Object.keys(NUMBERS) as StateKind[]).map((kind) => [NUMBERS[kind], kind]));
const ITEMS_MAX: number = 2 ** 31;
const TEXT_BYTES_MAX = 4_096;

export const imageOf = ({ state }: Ledger): Image => state.image();

/** All chunks of a state, in the order of slots. Yields null where it can be interrupted. */
export function* encodeChunks(image: Image): Generator<Uint8Array | null, void> {
  const { count, depth } = image;
  // Those of the chunk under work, and what was looked at beyond it.
  const items = new Map<number, Uint8Array>();
  const itemAt = (slot: number): Uint8Array => {
    const known = items.get(slot);
    if (known) return known;
    const item = slot >= count ? FREE_ITEM : encodeSlot(slot, image.entity(slot), image.next(slot));
    items.set(slot, item);
    return item;
  };
  for (let slot = 0; slot < count;) {
    const level = levelAt(slot, depth, itemAt);
    const index = slot >>> level;
    const siblings = Array.from({ length: depth - level }, (_, up) => image.node(level + up, (index >>> up) ^ 1));
    yield encode([1, depth, level, index, siblings, Array.from({ length: 2 ** level }, (_, at) => itemAt(slot + at))]);
    for (const end = slot + 2 ** level; slot < end; slot++) items.delete(slot);
    yield null;
  }
}
const FREE_ITEM = encode([FREE]);

function encodeSlot(slot: number, entity: Hashed | null, next: string): Uint8Array {
  if (slot === 0) return encode([HEAD, [], Uint8Array.fromHex(next)]);
  return entity === null ? FREE_ITEM : encode([NUMBERS[entity.kind], leafOf(entity), Uint8Array.fromHex(next)]);
}
function hashSlot(slot: number, entity: Hashed | null, next: string): Uint8Array {
  if (slot === 0) return leafHash(HEAD_KEY, next, new Uint8Array(32));
  return entity === null ? EMPTY_TREES[0]! : leafHash(keyOf(entity), next, Uint8Array.fromHex(valueHashOf(entity)));
}

/** The largest aligned piece that starts at the slot and is not much longer than a chunk should be. */
function levelAt(slot: number, depth: number, itemAt: (slot: number) => Uint8Array): number {
  let level = 0;
  let size = itemAt(slot).length;
  while (level < depth && level < CHUNK_LEVEL_MAX && slot % 2 ** (level + 1) === 0) {
    for (let at = slot + 2 ** level; at < slot + 2 ** (level + 1) && size <= CHUNK_BYTES_AIM; at++) size += itemAt(at).length;
    if (size > CHUNK_BYTES_AIM) break;
    level++;
  }
  return level;
}

/** Reads a chunk without asking whether it is true. */
export const decodeChunk = (input: Uint8Array): Chunk => readChunk(input);

function readChunk(input: Uint8Array): ReadChunk {
  const [first, depthItem, levelItem, indexItem, siblings, items] = tuple(decode(input), 6);
  version(first);
  const [depth, level, index] = [u32(depthItem), u32(levelItem), u32(indexItem)];
  const no = (why: string): never => { throw new CodecError("codec_value", `Cannot read a chunk of a state: ${why}`); };
  if (depth > DEPTH_MAX || level > depth || level > CHUNK_LEVEL_MAX || index >= 2 ** (depth - level)) no("it lies outside its tree");
  const entities: (Hashed | null)[] = [];
  const nexts: string[] = [];
  for (const [at, raw] of tuple(items, 2 ** level).entries()) {
    const [kindItem, leaf, next] = list(decode(bytes(raw)), 3);
    const number = u32(kindItem);
    const kind = KINDS.get(number);
    if ((kind === undefined && number !== FREE && number !== HEAD) || (number === HEAD) !== (index === 0 && at === 0)) return no("it has a leaf of no kind, or no head where it belongs");
    entities.push(kind === undefined ? null : isHoldingKind(kind) ? holdingFrom(kind, leaf) : FROM[kind](leaf));
    nexts.push(number === FREE ? "" : bytes(next, KEY_BYTES).toHex());
  }
  return { depth, level, index, first: index * 2 ** level, siblings: tuple(siblings, depth - level).map((one) => bytes(one, 32)), entities, nexts };
}

/** Whether a chunk is a part of the state that has this root. Takes any bytes. */
export function verifyChunk(root: Uint8Array, input: Uint8Array): { readonly ok: true; readonly chunk: Chunk; readonly part: Part } | Refusal {
  try {
    const chunk = readChunk(input);
    const { depth, level, index, first, siblings, entities, nexts } = chunk;
    let nodes: Uint8Array[] = entities.map((entity, at) => hashSlot(first + at, entity, nexts[at]!));
    for (let up = 0; up < level; up++) nodes = Array.from({ length: nodes.length / 2 }, (_, at) => nodeHash(nodes[2 * at]!, nodes[2 * at + 1]!));
    if (hex(stateRootOf(depth, climb(nodes[0]!, index, siblings))) === hex(root)) return { ok: true, chunk, part: { first, end: first + 2 ** level, isLast: isLast(level, index, siblings) } };
    return refuse("chunk_invalid", `Cannot take the chunk of slot ${first}: it is of another state`);
  } catch (error) {
    if (error instanceof CodecError || error instanceof RangeError) return refuse("chunk_invalid", error.message);
    throw error;
  }
}

/** Where a verified chunk lies; and whether there is nothing of the tree beyond it. */
export type Part = { readonly first: number; readonly end: number; readonly isLast: boolean };
const isLast = (level: number, index: number, siblings: readonly Uint8Array[]): boolean =>
  siblings.every((sibling, up) => ((index >>> up) & 1) === 1 || hex(sibling) === hex(EMPTY_TREES[level + up]!));
/** Whether verified chunks of one root are all of its state, in the order of slots. */
export const areAll = (parts: readonly Part[]): boolean =>
  parts.length > 0 && parts.every(({ first, isLast: last }, at) => first === (at === 0 ? 0 : parts[at - 1]!.end) && (last || at < parts.length - 1));

/** What is in the slots of the state of which these are all chunks, from 1. Throws on the way, and at the end, when they are not. */
export function* slotsOf(chunks: Iterable<Chunk>): Generator<Hashed | null, void> {
  let [count, free, depth] = [0, 0, DEPTH_MAX];
  for (const chunk of chunks) {
    if (chunk.first !== count + free) throw new CodecError("codec_value", `Cannot put chunks together: that of slot ${count + free} is missing`);
    ({ depth } = chunk);
    for (const [at, entity] of chunk.entities.entries()) {
      if (entity === null && chunk.first + at > 0) {
        free++;
        continue;
      }
      for (; free > 0; free--, count++) yield null;
      if (entity !== null) yield entity;
      count++;
    }
  }
  // What lies beyond the last leaf is free, whether it was once taken or not; but the depth stays.
  for (; free > 0 && depthOf(count) !== depth; free--, count++) yield null;
  if (count === 0 || depthOf(count) !== depth) throw new CodecError("codec_value", "Cannot put chunks together: the last ones are missing");
}

/** A ledger of its own in that state; its root says whether it is the right one. What has no archive gets one that begins here. */
export function ledgerFrom(genesis: Genesis, { slots, archives = [] }: { readonly slots: Iterable<Hashed | null>; readonly archives?: Iterable<Archive> }): Ledger {
  const state = new State(PRESETS[genesis.parameters]);
  state.restore(slots, archives);
  const lacking = state.listed("d").map(parseId).filter((id) => state.archive(id) === undefined).map((id) => state.deployment(id) as Deployment);
  state.restoreArchives(lacking.map(({ id, owner, name, segments }) => newArchive(id, owner, name, state.totals.moneySecond, segments)));
  return { chainId: chainIdOf(encodeGenesis(genesis)), get rules() { return state.rules; }, state };
}
export const encodeArchive = (archive: Archive): Uint8Array => encode(archiveLeaf(archive));
export const decodeArchive = (input: Uint8Array): Archive => archiveFrom(decode(input));

// ---- Leaves back to entities: the other half of `leafOf` --------------------------------------------------------------------

const FROM: { readonly [K in Exclude<Hashed["kind"], HoldingKind>]: (leaf: Cbor | undefined) => Extract<Hashed, { kind: K }> } = {
  account: (leaf) => {
    const [id, balance, nonce, keys, threshold] = tuple(leaf as Cbor, 5);
    const keyFrom = (item: Cbor): { key: ReturnType<typeof publicKey>; scopes: number; limit: bigint; expiryMs: bigint } => {
      const [key, scopes, limit, expiryMs] = tuple(item, 4);
      return { key: publicKey(bytes(key, 32)), scopes: u32(scopes), limit: u64(limit), expiryMs: u64(expiryMs) };
    };
    return { kind: "account", address: id20(id), balance: u64(balance), nonce: u64(nonce), keys: list(keys, ITEMS_MAX).map(keyFrom), threshold: u32(threshold) };
  },
  deployment: (leaf) => {
    const [id, owner, name, state, component, configuration, memory, cpu, concurrency, replicas, rateMax, isolation, created, failures, failed, failedAt, last, reserved, escrow, revisions, bill] = tuple(leaf as Cbor, 21);
    const [paid, segments] = tuple(bill, 2);
    const configurationBytes = bytes(configuration);
    return {
      kind: "deployment", id: id20(id), owner: id20(owner), name: text(name, TEXT_BYTES_MAX), state: oneOf(DEPLOYMENT_STATES, state), componentDigest: digest(bytes(component, 32)),
      configurationDigest: configurationBytes.length === 0 ? null : digest(configurationBytes), memoryMib: u32(memory), cpuMillis: u32(cpu), concurrency: u32(concurrency),
      replicas: u32(replicas), rateMax: u64(rateMax), isolation: oneOf([0, 1] as const, isolation), createdHeight: u32(created), failures: u32(failures),
      failedMachines: list(failed, ITEMS_MAX).map(id20), failedAt: u64(failedAt), lastFailure: text(last, TEXT_BYTES_MAX), reservedRate: u64(reserved), escrow: escrowFrom(escrow),
      ...revisionsFrom(revisions), paid: u64(paid), segments: digest(bytes(segments, 32)),
    };
  },
  lease: (leaf) => {
    const [id, index, state, machine, rate, placedAt, tried, avoid, lastEnd, revision, unhealthyFrom, moves, next, last, rateLost] = tuple(leaf as Cbor, 15);
    return {
      kind: "lease", deploymentId: id20(id), index: u32(index), state: oneOf(LEASE_STATES, state), machine: id20OrNone(machine), rate: u64(rate), placedAt: u64(placedAt),
      triedHeight: u32(tried), avoid: id20OrNone(avoid), lastEnd: text(lastEnd, TEXT_BYTES_MAX) as LeaseEnd | "",
      revision: u32(revision), unhealthyFrom: u64(unhealthyFrom), moves: u32(moves), rateLost: u64(rateLost), next: successorFrom(next), last: predecessorFrom(last),
    };
  },
  machine: (leaf) => {
    const [id, key, operator, up, boot, memory, cpu, memoryUsed, cpuUsed, leases, gib, core, region, bond, strikes, from, draining, labels, validator, since, downs] = tuple(leaf as Cbor, 21);
    return {
      kind: "machine", id: id20(id), key: publicKey(bytes(key, 32)), operator: id20(operator), up: oneOf([0, 1] as const, up) === 1, bootId: bytes(boot, 16), memoryMib: u32(memory),
      cpuMillis: u32(cpu), memoryMibUsed: u32(memoryUsed), cpuMillisUsed: u32(cpuUsed), leases: u32(leases), pricePerGibSecond: u64(gib), pricePerCoreSecond: u64(core),
      region: text(region, TEXT_BYTES_MAX), bond: u64(bond), strikes: u32(strikes), placeableFrom: u64(from),
      draining: oneOf([0, 1, 2] as const, draining) !== 0, isLeaving: draining === 2, labels: textsFrom(labels),
      validator: id20OrNone(validator), sinceHeight: u32(since), downs: list(downs, ITEMS_MAX).map(u64),
    };
  },
  validator: (leaf) => {
    const [id, key, operator, state, stake, unbonding, commission, commissionAt, delegated, delegatedShares, leaving, leavingShares] = tuple(leaf as Cbor, 12);
    const unbondingFrom = (item: Cbor): Unbonding => {
      const [amount, releaseMs, releaseEpoch] = tuple(item, 3);
      return { amount: u64(amount), releaseMs: u64(releaseMs), releaseEpoch: u32(releaseEpoch) };
    };
    return {
      kind: "validator", id: id20(id), key: publicKey(bytes(key, 32)), operator: id20(operator), state: oneOf(VALIDATOR_STATES, state), stake: u64(stake),
      unbonding: list(unbonding, UNBONDINGS_MAX).map(unbondingFrom), commissionBps: u32(commission), commissionAtMs: u64(commissionAt),
      delegated: { units: u64(delegated), shares: u64(delegatedShares) }, leaving: { units: u64(leaving), shares: u64(leavingShares) },
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
  clocks: (leaf) => {
    const [sinceMs, blocks] = tuple(leaf as Cbor, 2);
    const blockFrom = (item: Cbor): RecentBlock => {
      const [height, timeMs, second] = tuple(item, 3);
      return { height: u32(height), timeMs: u64(timeMs), moneySecond: u64(second) };
    };
    return { kind: "clocks", sinceMs: u64(sinceMs), blocks: list(blocks, ITEMS_MAX).map(blockFrom) };
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
function revisionsFrom(value: Cbor | undefined): Pick<Deployment, "slot" | "revision" | "revisionLast" | "rollout" | "history" | "rolledBack" | "constraints"> {
  const [slot, revision, revisionLast, rollout, history, rolledBack, constraints] = tuple(value, 7);
  const [regions, operators, labels] = tuple(constraints, 3);
  return {
    slot: oneOf([0, 1] as const, slot), revision: u32(revision), revisionLast: u32(revisionLast), rollout: list(rollout, 11).length === 0 ? null : rolloutFrom(rollout),
    history: list(history, ITEMS_MAX).map(versionFrom), rolledBack: text(rolledBack, TEXT_BYTES_MAX),
    constraints: { regions: textsFrom(regions), operators: list(operators, ITEMS_MAX).map(id20), labels: textsFrom(labels) },
  };
}
function versionFrom(value: Cbor | undefined): Version {
  const [revision, component, configuration] = tuple(value, 3);
  const configurationBytes = bytes(configuration);
  return { revision: u32(revision), componentDigest: digest(bytes(component, 32)), configurationDigest: configurationBytes.length === 0 ? null : digest(configurationBytes) };
}
function rolloutFrom(value: Cbor | undefined): Rollout {
  const [made, weight, weightNow, replicas, healthySeconds, deadlineSeconds, failuresMax, failures, deadline, from, unwell] = tuple(value, 11);
  const [healthyFrom] = list(from, 1);
  return {
    ...versionFrom(made), weight: u32(weight), weightNow: u32(weightNow), replicas: u32(replicas), healthySeconds: u32(healthySeconds), deadlineSeconds: u32(deadlineSeconds),
    failuresMax: u32(failuresMax), failures: u32(failures), deadline: u64(deadline), healthyFrom: healthyFrom === undefined ? null : u64(healthyFrom),
    unwell: list(unwell, ITEMS_MAX).map(u32),
  };
}
function successorFrom(value: Cbor | undefined): Successor | null {
  const [machine, rate, placedAt] = list(value, 3);
  return machine === undefined ? null : { machine: id20(machine), rate: u64(rate), placedAt: u64(placedAt) };
}
function predecessorFrom(value: Cbor | undefined): Predecessor | null {
  const [machine, until] = list(value, 2);
  return machine === undefined ? null : { machine: id20(machine), until: u64(until) };
}
const textsFrom = (value: Cbor | undefined): string[] => list(value, ITEMS_MAX).map((item) => text(item, TEXT_BYTES_MAX));
const streamFrom = ([index, machine, operator, rate, openedAt, paidUntil]: readonly Cbor[]): Stream =>
  ({ index: u32(index), machine: id20(machine), operator: id20(operator), rate: u64(rate), openedAt: u64(openedAt), paidUntil: u64(paidUntil) });

function archiveLeaf({ deploymentId, owner, name, since, segments, earlier, paid, closedHeight, refunded }: Archive): Cbor {
  const paidOnes = segments.map(({ machine, operator, index, rate, openedAt, end }): Cbor => [machine, operator, index, rate, openedAt, end]);
  return [deploymentId, owner, name, since, paidOnes, [earlier.segments, earlier.seconds, earlier.amount, earlier.digest], paid, closedHeight === null ? [] : [closedHeight], refunded];
}

function archiveFrom(leaf: Cbor | undefined): Archive {
  const [id, owner, name, since, segments, earlier, paid, closed, refunded] = tuple(leaf as Cbor, 9);
  const [earlierSegments, seconds, amount, before] = tuple(earlier as Cbor, 4);
  const [closedHeight] = list(closed, 1);
  return {
    kind: "archive", deploymentId: id20(id), owner: id20(owner), name: text(name, TEXT_BYTES_MAX), since: u64(since),
    segments: list(segments, ITEMS_MAX).map((item) => {
      const [machine, operator, index, rate, openedAt, end] = tuple(item, 6);
      return { machine: id20(machine), operator: id20(operator), index: u32(index), rate: u64(rate), openedAt: u64(openedAt), end: u64(end) };
    }),
    earlier: { segments: u32(earlierSegments), seconds: u64(seconds), amount: u64(amount), digest: digest(bytes(before, 32)) },
    paid: u64(paid), closedHeight: closedHeight === undefined ? null : u32(closedHeight), refunded: u64(refunded),
  };
}

const id20OrNone = (value: Cbor | undefined): Address | null => (bytes(value).length === 0 ? null : id20(value));
function oneOf<T>(of: readonly T[], value: Cbor | undefined): T {
  const found = of[u32(value)];
  if (found === undefined) throw new CodecError("codec_value", `Cannot read ${String(value)} as one of ${of.length}`);
  return found;
}
