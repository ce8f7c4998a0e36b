import assert from "node:assert";
import { test } from "node:test";
import { bitmapOf } from "#chain/codec/quorum.ts";
import type { Certificate, SignedVote, VoteKind } from "#chain/codec/schema.ts";
import { PRESETS, SILENT_LEADER_VIEWS, STANDSTILL_BYTES_MAX, VIEWS_AHEAD_MAX } from "../constants.ts";
import { chainId, digest, epoch, height, signature, timeMs, view } from "../types.ts";
import type { Digest, View } from "../types.ts";
import type { BlockRef, Effect, Event } from "./events.ts";
import { certificateFor, createState, leaderOf, recordOf, wantsCertificate, wantsProposal, wantsVote } from "./state.ts";
import type { State } from "./state.ts";
import { statusOf } from "./rejoin.ts";
import { step } from "./step.ts";

const CHAIN = chainId(new Uint8Array(8));
const GENESIS: BlockRef = {
  id: digest(new Uint8Array(32).fill(1)), view: view(0), height: height(0), parentView: view(0), parentId: digest(new Uint8Array(32)), timeMs: timeMs(1_000_000n),
};

type Without<E> = E extends unknown ? Omit<E, "nowMs"> : never;
type Kind<K extends Effect["kind"]> = Effect & { kind: K };

/** One node and whatever the test makes happen to it. */
class Story {
  state: State;
  nowMs: bigint = GENESIS.timeMs;
  readonly weights: readonly number[];

  constructor(self: number | null, weights: readonly number[] = [1, 1, 1, 1]) {
    this.weights = weights;
    this.state = createState({ chainId: CHAIN, epoch: epoch(0), weights, self, pace: PRESETS.minimal, leaderSeed: new Uint8Array(32), lastHeight: 600 });
  }

  give(event: Without<Event>): Effect[] {
    return step(this.state, { ...event, nowMs: timeMs(this.nowMs) } as Event)[1];
  }

  start(more: Partial<Event & { kind: "start" }> = {}): Effect[] {
    return this.give({ kind: "start", final: GENESIS, dueMs: null, finalization: null, votes: [], certificates: [], blocks: [], memory: { kind: "whole" }, ...more });
  }

  later(ms: number): this {
    this.nowMs += BigInt(ms);
    return this;
  }

  child(parent: BlockRef, of: number, salt: number = 0): BlockRef {
    return {
      id: digest(new Uint8Array(32).fill(of + 10).fill(salt, 30)), view: view(of), height: height(parent.height + 1), parentView: parent.view,
      parentId: parent.id, timeMs: timeMs(this.nowMs > parent.timeMs + 200n ? this.nowMs : parent.timeMs + 200n),
    };
  }

  vote(validator: number, kind: VoteKind, of: number, id: Digest | null): SignedVote {
    return { kind, chainId: CHAIN, epoch: epoch(0), view: view(of), id, validator, signature: signature(new Uint8Array(64).fill(validator)) };
  }

  certificate(kind: VoteKind, of: number, id: Digest | null, signers: readonly number[] = [0, 1, 2]): Certificate {
    return { kind, epoch: epoch(0), view: view(of), id, bitmap: bitmapOf(signers, this.weights.length), signatures: new Uint8Array(64 * signers.length) };
  }

  /** The proposal of a view's leader; the block is executed at once and right, unless told otherwise. */
  proposal(block: BlockRef, certificates: readonly Certificate[] = [], valid: boolean = true): Effect[] {
    return this.execute(this.give({ kind: "proposal", block, certificates }), valid);
  }

  execute(effects: Effect[], valid: boolean = true): Effect[] {
    const all = [...effects];
    for (const effect of effects) {
      if (effect.kind === "validate") all.push(...this.execute(this.give({ kind: "validated", id: effect.block.id, valid, dueMs: null }), valid));
    }
    return all;
  }

  /** Puts every vote asked for on disk, again and again until none is asked for. */
  flush(effects: Effect[]): Effect[] {
    const all = [...effects];
    for (const { vote } of of(effects, "persist")) {
      all.push(...this.flush(this.give({ kind: "persisted", vote: this.vote(this.state.configuration.self!, vote.kind, vote.view, vote.id) })));
    }
    return all;
  }
}

const of = <K extends Effect["kind"]>(effects: readonly Effect[], kind: K): Kind<K>[] => effects.filter((e): e is Kind<K> => e.kind === kind);
const votesIn = (effects: readonly Effect[]): string[] => of(effects, "persist").map(({ vote }) => `${vote.kind} ${vote.view}`);
const sent = (effects: readonly Effect[]): string[] => of(effects, "broadcast").map(({ message }) =>
  message.kind === "vote" ? message.vote.kind : message.kind === "certificate" ? `certificate ${message.certificate.kind}` : message.kind);

/** A validator that does not lead view 1, and the three others. */
function follower(): { story: Story; others: number[] } {
  const leader = leaderOf(new Story(0).state, view(1));
  const self = (leader + 1) % 4;
  return { story: new Story(self), others: [0, 1, 2, 3].filter((index) => index !== self) };
}

test("a single validator finalizes its block as soon as its votes are on disk", () => {
  const story = new Story(0, [5]);
  assert.deepStrictEqual(of(story.start(), "timer").map((t) => [t.timer, t.delayMs]), [["standstill", 3_000], ["view", 5_400], ["build", 5_000]]);
  story.later(100).give({ kind: "waiting", count: 1 });
  const [build] = of(story.later(100).give({ kind: "timer", timer: "build", view: view(1) }), "build");
  assert.strictEqual(build?.timeMs, GENESIS.timeMs + 200n);
  assert.strictEqual(build.parentCertificate, null);
  const block = story.child(GENESIS, 1);
  const built = story.give({ kind: "built", view: view(1), block, dueMs: null });
  assert.deepStrictEqual(votesIn(built), ["notarize 1"]);
  assert.deepStrictEqual(sent(built), []);
  const done = story.flush(built);
  assert.deepStrictEqual(sent(done), ["proposal", "notarize", "certificate notarize", "finalize", "certificate finalize"]);
  assert.strictEqual(of(done, "commit")[0]?.block, block);
  assert.strictEqual(story.state.view, 2);
});

test("R11: after a restart a single validator goes on with what it had signed, whatever was on disk", () => {
  const before = new Story(0, [5]);
  const block = before.child(GENESIS, 1);
  const signed = [before.vote(0, "notarize", 1, block.id), before.vote(0, "finalize", 1, block.id)];
  for (const count of [1, 2]) {
    const story = new Story(0, [5]);
    const effects = story.flush(story.execute(story.start({ votes: signed.slice(0, count), blocks: [block] })));
    assert.deepStrictEqual(votesIn(effects), count === 1 ? ["finalize 1"] : []);
    assert.strictEqual(of(effects, "commit")[0]?.block, block);
    assert.deepStrictEqual([story.state.view, story.state.final.height], [2, 1]);
  }
});

test("R11: with a vote goes to disk what permits it, and after a restart it is known", () => {
  const { story, others } = follower();
  const self = story.state.configuration.self!;
  story.start();
  const nullification = story.certificate("nullify", 1, null, others);
  story.give({ kind: "certificate", certificate: nullification });
  const [given] = of(story.give({ kind: "timer", timer: "view", view: view(2) }), "persist");
  assert.deepStrictEqual([given?.vote.kind, given?.certificate], ["nullify", nullification]);
  const restarted = new Story(self);
  restarted.start({ votes: [restarted.vote(self, "nullify", 2, null)], certificates: [nullification] });
  assert.strictEqual(restarted.state.view, 2);
  assert.strictEqual(certificateFor(restarted.state, "nullify", view(1)), nullification);

  const other = follower().story;
  other.start();
  const block = other.child(GENESIS, 1);
  const [first] = of(other.proposal(block), "persist");
  assert.deepStrictEqual([first?.vote.kind, first?.certificate], ["notarize", null]);
  const notarization = other.certificate("notarize", 1, block.id, others);
  const [second] = of(other.give({ kind: "certificate", certificate: notarization }), "persist");
  assert.deepStrictEqual([second?.vote.kind, second?.certificate], ["finalize", notarization]);
});

test("R11: what was signed is not signed against: no second proposal, no nullify after finalize", () => {
  const { story } = follower();
  const self = story.state.configuration.self!;
  const block = story.child(GENESIS, 1);
  story.start({ votes: [story.vote(self, "notarize", 1, block.id), story.vote(self, "finalize", 1, block.id)] });
  assert.deepStrictEqual(votesIn(story.later(9_000).give({ kind: "timer", timer: "view", view: view(1) })), []);
  assert.deepStrictEqual(votesIn(story.proposal(story.child(GENESIS, 1, 9))), []);
  const leader = leaderOf(story.state, view(1));
  const restarted = new Story(leader);
  const effects = restarted.start({ votes: [restarted.vote(leader, "notarize", 1, block.id)], blocks: [block] });
  assert.deepStrictEqual(of([...effects, ...restarted.later(6_000).give({ kind: "timer", timer: "build", view: view(1) })], "build"), []);
});

test("R3: a proposal is notarized once it has executed, and only the first one", () => {
  const { story } = follower();
  story.start();
  const block = story.child(GENESIS, 1);
  const given = story.give({ kind: "proposal", block, certificates: [] });
  assert.deepStrictEqual(votesIn(given), []);
  assert.deepStrictEqual(votesIn(story.execute(given)), ["notarize 1"]);
  const second = story.proposal(story.child(GENESIS, 1, 9));
  assert.deepStrictEqual(votesIn(second), []);
  assert.strictEqual(of(second, "evidence")[0]?.evidence.kind, "proposals"); // R13
});

test("R3, R7: a block that is wrong, too early, too late or on the wrong parent is answered with nullify", () => {
  const cases: [string, (story: Story) => BlockRef, boolean][] = [
    ["does not execute", (s) => s.child(GENESIS, 1), false],
    ["sooner than its parent allows", (s) => ({ ...s.child(GENESIS, 1), timeMs: timeMs(GENESIS.timeMs + 199n) }), true],
    ["ahead of the clock", (s) => ({ ...s.child(GENESIS, 1), timeMs: timeMs(s.nowMs + 2_001n) }), true],
    ["another parent", (s) => ({ ...s.child(GENESIS, 1), parentId: digest(new Uint8Array(32).fill(99)) }), true],
    ["its own view as the parent's", (s) => ({ ...s.child(GENESIS, 1), parentView: view(1) }), true],
  ];
  for (const [name, make, valid] of cases) {
    const { story } = follower();
    story.start();
    assert.deepStrictEqual(votesIn(story.proposal(make(story), [], valid)), ["nullify 1"], name);
  }
});

test("R3: a gap needs its nullification, and asks for it", () => {
  const { story } = follower();
  story.start();
  story.give({ kind: "certificate", certificate: story.certificate("nullify", 2, null) });
  assert.strictEqual(story.state.view, 3);
  const block = story.child(GENESIS, 3);
  const waiting = story.proposal(block);
  assert.deepStrictEqual(of(waiting, "request").map((r) => r.request), [{ kind: "certificateRequest", certificateKind: "nullify", view: 1 }]);
  assert.deepStrictEqual(votesIn(waiting), []);
  const answered = story.execute(story.give({ kind: "certificate", certificate: story.certificate("nullify", 1, null) }));
  assert.notStrictEqual(leaderOf(story.state, view(3)), story.state.configuration.self);
  assert.deepStrictEqual(votesIn(answered), ["notarize 3"]);
});

test("R4, R5, R6: a quorum of votes is a certificate, is sent on, ends the view, and is finalized by who notarized it", () => {
  const { story, others } = follower();
  story.start();
  const block = story.child(GENESIS, 1);
  story.flush(story.proposal(block));
  assert.deepStrictEqual(sent(story.give({ kind: "vote", vote: story.vote(others[0]!, "notarize", 1, block.id) })), []);
  const quorum = story.give({ kind: "vote", vote: story.vote(others[1]!, "notarize", 1, block.id) });
  assert.deepStrictEqual(sent(quorum), ["certificate notarize"]);
  assert.deepStrictEqual(votesIn(quorum), ["finalize 1"]);
  assert.strictEqual(story.state.view, 2);
  const [message] = of(quorum, "broadcast");
  assert(message?.message.kind === "certificate");
  assert.strictEqual(message.message.certificate.signatures.length, 3 * 64);
});

test("R5: a view that was nullified is not finalized, though its block be notarized later", () => {
  const { story } = follower();
  story.start();
  const block = story.child(GENESIS, 1);
  story.flush(story.proposal(block));
  assert.deepStrictEqual(votesIn(story.give({ kind: "timer", timer: "view", view: view(1) })), ["nullify 1"]);
  assert.deepStrictEqual(votesIn(story.give({ kind: "certificate", certificate: story.certificate("notarize", 1, block.id) })), []);
});

test("R5: what others notarized without this node it does not finalize", () => {
  const { story } = follower();
  story.start();
  const block = story.child(GENESIS, 1);
  assert.deepStrictEqual(votesIn(story.give({ kind: "certificate", certificate: story.certificate("notarize", 1, block.id) })), []);
});

test("R7: a leader that gives up, is suspected, or was not heard of for 20 views costs no time", () => {
  {
    const { story } = follower();
    story.start();
    const leader = leaderOf(story.state, view(1));
    assert.deepStrictEqual(votesIn(story.give({ kind: "vote", vote: story.vote(leader, "nullify", 1, null) })), ["nullify 1"]);
  }
  {
    const { story } = follower();
    story.start();
    assert.deepStrictEqual(votesIn(story.give({ kind: "suspected", validator: leaderOf(story.state, view(1)), suspected: true })), ["nullify 1"]);
  }
  const { story } = follower();
  const self = story.state.configuration.self!;
  story.start();
  const silent = [0, 1, 2, 3].find((index) => index !== self)!;
  for (let of = 1; of < 60; of++) {
    for (const index of [0, 1, 2, 3]) if (index !== silent && index !== self) story.give({ kind: "vote", vote: story.vote(index, "nullify", of, null) });
    const effects = story.give({ kind: "certificate", certificate: story.certificate("nullify", of, null, [0, 1, 2, 3].filter((index) => index !== silent)) });
    const entered = story.state.view;
    const passed = leaderOf(story.state, entered) === silent && entered > SILENT_LEADER_VIEWS;
    assert.deepStrictEqual(votesIn(effects), passed ? [`nullify ${entered}`] : [], `view ${entered}`);
  }
});

test("pacing: only the first waiting transaction moves the view's timer, a trickle does not", () => {
  const { story } = follower();
  assert.strictEqual(of(story.start(), "timer").find((t) => t.timer === "view")?.delayMs, 5_400);
  story.later(1_000);
  assert.strictEqual(of(story.give({ kind: "waiting", count: 10 }), "timer").find((t) => t.timer === "view")?.delayMs, 402);
  for (let i = 0; i < 5; i++) {
    assert.deepStrictEqual(of(story.later(100).give({ kind: "waiting", count: 0 }), "timer"), []);
    assert.deepStrictEqual(of(story.later(100).give({ kind: "waiting", count: 3 + i }), "timer"), []);
  }
});

test("R8: a finalization commits its ancestors in order, each when it has executed, and asks for those it lacks", () => {
  const { story } = follower();
  story.start();
  const one = story.child(GENESIS, 1);
  const two = story.later(300).child(one, 2);
  const three = story.later(300).child(two, 3);
  const missing = story.give({ kind: "certificate", certificate: story.certificate("finalize", 3, three.id) });
  assert.deepStrictEqual(of(missing, "request").map((r) => r.request), [{ kind: "blockRequest", id: three.id }]);
  assert.deepStrictEqual(of(story.give({ kind: "block", block: two }), "request"), []); // Not asked for.
  assert.deepStrictEqual(of(story.give({ kind: "block", block: three }), "request").map((r) => r.request), [{ kind: "blockRequest", id: two.id }]);
  story.give({ kind: "block", block: two });
  const done = story.execute(story.give({ kind: "block", block: one }));
  assert.deepStrictEqual(of(done, "commit").map((c) => c.block.height), [1, 2, 3]);
  assert.strictEqual(story.state.final, three);
  assert.strictEqual(story.state.view, 4);
  assert.deepStrictEqual([...story.state.requests], []);
});

test("R8: a finalized block that does not execute here, or forks off below, halts this node for good", () => {
  const { story } = follower();
  story.start();
  const one = story.child(GENESIS, 1);
  story.give({ kind: "certificate", certificate: story.certificate("finalize", 1, one.id) });
  const halted = story.execute(story.give({ kind: "block", block: one }), false);
  assert.deepStrictEqual(of(halted, "halt").map((h) => h.reason), ["finalized_invalid"]);
  assert.deepStrictEqual(story.give({ kind: "timer", timer: "view", view: view(2) }), []);
  const other = follower().story;
  other.start();
  const stranger: BlockRef = { ...other.child(GENESIS, 1), parentId: digest(new Uint8Array(32).fill(77)) };
  other.give({ kind: "certificate", certificate: other.certificate("finalize", 1, stranger.id) });
  assert.deepStrictEqual(of(other.give({ kind: "block", block: stranger }), "halt").map((h) => h.reason), ["finalized_fork"]);
});

test("two quorums that exclude each other halt this node", () => {
  const id = (n: number): Digest => digest(new Uint8Array(32).fill(100 + n));
  const cases: [VoteKind, number, VoteKind, number, string][] = [
    ["notarize", 1, "notarize", 2, "notarized_twice"], ["finalize", 1, "nullify", 0, "finalized_and_nullified"],
    ["nullify", 0, "finalize", 1, "finalized_and_nullified"], ["finalize", 1, "finalize", 2, "finalized_fork"], ["notarize", 1, "finalize", 2, "notarized_twice"],
  ];
  for (const [first, a, second, b, reason] of cases) {
    const { story } = follower();
    story.start();
    story.give({ kind: "certificate", certificate: story.certificate(first, 1, a === 0 ? null : id(a)) });
    const effects = story.give({ kind: "certificate", certificate: story.certificate(second, 1, b === 0 ? null : id(b)) });
    assert.deepStrictEqual(of(effects, "halt").map((h) => h.reason), [reason]);
  }
});

test("R9: at a standstill what is held goes out again, within the byte limit, and goes on where it stopped", () => {
  const story = new Story(0, Array.from({ length: 100 }, () => 1));
  story.start();
  const signers = Array.from({ length: 67 }, (_, index) => index);
  for (let of = 1; of <= 120; of++) story.give({ kind: "certificate", certificate: story.certificate("nullify", of, null, signers) });
  story.later(60_000).give({ kind: "timer", timer: "standstill", view: story.state.view });
  const seen = new Set<View>();
  for (let round = 0; round < 4; round++) {
    const effects = story.later(3_000).give({ kind: "timer", timer: "standstill", view: story.state.view });
    let bytes = 0;
    for (const { message } of of(effects, "broadcast")) {
      if (message.kind !== "certificate") continue;
      bytes += message.certificate.signatures.length;
      seen.add(message.certificate.view);
    }
    assert(bytes > 0 && bytes <= STANDSTILL_BYTES_MAX);
    assert.deepStrictEqual(of(effects, "timer").map((t) => t.timer), ["standstill"]);
  }
  assert.strictEqual(seen.size, 120);
});

test("R9: an idle chain that waits for its next block is not at a standstill", () => {
  const { story } = follower();
  const block = story.child(GENESIS, 1);
  story.start();
  story.flush(story.proposal(block));
  story.execute(story.give({ kind: "certificate", certificate: story.certificate("finalize", 1, block.id) }));
  story.give({ kind: "timer", timer: "standstill", view: view(2) });
  assert.deepStrictEqual(sent(story.later(3_000).give({ kind: "timer", timer: "standstill", view: view(2) })), []);
  assert.deepStrictEqual(sent(story.later(3_000).give({ kind: "timer", timer: "standstill", view: view(2) })), ["certificate finalize"]);
});

test("R10: what is missing is asked for again, of somebody else each time, at growing intervals", () => {
  const { story } = follower();
  story.start();
  const block = story.child(GENESIS, 1);
  story.give({ kind: "certificate", certificate: story.certificate("finalize", 1, block.id) });
  const asked: [number, bigint][] = [];
  for (let tick = 0; tick < 40; tick++) {
    for (const { attempt } of of(story.later(400).give({ kind: "timer", timer: "request", view: view(2) }), "request")) asked.push([attempt, story.nowMs - GENESIS.timeMs]);
  }
  assert.deepStrictEqual(asked.slice(0, 4), [[1, 400n], [2, 1_200n], [3, 2_400n], [4, 4_000n]]);
  assert.strictEqual(certificateFor(story.state, "nullify", view(1))?.kind, "finalize");
});

test("R9, R10: a clock that is set back does not keep this node silent until it has caught up", () => {
  const { story } = follower();
  story.start();
  const block = story.child(GENESIS, 1);
  story.give({ kind: "certificate", certificate: story.certificate("finalize", 1, block.id) });
  story.give({ kind: "timer", timer: "standstill", view: view(2) });
  story.later(-900_000);
  assert.strictEqual(of(story.give({ kind: "timer", timer: "request", view: view(2) }), "request").length, 1);
  assert.deepStrictEqual(of(story.later(400).give({ kind: "timer", timer: "request", view: view(2) }), "request"), []);
  assert.deepStrictEqual(sent(story.later(3_000).give({ kind: "timer", timer: "standstill", view: view(2) })), ["certificate finalize"]);
});

test("R9: own proposals go out again one at a time, as each may be a full block, and none of a view that is nullified", () => {
  const story = new Story(0);
  const votes: SignedVote[] = [];
  const blocks: BlockRef[] = [];
  for (let led = 1; led <= 40; led++) {
    if (leaderOf(story.state, view(led)) !== 0) continue;
    blocks.push(story.child(GENESIS, led));
    votes.push(story.vote(0, "notarize", led, blocks.at(-1)!.id));
  }
  story.start({ votes, blocks });
  story.give({ kind: "certificate", certificate: story.certificate("nullify", blocks[0]!.view, null) });
  const rounds: number[] = [];
  const seen = new Set<string>();
  story.later(60_000).give({ kind: "timer", timer: "standstill", view: story.state.view });
  for (let round = 0; round < blocks.length; round++) {
    const proposals = of(story.later(3_000).give({ kind: "timer", timer: "standstill", view: story.state.view }), "broadcast")
      .flatMap(({ message }) => (message.kind === "proposal" ? [message.id.toHex()] : []));
    rounds.push(proposals.length);
    for (const id of proposals) seen.add(id);
  }
  assert.strictEqual(Math.max(...rounds), 1);
  assert.deepStrictEqual([...seen].toSorted(), blocks.slice(1).map(({ id }) => id.toHex()).toSorted());
});

test("R13: who signs two things of one view is reported once, and its first vote counts", () => {
  const a = digest(new Uint8Array(32).fill(1));
  const b = digest(new Uint8Array(32).fill(2));
  const table: [VoteKind, Digest | null, VoteKind, Digest | null, boolean][] = [
    ["notarize", a, "notarize", b, true], ["finalize", a, "finalize", b, true], ["finalize", a, "nullify", null, true], ["nullify", null, "finalize", a, true],
    ["notarize", a, "finalize", b, true], ["finalize", a, "notarize", b, true],
    ["notarize", a, "nullify", null, false], ["notarize", a, "finalize", a, false], ["notarize", a, "notarize", a, false],
  ];
  for (const [first, firstId, second, secondId, guilty] of table) {
    const { story, others } = follower();
    story.start();
    const liar = others[0]!;
    story.give({ kind: "vote", vote: story.vote(liar, first, 1, firstId) });
    const effects = story.give({ kind: "vote", vote: story.vote(liar, second, 1, secondId) });
    assert.strictEqual(of(effects, "evidence").length, guilty ? 1 : 0, `${first}, ${second}`);
    assert.deepStrictEqual(of(story.give({ kind: "vote", vote: story.vote(liar, second, 1, secondId) }), "evidence"), []);
  }
});

test("votes and certificates that change nothing are not wanted, and need no verification", () => {
  const { story, others } = follower();
  const block = story.child(GENESIS, 1);
  story.start();
  const vote = story.vote(others[0]!, "notarize", 1, block.id);
  assert.strictEqual(wantsVote(story.state, vote), true);
  story.give({ kind: "vote", vote });
  assert.strictEqual(wantsVote(story.state, vote), false);
  assert.strictEqual(wantsVote(story.state, { ...vote, validator: 4 }), false);
  assert.strictEqual(wantsVote(story.state, { ...vote, view: view(1 + VIEWS_AHEAD_MAX) }), true);
  assert.strictEqual(wantsVote(story.state, { ...vote, view: view(2 + VIEWS_AHEAD_MAX) }), false);
  const certificate = story.certificate("notarize", 1, block.id);
  assert.strictEqual(wantsCertificate(story.state, certificate), true);
  story.give({ kind: "certificate", certificate });
  assert.strictEqual(wantsCertificate(story.state, certificate), false);
  assert.strictEqual(wantsCertificate(story.state, story.certificate("notarize", 1, digest(new Uint8Array(32).fill(5)))), true);
  assert.deepStrictEqual(story.give({ kind: "certificate", certificate }), []);
});

test("R3: a block whose height is not its parent's and one is answered with nullify; one that no chain reaches so early is not wanted", () => {
  const { story } = follower();
  story.start();
  for (const skipped of [1, 2]) story.give({ kind: "certificate", certificate: story.certificate("nullify", skipped, null) });
  const block = story.child(GENESIS, 3);
  for (const [claimed, wanted] of [[0, false], [1, true], [2, true], [3, true], [4, false], [0xffff_ffff, false]] as const) {
    assert.strictEqual(wantsProposal(story.state, { ...block, height: height(claimed) }), wanted, `height ${claimed}`);
  }
  assert.deepStrictEqual(votesIn(story.proposal({ ...block, height: height(2) })), ["nullify 3"]);
});

test("of a leader that proposes without end two blocks are wanted, the rest costs no verification and no memory", () => {
  const { story } = follower();
  story.start();
  const wanted: boolean[] = [];
  for (let salt = 0; salt < 5; salt++) {
    const block = story.child(GENESIS, 1, salt);
    wanted.push(wantsProposal(story.state, block));
    story.give({ kind: "proposal", block, certificates: [] });
  }
  assert.deepStrictEqual(wanted, [true, true, false, false, false]);
  assert.strictEqual(story.state.blocks.size, 3); // Genesis is one.
  assert.strictEqual(wantsProposal(story.state, story.child(GENESIS, 1 + VIEWS_AHEAD_MAX)), true);
  assert.strictEqual(wantsProposal(story.state, story.child(GENESIS, 2 + VIEWS_AHEAD_MAX)), false);
});

test("a node without a key follows: it commits, and signs and sends nothing", () => {
  const story = new Story(null);
  const effects = [...story.start()];
  const block = story.child(GENESIS, 1);
  effects.push(...story.proposal(block), ...story.give({ kind: "timer", timer: "view", view: view(1) }));
  effects.push(...story.execute(story.give({ kind: "certificate", certificate: story.certificate("finalize", 1, block.id) })));
  effects.push(...story.later(60_000).give({ kind: "timer", timer: "standstill", view: view(2) }));
  assert.deepStrictEqual(of(effects, "commit").map((c) => c.block), [block]);
  for (const kind of ["persist", "broadcast", "build"] as const) assert.deepStrictEqual(of(effects, kind), []);
});

test("a sync by the shell moves the final block, and consensus goes on from there", () => {
  const { story } = follower();
  story.start();
  const far: BlockRef = { ...story.child(GENESIS, 90), height: height(80) };
  const effects = story.give({ kind: "synced", final: far, dueMs: null, finalization: story.certificate("finalize", 90, far.id) });
  assert.deepStrictEqual([story.state.view, story.state.final.height], [91, 80]);
  assert.deepStrictEqual(of(effects, "commit"), []);
  assert.strictEqual(recordOf(story.state, view(91)).own.nullify, false);
});

test("R13: a vote in a certificate that contradicts one received is evidence too", () => {
  const { story, others } = follower();
  story.start();
  const [a, b] = [story.child(GENESIS, 1), story.child(GENESIS, 1, 9)];
  story.give({ kind: "vote", vote: story.vote(others[0]!, "notarize", 1, b.id) });
  const [evidence] = of(story.give({ kind: "certificate", certificate: story.certificate("notarize", 1, a.id, others) }), "evidence");
  assert(evidence?.evidence.kind === "votes");
  assert.deepStrictEqual([evidence.evidence.validator, evidence.evidence.a.id, evidence.evidence.b.id], [others[0], b.id, a.id]);
});

test("R14: the last block of an epoch, once final, seals it: nothing is signed any more, and late peers are still answered", () => {
  const { story, others } = follower();
  story.start();
  const last = { ...story.child(GENESIS, 1), height: height(1) };
  story.state = createState({ ...story.state.configuration, lastHeight: 1 });
  story.start();
  story.flush(story.proposal(last));
  story.give({ kind: "certificate", certificate: story.certificate("notarize", 1, last.id, others) });
  // A seal is wanted as soon as it may be, though nothing waits.
  assert.strictEqual(story.state.wantedMs, timeMs(last.timeMs + BigInt(PRESETS.minimal.blockIntervalMsMin)));
  const finalization = story.certificate("finalize", 1, last.id, others);
  const effects = story.give({ kind: "certificate", certificate: finalization });
  assert.deepStrictEqual(effects.filter((e) => e.kind === "commit" || e.kind === "sealed").map((e) => e.kind), ["commit", "sealed"]);
  assert.deepStrictEqual(story.later(60_000).give({ kind: "timer", timer: "view", view: view(2) }), []);
  assert.strictEqual(certificateFor(story.state, "notarize", view(1)), finalization);
  assert.strictEqual(wantsVote(story.state, story.vote(others[0]!, "nullify", 2, null)), false);
});

test("R14: a finalized seal makes the last block final, and no seal is committed", () => {
  const { story } = follower();
  story.state = createState({ ...story.state.configuration, lastHeight: 1 });
  story.start();
  const last = story.child(GENESIS, 1);
  const seal = story.later(300).child(last, 2);
  story.proposal(last);
  story.give({ kind: "certificate", certificate: story.certificate("notarize", 1, last.id) });
  story.proposal(seal);
  const effects = story.give({ kind: "certificate", certificate: story.certificate("finalize", 2, seal.id) });
  assert.deepStrictEqual(of(effects, "commit").map((e) => e.block), [last]);
  assert.deepStrictEqual(of(effects, "sealed").map((e) => [e.block, e.finalization.id]), [[last, seal.id]]);
});

test("R12: without its vote log a node asks for views, signs nothing until a quorum has answered, and stays mute one view beyond", () => {
  const { story, others } = follower();
  const nonce = new Uint8Array(8).fill(3);
  assert.deepStrictEqual(sent(story.start({ memory: { kind: "lost", nonce } })), ["statusRequest"]);
  const status = (validator: number, of: number, more: Partial<Event & { kind: "status" }> = {}): Effect[] =>
    story.give({ kind: "status", validator, nonce, view: view(of), certificates: [], ...more });
  assert.deepStrictEqual(votesIn(story.give({ kind: "timer", timer: "view", view: view(1) })), []);
  status(others[0]!, 2);
  status(others[1]!, 3);
  assert.deepStrictEqual(of(status(others[2]!, 1, { nonce: new Uint8Array(8) }), "muted"), []); // Not fresh.
  assert.deepStrictEqual(of(status(story.state.configuration.self!, 1), "muted"), []); // Nobody answers himself.
  assert.deepStrictEqual(of(status(others[2]!, 6), "muted"), []); // One view proven, four validators: at most five.
  assert.deepStrictEqual(of(story.give({ kind: "certificate", certificate: story.certificate("nullify", 1, null, others) }), "muted").map((e) => e.upTo), [7]);
  for (let of = 2; of <= 7; of++) {
    assert.deepStrictEqual(votesIn(story.give({ kind: "timer", timer: "view", view: view(of) })), [], `view ${of}`);
    story.give({ kind: "certificate", certificate: story.certificate("nullify", of, null, others) });
  }
  assert.deepStrictEqual(votesIn(story.give({ kind: "timer", timer: "view", view: view(8) })), ["nullify 8"]);
});

test("R12: who rejoins answers nobody; everybody else says its view, or its mute if that is higher", () => {
  const { story, others } = follower();
  story.start({ memory: { kind: "lost", nonce: new Uint8Array(8) } });
  assert.strictEqual(statusOf(story.state), null);
  const other = new Story(others[0]!);
  other.start({ memory: { kind: "mute", upTo: view(9) } });
  const nullification = other.certificate("nullify", 1, null, others);
  other.give({ kind: "certificate", certificate: nullification });
  assert.deepStrictEqual(statusOf(other.state), { view: 9, admitting: nullification, finalization: null });
  const follows = new Story(null);
  follows.start();
  assert.strictEqual(statusOf(follows.state), null);
});

test("R1: the view's timer grows from the newest finalization that is held, not from the block that this node has come to", () => {
  const { story, others } = follower();
  story.start();
  const far = story.child(GENESIS, 30);
  story.give({ kind: "certificate", certificate: story.certificate("finalize", 30, far.id, others) });
  const timers = of(story.give({ kind: "certificate", certificate: story.certificate("nullify", 31, null, others) }), "timer").filter((t) => t.timer === "view");
  assert.deepStrictEqual([story.state.view, story.state.final.height, timers.map((t) => t.delayMs)], [32, 0, [5_400]]);
});
