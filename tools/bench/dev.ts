/**
 * `npm run bench:dev`: how long it takes from a save to the first answer of the new program, as a browser would see it, for the api
 * template under `godwit dev`. Half of the saves write the file in place, the other half rename a new one over it, as editors do.
 * Medians are printed as JSON together with every save's figures and how busy the computer was.
 *
 *   npm run bench:dev [-- --saves N]
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { Agent, get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { computer, quantile } from "./report.ts";

/** `buildMs` and `loadMs` are what godwit dev says of the same save; `crowding` is how busy others kept the computer just before it. */
type Save = { readonly how: "written" | "renamed"; readonly crowding: number; readonly servedMs: number; readonly buildMs: number; readonly loadMs: number };
type DevEvent = { readonly event: string; readonly [fact: string]: unknown };

const LAUNCHER = join(import.meta.dirname, "..", "godwit");
const SAVE_TIMEOUT_MS = 30_000;
const BETWEEN_SAVES_MS = 150;
const CROWDING_SAMPLE_MS = 25;
/** Up to here a save counts as one on a quiet computer. */
const CROWDING_QUIET = 1.15;
/** The first of them find the compiler still half cold; they are in the raw figures and not in the medians. */
const WARM_UP_SAVES = 3;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const round = (ms: number): number => Math.round(ms * 10) / 10;

/** Wall time over processor time of a short piece of work: 1 on a quiet computer, 2 where every process gets half of what it wants. */
function crowding(): number {
  const startedMs = performance.now();
  const before = process.cpuUsage();
  for (;;) {
    const { user, system } = process.cpuUsage(before);
    const usedMs = (user + system) / 1000;
    if (usedMs >= CROWDING_SAMPLE_MS) return Math.round(((performance.now() - startedMs) / usedMs) * 100) / 100;
  }
}

/** The events of a `godwit dev --json`, kept until somebody asks for them. */
class Events {
  readonly #seen: DevEvent[] = [];
  readonly #child: ChildProcess;
  #wake: () => void = () => {};
  constructor(child: ChildProcess) {
    this.#child = child;
    createInterface(child.stdout ?? process.stdin).on("line", (line) => {
      this.#seen.push(JSON.parse(line) as DevEvent);
      this.#wake();
    });
    child.on("exit", () => this.#wake());
  }

  async next(event: string): Promise<DevEvent> {
    const timer = setTimeout(() => this.#child.kill(), SAVE_TIMEOUT_MS);
    try {
      for (;;) {
        const at = this.#seen.findIndex((seen) => seen.event === event);
        if (at >= 0) return this.#seen.splice(0, at + 1)[at] as DevEvent;
        if (this.#child.exitCode !== null || this.#child.signalCode !== null) throw new Error(`No event "${event}" of godwit dev: ${JSON.stringify(this.#seen)}`);
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      clearTimeout(timer);
    }
  }
}

function ask(agent: Agent, url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    get(url, { agent }, (answer) => {
      let body = "";
      answer.setEncoding("utf8").on("data", (text: string) => (body += text)).on("end", () => resolve(body));
    }).on("error", reject);
  });
}

async function save(events: Events, agent: Agent, url: string, file: string, number: number): Promise<Save> {
  const how = number % 2 === 0 ? "written" : "renamed";
  const text = readFileSync(file, "utf8").replace(/Green tea[^"]*/, `Green tea ${number}`);
  const crowded = crowding();
  const startedMs = performance.now();
  if (how === "written") writeFileSync(file, text);
  else {
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
  }
  // Asking all the time would take the processor from what is measured.
  const served = await events.next("served");
  const answer = await ask(agent, url);
  const servedMs = round(performance.now() - startedMs);
  if (!answer.includes(`Green tea ${number}"`)) throw new Error(`Save ${number} is not served: ${answer}`);
  return { how, crowding: crowded, servedMs, buildMs: Number(served["buildMs"]), loadMs: Number(served["loadMs"]) };
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { saves: { type: "string", default: "30" } } });
  const saves = Number(values.saves);
  const folder = mkdtempSync(join(tmpdir(), "godwit-bench-dev-"));
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const on = await computer();
  let child: ChildProcess | undefined;
  try {
    const made = spawnSync(LAUNCHER, ["new", "shop", "--template", "api"], { cwd: folder, encoding: "utf8" });
    if (made.status !== 0) throw new Error(`godwit new failed: ${made.stderr}`);
    const startedMs = performance.now();
    child = spawn(LAUNCHER, ["dev", "shop", "--port", "0", "--json"], { cwd: folder, stdio: ["ignore", "pipe", "inherit"] });
    const events = new Events(child);
    const { url } = await events.next("serving");
    const firstServedMs = round(performance.now() - startedMs);
    const raw: Save[] = [];
    for (let number = 0; number < saves + WARM_UP_SAVES; number++) {
      raw.push(await save(events, agent, `${String(url)}items/tea`, join(folder, "shop", "assembly", "shop.ts"), number));
      await pause(BETWEEN_SAVES_MS);
    }
    const measured = raw.slice(WARM_UP_SAVES);
    const summaryOf = (rows: readonly Save[]): object => {
      const of = (figure: "servedMs" | "buildMs" | "loadMs" | "crowding"): object => {
        const figures = rows.map((row) => row[figure]);
        return { p50: quantile(figures, 0.5), p90: quantile(figures, 0.9), max: Math.max(...figures) };
      };
      return rows.length === 0 ? { saves: 0 } : { saves: rows.length, saveToServedMs: of("servedMs"), buildMs: of("buildMs"), loadMs: of("loadMs"), crowding: of("crowding") };
    };
    console.log(JSON.stringify({
      bench: "dev", template: "api", ...on, saves, warmUpSaves: WARM_UP_SAVES, firstServedMs,
      summary: summaryOf(measured), quiet: summaryOf(measured.filter((row) => row.crowding <= CROWDING_QUIET)), raw,
    }, null, 2));
  } finally {
    agent.destroy();
    if (child !== undefined && child.exitCode === null) {
      child.kill("SIGINT");
      await once(child, "exit");
    }
    rmSync(folder, { recursive: true, force: true });
  }
}

await main();
