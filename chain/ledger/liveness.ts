/**
 * Who is alive, in the ledger: what a block does with suspicions (step 4) and with an `up`, by the verdicts of `chain/liveness`.
 *
 * Rules: a block holds no suspicion but those that take a machine down in it, each with its witness's and its beat's signatures
 * checked here. A machine that goes down, or comes up with another boot id, leaves no lease: streams end at the second that the
 * verdict names, and what was on it looks for a machine in the same block. A machine that hosts the only validator has no
 * witness but itself: its `up` is taken on its word, and ends what ran before at the second of the block before.
 */
import { addressOf } from "#chain/codec/address.ts";
import { CodecError, encode } from "#chain/codec/cbor.ts";
import { bindingHolds } from "#chain/codec/hello.ts";
import { type Beat, type Opened, type Suspicion, type UpAcknowledgement, beatHolds, openSuspicion, openUpAcknowledgement, suspicionHolds, upAcknowledgementHolds } from "#chain/codec/liveness.ts";
import type { Operation } from "#chain/codec/transaction.ts";
import { hashWithDomain } from "#chain/crypto.ts";
import { type BlockContext, OK, type Origin, type Result, sameBytes } from "#chain/ledger/block.ts";
import { down } from "#chain/ledger/escrow.ts";
import { endLease, finishClosing, stateAfterLoss } from "#chain/ledger/leases.ts";
import { CLOCKS_KEPT_MIN, CLOCKS_KEPT_MS, DOWNS_KEPT_MS, LEASES_DOWN_PER_BLOCK_MAX, PROOF_WORK } from "#chain/ledger/limits.ts";
import type { Deployment, Machine, Member } from "#chain/ledger/model.ts";
import { forgetBeside } from "#chain/ledger/moves.ts";
import { type State, parseId } from "#chain/ledger/state.ts";
import { restMs } from "#chain/liveness/rules.ts";
import { type Court, type RecentBlock, downOf, upOf } from "#chain/liveness/verdict.ts";
import { type LivenessView, type WatchedMachine, type Weights, drawWitnesses } from "#chain/liveness/witnesses.ts";
import { type ChainId, type Hex, type PublicKey, type Refusal, fromHex, hex, refuse } from "#chain/types.ts";

// ---- What verdicts are made of --------------------------------------------------------------------------------------------

/** At the start of a block: its clocks join those that witnesses may count from. */
export function noteClock(state: State, block: RecentBlock): void {
  const { clocks } = state;
  const tooOld = clocks.blocks.filter(({ timeMs }) => timeMs < block.timeMs - CLOCKS_KEPT_MS).length;
  const first = Math.max(0, Math.min(tooOld, clocks.blocks.length + 1 - CLOCKS_KEPT_MIN));
  state.put({ ...clocks, blocks: [...clocks.blocks.slice(first), block] });
}

type Known = { readonly weights: Weights; readonly keys: ReadonlyMap<Hex, PublicKey> };
const membersKnown = new WeakMap<readonly Member[], Known>();
/** Everybody's weight and key, by the validator's id. */
function knownOf(members: readonly Member[]): Known {
  const known = membersKnown.get(members);
  if (known) return known;
  const ids = members.map(({ key }) => hex(addressOf(key)));
  const made = { weights: new Map(members.map(({ weight }, i) => [ids[i]!, weight])), keys: new Map(members.map(({ key }, i) => [ids[i]!, key])) };
  membersKnown.set(members, made);
  return made;
}

const witnessesKnown = new WeakMap<readonly Member[], Map<string, Weights>>();
/** L7. A draw of one epoch: nobody watches the same machines for ever. */
export function witnessesOf(chainId: ChainId, epoch: number, members: readonly Member[]): Weights {
  const name = `${hex(chainId)}/${epoch}`;
  const known = witnessesKnown.get(members)?.get(name);
  if (known) return known;
  const drawn = drawWitnesses(knownOf(members).weights, (witness) => hex(hashWithDomain("witnesses", encode([chainId, epoch, fromHex(witness)]))));
  witnessesKnown.set(members, new Map([[name, drawn]]));
  return drawn;
}

export function courtOf(state: State, chainId: ChainId): Court {
  const { sets: { epoch, current }, clocks } = state;
  const before = epoch === 0 ? undefined : state.spanOf(epoch - 1)?.members;
  const previous = before ? witnessesOf(chainId, epoch - 1, before) : null;
  return { blocks: clocks.blocks, sets: { current: witnessesOf(chainId, epoch, current), previous, sinceMs: clocks.sinceMs } };
}

const watchedKnown = new WeakMap<Machine, WatchedMachine>();
/** Kept by the entity: a witness reads all machines at every block, and few have changed. */
export function watchedOf(machine: Machine): WatchedMachine {
  const known = watchedKnown.get(machine);
  if (known) return known;
  const { validator, bootId, up, sinceHeight } = machine;
  const watched = { validator: validator === null ? null : hex(validator), bootId: hex(bootId), isDown: !up, sinceHeight };
  watchedKnown.set(machine, watched);
  return watched;
}

export function livenessOf(state: State, chainId: ChainId): LivenessView {
  const { totals: { height, timeMs }, sets } = state;
  const machines = new Map(state.listed("k").map((id) => [id as Hex, watchedOf(state.machineNamed(id as Hex) as Machine)]));
  return { height, timeMs, validators: knownOf(sets.current).weights, sets: courtOf(state, chainId).sets, machines };
}

/** Who may speak: the key behind a witness's id, in this epoch's set or the one before. */
export function keyOfWitness(state: State, witness: Hex): PublicKey | null {
  const { epoch, current } = state.sets;
  const before = epoch === 0 ? undefined : state.spanOf(epoch - 1)?.members;
  return knownOf(current).keys.get(witness) ?? (before ? knownOf(before).keys.get(witness) : undefined) ?? null;
}

// ---- Step 4: down -----------------------------------------------------------------------------------------------------------

export type Silenced = { readonly ok: true; /** What of it took a machine down. */ readonly taken: readonly Uint8Array[] };

/** Machines in the order of their ids. What takes nobody down is left out, or makes the block invalid. */
export function takeSuspicions(context: BlockContext, sealed: readonly Uint8Array[], skips: boolean): Silenced | Refusal {
  if (sealed.length === 0) return { ok: true, taken: [] };
  const { state, chainId } = context;
  const court = courtOf(state, chainId);
  const bytesOf = new Map<Suspicion, Uint8Array>();
  const beats = new Set<Hex>();
  for (const bytes of sealed) {
    const opened = openedOrNull(() => openSuspicion(chainId, bytes));
    if (opened && suspicionIsGood(context, opened, beats)) bytesOf.set(opened.statement, bytes);
  }
  const by = new Set<Suspicion>();
  let leases = 0;
  for (const id of [...new Set([...bytesOf.keys()].map(({ machine }) => machine))].sort()) {
    const machine = state.machineNamed(id);
    const verdict = machine && leases < LEASES_DOWN_PER_BLOCK_MAX ? downOf(court, id, watchedOf(machine), bytesOf.keys()) : null;
    if (!machine || !verdict) continue;
    leases += machine.leases;
    for (const suspicion of verdict.by) by.add(suspicion);
    goDown(context, machine, verdict.endSecond);
  }
  const taken = [...by].map((suspicion) => bytesOf.get(suspicion)!);
  if (!skips && taken.length < sealed.length) return refuse("suspicion_invalid", "Cannot take a block with suspicions that do not hold, or take nobody down");
  return { ok: true, taken };
}

function suspicionIsGood({ state, chainId }: BlockContext, opened: Opened<Suspicion>, beats: Set<Hex>): boolean {
  const { witness, machine, beat } = opened.statement;
  const key = keyOfWitness(state, witness);
  const watched = state.machineNamed(machine);
  return key !== null && watched !== undefined && suspicionHolds(opened, key) && beatIsGood(chainId, beat, watched.key, beats);
}

/** All witnesses name the same beat: it is checked once. */
function beatIsGood(chainId: ChainId, beat: Beat | null, key: PublicKey, known: Set<Hex>): boolean {
  if (beat === null) return true;
  const name = hex(hashWithDomain("beat", encode([fromHex(beat.machine), fromHex(beat.bootId), beat.number, beat.height, beat.timeMs, beat.signature])));
  if (known.has(name)) return true;
  if (!beatHolds(chainId, beat, key)) return false;
  known.add(name);
  return true;
}

function goDown(context: BlockContext, machine: Machine, endSecond: bigint): void {
  const { state, height, timeMs, second } = context;
  endRun(context, machine, endSecond, "down");
  const downs = [...machine.downs.filter((one) => one > timeMs - DOWNS_KEPT_MS), timeMs];
  const rested = second + (restMs(downs.length) + 999n) / 1000n;
  const now = state.machine(machine.id) as Machine;
  state.put({ ...now, up: false, sinceHeight: height, downs, placeableFrom: now.placeableFrom > rested ? now.placeableFrom : rested });
  context.events.push({ kind: "machine", machine: machine.id, operator: machine.operator, state: "down" });
}

/** What ran on a machine, and what is not paid yet of it, has ended at `end`. */
function endRun(context: BlockContext, { id }: Machine, end: bigint, why: "down" | "rebooted"): void {
  const { state, second } = context;
  const held = state.leasesOn(id);
  const names = [...new Set([...held.map(({ deploymentId }) => deploymentId.toHex()), ...state.listed(`u${id.toHex()}`)])].sort();
  for (const lease of held) {
    const deployment = state.deployment(lease.deploymentId) as Deployment;
    endLease(context, lease, end, why, stateAfterLoss(deployment, lease));
  }
  // Streams have ended; of segments that are not paid yet the second may be an earlier one too.
  for (const name of names) {
    const deployment = state.deployment(parseId(name)) as Deployment;
    state.put({ ...deployment, escrow: down(deployment.escrow, second, id, end) });
  }
  forgetBeside(context, id);
  for (const name of names) finishClosing(context, parseId(name));
}

// ---- Up ---------------------------------------------------------------------------------------------------------------------

/** L12. */
export function bringUp(context: BlockContext, op: Extract<Operation, { kind: "up" }>, { sender }: Origin): Result {
  const { state, height, parentSecond, chainId } = context;
  const machine = state.machine(sender);
  if (!machine) return refuse("machine_unknown", "Cannot do this as the sender is not a registered machine");
  if (machine.up && sameBytes(machine.bootId, op.bootId)) return OK;
  state.spend(PROOF_WORK * (1 + op.acknowledgements.length));
  const { consensusKey, binding } = op;
  if (consensusKey !== null && (binding === null || !bindingHolds(chainId, machine.key, consensusKey, binding))) {
    return refuse("bad_proof", "Cannot bring the machine up as the validator that it names did not sign for it");
  }
  const validator = consensusKey === null ? null : addressOf(consensusKey);
  const { current } = state.sets;
  const isAlone = consensusKey !== null && current.length === 1 && sameBytes(current[0]!.key, consensusKey);
  const end = isAlone ? parentSecond : attestedEnd(context, machine, validator === null ? null : hex(validator), op);
  if (end === null) return refuse("not_witnessed", "Cannot bring the machine up as less than two thirds of its witnesses say that it lives");
  // Of a machine that is down nothing runs.
  if (machine.up) endRun(context, machine, end, "rebooted");
  const now = state.machine(sender) as Machine;
  state.put({ ...now, up: true, bootId: op.bootId, validator, sinceHeight: height, ...(now.isLeaving ? { draining: false, isLeaving: false } : {}) });
  if (now.isLeaving) context.events.push({ kind: "draining", machine: sender, operator: now.operator, draining: false });
  context.events.push({ kind: "machine", machine: sender, operator: now.operator, state: "up" });
  return OK;
}

function attestedEnd({ state, chainId }: BlockContext, machine: Machine, validator: Hex | null, op: Extract<Operation, { kind: "up" }>): bigint | null {
  const id = hex(machine.id);
  const beats = new Set<Hex>();
  const good: UpAcknowledgement[] = [];
  for (const bytes of op.acknowledgements) {
    const opened = openedOrNull(() => openUpAcknowledgement(chainId, bytes));
    const key = opened && opened.statement.machine === id ? keyOfWitness(state, opened.statement.witness) : null;
    if (opened && key && upAcknowledgementHolds(opened, key) && beatIsGood(chainId, opened.statement.before.beat, machine.key, beats)) good.push(opened.statement);
  }
  return upOf(courtOf(state, chainId), { ...watchedOf(machine), validator }, hex(op.bootId), good)?.endSecond ?? null;
}

function openedOrNull<T>(open: () => T): T | null {
  try {
    return open();
  } catch (error) {
    if (error instanceof CodecError) return null;
    throw error;
  }
}
