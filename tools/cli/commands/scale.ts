/** `godwit scale`: how many replicas run, or by which rule the ledger says so itself. */
import { type Command, CliError, type Input, OPTIONS_ACCOUNT, OPTIONS_API, UsageError, parseCount } from "../command.ts";
import { parseTokens } from "../money.ts";
import { autoscaleOperation, endScalingOperation, scalingText } from "../scaling.ts";
import { deploymentAddress, findDeployment, openSession, send } from "../session.ts";
import { print } from "../table.ts";
import { WAIT_OPTIONS, waitForReplicas, waitMs } from "../ready.ts";
import type { Scale } from "#workloads/manifest.ts";

const REPLICAS_MAX = 256;
const SECONDS_PER_HOUR = 3_600n;
const METRIC_OPTIONS = ["cpu", "concurrency", "requests"] as const;
const TARGETS_MAX: Readonly<Record<(typeof METRIC_OPTIONS)[number], number>> = { cpu: 100, concurrency: 1_024, requests: 1_000_000 };

export const scale: Command = {
  name: "scale",
  summary: "Change how many replicas run, or the rule by which the ledger does",
  usage: ["NAME|ID REPLICAS", "NAME|ID --max N --cpu PERCENT|--concurrency N|--requests N", "NAME|ID --off"],
  details: "REPLICAS must be within the rule, where there is one; the ledger goes on from there.\nWith --min 0 a replica that has nothing to do is on standby, at a twentieth of its price, and wakes at its next request.\nWhile a new version is on its way nothing of it can be changed, and the ledger takes no step.",
  options: {
    ...OPTIONS_API, ...OPTIONS_ACCOUNT, ...WAIT_OPTIONS,
    min: { type: "string", value: "N", summary: "the least replicas (1); 0: one, on standby when it is idle" },
    max: { type: "string", value: "N", summary: "the most replicas" },
    cpu: { type: "string", value: "PERCENT", summary: "of its CPU that one replica should use at most" },
    concurrency: { type: "string", value: "N", summary: "requests at a time that one replica should have at most" },
    requests: { type: "string", value: "N", summary: "requests a second that one replica should have at most" },
    "rate-max": { type: "string", value: "TOKENS", summary: "an hour, what all replicas together may cost at most" },
    off: { type: "boolean", summary: "no rule any more: the number stays as it is" },
  },
  arguments: [1, 2],
  async run(input, shell) {
    const [wanted = "", written] = input.positionals;
    const rule = readRule(input);
    if ((written !== undefined) === (rule !== null || input.flag("off"))) throw new UsageError("Either REPLICAS, or --max and what to scale by, or --off");
    if (written !== undefined && /^0+$/.test(written)) throw new UsageError("REPLICAS must be at least 1: godwit rm ends a deployment");
    const replicas = written === undefined ? null : parseCount("REPLICAS", written, 1, REPLICAS_MAX);
    const timeoutMs = waitMs(input);
    await using session = await openSession(input, shell);
    const deployment = await findDeployment(session.client, session.account.addressText, wanted);
    const deploymentId = deploymentAddress(deployment);
    if (input.flag("off") && deployment.scaling === null) throw new CliError("no_scaling", `${deployment.name} does not scale by itself`);
    const operation = replicas !== null ? { kind: "scale" as const, deploymentId, replicas } : rule === null ? endScalingOperation(deploymentId) : autoscaleOperation(deploymentId, rule);
    const done = await send(session, shell, [operation], "scaling");
    const after = await waitForReplicas(session.client, deployment.id, shell, timeoutMs);
    print(shell, input.json, { id: deployment.id, name: deployment.name, replicas: after.replicas, scaling: after.scaling, txid: done.txid, height: done.height },
      () => `${deployment.name} has ${after.replicas} ${after.replicas === 1 ? "replica" : "replicas"}${after.scaling === null ? "" : `, and scales by itself: ${scalingText(after.scaling)}`}`);
  },
};

function readRule(input: Input): Scale | null {
  const [max, min] = [input.count("max", 1, REPLICAS_MAX), input.count("min", 0, REPLICAS_MAX)];
  const given = METRIC_OPTIONS.filter((name) => input.text(name) !== undefined);
  const ceiling = input.text("rate-max");
  if (max === undefined && min === undefined && given.length === 0 && ceiling === undefined) return null;
  const [metric] = given;
  if (max === undefined || metric === undefined || given.length > 1 || input.flag("off")) throw new UsageError("A rule has --max, and one of --cpu, --concurrency and --requests");
  const target = input.count(metric, 1, TARGETS_MAX[metric]) as number;
  if ((min ?? 1) > max) throw new UsageError("--min must be at most --max");
  const rateMax = ceiling === undefined ? 0n : parseTokens("--rate-max", ceiling) / SECONDS_PER_HOUR;
  // 0 would be no ceiling.
  if (ceiling !== undefined && rateMax === 0n) throw new UsageError("--rate-max must be at least 0.0000036, one unit a second: without it there is no ceiling");
  return { min: min ?? 1, max, metric, target: metric === "cpu" ? target * 10 : target, rateMax };
}
