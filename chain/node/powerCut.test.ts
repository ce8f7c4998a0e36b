/** A power cut of all four validators at the worst moment, after which one never comes back (R11, "Why it goes on"). */
import assert from "node:assert/strict";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type ConsensusMessage, decodeMessage } from "#chain/codec/schema.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import { MemoryNetwork } from "#chain/network/memory.ts";
import type { PeerId, Transport } from "#chain/network/transport.ts";
import { chainRig } from "#tests/compliance/chainRig.ts";
import { ManualClock } from "#tests/compliance/manualClock.ts";
import { type ChainNode, openNode, peerIdOf } from "./node.ts";
import { FINALIZE, NOTARIZE, NULLIFY, VoteLog } from "./voteLog.ts";

type Allows = (from: number, to: number, message: ConsensusMessage) => boolean;

/** What is not allowed is lost, message by message. */
function filtered(transport: Transport, indexOf: ReadonlyMap<PeerId, number>, allows: Allows): Transport {
  const send = transport.send.bind(transport);
  transport.send = (to, channel, bytes) => channel !== "consensus" || !allows(indexOf.get(transport.self)!, indexOf.get(to)!, decodeMessage(bytes)) || send(to, channel, bytes);
  transport.broadcast = (channel, bytes) => transport.peers().filter((to) => transport.send(to, channel, bytes)).length;
  return transport;
}

test("two gave the view up, one finalized it, and who did both halves of it is gone: the notarization on disk goes on", async (t) => {
  const clock = new ManualClock();
  const rig = chainRig({ validators: 4, deltaMs: 1_000, startMs: clock.nowMs() });
  const root = await mkdtemp(join(tmpdir(), "godwit-cut-"));
  const opened: ChainNode[] = [];
  t.after(async () => {
    for (const node of opened) await node.stop();
    await rm(root, { recursive: true, force: true });
  });
  const indexOf = new Map(rig.validators.map(({ seed }, index) => [peerIdOf(seed), index]));
  const folder = (life: string, index: number): string => join(root, life, String(index));
  const life = async (name: string, indices: readonly number[], allows: Allows): Promise<ChainNode[]> => {
    const network = new MemoryNetwork({ clock });
    const nodes = await Promise.all(indices.map((index) => {
      const { seed } = rig.validators[index]!;
      return openNode({ directory: folder(name, index), genesis: rig.genesis, validatorSeed: seed, transport: filtered(network.join(peerIdOf(seed)), indexOf, allows), clock, onHalt: (error) => { throw error; } });
    }));
    opened.push(...nodes);
    for (const node of nodes) node.start();
    return nodes;
  };
  const votesOf = async (name: string, index: number): Promise<{ kinds: number[]; certificates: number[] }> => {
    // A copy: the node has the log open.
    await cp(join(folder(name, index), "votes"), join(root, "copy"));
    const log = await VoteLog.open(join(root, "copy"), { chainId: rig.chainId, publicKey: publicKeyOf(rig.validators[index]!.seed), mustExist: true });
    const found = { kinds: log.votes().filter(({ view }) => view === 1).map(({ kind }) => kind).toSorted((a, b) => a - b), certificates: log.certificates().map(({ kind }) => kind) };
    await log.close();
    return found;
  };

  // The first proposal is the leader's. Only it hears of the votes for it, so only it finalizes; `kept` never sees the block;
  // only `lost` hears that the others give the view up.
  let leader = -1;
  const said = new Set<string>();
  const others = (): number[] => [0, 1, 2, 3].filter((index) => index !== leader);
  const worst: Allows = (from, to, message) => {
    if (message.kind === "proposal" && leader < 0) leader = from;
    const [kept, , lost] = others();
    if (message.kind === "vote") said.add(`${from} ${message.vote.kind}`);
    if (message.kind === "proposal") return message.proposal.block.header.view === 1 && to !== kept;
    if (message.kind !== "vote" || message.vote.view !== 1) return false;
    return message.vote.kind === "notarize" ? to === leader : message.vote.kind === "nullify" && to === lost;
  };
  const before = await life("before", [0, 1, 2, 3], worst);
  const all = [[NOTARIZE, FINALIZE], [NULLIFY], [NOTARIZE, NULLIFY], [NOTARIZE, NULLIFY]];
  const until = async (holds: () => boolean, stepMs: number): Promise<void> => {
    for (let steps = 0; !holds() && steps < 5_000; steps++) {
      clock.advance(stepMs);
      await sleep(1);
    }
  };
  await until(() => leader >= 0, 50);
  // Time stands still until the disks have kept up.
  await until(() => said.has(`${leader} finalize`), 0);
  await until(() => others().every((index) => said.has(`${index} nullify`)), 50);
  const found = [];
  for (const index of [leader, ...others()]) found.push(await votesOf("before", index));
  assert.deepEqual(found.map(({ kinds }) => kinds), all, "the worst moment came");
  assert.deepEqual(found.slice(0, 3).map(({ certificates }) => certificates), [[NOTARIZE], [], []], "one certificate is on a disk that comes back");
  await cp(join(root, "before"), join(root, "after"), { recursive: true });
  for (const node of before) await node.stop();

  const after = await life("after", [leader, ...others().slice(0, 2)], () => true);
  await until(() => after.every((node) => node.head().height >= 2), 20);
  for (const node of after) assert.ok(node.head().height >= 2, `view ${node.status().view}, height ${node.head().height}`);
});
