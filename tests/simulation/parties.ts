/**
 * Histories by seed of everything that a grid's parties do (tests/ledger/randomGrid.ts), for tests and planted bugs. Judged after each block by what
 * entities must say of each other, and by the money that must be there for what came on top.
 */
import { freeOf } from "#chain/ledger/escrow.ts";
import { parseId } from "#chain/ledger/state.ts";
import { faultBetween } from "#tests/ledger/consistency.ts";
import { GRID_WORLD, playBlock, settleGrid } from "#tests/ledger/randomGrid.ts";
import { World, type WorldCode, random } from "#tests/ledger/world.ts";

const BLOCKS = 140;
type Before = ReadonlyMap<string, { readonly rate: bigint; readonly secondsMin: bigint }>;

/** `onEnd` gets the world, and how often each kind of operation was taken. */
export function playParties(seed: number, code?: WorldCode, onTaken: (kind: string) => void = () => undefined, onEnd: (world: World) => void = () => undefined): readonly string[] {
  const r = random(seed);
  try {
    const world = new World({ ...GRID_WORLD, parameters: seed % 3 === 0 ? "default" : "minimal", ...(code === undefined ? {} : { code }) });
    settleGrid(r, world);
    for (let k = 0; k < BLOCKS; k++) {
      const before = ratesOf(world);
      for (const kind of playBlock(r, world)) onTaken(kind);
      const fault = faultBetween(world.ledger) ?? faultOfRunway(world, before);
      if (fault !== null) return [`block ${world.view.height}: ${fault}`];
    }
    onEnd(world);
    return [];
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  }
}

const ratesOf = ({ ledger: { state, rules } }: World): Before => new Map(state.listed("d").map((name) => {
  const isBack = state.leasesOf(parseId(name)).some(({ rateLost }) => rateLost > 0n);
  return [name, { rate: state.deployment(parseId(name))!.escrow.rate, secondsMin: isBack ? 1n : rules.runwaySecondsMin }];
}));

/** Money that must be there for a minute of what came on top in this block (M2); for a second, where leases came back that lost their machines. */
function faultOfRunway({ ledger: { state, rules }, second }: World, before: Before): string | null {
  for (const name of state.listed("d")) {
    const { escrow } = state.deployment(parseId(name))!;
    const { rate, secondsMin } = before.get(name) ?? { rate: 0n, secondsMin: rules.runwaySecondsMin };
    if (escrow.rate > rate && escrow.at === second && freeOf(escrow) < escrow.rate * secondsMin) return `${name} costs ${escrow.rate}, more than before, and has ${freeOf(escrow)}`;
  }
  return null;
}
