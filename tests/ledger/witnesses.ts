/** What witnesses say of machines, signed, for worlds of a ledger with four validators. */
import { signBinding } from "#chain/codec/hello.ts";
import { type Beat, type Moment, sealSuspicion, sealUpAcknowledgement, signBeat } from "#chain/codec/liveness.ts";
import type { Operation } from "#chain/codec/transaction.ts";
import { type Hex, hex } from "#chain/types.ts";
import { type Actor, type World, validatorActor } from "./world.ts";

export const WITNESSES = [0, 1, 2, 3] as const;
/** One of the genesis' validators by its index, or whoever validates. */
type Witness = number | Actor;
const actorOf = (witness: Witness): Actor => (typeof witness === "number" ? validatorActor(witness) : witness);
export const idOf = (one: Actor): Hex => hex(one.id);
const here = (world: World): Moment => ({ height: world.view.height, sinceMs: 0 });

export const beatOf = (world: World, machine: Actor, boot: Uint8Array, number = 9): Beat =>
  signBeat(world.ledger.chainId, { machine: idOf(machine), bootId: hex(boot), number, height: world.view.height, timeMs: world.view.timeMs }, machine.seed);

export function suspicion(world: World, witness: Witness, machine: Actor, { beat, at = here(world), base = world.view.height }: { beat: Beat | null; at?: Moment; base?: number }): Uint8Array {
  const { seed, id: name } = actorOf(witness);
  return sealSuspicion(world.ledger.chainId, { witness: hex(name), machine: idOf(machine), bootId: hex(world.view.machine(machine.id)!.bootId), beat, at, base }, seed);
}

/** `up`: witnesses say that the machine lives with this boot id, and when they last heard the one before. */
export function wordsFor(world: World, machine: Actor, boot: Uint8Array, witnesses: readonly Witness[], { at = here(world), host = null, height = world.view.height }: { at?: Moment; host?: number | null; height?: number } = {}): Operation {
  const { chainId } = world.ledger;
  const before = world.view.machine(machine.id)?.bootId ?? new Uint8Array(16);
  const acknowledgements = witnesses.map((witness) => sealUpAcknowledgement(chainId, {
    witness: idOf(actorOf(witness)), machine: idOf(machine), bootId: hex(boot), height, base: world.view.height, before: { bootId: hex(before), beat: null, at },
  }, actorOf(witness).seed));
  const validator = host === null ? null : validatorActor(host);
  return { kind: "up", bootId: boot, consensusKey: validator?.key ?? null, binding: validator === null ? null : signBinding(validator.seed, chainId, machine.key), acknowledgements };
}
