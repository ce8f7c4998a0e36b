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
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

/** `buildMs` and `loadMs` are what godwit dev says of the same save. */
type Save = { readonly how: "written" | "renamed"; readonly servedMs: number; readonly buildMs: number; readonly loadMs: number };
type DevEvent = { readonly event: string; readonly [fact: string]: unknown };

const LAUNCHER = join(import.meta.dirname, "..", "godwit");
const SAVE_TIMEOUT_MS = 30_000;
const ASK_EVERY_MS = 2;
const BETWEEN_SAVES_MS = 150;
/** The first of them find the compiler still half cold; they are in the raw figures and not in the medians. */
const WARM_UP_SAVES = 3;

const quantile = (values: readonly number[], q: number): number => values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))] ?? Number.NaN;
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const round = (ms: number): number => Math.round(ms * 10) / 10;

/** The events of a `godwit dev --json`, kept until somebody asks for them. */
class Events {
  readonly #seen: DevEvent[] = [];
  readonly #child: ChildProcess;
  constructor(child: ChildProcess) {
    this.#child = child;
    createInterface(child.stdout ?? process.stdin).on("line", (line) => this.#seen.push(JSON.parse(line) as DevEvent));
  }

  async next(event: string): Promise<DevEvent> {
    const startedMs = performance.now();
    for (;;) {
      const at = this.#seen.findIndex((seen) => seen.event === event);
      if (at >= 0) return this.#seen.splice(0, at + 1)[at] as DevEvent;
      if (this.#child.exitCode !== null || performance.now() - startedMs > SAVE_TIMEOUT_MS) throw new Error(`No event "${event}" of godwit dev: ${JSON.stringify(this.#seen)}`);
      await pause(ASK_EVERY_MS);
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
  const startedMs = performance.now();
  if (how === "written") writeFileSync(file, text);
  else {
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
  }
  while (!(await ask(agent, url)).includes(`Green tea ${number}"`)) {
    if (performance.now() - startedMs > SAVE_TIMEOUT_MS) throw new Error(`Save ${number} is not served after ${SAVE_TIMEOUT_MS} ms`);
    await pause(ASK_EVERY_MS);
  }
  const servedMs = round(performance.now() - startedMs);
  const served = await events.next("served");
  return { how, servedMs, buildMs: Number(served["buildMs"]), loadMs: Number(served["loadMs"]) };
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { saves: { type: "string", default: "30" } } });
  const saves = Number(values.saves);
  const folder = mkdtempSync(join(tmpdir(), "godwit-bench-dev-"));
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const loadBefore = loadavg()[0];
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
    const of = (figure: "servedMs" | "buildMs" | "loadMs"): { p50: number; p90: number; max: number } => {
      const figures = measured.map((row) => row[figure]);
      return { p50: quantile(figures, 0.5), p90: quantile(figures, 0.9), max: Math.max(...figures) };
    };
    console.log(JSON.stringify({
      bench: "dev", template: "api", cores: cpus().length, node: process.version, load1: { before: loadBefore, after: loadavg()[0] }, saves, warmUpSaves: WARM_UP_SAVES, firstServedMs,
      summary: { saveToServedMs: of("servedMs"), buildMs: of("buildMs"), loadMs: of("loadMs") }, raw,
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
