/**
 * Lies to who is behind: answers a request with another block or a certificate that nobody signed, replays certificates of another
 * epoch, and says it is a thousand views ahead, or at none, when somebody rejoins.
 */

import { bitmapOf } from "#chain/codec/quorum.ts";
import type { Certificate } from "#chain/codec/schema.ts";
import { sha256 } from "#chain/crypto.ts";
import { epoch, view } from "#chain/types.ts";
import type { Liar } from "../cast.ts";
import type { Node } from "../node.ts";
import type { World } from "../world.ts";

export const liarInSync: Liar = {
  answer(world, liar, message, from) {
    if (message.kind === "request") {
      const { request } = message;
      if (request.kind === "blockRequest") {
        const [block] = liar.blocks.values();
        if (block) world.send(liar, from, { kind: "block", block });
      } else world.send(liar, from, { kind: "certificate", certificate: forged(world, liar, request.view) });
      return true;
    }
    if (message.kind !== "statusRequest") return false;
    const claimed = view(world.chance.pick([0, 1_000, liar.state.view + world.nodes.length]));
    world.send(liar, from, { kind: "status", status: { nonce: message.nonce, epoch: liar.epoch, view: claimed, admitting: forged(world, liar, claimed), finalization: null } });
    return true;
  },
  heard(world, liar, message) {
    if (message.kind !== "certificate" || !world.chance.percent(10)) return;
    const replay: Certificate = { ...message.certificate, epoch: epoch(message.certificate.epoch + world.chance.below(2)) };
    world.send(liar, world.chance.below(world.nodes.length), { kind: "certificate", certificate: replay });
  },
};

function forged(world: World, liar: Node, of: number): Certificate {
  const { weights, epoch: now } = liar.state.configuration;
  const signers = weights.map((_, index) => index);
  return { kind: "finalize", epoch: now, view: view(of), id: sha256(new Uint8Array([world.chance.below(256)])), bitmap: bitmapOf(signers, weights.length), signatures: new Uint8Array(64 * signers.length) };
}
