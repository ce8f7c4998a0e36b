/**
 * Planted bugs: consensus, ledger or liveness with one rule taken out of its source as it is loaded (`mutants/`: one table each). The product has no switch for it, and a rule
 * that is reworded so that the plant no longer fits fails the test instead of quietly planting nothing.
 */

import { registerHooks } from "node:module";
import { CONSENSUS_MUTANTS } from "./mutants/consensus.ts";
import { CODE as LIVENESS, type Code as LivenessCode } from "./liveness/code.ts";
import { hold } from "./liveness/courts.ts";
import { scenario as livenessScenario } from "./liveness/scenarios.ts";
import { simulate as simulateLiveness } from "./liveness/world.ts";
import { LEDGER_MUTANTS } from "./mutants/ledger.ts";
import { LIVENESS_MUTANTS } from "./mutants/liveness.ts";
import { PARTIES_MUTANTS } from "./mutants/parties.ts";
import { SCALING_MUTANTS } from "./mutants/scaling.ts";
import { TASK_MUTANTS } from "./mutants/tasks.ts";
import type { WorldCode } from "#tests/ledger/world.ts";
import { playDowns } from "./downs.ts";
import { playHolders } from "./holders.ts";
import { playParties } from "./parties.ts";
import { playScaling } from "./scaling.ts";
import { scenario } from "./scenarios.ts";
import { playTasks } from "./tasks.ts";
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
export type Edit = { readonly file: string; readonly from: string; readonly to: string };

export const MUTANTS: readonly Mutant[] = [...CONSENSUS_MUTANTS, ...LEDGER_MUTANTS, ...SCALING_MUTANTS, ...LIVENESS_MUTANTS, ...TASK_MUTANTS, ...PARTIES_MUTANTS];

const planted = new Map<string, { readonly name: string; readonly edits: readonly Edit[]; applied: number }>();

registerHooks({
  resolve(specifier, context, nextResolve) {
    const resolved = nextResolve(specifier, context);
    const plant = context.parentURL === undefined ? null : new URL(context.parentURL).searchParams.get("plant");
    if (plant === null || !/\/chain\/(consensus|ledger|liveness)\//.test(resolved.url) || resolved.url.includes("?")) return resolved;
    return { ...resolved, url: `${resolved.url}?plant=${plant}` };
  },
  load(url, context, nextLoad) {
    const plant = new URL(url).searchParams.get("plant");
    const entry = plant === null ? undefined : planted.get(plant);
    const loaded = nextLoad(url, context);
    if (!entry) return loaded;
    let source = typeof loaded.source === "string" ? loaded.source : new TextDecoder().decode(loaded.source as Uint8Array);
    for (const edit of entry.edits) {
      if (!new URL(url).pathname.endsWith(`/chain/${edit.file}`)) continue;
      if (source.split(edit.from).length !== 2) throw new Error(`the plant "${entry.name}" fits ${edit.file} ${source.split(edit.from).length - 1} times`);
      source = source.replace(edit.from, () => edit.to);
      entry.applied += 1;
    }
    return { ...loaded, source };
  },
});

/** Loads files of `chain/` once more, with the edits in them and in what they import. A simulation of its own plants with this too. */
export async function plantInto({ name, edits }: Pick<Mutant, "name" | "edits">, files: readonly string[]): Promise<object[]> {
  const key = String(planted.size);
  const entry = { name, edits, applied: 0 };
  planted.set(key, entry);
  const modules: object[] = [];
  for (const file of files) modules.push(await import(`../../chain/${file}.ts?plant=${key}`) as object);
  if (entry.applied !== edits.length) throw new Error(`the plant "${name}" was applied ${entry.applied} times`);
  return modules;
}

export async function plant(mutant: Mutant): Promise<Code> {
  const [state, step, rejoin, ledger] = await plantInto(mutant, ["consensus/state", "consensus/step", "consensus/rejoin", "ledger/ledger"]);
  return { ...CODE, ...state, ...step, ...rejoin, ledger: { ...CODE.ledger, ...ledger } };
}

/** What its world finds with one seed. */
async function worldOf(mutant: Mutant): Promise<(seed: number) => readonly string[] | Promise<readonly string[]>> {
  if (mutant.edits[0]!.file.startsWith("liveness/")) {
    const parts = await plantInto(mutant, ["liveness/host", "liveness/rules", "liveness/verdict", "liveness/witness"]);
    const code = Object.assign({}, LIVENESS, ...parts) as LivenessCode;
    return (seed) => (mutant.scenario === "courts" ? hold(seed, code) : simulateLiveness(seed, livenessScenario(mutant.scenario), code).faults);
  }
  const play = mutant.scenario === "holders" ? playHolders : mutant.scenario === "downs" ? playDowns : mutant.scenario === "scaling" ? playScaling : mutant.scenario === "tasks" ? playTasks : mutant.scenario === "parties" ? playParties : null;
  if (play !== null) {
    const parts = await plantInto(mutant, ["ledger/ledger", "ledger/view"]);
    return (seed) => play(seed, Object.assign({}, ...parts) as WorldCode);
  }
  const code = await plant(mutant);
  return (seed) => simulate(seed, scenario(mutant.scenario), code).faults;
}

/** The first seed that finds it, and what it finds; null when it survives. */
export async function hunt(mutant: Mutant): Promise<{ readonly seed: number; readonly fault: string } | null> {
  const faultsOf = await worldOf(mutant);
  for (let seed = 1; seed <= mutant.seedsMax; seed++) {
    const [fault] = await faultsOf(seed);
    if (fault !== undefined) return { seed, fault };
  }
  return null;
}
