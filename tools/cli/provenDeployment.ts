/**
 * What a machine says of a deployment against the leaf that validators signed (chain/ledger/model.ts has the order of its fields): every field
 * that `ps` shows and the leaf has, which leases there are, and what they cost together, so that none is left out, and none is on standby that
 * is not. Pure.
 */
import { addressText } from "#chain/codec/address.ts";
import type { Cbor } from "#chain/codec/cbor.ts";
import { id20, u64 } from "#chain/codec/schema.ts";
import { REVISION_SLOT } from "#chain/ledger/limits.ts";
import { METRICS } from "#chain/codec/scalingOperations.ts";
import { holdingFrom } from "#chain/ledger/holdings.ts";
import { DEPLOYMENT_STATES } from "#chain/ledger/model.ts";
import type { ScalingHeld } from "#chain/ledger/scalingHeld.ts";
import type { TaskHeld } from "#chain/ledger/taskState.ts";
import { hex } from "#chain/types.ts";
import type { Deployment } from "./answers.ts";
import { rateOf } from "./ready.ts";

type Fields = readonly Cbor[];
const digestText = (item: Cbor | undefined): string | null => (item instanceof Uint8Array && item.length > 0 ? `sha256:${hex(item)}` : null);

/** The first that is not so, as a sentence; null: all of it is. */
export function differenceFrom(leaf: Fields, said: Deployment): string | null {
  const [slot, revision, , rollout] = leaf[19] as readonly [number, number, number, Fields];
  const besides = rollout.length === 0 ? null : { revision: (rollout[0] as Fields)[0] as number, replicas: rollout[3] as number };
  const indices = (of: number, count: number): number[] => Array.from({ length: count }, (_, i) => of * REVISION_SLOT + i);
  const leases = [...indices(slot, Number(leaf[9])), ...indices(1 - slot, besides?.replicas ?? 0)].sort((a, b) => a - b);
  const facts: readonly Fact[] = [
    ["name", said.name, leaf[2]], ["owner", said.owner, addressText(id20(leaf[1]))], ["state", said.state, DEPLOYMENT_STATES[Number(leaf[3])]], ["component", said.component, digestText(leaf[4])],
    ["configuration", said.configuration, digestText(leaf[5])], ["memory", said.memoryMib, Number(leaf[6])], ["CPU", said.cpuMillis, Number(leaf[7])], ["concurrency", said.concurrency, Number(leaf[8])],
    ["replicas", said.replicas, Number(leaf[9])], ["maximum rate", said.rateMax, u64(leaf[10])], ["revision", said.revision, revision], ["new revision", said.rollout?.revision ?? null, besides?.revision ?? null],
    ["list of leases", said.leases.map(({ index }) => index).sort((a, b) => a - b).join(), leases.join()], ["rate", rateOf(said), u64((leaf[18] as Fields)[2])],
  ];
  return firstWrong(said.name, facts);
}

/** The same of how a task runs and ended, whose leaf is its own; null: proven that it is none. */
export function taskDifference(leaf: Fields | null, { name, task }: Pick<Deployment, "name" | "task">): string | null {
  const held = leaf === null ? null : (holdingFrom("task", leaf) as TaskHeld);
  if (held === null || task === null) return held === task ? null : `${name} is ${held === null ? "a service" : "a task"}`;
  return firstWrong(name, [
    ["phase", task.phase, held.phase], ["time", task.at, held.phase === "placing" ? null : held.at], ["number of runs", task.runs, held.runs], ["number of failures", task.failures, held.failures], ["number of losses", task.losses, held.losses],
    ["number of attempts", task.attemptsMax, held.attemptsMax], ["exit code", task.exitCode, held.reason === "" ? null : held.exitCode], ["reason of the end", task.reason, held.reason === "" ? null : held.reason],
  ]);
}

/** And of the rule by which one scales by itself. */
export function scalingDifference(leaf: Fields | null, { name, scaling }: Pick<Deployment, "name" | "scaling">): string | null {
  const held = leaf === null ? null : (holdingFrom("scaling", leaf) as ScalingHeld);
  if (held === null || scaling === null) return held === scaling ? null : `${name} ${held === null ? "does not scale" : "scales"} by itself`;
  return firstWrong(name, [
    ["minimum", scaling.min, held.min], ["maximum", scaling.max, held.max], ["metric", scaling.metric, METRICS[held.metric] ?? ""], ["target", scaling.target, held.target], ["ceiling", scaling.rateMax, held.rateMax],
  ]);
}

type Fact = readonly [name: string, said: unknown, proven: unknown];
function firstWrong(name: string, facts: readonly Fact[]): string | null {
  const wrong = facts.find(([, a, b]) => a !== b);
  return wrong === undefined ? null : `${wrong[0]} of ${name} is ${String(wrong[2])}, not ${String(wrong[1])}`;
}
