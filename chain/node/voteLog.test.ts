import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { publicKeyOf, sha256 } from "#chain/crypto.ts";
import { type Hex, chainId } from "#chain/types.ts";
import { FINALIZE, type LoggedBlock, type LoggedCertificate, type LoggedVote, NOTARIZE, NULLIFY, VoteLog, type VoteLogOptions } from "./voteLog.ts";

const OPTIONS: VoteLogOptions = { chainId: chainId(new Uint8Array(8).fill(7)), publicKey: publicKeyOf(new Uint8Array(32).fill(1)), mustExist: false };
const id = (n: number): Uint8Array => sha256(Uint8Array.of(n));
const vote = (view: number, kind: number, of = view): LoggedVote => ({ epoch: 0, view, kind, id: kind === NULLIFY ? new Uint8Array(0) : id(of), bytes: new Uint8Array(20).fill(view) });
const blockOf = (view: number): LoggedBlock => ({ epoch: 0, view, height: view, id: id(view), bytes: new Uint8Array(40).fill(view) });
const certificateOf = (view: number, kind = NOTARIZE): LoggedCertificate => ({ epoch: 0, view, kind, bytes: new Uint8Array(100).fill(view) });

async function logPath(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "godwit-votes-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return join(directory, "votes");
}
const reopen = async (log: VoteLog, options = OPTIONS): Promise<VoteLog> => {
  await log.close();
  return VoteLog.open(log.path, options);
};

test("what contradicts the log is never signed, before and after a restart", async (t) => {
  const cases: [string, LoggedVote[], LoggedVote, string | null][] = [
    ["a second block in a view", [vote(1, NOTARIZE)], vote(1, NOTARIZE, 9), "vote_conflict"],
    ["the same vote again", [vote(1, NOTARIZE)], vote(1, NOTARIZE), null],
    ["nullify after notarize", [vote(1, NOTARIZE)], vote(1, NULLIFY), null],
    ["finalize after notarize", [vote(1, NOTARIZE)], vote(1, FINALIZE), null],
    ["finalize of another block than was notarized", [vote(1, NOTARIZE)], vote(1, FINALIZE, 9), "vote_conflict"],
    ["nullify after finalize", [vote(1, FINALIZE)], vote(1, NULLIFY), "vote_conflict"],
    ["finalize after nullify", [vote(1, NULLIFY)], vote(1, FINALIZE), "vote_conflict"],
    ["two finalizations", [vote(1, FINALIZE)], vote(1, FINALIZE, 9), "vote_conflict"],
    ["another view", [vote(1, FINALIZE)], vote(2, NULLIFY), null],
  ];
  for (const [name, before, next, code] of cases) {
    let log = await VoteLog.open(await logPath(t), OPTIONS);
    for (const one of before) await log.record(one);
    assert.equal(log.refusal(next), code, name);
    log = await reopen(log);
    assert.equal(log.refusal(next), code, `${name}, after a restart`);
    if (code !== null) await assert.rejects(log.record(next), { code }, name);
    else await log.record(next);
    await log.close();
  }
});

test("a vote that waits for the disk already counts", async (t) => {
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  let syncs = 0;
  const log = await VoteLog.open(await logPath(t), { ...OPTIONS, sync: () => (++syncs === 1 ? Promise.resolve() : held) });
  let durable = false;
  const first = log.record(vote(1, NOTARIZE)).then(() => (durable = true));
  await assert.rejects(log.record(vote(1, NOTARIZE, 9)), { code: "vote_conflict" });
  const again = log.record(vote(1, NOTARIZE));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(durable, false);
  release();
  await Promise.all([first, again]);
  await log.close();
});

test("a vote, its block and what permits it, torn at any byte, are gone together or there together", async (t) => {
  const path = await logPath(t);
  let log = await VoteLog.open(path, OPTIONS);
  await log.record(vote(1, NOTARIZE), blockOf(1), certificateOf(1));
  await log.close();
  const sizeOne = (await stat(path)).size;
  log = await VoteLog.open(path, OPTIONS);
  await log.record(vote(2, NOTARIZE), blockOf(2), certificateOf(2));
  await log.close();
  const whole = await readFile(path);
  for (let size = 0; size <= whole.length; size++) {
    await writeFile(path, whole.subarray(0, size));
    const torn = await VoteLog.open(path, OPTIONS);
    const views = torn.votes().map((one) => one.view);
    assert.deepEqual(torn.blocks().map((one) => one.view), views);
    assert.deepEqual(torn.certificates(), views.map((view) => certificateOf(view)));
    if (size >= sizeOne) assert.deepEqual(views, size === whole.length ? [1, 2] : [1]);
    await torn.close();
  }
});

test("a flipped byte is an error, for a lost vote could be given twice", async (t) => {
  const path = await logPath(t);
  const log = await VoteLog.open(path, OPTIONS);
  await log.record(vote(1, NOTARIZE), blockOf(1), certificateOf(1));
  await log.close();
  const whole = await readFile(path);
  for (let at = 0; at < whole.length; at++) {
    const damaged = Buffer.from(whole);
    damaged[at]! ^= 0x40;
    await writeFile(path, damaged);
    await assert.rejects(VoteLog.open(path, OPTIONS), { code: "record_corrupt" }, `byte ${at}`);
  }
});

test("forget() rewrites the log, keeps what is above the floor, and nothing is signed below it", async (t) => {
  let log = await VoteLog.open(await logPath(t), { ...OPTIONS, bytesMax: 1000 });
  for (let view = 1; view <= 40; view++) await log.record(vote(view, NOTARIZE), blockOf(view));
  const before = log.bytesTotal;
  await log.forget(0, 38, 38);
  assert.ok(log.bytesTotal < before / 4);
  log = await reopen(log);
  assert.deepEqual(log.votes().map((one) => one.view), [31, 32, 33, 34, 35, 36, 37, 38, 39, 40]);
  assert.deepEqual(log.blocks().map((one) => one.view), [39, 40]);
  assert.equal(log.refusal(vote(30, NOTARIZE)), "vote_below_floor");
  assert.equal(log.refusal(vote(40, NOTARIZE, 9)), "vote_conflict");
  await log.record(vote(41, NOTARIZE));
  log = await reopen(log);
  assert.equal(log.votes().length, 11);
  await log.close();
});

test("a certificate is written once per kind and view, survives a rewrite, and goes when its view is final on the disk", async (t) => {
  let log = await VoteLog.open(await logPath(t), { ...OPTIONS, bytesMax: 1000 });
  await log.record(vote(10, NOTARIZE), undefined, certificateOf(9));
  const [first] = log.certificates();
  await log.record(vote(10, FINALIZE), undefined, certificateOf(10));
  await log.record(vote(11, NOTARIZE), undefined, certificateOf(10, NULLIFY));
  const before = log.bytesTotal;
  await log.record(vote(11, NULLIFY), undefined, { ...certificateOf(10, NULLIFY), bytes: new Uint8Array(100) });
  assert.ok(log.bytesTotal < before + 100, "the vote alone is written");
  const all = [certificateOf(9), certificateOf(10), certificateOf(10, NULLIFY)];
  assert.deepEqual([first, log.certificates()], [all[0], all]);
  log = await reopen(log, { ...OPTIONS, bytesMax: 1000 });
  assert.deepEqual(log.certificates(), all);
  await log.forget(0, 9, 0);
  assert.deepEqual(log.certificates(), all.slice(1));
  // Now what is of no use outweighs the rest: the log is rewritten.
  for (let view = 1; view < 30; view++) await log.record({ ...vote(view + 40, NOTARIZE) }, { ...blockOf(view + 40), height: 1 });
  const bytesBefore = log.bytesTotal;
  await log.forget(0, 9, 1);
  assert.ok(log.bytesTotal < bytesBefore);
  log = await reopen(log);
  assert.deepEqual(log.certificates(), all.slice(1));
  await log.forget(0, 10, 1);
  await log.record(vote(90, NOTARIZE), undefined, certificateOf(10));
  assert.deepEqual(log.certificates(), [], "of a view that is final on the disk nothing is written again");
  await log.close();
});

test("a crash while the log is rewritten leaves the old one", async (t) => {
  const path = await logPath(t);
  const log = await VoteLog.open(path, OPTIONS);
  await log.record(vote(1, NOTARIZE));
  await log.close();
  await cp(path, `${path}.new`);
  await writeFile(`${path}.new`, (await readFile(path)).subarray(0, 60));
  const again = await VoteLog.open(path, OPTIONS);
  assert.equal(again.votes().length, 1);
  await again.close();
});

test("a log of another key, a missing log and a write by another process are refused", async (t) => {
  const path = await logPath(t);
  await assert.rejects(VoteLog.open(path, { ...OPTIONS, mustExist: true }), { code: "vote_log_missing" });
  const log = await VoteLog.open(path, OPTIONS);
  const other = { ...OPTIONS, publicKey: publicKeyOf(new Uint8Array(32).fill(2)) };
  await assert.rejects(VoteLog.open(path, other), { code: "vote_log_other_key" });
  const second = await VoteLog.open(path, OPTIONS);
  await second.record(vote(1, NOTARIZE));
  await assert.rejects(log.record(vote(1, NOTARIZE, 9)), { code: "foreign_write" });
  await log.close();
  await second.close();
});

test("R12: a log that was lost says so until a quorum was heard; what is mute then stays mute over restarts and rewrites, in the next epoch one view", async (t) => {
  const path = await logPath(t);
  let log = await VoteLog.open(path, { ...OPTIONS, mustExist: true, wasLost: true });
  assert.equal(log.isLost, true);
  log = await reopen(log, { ...OPTIONS, bytesMax: 1 });
  assert.equal(log.isLost, true);
  await log.mute(3, 17);
  log = await reopen(log, { ...OPTIONS, bytesMax: 1, wasLost: true });
  assert.deepEqual([log.isLost, log.mutedUpTo(3), log.mutedUpTo(4), log.mutedUpTo(5)], [false, 17, 1, 0], "a log that is there counts");
  await log.record({ ...vote(18, NOTARIZE), epoch: 3 });
  await log.forget(3, 18, 18);
  log = await reopen(log);
  const refusal = (epoch: number, view: number): string | null => log.refusal({ ...vote(view, NOTARIZE, 99), epoch });
  assert.deepEqual([refusal(3, 17), refusal(4, 1), refusal(4, 2)], ["vote_muted", "vote_muted", null]);
  await log.close();
});

test("liveness L11: what was said of a machine's silence outlives a restart and a rewrite, and goes when it is void", async (t) => {
  const [one, other] = ["01".repeat(20), "02".repeat(20)] as [Hex, Hex];
  const signed = (baseMs: bigint): { bootId: Hex; baseMs: bigint } => ({ bootId: "ab".repeat(16) as Hex, baseMs });
  let log = await VoteLog.open(await logPath(t), OPTIONS);
  await log.recordSilence(one, signed(1_000n));
  await log.recordSilence(one, signed(2n ** 40n));
  await log.recordSilence(other, signed(3_000n));
  log = await reopen(log, { ...OPTIONS, bytesMax: 1 });
  assert.deepEqual(log.silences(), [[one, signed(2n ** 40n)], [other, signed(3_000n)]]);
  log.forgetSilence(3_001n);
  await log.record(vote(1, NOTARIZE));
  await log.forget(0, 1, 1);
  log = await reopen(log);
  assert.equal(log.wasLost, false);
  assert.deepEqual(log.silences().filter(([machine]) => machine === one), [[one, signed(2n ** 40n)]]);
  await log.close();
});

test("R14: views begin again with an epoch: what is final in one forgets the one before, and nothing of the next", async (t) => {
  const log = await VoteLog.open(await logPath(t), OPTIONS);
  await log.record({ ...vote(40, NOTARIZE), epoch: 1 }, { ...blockOf(40), epoch: 1 }, { ...certificateOf(39), epoch: 1 });
  await log.record({ ...vote(1, NOTARIZE), epoch: 2 }, { ...blockOf(41), epoch: 2, view: 1 });
  await log.forget(1, 40, 40);
  assert.deepEqual(log.votes().map(({ epoch, view }) => [epoch, view]), [[1, 40], [2, 1]]);
  assert.deepEqual([log.blocks().length, log.certificates().length], [1, 0]);
  await log.record({ ...vote(2, NULLIFY), epoch: 2 }, undefined, { ...certificateOf(1), epoch: 2 });
  assert.equal(log.certificates().length, 1, "of view 1, though view 40 of the epoch before is final");
  await log.forget(2, 1, 41);
  assert.deepEqual(log.votes().map(({ epoch, view }) => [epoch, view]), [[2, 1], [2, 2]]);
  assert.equal(log.refusal({ ...vote(41, NOTARIZE), epoch: 1 }), "vote_below_floor");
  await log.close();
});

test("liveness L11: what was said already is not written a second time", async (t) => {
  const log = await VoteLog.open(await logPath(t), OPTIONS);
  const machine = "11".repeat(20) as Hex;
  const signed = { bootId: "22".repeat(16) as Hex, baseMs: 1_000n };
  await log.recordSilence(machine, signed);
  const { size } = await stat(log.path);
  await log.recordSilence(machine, { ...signed });
  assert.equal((await stat(log.path)).size, size);
  await log.recordSilence(machine, { ...signed, baseMs: 1_001n });
  assert((await stat(log.path)).size > size);
  await log.close();
});
