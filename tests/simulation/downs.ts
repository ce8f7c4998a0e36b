/**
 * Histories of machines that go down and come up, by seed, for planted bugs: witnesses that agree, differ, are too few or are forged, in one
 * ledger with leases that move. Judged by the ledger's own sums after each block, and at the end by the audit, which judges machines by itself.
 */
import { apiOf, blocksOf } from "#tests/ledger/fakeApi.ts";
import { type Actor, TOKEN, World, type WorldCode, actor, bootId, deployment, random, registration } from "#tests/ledger/world.ts";
import { WITNESSES, beatOf, suspicion, wordsFor } from "#tests/ledger/witnesses.ts";
import { audit } from "#tools/audit.ts";

const [TENANT, OPERATOR] = [actor(1), actor(2)];
const MACHINES = [1001, 1002, 1003].map(actor);
const BLOCKS = 60;

export async function playDowns(seed: number, code: WorldCode): Promise<readonly string[]> {
  const r = random(seed);
  try {
    const world = new World({ signed: true, validators: 4, code });
    for (const one of MACHINES) world.send(OPERATOR, [registration(world.ledger, one, OPERATOR, { memoryMib: 512, cpuMillis: 1000, gib: 1024n, core: 1000n, bond: 20n * TOKEN })]);
    world.block();
    for (const [n, one] of MACHINES.entries()) world.send(one, [wordsFor(world, one, bootId(n, 0), WITNESSES)]);
    world.block();
    world.send(TENANT, [deployment("one", { replicas: 2, deposit: TOKEN }), deployment("other", { deposit: TOKEN })]);
    for (let k = 0; k < BLOCKS; k++) {
      const last = world.view.height;
      const at = (): { height: number; sinceMs: number } => ({ height: last - r.int(2), sinceMs: r.int(4_000) });
      world.ready(...MACHINES);
      const machine = r.pick(MACHINES);
      const { state, bootId: boot } = world.view.machine(machine.id)!;
      if (r.int(3) === 0) world.send(machine, [wordsFor(world, machine, state === "down" && r.int(2) === 0 ? boot : bootId(r.int(200), r.int(200)), WITNESSES.slice(r.int(3)), { at: at() })]);
      const suspicions = state === "up" && r.int(4) === 0 ? silenceOf(world, machine, r.int(4) === 0 ? [0, 1, 1] : [0, 1, 2], at, r.int(6) === 0) : [];
      // What a block may not have is refused; the next one goes without.
      if (!world.tryBlock(r.int(4), { suspicions }).ok) world.block(1);
    }
    return (await audit(apiOf(world, blocksOf(world)))).findings;
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  }
}

function silenceOf(world: World, machine: Actor, witnesses: readonly number[], at: () => { height: number; sinceMs: number }, isForged: boolean): Uint8Array[] {
  const beat = beatOf(world, machine, world.view.machine(machine.id)!.bootId);
  return witnesses.map((witness) => {
    const sealed = suspicion(world, witness, machine, { beat, at: at() });
    // The last bytes are the signature's.
    if (isForged) sealed[sealed.length - 40]! ^= 1;
    return sealed;
  });
}
