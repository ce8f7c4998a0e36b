/**
 * A liar with a good memory: it runs the honest rules to stay plausible, and then proposes two blocks to two halves of the
 * others, forks from older parents, proposes blocks that do not execute, signs whatever it sees and tells everyone something
 * else. It cannot forge the signatures of others.
 */

import type { SignedVote, VoteKind } from "#chain/codec/schema.ts";
import { notarizedIn } from "#chain/consensus/state.ts";
import { hex, signature, timeMs } from "#chain/types.ts";
import type { Digest, View } from "#chain/types.ts";
import type { Message, Node, SimulatedBlock } from "../node.ts";
import type { World } from "../world.ts";

export function equivocate(world: World, liar: Node, message: Message): void {
  if (message.kind === "proposal" && world.chance.percent(80)) return proposeTwice(world, liar, message);
  if (message.kind === "vote") world.checkers.signed(message.vote);
  spread(world, liar, message, 80);
}

function proposeTwice(world: World, liar: Node, message: Message & { kind: "proposal" }): void {
  const other = otherBlock(world, liar, message.block);
  liar.blocks.set(hex(other.id), other);
  const second: Message = { ...message, block: other };
  // Halves that see one each, some that see both; or nearly all see only the second.
  const secondFrom = world.chance.percent(50) ? 35 : 5;
  for (const { index } of world.nodes) {
    const draw = world.chance.below(100);
    if (draw < secondFrom + 30) world.send(liar.index, index, message);
    if (draw >= secondFrom) world.send(liar.index, index, second);
  }
  for (const { id } of [message.block, other]) {
    for (const kind of ["notarize", "finalize"] as const) vote(world, liar, kind, message.block.view, id, 70);
  }
  vote(world, liar, "nullify", message.block.view, null, 50);
}

function otherBlock(world: World, liar: Node, block: SimulatedBlock): SimulatedBlock {
  let parent = liar.blocks.get(hex(block.parentId)) ?? world.genesis;
  let { parentCertificate } = block;
  if (world.chance.percent(50)) {
    const older = [...liar.blocks.values()].filter((b) => b.view < block.view && hex(notarizedIn(liar.state, b.view) ?? new Uint8Array()) === hex(b.id));
    if (older.length > 0) {
      // The parent before the last is the dangerous one: what it jumps over may be final at any moment.
      parent = world.chance.pick(older.toSorted((a, b) => b.view - a.view).slice(0, 3));
      parentCertificate = liar.state.records.get(parent.view)?.notarization ?? null;
    }
  }
  return world.makeBlock({
    view: block.view, parent, parentCertificate, timeMs: timeMs(block.timeMs + 1n), proposer: liar.index,
    valid: world.chance.percent(70), salt: 1_000, heightStep: world.chance.percent(85) ? 1 : world.chance.pick([0, 2]),
  });
}

/** Signs and spreads votes for what it has just seen, three kinds at a time if chance will have it. */
export function signEverything(world: World, liar: Node, message: Message): void {
  if (message.kind !== "proposal" && message.kind !== "vote") return;
  const { view, id } = message.kind === "proposal" ? message.block : message.vote;
  if (id === null || world.chance.percent(50)) return;
  if (world.chance.percent(60)) {
    vote(world, liar, "notarize", view, id, 60);
    vote(world, liar, "finalize", view, id, 60);
  }
  if (world.chance.percent(40)) vote(world, liar, "nullify", view, null, 60);
}

function vote(world: World, liar: Node, kind: VoteKind, view: View, id: Digest | null, percent: number): void {
  const { chainId, epoch } = liar.state.configuration;
  const signed: SignedVote = { kind, chainId, epoch, view, id, validator: liar.index, signature: signature(new Uint8Array(64)) };
  if (world.checkers.isSigned(liar.index, kind, view, id)) return;
  world.checkers.signed(signed);
  spread(world, liar, { kind: "vote", vote: signed }, percent);
}

function spread(world: World, liar: Node, message: Message, percent: number): void {
  for (const { index } of world.nodes) if (world.chance.percent(percent)) world.send(liar.index, index, message);
}
