import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type CheckSignature, signProposal, signVote, validatorSet, checkSignatureAsync } from "#chain/codec/certificate.ts";
import { type BlockHeader, type Certificate, type ConsensusMessage, type SignedVote, type VoteKind, bodyRoot, decodeMessage, encodeMessage, genesisId } from "#chain/codec/schema.ts";
import type { BlockRef } from "#chain/consensus/events.ts";
import { createState, leaderOf } from "#chain/consensus/state.ts";
import { BLOCKS_HELD_MAX, PRESETS } from "#chain/constants.ts";
import { publicKeyOf, sha256 } from "#chain/crypto.ts";
import { type Clock, systemClock } from "#chain/network/clock.ts";
import { MemoryNetwork } from "#chain/network/memory.ts";
import { type PeerId, type Transport, peerId } from "#chain/network/transport.ts";
import { type Digest, type TimeMs, type View, chainId, digest, epoch, height, hex, moneySecond, timeMs, view } from "#chain/types.ts";
import { ManualClock } from "#tests/compliance/manualClock.ts";
import { CertificateChecks } from "./certificateChecks.ts";
import { ConsensusHost } from "./consensusHost.ts";
import type { NodeError } from "./errors.ts";
import { type HeldBlock, HeldBlocks, heldBlock } from "./heldBlocks.ts";
import { CERTIFICATE_CHECKS_AT_ONCE, PEER_MUTED_MS } from "./limits.ts";
import { NOTARIZE, VoteLog, type VoteLogOptions } from "./voteLog.ts";

const CHAIN = chainId(new Uint8Array(8).fill(3));
const SEED = new Uint8Array(32).fill(1);
const NOTHING = digest(new Uint8Array(32));
const GENESIS = { id: genesisId(CHAIN), view: view(0), height: height(0), parentView: view(0), parentId: NOTHING, timeMs: timeMs(1_000n) };

async function voteLog(t: TestContext, options: Partial<VoteLogOptions> = {}): Promise<VoteLog> {
  const directory = await mkdtemp(join(tmpdir(), "godwit-host-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return VoteLog.open(join(directory, "votes"), { chainId: CHAIN, publicKey: publicKeyOf(SEED), mustExist: false, ...options });
}

/** Until it holds, at most half a minute: a busy computer is no failure. */
async function until(holds: () => boolean): Promise<void> {
  for (let waited = 0; !holds() && waited < 30_000; waited += 5) await sleep(5);
}

type Member = { host: ConsensusHost; held: HeldBlocks; said: ConsensusMessage[]; committed: number[]; validated: string[]; halted: NodeError[]; start(): void };
type MemberOptions = { readonly seeds?: readonly Uint8Array[]; readonly self?: number; readonly clock?: Clock; readonly held?: HeldBlocks; readonly verify?: CheckSignature };

/** A validator, alone unless told otherwise, on a chain of empty blocks; what it says to the network, and what it commits. */
function lone(votes: VoteLog, { seeds = [SEED], self = 0, clock = systemClock, held = new HeldBlocks(), verify = checkSignatureAsync }: MemberOptions = {}): Member {
  const said: ConsensusMessage[] = [];
  const committed: number[] = [];
  const validated: string[] = [];
  const halted: NodeError[] = [];
  const transport: Transport = new MemoryNetwork().join(peerId(publicKeyOf(SEED)));
  transport.broadcast = (_, bytes) => said.push(decodeMessage(bytes));
  const set = validatorSet(CHAIN, epoch(0), seeds.map((seed) => ({ publicKey: publicKeyOf(seed), weight: 1 })));
  const host = new ConsensusHost({
    configuration: { chainId: CHAIN, epoch: epoch(0), weights: seeds.map(() => 1), self, pace: PRESETS.minimal, leaderSeed: CHAIN, lastHeight: 600 },
    validators: set, seed: seeds[self]!, votes, transport, clock, checks: new CertificateChecks(set, verify), onHalt: (error) => halted.push(error),
  }, {
    held, blockById: (id) => held.get(id),
    validate: async ({ ref }) => {
      validated.push(hex(ref.id));
      return { valid: true, dueMs: null };
    },
    build: ({ view: of, parent, timeMs: time }) => ({ held: emptyBlock(of, parent, time, self), dueMs: null }),
    commit: ({ ref }) => committed.push(ref.height), tipWanted: () => undefined, behind: () => undefined, sealed: () => undefined, otherEpoch: () => undefined, accuse: () => undefined,
  });
  const start = (): void => host.start({ kind: "start", final: GENESIS, dueMs: null, finalization: null, votes: [], certificates: [], blocks: [], memory: { kind: "whole" } });
  return { host, held, said, committed, validated, halted, start };
}
function emptyBlock(of: View, parent: BlockRef, time: TimeMs, proposer: number): HeldBlock {
  const body = { parentCertificate: null, transactions: [], evidence: [], suspicions: [] };
  const header: BlockHeader = {
    chainId: CHAIN, epoch: epoch(0), view: of, height: height(parent.height + 1), parentView: parent.view, parentId: parent.id, parentBitmap: new Uint8Array(0), timeMs: time,
    moneySecond: moneySecond(0n), bodyRoot: bodyRoot(body), stateRoot: NOTHING, validatorsHash: NOTHING, nextValidatorsHash: NOTHING, proposer,
  };
  return heldBlock({ header, body }, null);
}

const SEEDS = [1, 2, 3, 4].map((fill) => new Uint8Array(32).fill(fill));
/** Who leads view 1 of the four. */
const LEADER = leaderOf(createState({ chainId: CHAIN, epoch: epoch(0), weights: [1, 1, 1, 1], self: null, pace: PRESETS.minimal, leaderSeed: CHAIN, lastHeight: 600 }), view(1));
const FOLLOWERS = [0, 1, 2, 3].filter((index) => index !== LEADER);
const SELF = FOLLOWERS[0]!;
const peerAt = (index: number): PeerId => peerId(publicKeyOf(SEEDS[index]!));
const voteOf = (index: number, kind: VoteKind, of: number, id: Digest | null): SignedVote =>
  signVote(SEEDS[index]!, { kind, chainId: CHAIN, epoch: epoch(0), view: view(of), id }, index);
function nullificationOf(of: number): Certificate {
  const votes = [0, 1, 2, 3].map((index) => voteOf(index, "nullify", of, null));
  return { kind: "nullify", epoch: epoch(0), view: view(of), id: null, bitmap: Uint8Array.of(0b1111), signatures: new Uint8Array(Buffer.concat(votes.map((vote) => vote.signature))) };
}
const bytesOf = (certificate: Certificate): Uint8Array => encodeMessage({ kind: "certificate", certificate });

test("no vote and no proposal leaves, and none counts, before it is on the disk", async (t) => {
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  let syncs = 0;
  const votes = await voteLog(t, { sync: () => (syncs++ === 0 ? Promise.resolve() : held) });
  const { host, said, committed, start } = lone(votes);
  start();
  await sleep(60);
  assert.deepEqual([said, committed], [[], []]);
  assert.equal(votes.votes().length, 1);
  release();
  await until(() => committed.length > 0);
  host.stop();
  assert.deepEqual(committed, [1]);
  assert.deepEqual(said.slice(0, 2).map(({ kind }) => kind), ["proposal", "vote"]);
  await votes.close();
});

test("a disk that fails stops the node, and nothing leaves", async (t) => {
  let syncs = 0;
  const votes = await voteLog(t, { sync: async () => { if (syncs++ > 0) throw new Error("EIO"); } });
  const { said, committed, halted, start } = lone(votes);
  start();
  await until(() => halted.length > 0);
  assert.deepEqual([said, committed, halted.map(({ code }) => code)], [[], [], ["store_write_failed"]]);
  await votes.close();
});

test("whatever consensus wants, the vote log has the last word", async (t) => {
  const votes = await voteLog(t);
  await votes.record({ epoch: 0, view: 1, kind: NOTARIZE, id: sha256(Uint8Array.of(1)), bytes: new Uint8Array(9) });
  const { said, halted, start } = lone(votes);
  // As if consensus had not been told of what is in the log.
  start();
  await until(() => halted.length > 0);
  assert.deepEqual([said, halted.map(({ code }) => code)], [[], ["vote_conflict"]]);
  await votes.close();
});

test("nonsense from a peer changes nothing", async (t) => {
  const votes = await voteLog(t);
  const { host, committed, halted, start } = lone(votes);
  start();
  const stranger = peerId(new Uint8Array(32).fill(9));
  const good = encodeMessage({ kind: "certificateRequest", certificateKind: "notarize", view: view(1) });
  for (let at = 0; at < good.length; at++) host.receive(stranger, good.subarray(0, at));
  host.receive(stranger, new Uint8Array(300).fill(0x9f));
  await until(() => committed.length > 0);
  host.stop();
  assert.deepEqual([committed, halted], [[1], []]);
  await votes.close();
});

test("a block that a final rival has pushed out between a step and its effect halts nobody", async (t) => {
  const votes = await voteLog(t);
  const clock = new ManualClock();
  /** After the step that wants the block executed, before that is carried out, what sync commits pushes the block out. */
  class Pruned extends HeldBlocks {
    override add(held: HeldBlock): boolean {
      queueMicrotask(() => queueMicrotask(() => this.prune(held.ref.height, held.ref.view - 1)));
      return super.add(held);
    }
  }
  const { host, held, validated, halted, said, start } = lone(votes, { seeds: SEEDS, self: SELF, clock, held: new Pruned() });
  start();
  await sleep(5);
  const { block, ref } = emptyBlock(view(1), GENESIS, timeMs(BigInt(clock.nowMs())), LEADER);
  let asked = 0;
  const get = held.get.bind(held);
  held.get = (id) => (asked++, get(id));
  host.receive(peerAt(LEADER), encodeMessage({ kind: "proposal", proposal: { block, signature: signProposal(SEEDS[LEADER]!, ref.id), justification: [] } }));
  await until(() => asked > 0);
  await sleep(5);
  assert.deepEqual([asked > 0, held.get(ref.id), validated, halted], [true, null, [], []]);
  // It goes on: the view ends by its timer.
  clock.advance(10_000);
  await until(() => said.some(({ kind }) => kind === "vote"));
  assert.deepEqual(said.flatMap((message) => (message.kind === "vote" ? [message.vote.kind] : [])), ["nullify"]);
  host.stop();
  await votes.close();
});

test("a leader whose store of blocks is full gives its view up, and proposes again when there is room", async (t) => {
  const votes = await voteLog(t);
  const clock = new ManualClock();
  const held = new HeldBlocks();
  for (let at = 1; at <= BLOCKS_HELD_MAX; at++) held.add(emptyBlock(view(1_000 + at), GENESIS, GENESIS.timeMs, 1));
  const { host, said, committed, halted, start } = lone(votes, { clock, held });
  start();
  const given = (kind: string): boolean => said.some((message) => message.kind === "vote" && message.vote.kind === kind);
  for (let steps = 0; steps < 2_000 && !given("nullify"); steps++) {
    clock.advance(50);
    await sleep(2);
  }
  assert.deepEqual([given("nullify"), given("notarize"), halted], [true, false, []]);
  held.prune(1, 0);
  for (let steps = 0; steps < 2_000 && committed.length === 0; steps++) {
    clock.advance(50);
    await sleep(2);
  }
  assert.deepEqual([committed, halted], [[1], []]);
  host.stop();
  await votes.close();
});

test("who sends a forged certificate costs one check, and is not heard for a while; others are", async (t) => {
  const votes = await voteLog(t);
  const clock = new ManualClock();
  let verified = 0;
  const { host, halted, start } = lone(votes, { seeds: SEEDS, self: SELF, clock, verify: (check) => (verified++, checkSignatureAsync(check)) });
  start();
  await sleep(5);
  const [, liar, honest] = FOLLOWERS.map(peerAt);
  for (let n = 0; n < 50; n++) {
    const { signatures, ...rest } = nullificationOf(1 + n);
    host.receive(liar!, bytesOf({ ...rest, signatures: signatures.with(200, signatures[200]! ^ 1) }));
  }
  await until(() => verified > 0);
  await sleep(50);
  assert.ok(verified > 0 && verified <= CERTIFICATE_CHECKS_AT_ONCE, `${verified} signatures checked`);
  host.receive(liar!, bytesOf(nullificationOf(1)));
  await sleep(20);
  assert.equal(host.view, 1, "the liar is not heard, even when it is right");
  host.receive(honest!, bytesOf(nullificationOf(1)));
  await until(() => host.view === 2);
  assert.equal(host.view, 2);
  clock.advance(PEER_MUTED_MS);
  host.receive(liar!, bytesOf(nullificationOf(2)));
  await until(() => host.view === 3);
  assert.deepEqual([host.view, halted], [3, []]);
  host.stop();
  await votes.close();
});

test("a certificate of another epoch is not taken, and its sender is heard", async (t) => {
  const votes = await voteLog(t);
  const { host, start } = lone(votes, { seeds: SEEDS, self: SELF, clock: new ManualClock() });
  start();
  await sleep(5);
  host.receive(peerAt(LEADER), bytesOf({ ...nullificationOf(1), epoch: epoch(1) }));
  await sleep(20);
  assert.equal(host.view, 1);
  host.receive(peerAt(LEADER), bytesOf(nullificationOf(1)));
  await until(() => host.view === 2);
  assert.equal(host.view, 2);
  host.stop();
  await votes.close();
});

test("a certificate that is already held is dropped before it is verified, whoever sends it and with whatever signatures", async (t) => {
  const votes = await voteLog(t);
  let verified = 0;
  const { host, halted, start } = lone(votes, { seeds: SEEDS, self: SELF, clock: new ManualClock(), verify: (check) => (verified++, checkSignatureAsync(check)) });
  start();
  await sleep(5);
  host.receive(peerAt(LEADER), bytesOf(nullificationOf(1)));
  await until(() => host.view === 2);
  const once = verified;
  const { signatures, ...rest } = nullificationOf(1);
  for (const follower of FOLLOWERS) {
    host.receive(peerAt(follower), bytesOf(nullificationOf(1)));
    host.receive(peerAt(follower), bytesOf({ ...rest, signatures: signatures.with(200, signatures[200]! ^ 1) }));
  }
  await sleep(20);
  assert.ok(once > 0);
  assert.deepEqual([verified, host.view, halted], [once, 2, []]);
  host.stop();
  await votes.close();
});

test("R1: a view timer that rings late, as its process did not run, lets what has arrived be read first: put off once, by as much and at most four deltas", async (t) => {
  const graceMs = 4 * PRESETS.minimal.deltaMs;
  /** A follower in view 1, whose process does not run for so long as its view's time is over. */
  const stalled = async (stalledMs: number): Promise<Member & { clock: ManualClock; kinds(): string[]; stall(ms: number): void }> => {
    const votes = await voteLog(t);
    const clock = new ManualClock();
    let monotonicMs = 0;
    const member = lone(votes, { seeds: SEEDS, self: SELF, clock: { nowMs: () => clock.nowMs(), monotonicMs: () => clock.nowMs() + monotonicMs, setTimer: (callback, delayMs) => clock.setTimer(callback, delayMs) } });
    t.after(async () => {
      member.host.stop();
      await votes.close();
    });
    member.start();
    await sleep(5);
    monotonicMs += stalledMs;
    clock.advance(graceMs);
    return { ...member, clock, kinds: () => member.said.flatMap((message) => (message.kind === "vote" ? [message.vote.kind] : [])), stall: (ms) => { monotonicMs += ms; } };
  };
  const { host, clock, kinds } = await stalled(60_000);
  const { block, ref } = emptyBlock(view(1), GENESIS, timeMs(BigInt(clock.nowMs())), LEADER);
  host.receive(peerAt(LEADER), encodeMessage({ kind: "proposal", proposal: { block, signature: signProposal(SEEDS[LEADER]!, ref.id), justification: [] } }));
  await until(() => kinds().length > 0);
  assert.deepEqual(kinds(), ["notarize"], "its block was there, and it did not give the view up");

  const [alone, soon, punctual] = [await stalled(60_000), await stalled(graceMs / 2), await stalled(PRESETS.minimal.deltaMs / 4)];
  await until(() => punctual.kinds().length > 0);
  assert.deepEqual([alone, soon, punctual].map((one) => one.kinds()), [[], [], ["nullify"]]);
  soon.clock.advance(graceMs / 2);
  alone.clock.advance(graceMs - 1);
  await until(() => soon.kinds().length > 0);
  assert.deepEqual([alone, soon].map((one) => one.kinds()), [[], ["nullify"]]);
  alone.stall(60_000);
  alone.clock.advance(1);
  await until(() => alone.kinds().length > 0);
  assert.deepEqual(alone.kinds(), ["nullify"], "not put off again");
});

test("R1: a view whose block has this node's vote is put off once by four deltas, until somebody gives it up", async (t) => {
  const graceMs = 4 * PRESETS.minimal.deltaMs;
  /** A follower that has notarized the block of view 1, as its view's time is over. */
  const hopeful = async (before: readonly SignedVote[]): Promise<{ clock: ManualClock; kinds(): string[]; hear(vote: SignedVote): void }> => {
    const votes = await voteLog(t);
    const clock = new ManualClock();
    const { host, said, start } = lone(votes, { seeds: SEEDS, self: SELF, clock: { nowMs: () => clock.nowMs(), setTimer: (callback, delayMs) => clock.setTimer(callback, delayMs) } });
    t.after(async () => {
      host.stop();
      await votes.close();
    });
    const kinds = (): string[] => said.flatMap((message) => (message.kind === "vote" ? [message.vote.kind] : []));
    const hear = (vote: SignedVote): void => host.receive(peerAt(vote.validator), encodeMessage({ kind: "vote", vote }));
    start();
    await sleep(5);
    const { block, ref } = emptyBlock(view(1), GENESIS, timeMs(BigInt(clock.nowMs())), LEADER);
    host.receive(peerAt(LEADER), encodeMessage({ kind: "proposal", proposal: { block, signature: signProposal(SEEDS[LEADER]!, ref.id), justification: [] } }));
    await until(() => kinds().length > 0);
    for (const vote of before) hear(vote);
    await sleep(20);
    clock.advance(graceMs);
    return { clock, kinds, hear };
  };
  const nullifies = voteOf(FOLLOWERS[1]!, "nullify", 1, null);
  const [quiet, told, knew] = [await hopeful([]), await hopeful([]), await hopeful([nullifies])];
  await until(() => knew.kinds().length > 1);
  assert.deepEqual([quiet, told, knew].map((one) => one.kinds()), [["notarize"], ["notarize"], ["notarize", "nullify"]]);
  told.hear(nullifies);
  await until(() => told.kinds().length > 1);
  quiet.clock.advance(graceMs - 1);
  await sleep(20);
  assert.deepEqual([quiet, told].map((one) => one.kinds()), [["notarize"], ["notarize", "nullify"]]);
  quiet.clock.advance(1);
  await until(() => quiet.kinds().length > 1);
  assert.deepEqual(quiet.kinds(), ["notarize", "nullify"]);
});
