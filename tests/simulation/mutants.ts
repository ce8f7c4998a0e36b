/**
 * Planted bugs: consensus or ledger with one rule taken out of its source as it is loaded (`mutants/`: one table each). The product has no switch for it, and a rule
 * that is reworded so that the plant no longer fits fails the test instead of quietly planting nothing.
 */

import { registerHooks } from "node:module";
import { CONSENSUS_MUTANTS } from "./mutants/consensus.ts";
import { LEDGER_MUTANTS } from "./mutants/ledger.ts";
import { scenario } from "./scenarios.ts";
import { CODE, simulate } from "./world.ts";
import type { Code } from "./world.ts";

export type Mutant = {
  readonly name: string;
  readonly scenario: string;
  /** Seeds within which it must be found. */
  readonly seedsMax: number;
  readonly edits: readonly Edit[];
};
/** One place of one file of `chain/`: it must be there, once. */
type Edit = { readonly file: string; readonly from: string; readonly to: string };

export const MUTANTS: readonly Mutant[] = [...CONSENSUS_MUTANTS, ...LEDGER_MUTANTS];

const planted = new Map<string, { mutant: Mutant; applied: number }>();

registerHooks({
  resolve(specifier, context, nextResolve) {
    const resolved = nextResolve(specifier, context);
    const plant = context.parentURL === undefined ? null : new URL(context.parentURL).searchParams.get("plant");
    if (plant === null || !/\/chain\/(consensus|ledger)\//.test(resolved.url) || resolved.url.includes("?")) return resolved;
    return { ...resolved, url: `${resolved.url}?plant=${plant}` };
  },
  load(url, context, nextLoad) {
    const plant = new URL(url).searchParams.get("plant");
    const entry = plant === null ? undefined : planted.get(plant);
    const loaded = nextLoad(url, context);
    if (!entry) return loaded;
    let source = typeof loaded.source === "string" ? loaded.source : new TextDecoder().decode(loaded.source as Uint8Array);
    for (const edit of entry.mutant.edits) {
      if (!new URL(url).pathname.endsWith(`/chain/${edit.file}`)) continue;
      if (source.split(edit.from).length !== 2) throw new Error(`the plant "${entry.mutant.name}" fits ${edit.file} ${source.split(edit.from).length - 1} times`);
      source = source.replace(edit.from, () => edit.to);
      entry.applied += 1;
    }
    return { ...loaded, source };
  },
});

export async function plant(mutant: Mutant): Promise<Code> {
  const key = String(planted.size);
  const entry = { mutant, applied: 0 };
  planted.set(key, entry);
  const load = (file: string): Promise<object> => import(`../../chain/${file}.ts?plant=${key}`);
  const consensus = await Promise.all(["consensus/state", "consensus/step", "consensus/rejoin"].map(load));
  const ledger = await load("ledger/ledger");
  if (entry.applied !== mutant.edits.length) throw new Error(`the plant "${mutant.name}" was applied ${entry.applied} times`);
  return { ...CODE, ...consensus[0], ...consensus[1], ...consensus[2], ledger: { ...CODE.ledger, ...ledger } };
}

/** The first seed that finds it, and what it finds; null when it survives. */
export async function hunt(mutant: Mutant): Promise<{ readonly seed: number; readonly fault: string } | null> {
  const code = await plant(mutant);
  for (let seed = 1; seed <= mutant.seedsMax; seed++) {
    const [fault] = simulate(seed, scenario(mutant.scenario), code).faults;
    if (fault !== undefined) return { seed, fault };
  }
  return null;
}
