/** Witnesses that lie. They see all that honest ones see, sign anything in their own name, and forge nobody else's. */
import type { Suspicion } from "#chain/codec/liveness.ts";
import type { WitnessEffect, WitnessEvent } from "#chain/liveness/witness.ts";
import type { Hex } from "#chain/types.ts";
import { type Node, placeOf } from "./node.ts";
import type { World } from "./world.ts";

/** early, late: suspects everybody, with times long ago or far ahead. silent: says nothing. join: joins whoever suspects, again and again. */
export const LIAR_MODES = ["early", "late", "silent", "join"] as const;
export type LiarMode = (typeof LIAR_MODES)[number];

const nextMs = new WeakMap<Node, number>();
const joined = new WeakMap<Node, Set<string>>();

export function lieOf(world: World, node: Node, event: WitnessEvent): WitnessEffect[] {
  const { liarMode } = world;
  const witness = node.witness!;
  const { view } = witness;
  if (!view || liarMode === "silent") return [];
  const self = witness.self;
  const at = { height: liarMode === "late" ? view.height : Math.max(1, view.height - 50), sinceMs: liarMode === "late" ? 60_000 : 0 };
  const suspicion = (machine: Hex, bootId: Hex, beat: Suspicion["beat"]): WitnessEffect =>
    ({ kind: "suspect", signed: { bootId, baseMs: 0n }, suspicion: { witness: self, machine, bootId, beat, at, base: node.witness!.view!.height } });
  if (event.kind === "beat") {
    const { beat } = event;
    const entry = witness.watches.get(beat.machine);
    const effects: WitnessEffect[] = [{ kind: "acknowledge", machine: beat.machine, acknowledgement: { bootId: beat.bootId, number: beat.number, isClear: true } }];
    if (entry && (entry.machine.bootId !== beat.bootId || entry.machine.isDown)) effects.push({
      kind: "acknowledgeUp", signed: null,
      acknowledgement: { witness: self, machine: beat.machine, bootId: beat.bootId, height: beat.height, base: view.height, before: { bootId: entry.machine.bootId, beat: entry.known, at } },
    });
    return effects;
  }
  if (event.kind === "tick" && (liarMode === "early" || liarMode === "late") && world.nowMs >= (nextMs.get(node) ?? 0)) {
    nextMs.set(node, world.nowMs + 300);
    return [...witness.watches].filter(([, { machine }]) => !machine.isDown && machine.validator !== self).map(([id, { machine, known }]) => suspicion(id, machine.bootId, known));
  }
  if (event.kind !== "suspicion" || world.liars.has(placeOf(event.suspicion.witness))) return [];
  const { machine, bootId, beat } = event.suspicion;
  const seen = joined.get(node) ?? new Set();
  joined.set(node, seen);
  const key = `${machine} ${bootId} ${beat?.number}`;
  if (seen.has(key)) return [];
  seen.add(key);
  world.after(3_000 + world.draw.below(6_500), () => {
    if (node.isAlive && node.witness?.view) world.carryOut(node, suspicion(machine, bootId, beat), null);
  });
  return liarMode !== "join" || world.draw.percent(50) ? [suspicion(machine, bootId, beat)] : [];
}
