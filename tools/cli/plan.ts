/**
 * What a deploy would change, place and cost: read from a machine, reckoned here, and nothing is spent.
 *
 * `godwit plan` prints it, and `godwit deploy` before it signs. Prices are those of this moment: what is opened later has the rate of then.
 */
import { PRESETS } from "#chain/constants.ts";
import { sha256 } from "#chain/crypto.ts";
import { type Address, hex } from "#chain/types.ts";
import { type Settings, encodeConfiguration } from "#os/configuration.ts";
import type { Manifest, Scale } from "#workloads/manifest.ts";
import type { Deployment } from "./answers.ts";
import type { Shell } from "./command.ts";
import { type Forecast, forecast, obstaclesText } from "./forecast.ts";
import { durationText, rateText, tokensText } from "./money.ts";
import type { Session } from "./session.ts";
import { scalingText } from "./scaling.ts";
import { paint, pairsText, tableText } from "./table.ts";
import { endedWell } from "./task.ts";

const SECONDS_PER_MONTH = 30n * 86_400n;
/** The chain opens nothing that its escrow cannot pay for a minute. */
const RUNWAY_SECONDS_MIN: bigint = PRESETS.default.runwaySecondsMin;

export type PlanWanted = Pick<Manifest, "name" | "kind" | "memoryMib" | "cpuMillis" | "concurrency" | "replicas" | "depositAmount" | "rateMax" | "isolation" | "scale"> & Settings;
export type Change = { readonly what: string; readonly now: string; readonly wanted: string; /** The command that makes it; null when none can while it runs. */ readonly by: string | null };
export type Plan = {
  readonly name: string;
  readonly url: string | null;
  readonly exists: boolean;
  readonly changes: readonly Change[];
  readonly forecast: Forecast;
  readonly ratePerSecond: bigint;
  readonly deposit: bigint;
  /** The rule by which the ledger changes the number of replicas; null: none. */
  readonly scale: Scale | null;
  /** How long the deposit lasts at that rate; null when nothing is placed. */
  readonly runwaySeconds: bigint | null;
  /** What stands in the way: sentences. */
  readonly problems: readonly string[];
};

export async function makePlan({ client, account }: Pick<Session, "client" | "account">, wanted: PlanWanted, digest: string): Promise<Plan> {
  const [status, { balance }, machines, deployments] = await Promise.all([client.status(), client.account(account.addressText), client.allMachines(), client.allDeployments(account.addressText)]);
  const running = deployments.find(({ name, state }) => name === wanted.name && state !== "closing" && state !== "ended");
  const configuration = encodeConfiguration(account.address, wanted);
  const hasRun = running === undefined && wanted.kind === "task" && endedWell(deployments, wanted.name, `sha256:${digest}`, configuration === null ? null : `sha256:${hex(sha256(configuration))}`) !== undefined;
  const seen = forecast(hasRun ? { ...wanted, replicas: 0 } : running === undefined ? wanted : { ...wanted, replicas: Math.max(0, wanted.replicas - running.replicas) }, machines, status.head.moneySecond);
  const held = running === undefined ? 0n : running.leases.reduce((sum, { rate }) => sum + rate, 0n);
  const ratePerSecond = held + seen.placed.reduce((sum, { rate }) => sum + rate, 0n);
  const deposit = running === undefined && !hasRun ? wanted.depositAmount : 0n;
  return {
    name: wanted.name, url: running?.url ?? null, exists: running !== undefined, changes: hasRun ? [] : changesOf(wanted, digest, running, account.address), forecast: seen, ratePerSecond, deposit, scale: wanted.scale,
    runwaySeconds: deposit === 0n || ratePerSecond === 0n ? null : deposit / ratePerSecond, problems: problemsOf(seen, deposit, ratePerSecond, balance),
  };
}

function changesOf(wanted: PlanWanted, digest: string, running: Deployment | undefined, owner: Address): Change[] {
  const { memoryMib, cpuMillis, replicas } = wanted;
  const settings = encodeConfiguration(owner, wanted);
  if (running === undefined) return [{ what: wanted.kind === "task" ? "task" : "deployment", now: "none", wanted: wanted.name, by: "godwit deploy" }];
  const rows: readonly (readonly [what: string, now: string, wanted: string, by: string | null])[] = [
    ["component", running.component, `sha256:${digest}`, "godwit deploy"],
    ["settings", running.configuration ?? "none", settings === null ? "none" : `sha256:${hex(sha256(settings))}`, "godwit deploy"],
    ["memory", `${running.memoryMib} MiB`, `${memoryMib} MiB`, "godwit deploy"],
    ["CPU", `${running.cpuMillis}m`, `${cpuMillis}m`, "godwit deploy"],
    ...(wanted.scale === null ? [["replicas", String(running.replicas), String(replicas), "godwit deploy"] as const] : []),
    ["scaling", scalingText(running.scaling), scalingText(wanted.scale), "godwit deploy"],
  ];
  return rows.filter(([, now, then]) => now !== then).map(([what, now, then, by]) => ({ what, now, wanted: then, by }));
}

function problemsOf({ unplaced, obstacles }: Forecast, deposit: bigint, ratePerSecond: bigint, balance: bigint): string[] {
  const problems: string[] = [];
  if (unplaced.length > 0) problems.push(`${unplaced.length} of the replicas cannot be placed now: ${obstaclesText(obstacles)}`);
  if (deposit > 0n && ratePerSecond * RUNWAY_SECONDS_MIN > deposit) problems.push(`the deposit of ${tokensText(deposit)} pays less than ${RUNWAY_SECONDS_MIN} s of it: nothing would start`);
  if (deposit > balance) problems.push(`the account has ${tokensText(balance)}, less than the deposit of ${tokensText(deposit)}`);
  return problems;
}

/** For people. Digests are shortened: what counts is that they differ. */
export function planText(shell: Shell, plan: Plan): string {
  const { changes, forecast: { placed }, ratePerSecond, deposit, scale, runwaySeconds, problems } = plan;
  const parts = [
    changes.length === 0 ? `${plan.name} is as it should be` : tableText(changes, [
      { title: "CHANGE", cell: ({ what }) => what },
      { title: "NOW", cell: ({ now }) => shortDigest(now) },
      { title: "WANTED", cell: ({ wanted }) => shortDigest(wanted) },
      { title: "BY", cell: ({ by }) => by ?? `godwit rm ${plan.name}, then deploy` },
    ]),
    ...(placed.length === 0 ? [] : [tableText(placed, [
      { title: "REPLICA", align: "right", cell: ({ index }) => String(index) },
      { title: "MACHINE", cell: ({ machine }) => machine },
      { title: "RATE/H", align: "right", cell: ({ rate }) => tokensText(rate * 3600n) },
    ])]),
    pairsText([
      ["rate", rateText(ratePerSecond)],
      ["30 days", tokensText(ratePerSecond * SECONDS_PER_MONTH)],
      ...(scale === null ? [] : [["scales", scalingText(scale)] as const]),
      ...(deposit === 0n ? [] : [["deposit", `${tokensText(deposit)}${runwaySeconds === null ? "" : `, lasts ${durationText(runwaySeconds)}`}`] as const]),
    ]),
    ...problems.map((problem) => `${paint(shell, shell.stdout, "yellow", "cannot")}  ${problem}`),
  ];
  return parts.join("\n\n");
}

/** `sha256:0123456789ab…`. */
export const shortDigest = (text: string): string => text.replace(/^(sha256:[0-9a-f]{12})[0-9a-f]+$/, "$1…");
