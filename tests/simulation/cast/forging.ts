/** What several liars do: sign votes beside the rules, branch off where they should not, and tell some of the others. */

import type { SignedVote, VoteKind } from "#chain/codec/schema.ts";
import { notarizedIn } from "#chain/consensus/state.ts";
import { hex, signature, timeMs } from "#chain/types.ts";
import type { Digest, View } from "#chain/types.ts";
import type { Message, Node, SimulatedBlock } from "../node.ts";
import type { World } from "../world.ts";

export function forgeVote(world: World, liar: Node, kind: VoteKind, view: View, id: Digest | null, percent: number): void {
  const { chainId, epoch, self } = liar.state.configuration;
  if (self === null || view < 1 || world.checkers.isSigned(epoch, self, kind, view, id)) return;
  const signed: SignedVote = { kind, chainId, epoch, view, id, validator: self, signature: signature(new Uint8Array(64)) };
  world.checkers.signed(signed);
  spread(world, liar, { kind: "vote", vote: signed }, percent);
}

/** To each of the others with this chance. */
export function spread(world: World, liar: Node, message: Message, percent: number): void {
  for (const { index } of world.nodes) if (world.chance.percent(percent)) world.send(liar, index, message);
}

/** Signs and spreads votes for what it has just seen. */
export function signEverything(world: World, liar: Node, message: Message): void {
  if (message.kind !== "proposal" && message.kind !== "vote") return;
  const { epoch, view, id } = message.kind === "proposal" ? message.block : message.vote;
  if (id === null || epoch !== liar.epoch || world.chance.percent(50)) return;
  if (world.chance.percent(60)) {
    forgeVote(world, liar, "notarize", view, id, 60);
    forgeVote(world, liar, "finalize", view, id, 60);
  }
  if (world.chance.percent(40)) forgeVote(world, liar, "nullify", view, null, 60);
}

/** A block of the same view on one of the last three notarized ones: what it jumps over may be final at any moment. */
export function branchOff(world: World, liar: Node, block: SimulatedBlock): SimulatedBlock {
  const older = [...liar.blocks.values()]
    .filter((b) => b.epoch === block.epoch && b.view < block.view && hex(notarizedIn(liar.state, b.view) ?? new Uint8Array()) === hex(b.id))
    .toSorted((a, b) => b.view - a.view).slice(0, 3);
  const parent = older.length > 0 ? world.chance.pick(older) : (liar.blocks.get(hex(block.parentId)) ?? world.genesis);
  const parentCertificate = older.length > 0 ? (liar.state.records.get(parent.view)?.notarization ?? null) : block.parentCertificate;
  return world.makeBlock({
    epoch: block.epoch, view: block.view, parent, parentCertificate, timeMs: timeMs(block.timeMs + 1n), proposer: block.proposer,
    valid: world.chance.percent(80), salt: 2_000, content: block.content,
  });
}
