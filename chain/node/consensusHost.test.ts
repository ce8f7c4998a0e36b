import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { validatorSet } from "#chain/codec/certificate.ts";
import { type BlockHeader, type ConsensusMessage, bodyRoot, decodeMessage, encodeMessage, genesisId } from "#chain/codec/schema.ts";
import { PRESETS } from "#chain/constants.ts";
import { publicKeyOf, sha256 } from "#chain/crypto.ts";
import { systemClock } from "#chain/network/clock.ts";
import { MemoryNetwork } from "#chain/network/memory.ts";
import { type Transport, peerId } from "#chain/network/transport.ts";
import { chainId, digest, epoch, height, moneySecond, timeMs, view } from "#chain/types.ts";
import { CertificateChecks } from "./certificateChecks.ts";
import { ConsensusHost } from "./consensusHost.ts";
import type { NodeError } from "./errors.ts";
import { HeldBlocks, heldBlock } from "./heldBlocks.ts";
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

/** Until it holds, at most five seconds: a busy computer is no failure. */
async function until(holds: () => boolean): Promise<void> {
  for (let waited = 0; !holds() && waited < 5_000; waited += 5) await sleep(5);
}

/** A lone validator on a chain of empty blocks; what it says to the network, and what it commits. */
function lone(votes: VoteLog): { host: ConsensusHost; said: ConsensusMessage[]; committed: number[]; halted: NodeError[]; start(): void } {
  const said: ConsensusMessage[] = [];
  const committed: number[] = [];
  const halted: NodeError[] = [];
  const transport: Transport = new MemoryNetwork().join(peerId(publicKeyOf(SEED)));
  transport.broadcast = (_, bytes) => said.push(decodeMessage(bytes));
  const set = validatorSet(CHAIN, epoch(0), [{ publicKey: publicKeyOf(SEED), weight: 1 }]);
  const held = new HeldBlocks();
  const host = new ConsensusHost({
    configuration: { chainId: CHAIN, epoch: epoch(0), weights: [1], self: 0, pace: PRESETS.minimal, leaderSeed: CHAIN },
    validators: set, seed: SEED, votes, transport, clock: systemClock, checks: new CertificateChecks(set), onHalt: (error) => halted.push(error),
  }, {
    held, blockById: (id) => held.get(id),
    validate: async () => ({ valid: true, dueMs: null }),
    build: ({ view: of, parent, timeMs: time }) => {
      const body = { parentCertificate: null, transactions: [], evidence: [], suspicions: [] };
      const header: BlockHeader = {
        chainId: CHAIN, epoch: epoch(0), view: of, height: height(parent.height + 1), parentView: parent.view, parentId: parent.id, parentBitmap: new Uint8Array(0), timeMs: time,
        moneySecond: moneySecond(0n), bodyRoot: bodyRoot(body), stateRoot: NOTHING, validatorsHash: NOTHING, nextValidatorsHash: NOTHING, proposer: 0,
      };
      return { held: heldBlock({ header, body }, null), dueMs: null };
    },
    commit: ({ ref }) => committed.push(ref.height), tipWanted: () => undefined, behind: () => undefined,
  });
  const start = (): void => host.start({ kind: "start", final: GENESIS, dueMs: null, finalization: null, votes: [], certificates: [], blocks: [] });
  return { host, said, committed, halted, start };
}

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
