/** Rules of scaling between the manifest, the command line and the ledger: what each says of them, as an operation, as an answer, as a sentence. */
import { METRICS } from "#chain/codec/scalingOperations.ts";
import type { Operation } from "#chain/codec/transaction.ts";
import type { Address } from "#chain/types.ts";
import type { Scale } from "#workloads/manifest.ts";
import type { Scaling } from "./answers.ts";
import { rateText } from "./money.ts";

export const autoscaleOperation = (deploymentId: Address, { min, max, metric, target, rateMax }: Scale): Operation =>
  ({ kind: "autoscale", deploymentId, min, max, metric: METRICS.indexOf(metric), target, rateMax });
export const endScalingOperation = (deploymentId: Address): Operation => ({ kind: "autoscale", deploymentId, min: 0, max: 0, metric: 0, target: 0, rateMax: 0n });

export const sameScaling = (now: Scaling | null, wanted: Scale | null): boolean =>
  now === null || wanted === null ? now === wanted : now.min === wanted.min && now.max === wanted.max && now.metric === wanted.metric && now.target === wanted.target && now.rateMax === wanted.rateMax;

/** "0 to 5 by 80 % of its CPU each, at most 0.01/h together". */
export function scalingText(rule: Pick<Scaling, "min" | "max" | "metric" | "target" | "rateMax"> | null): string {
  if (rule === null) return "none";
  const { min, max, metric, target, rateMax } = rule;
  const each = metric === "cpu" ? `${target / 10} % of its CPU` : metric === "concurrency" ? `${target} requests at a time` : `${target} requests a second`;
  return `${min} to ${max} by ${each} each${rateMax === 0n ? "" : `, at most ${rateText(rateMax)} together`}`;
}

/** What the ledger is about to do, or why nothing. */
export function nextStepText({ load, due, min, max }: Scaling, replicas: number): string {
  if (due !== null) return `load ${load}: ${load === "high" ? "more" : "fewer"} at second ${due}`;
  if (load === "high") return `load high, and ${max} is the most`;
  return load === "low" && replicas <= Math.max(1, min) ? `load low, and ${Math.max(1, min)} is the least` : "load as it should be";
}
