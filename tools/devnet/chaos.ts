/**
 * `npm run chaos -- [--seed S] [--seeds N] [--minutes M] [--machines N] [--kinds K,…] [--no-always] [--json]`: a devnet with one service under
 * light load, faults by seed (schedule.ts), and those that come in every chaos (always.ts). Says of each promise whether it was kept, with time and
 * block; exit code 1 when one was broken.
 *
 *     fault → what must hold while it lasts → it ends → what must hold then → … → the whole: audit, one chain, nothing final is lost
 *
 * Without root the machines share loopback: no partition then, and the report says so.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { GRACE_MS } from "#chain/liveness/rules.ts";
import { audit } from "#tools/audit.ts";
import { type Deployed, allUp, deployTo, until } from "#tools/bench/heal.ts";
import { type Stage, befallAlways } from "./always.ts";
import { Devnet } from "./devnet.ts";
import { type FailedRequest, Load, type Place, serving } from "./load.ts";
import { type Fault, KINDS, type Kind, schedule } from "./schedule.ts";

const MACHINES_DEFAULT = 4;
const REPLICAS = 2;
/** What a wait may take before its promise counts as broken: several times the goals (issue 8), as the computer does all of it at once. */
const HEAL_MS_MAX = 30_000;
const WELL_MS_MAX = 60_000;
const ASK_MS_MAX = 5_000;
const MINUTE_MS = 60_000;

export type Verdict = { readonly promise: string; readonly isKept: boolean; readonly fault: string; readonly atMs: number; readonly height: number | null; readonly said: string; /** How long it was waited for; null: it was not. */ readonly tookMs: number | null };
export type Report = {
  readonly seed: number; readonly ok: boolean; readonly machines: number; readonly isIsolated: boolean; readonly faults: readonly Fault[]; readonly verdicts: readonly Verdict[];
  readonly requests: number; readonly failedRequests: readonly FailedRequest[]; readonly slowestMs: number; readonly transfersFinal: number; readonly height: number | null;
};
export type ChaosOptions = {
  readonly directory: string; readonly seed: number; readonly totalMs: number; readonly machines?: number; readonly kinds?: readonly Kind[]; /** What befalls a devnet whatever the seed (always.ts). */ readonly always?: boolean; readonly firstMs?: number; readonly restMs?: number;
  readonly onVerdict?: (verdict: Verdict) => void; readonly abort?: AbortSignal;
};

const get = async (api: string, path: string): Promise<unknown> => {
  const answer = await fetch(api + path, { signal: AbortSignal.timeout(ASK_MS_MAX) });
  if (!answer.ok) throw new Error(`GET ${path} answers ${answer.status}`);
  return answer.json();
};
const blockOf = async (api: string, height: number | "latest"): Promise<{ height: number; id: string }> => (await get(api, `/v1/blocks/${height}`)) as { height: number; id: string };

/** One run; everything that it started is stopped when it resolves. */
export async function runChaos({ directory, seed, totalMs, machines = MACHINES_DEFAULT, kinds = KINDS, always = true, onVerdict = () => {}, abort, ...pace }: ChaosOptions): Promise<Report> {
  await using devnet = await Devnet.open({ directory, count: machines, ...(abort === undefined ? {} : { abort }) });
  const faults = schedule({ seed, machines, totalMs, kinds: kinds.filter((kind) => devnet.isIsolated || kind !== "partition"), ...pace });
  const places = devnet.places.map(({ api, http }) => ({ api: `http://127.0.0.1:${api}`, httpPort: http }));
  await allUp(places, machines);
  const deployed = await deployTo(devnet.site, places, REPLICAS);
  await until("every replica serves", () => serving(devnet.site, places, places[0]!.api, deployed), WELL_MS_MAX);
  // Who has just started is no witness yet (L8).
  await sleep(GRACE_MS, undefined, abort === undefined ? {} : { signal: abort });
  const run = new Run(devnet, places, deployed, onVerdict);
  run.load.start();
  try {
    for (const fault of faults) {
      await sleep(Math.max(0, fault.atMs - run.load.elapsedMs), undefined, abort === undefined ? {} : { signal: abort });
      await run.befall(fault);
    }
    if (always) await befallAlways(run, seed);
  } finally {
    await run.load.stop();
  }
  await run.judgeWhole();
  const { requests, failed, final, slowest } = run.load;
  return {
    seed, ok: run.verdicts.every(({ isKept }) => isKept), machines, isIsolated: devnet.isIsolated, faults, verdicts: run.verdicts,
    requests, failedRequests: failed, slowestMs: slowest.tookMs, transfersFinal: final.size, height: await run.height(),
  };
}

class Run implements Stage {
  readonly verdicts: Verdict[] = [];
  readonly load: Load;
  readonly devnet: Devnet;
  readonly places: readonly Place[];
  readonly #deployed: Deployed;
  readonly #onVerdict: (verdict: Verdict) => void;
  #fault = "";

  constructor(devnet: Devnet, places: readonly Place[], deployed: Deployed, onVerdict: (verdict: Verdict) => void) {
    [this.devnet, this.places, this.#deployed, this.#onVerdict] = [devnet, places, deployed, onVerdict];
    this.load = new Load(devnet.site, places, deployed);
  }
  async height(): Promise<number | null> {
    const { witness } = this.load;
    return witness === undefined ? null : blockOf(witness.api, "latest").then(({ height }) => height, () => null);
  }

  begin(fault: string): void {
    this.#fault = fault;
  }
  get(api: string, path: string): Promise<unknown> {
    return get(api, path);
  }

  async befall(fault: Fault): Promise<void> {
    const { kind, machines, durationMs } = fault;
    const names = machines.map((index) => this.devnet.names[index]!);
    this.#fault = `${kind} ${names.join(",")}`;
    const stands = kind === "halt" || kind === "blackout";
    const others = this.places.filter((_, index) => !machines.includes(index));
    const before = kind === "halt" ? await serving(this.devnet.site, this.places, others[0]!.api, this.#deployed).catch(() => null) : null;
    const failedBefore = this.load.failed.length;
    const heightBefore = (await this.height()) ?? 0;
    this.load.spare(machines);
    const begunMs = performance.now();
    await this.#begin(fault, names);
    if (!stands) {
      const moved = kind === "skew" || kind === "slow" ? null : machines;
      await this.holds("the workload answers from machines that are well", HEAL_MS_MAX, () => this.#servesWithout(others[0]!.api, moved), begunMs);
    }
    await sleep(Math.max(0, durationMs - (performance.now() - begunMs)));
    const heightThen = (await this.height()) ?? heightBefore;
    const endedMs = performance.now();
    await this.#end(fault, names);
    const all = (): Promise<true | null> => this.#allBeyond(heightThen + 1);
    await this.holds("the chain goes on, and every machine with it", WELL_MS_MAX, all, endedMs);
    await this.holds("every machine is up again", WELL_MS_MAX, async () => (await allUp(this.places, this.places.length)) || null, endedMs);
    await this.holds("every replica serves again", WELL_MS_MAX, () => this.#servesWithout(this.places[0]!.api, null), endedMs);
    if (before !== null) {
      const now = await serving(this.devnet.site, this.places, this.places[0]!.api, this.#deployed).catch(() => null);
      await this.say("a chain that stands still places nothing again", String(now) === String(before), `on ${String(before)}, then on ${String(now)}`);
    }
    await this.load.settled();
    const failed = this.load.failed.slice(failedBefore);
    await this.say(kind === "halt" ? "no request is lost while the chain stands still" : "no request fails at any machine that is well while a replica survives", failed.length === 0, `${failed.length} failed: ${JSON.stringify(failed.slice(0, 5))}`);
    this.load.count(machines);
  }

  async judgeWhole(): Promise<void> {
    this.#fault = "the whole";
    const { failed, requests, slowest } = this.load;
    await this.say("no request fails at any machine that is well while a replica survives", failed.length === 0, `${failed.length} of ${requests}, the slowest ${slowest.tookMs} ms, until ${(slowest.atMs / 1_000).toFixed(1)} s at m${slowest.machine + 1}`);
    const { api } = this.places[0]!;
    const report = await audit((path) => get(api, path)).catch((error: unknown) => ({ ok: false, findings: [String(error)], height: 0, supply: 0n }));
    await this.say("money is conserved: the audit agrees to the unit", report.ok, report.ok ? `${report.height} blocks, supply ${report.supply}` : report.findings.slice(0, 5).join("; "));
    const least = Math.min(...(await Promise.all(this.places.map((place) => blockOf(place.api, "latest").then(({ height }) => height, () => 0)))));
    const ids = new Set(await Promise.all(this.places.map((place) => blockOf(place.api, least).then(({ id }) => id, String))));
    await this.say("all machines have one chain", ids.size === 1, `${ids.size} at height ${least}`);
    const lost: string[] = [];
    for (const [txid, height] of this.load.final) {
      const found = await Promise.all(this.places.map((place) => get(place.api, `/v1/transactions/${txid}`).then((answer) => (answer as { height: number }).height, () => null)));
      if (found.some((at) => at !== height)) lost.push(`${txid.slice(0, 12)} of block ${height} is at ${found.join(", ")}`);
    }
    await this.say("nothing that was final is lost", lost.length === 0, lost.length === 0 ? `${this.load.final.size} transfers` : lost.slice(0, 5).join("; "));
  }

  async #begin({ kind, offsetMs }: Fault, names: readonly string[]): Promise<void> {
    if (kind === "kill" || kind === "blackout") await this.devnet.kill(names);
    else if (kind === "partition") await this.devnet.partition(names);
    else if (kind === "skew" || kind === "slow") await this.devnet[kind](names, offsetMs);
    else await this.devnet.pause(names);
  }
  async #end({ kind }: Fault, names: readonly string[]): Promise<void> {
    if (kind === "kill" || kind === "blackout") await this.devnet.start(names);
    else if (kind === "partition") await this.devnet.heal();
    else if (kind === "skew" || kind === "slow") await this.devnet[kind](names, 0);
    else await this.devnet.resume(names);
  }
  async #servesWithout(api: string, without: readonly number[] | null): Promise<true | null> {
    const on = await serving(this.devnet.site, this.places, api, this.#deployed);
    return on !== null && !on.some((index) => without?.includes(index)) ? true : null;
  }
  async #allBeyond(height: number): Promise<true | null> {
    const heads = await Promise.all(this.places.map(({ api }) => blockOf(api, "latest")));
    return heads.every((head) => head.height >= height) ? true : null;
  }
  /** `sinceMs`: when the fault began, or ended; the time that is told is from then on. */
  async holds(promise: string, timeoutMs: number, look: () => Promise<true | null>, sinceMs: number = performance.now()): Promise<boolean> {
    const isKept = await until(promise, look, timeoutMs).catch(() => false);
    const tookMs = Math.round(performance.now() - sinceMs);
    await this.say(promise, isKept, `${isKept ? "after" : "not within"} ${tookMs} ms`, tookMs);
    return isKept;
  }
  async say(promise: string, isKept: boolean, said: string, tookMs: number | null = null): Promise<void> {
    const verdict: Verdict = { promise, isKept, fault: this.#fault, atMs: this.load.elapsedMs, height: await this.height(), said, tookMs };
    this.verdicts.push(verdict);
    this.#onVerdict(verdict);
  }
}

export type Line = { readonly fault: string; readonly promise: string; readonly kept: number; readonly of: number; readonly p50Ms: number | null; readonly maxMs: number | null };

/** By kind of fault and promise: how often it was kept, and how long that took. */
export function summaryOf(verdicts: readonly Verdict[]): Line[] {
  const groups = Map.groupBy(verdicts, ({ fault, promise }) => `${fault.replace(/ m\d.*$/, "")}\n${promise}`);
  return [...groups].map(([name, group]) => {
    const [fault, promise] = name.split("\n") as [string, string];
    const tookMs = group.flatMap((one) => one.tookMs ?? []).toSorted((a, b) => a - b);
    return { fault, promise, kept: group.filter(({ isKept }) => isKept).length, of: group.length, p50Ms: tookMs[Math.ceil(tookMs.length / 2) - 1] ?? null, maxMs: tookMs.at(-1) ?? null };
  });
}

async function main(): Promise<void> {
  const { values } = parseArgs({ allowNegative: true, options: { seed: { type: "string", default: "1" }, seeds: { type: "string", default: "1" }, minutes: { type: "string", default: "2" }, machines: { type: "string", default: String(MACHINES_DEFAULT) }, kinds: { type: "string" }, always: { type: "boolean", default: true }, json: { type: "boolean", default: false } } });
  const [seed, seeds, minutes, machines] = [values.seed, values.seeds, values.minutes, values.machines].map(Number) as [number, number, number, number];
  const kinds = (values.kinds?.split(",") ?? KINDS) as Kind[];
  if (![seed, seeds, machines].every(Number.isSafeInteger) || !(minutes > 0) || !kinds.every((kind) => KINDS.includes(kind))) {
    console.error(`usage: chaos [--seed S] [--seeds N] [--minutes M] [--machines N] [--kinds ${KINDS.join(",")}] [--no-always] [--json]`);
    process.exit(2);
  }
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => stop.abort());
  const verdicts: Verdict[] = [];
  for (let at = seed; at < seed + seeds; at++) {
    const directory = mkdtempSync(join(tmpdir(), "godwit-chaos-"));
    try {
      const onVerdict = ({ promise, isKept, fault, atMs, height, said }: Verdict): void =>
        void process.stderr.write(`${isKept ? "kept  " : "BROKEN"} seed ${at} ${(atMs / 1_000).toFixed(1)} s block ${height ?? "?"} ${fault}: ${promise} (${said})\n`);
      const report = await runChaos({ directory, seed: at, totalMs: minutes * MINUTE_MS, machines, kinds, always: values.always, onVerdict, abort: stop.signal });
      verdicts.push(...report.verdicts);
      if (values.json) console.log(JSON.stringify(report));
      else console.log(`seed ${at}: ${report.faults.length} faults, ${report.verdicts.filter(({ isKept }) => !isKept).length} of ${report.verdicts.length} promises broken; ${report.requests} requests, ${report.transfersFinal} transfers, ${report.height} blocks`);
      if (!report.ok) process.exitCode = 1;
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }
  if (seeds > 1) console.log(values.json ? JSON.stringify({ summary: summaryOf(verdicts) }) : summaryOf(verdicts).map(lineText).join("\n"));
}

const lineText = ({ fault, promise, kept, of, p50Ms, maxMs }: Line): string => `${kept}/${of}  ${fault}: ${promise}${p50Ms === null ? "" : ` (p50 ${p50Ms} ms, max ${maxMs} ms)`}`;

if (import.meta.main) await main();
