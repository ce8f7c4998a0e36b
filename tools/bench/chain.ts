/**
 * `npm run bench:chain`: what a chain of real validators does on this computer, as JSON. Each validator is a process, over libp2p on
 * loopback, with signatures, state root and fsync; a transaction is handed to the first and counts when the last tells of it.
 *
 *   npm run bench:chain [-- --short] [--only PART,…] [--save]
 *
 * Parts: finality (500/s), idle (one transaction at a time on an idle chain), sustained (as fast as they become final), alone (the
 * same on one validator), kill (one of four, at 500/s, in several worlds), load (an idle machine with 10^5 accounts, and a new node that
 * joins from a snapshot of that state: from the start of its process until it is where the others are), lan (16 validators in a
 * simulated network), streams (a block where 10^6 streams run, beside one where none does).
 *
 * `--short` takes a few seconds each; all of it takes about ten minutes. `--save` keeps what was measured in chain/bench, from which
 * `npm run bench:figures` writes chain/FIGURES.md, as each part ends; with `--only` the other parts stay as they were saved.
 */
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execFile, spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs, promisify } from "node:util";
import { type Chain, VALIDATOR_ENVIRONMENT, VALIDATOR_FLAGS, type ValidatorHandle, makeChain, startProcess } from "#tools/chain/grid.ts";
import { type Feed, type LoadResult, type Sender, Watch, feedOf, load, quantiles, senders, sign, strangers, transfers } from "./chainLoad.ts";
import { type Others, hardware, others, report, save, worstOf } from "./report.ts";

const VALIDATORS = 4;
const SENDERS = 2_000;
const GENESIS_ACCOUNTS = 16_000;
const ACCOUNTS = 100_000;
const RATE = 500;
const TICKS_PER_SECOND = 100;
const PAGE_MIB = 2 ** 20;
/** Between two looks at memory. */
const SAMPLE_MS = 500;
/** Worlds in which one of four is killed, and how long each is under load, the kill being in the middle. */
const KILLS = 4;
const KILL_SECONDS = 12;
/** A chain that is shorter is fetched block by block. */
const JOIN_HEIGHT_MIN = 128;

const { values: options } = parseArgs({ options: { short: { type: "boolean", default: false }, only: { type: "string" }, save: { type: "boolean", default: false }, accounts: { type: "string" } } });
const seconds = options.short ? 8 : 60;
const on = hardware();

type World = { readonly chain: Chain; readonly validators: ValidatorHandle[]; readonly senders: Sender[]; readonly everybody: readonly Uint8Array[] };

const cpuSeconds = (pid: number): number => {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
};
const rssMib = (pid: number): number => (Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "latin1"))![1]) * 1024) / PAGE_MIB;
const alive = (world: World): ValidatorHandle[] => world.validators.filter((one) => one.isAlive);

async function withWorld<T>(count: number, run: (world: World) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), "godwit-bench-chain-"));
  const keys = senders(SENDERS);
  const others = strangers(GENESIS_ACCOUNTS - SENDERS);
  const chain = await makeChain(directory, {
    validators: count, accounts: [...keys.map(({ address }) => ({ address, balance: 10n ** 14n })), ...others.map((address) => ({ address, balance: 10n ** 9n }))],
  });
  const validators: ValidatorHandle[] = [];
  try {
    const listen = ["/ip4/127.0.0.1/tcp/0"];
    validators.push(await startProcess(chain, 0, { listen, peers: [], tellsFinal: count === 1 }));
    for (const index of Array.from({ length: count - 1 }, (_, other) => other + 1)) validators.push(await startProcess(chain, index, { listen, peers: validators[0]!.listening, tellsFinal: index === count - 1 }));
    for (;;) {
      const statuses = await Promise.all(validators.map((one) => one.status()));
      if (statuses.every(({ peers, height }) => peers === count - 1 && height > 0)) break;
      await sleep(100);
    }
    return await run({ chain, validators, senders: keys, everybody: [...keys.map(({ address }) => address), ...others] });
  } finally {
    await Promise.all(validators.map((one) => one.stop(process.env["GODWIT_BENCH_STOP"] === "term" ? "SIGTERM" : "SIGKILL")));
    await rm(directory, { recursive: true, force: true });
  }
}

type Used = { readonly cpuSeconds: number; readonly rssPeakMib: readonly number[] };
async function measured<T>(world: World, run: () => Promise<T>): Promise<[T, Used]> {
  const pids = alive(world).map(({ pid }) => pid);
  const before = pids.map(cpuSeconds);
  const peaks = pids.map(rssMib);
  let last = before;
  const timer = setInterval(() => {
    for (const [index, pid] of pids.entries()) {
      try {
        peaks[index] = Math.max(peaks[index]!, rssMib(pid));
        last = last.map((value, at) => (at === index ? cpuSeconds(pid) : value));
      } catch {
        // Killed on purpose.
      }
    }
  }, SAMPLE_MS);
  const result = await run();
  clearInterval(timer);
  const after = pids.map((pid, index) => { try { return cpuSeconds(pid); } catch { return last[index]!; } });
  return [result, { cpuSeconds: after.reduce((sum, value, index) => sum + value - before[index]!, 0), rssPeakMib: peaks.map(Math.round) }];
}

const prepared = ({ chain, senders: from, everybody }: World, count: number): Feed => transfers(chain.chainId, from, count, everybody as never);

/** That all live validators have the same state, none halted, nobody accused. */
async function agreement(world: World): Promise<object> {
  await sleep(1_500);
  const statuses = await Promise.all(alive(world).map((one) => one.status()));
  const top = Math.min(...statuses.map(({ height }) => height));
  const ids = new Set(await Promise.all(alive(world).map(async (one) => (await one.block(top))?.id)));
  return { height: top, isOne: ids.size === 1, halted: statuses.filter(({ halted }) => halted !== null).length, offences: statuses.map(({ offences }) => offences) };
}

const PARTS: Readonly<Record<string, () => Promise<object>>> = {
  finality: () => withWorld(VALIDATORS, async (world) => {
    const watch = new Watch(world.validators.at(-1)!);
    const feed = prepared(world, RATE * (seconds + 3));
    await load({ to: world.validators[0]!, watch, feed, seconds: 3, rate: RATE });
    const [result, used] = await measured(world, () => load({ to: world.validators[0]!, watch, feed, seconds, rate: RATE }));
    return { ...result, ...used, rssSumMib: sum(used.rssPeakMib), cpuUsPerTransfer: perTransfer(used, result), agreement: await agreement(world) };
  }),
  idle: () => withWorld(VALIDATORS, async (world) => {
    const watch = new Watch(world.validators.at(-1)!);
    const latencies: number[] = [];
    const feed = prepared(world, options.short ? 12 : 60);
    while (feed.next < feed.transactions.length) {
      const result = await load({ to: world.validators[0]!, watch, feed, countMax: 1, seconds: 1, rate: 1_000 });
      latencies.push(result.finalityMs.p50);
      await sleep(300 + Math.random() * 1_000);
    }
    return { transactions: latencies.length, finalityMs: quantiles(latencies), raw: latencies };
  }),
  sustained: () => sustained(VALIDATORS, 4_000),
  alone: () => sustained(1, 8_000),
  kill: async () => {
    const kills: Killed[] = [];
    for (let round = 0; round < (options.short ? 1 : KILLS); round++) kills.push(await killOne());
    return { longestGapMs: Math.max(...kills.map(({ longestGapMs }) => longestGapMs)), lost: sum(kills.map(({ lost }) => lost)), kills };
  },
  load: () => withWorld(VALIDATORS, async (world) => {
    const watch = new Watch(world.validators.at(-1)!);
    const accounts = Number(options.accounts ?? ACCOUNTS);
    const result = await load({ to: world.validators[0]!, watch, feed: fill(world, accounts - GENESIS_ACCOUNTS), seconds: 120, rate: null, inFlightMax: 1_500 });
    // Blocks enough that a snapshot is worth taking.
    while ((await world.validators[0]!.status()).height < JOIN_HEIGHT_MIN + 8) await load({ to: world.validators[0]!, watch, feed: prepared(world, 40), seconds: 2, rate: 20 });
    if (result.lost + result.refused > 0) throw new Error(`Cannot fill the chain: ${JSON.stringify(result)}`);
    await sleep(options.short ? 6_000 : 15_000);
    const idleSeconds = options.short ? 10 : 40;
    const [, used] = await measured(world, () => sleep(idleSeconds * 1_000));
    const bare = await bareNodeMib();
    const rss = world.validators.map(({ pid }) => rssMib(pid));
    const joined = await joinOne(world);
    return { ...joined, accounts, idleSeconds, cpuPercentOfOneCore: (100 * used.cpuSeconds) / idleSeconds / VALIDATORS, rssMib: rss.map(Math.round), bareNodeMib: Math.round(bare), aboveBareMib: Math.round(Math.max(...rss) - bare) };
  }),
  lan: () => figuresOf("../simulate.ts", "--validators", "16", "--network-ms", "1..3", "--seconds", options.short ? "5" : "30"),
  // Its process is large, and its raw figures stay with it.
  streams: async () => {
    const { raw: _, ...figures } = (await figuresOf<{ streams: { raw: unknown } & Record<string, number> }>("state.ts", ...(options.short ? ["--short"] : []))).streams;
    return figures;
  },
};

type Killed = LoadResult & { readonly longestGapMs: number; readonly agreement: object };
const killOne = (): Promise<Killed> => withWorld(VALIDATORS, async (world) => {
  const watch = new Watch(world.validators.at(-1)!);
  const feed = prepared(world, RATE * KILL_SECONDS);
  let killedMs = 0;
  const result = await load({
    to: world.validators[0]!, watch, feed, seconds: KILL_SECONDS, rate: RATE, at: { seconds: KILL_SECONDS / 2, run: () => {
      killedMs = performance.now();
      world.validators[1]!.signal("SIGKILL");
    } },
  });
  const times = watch.finalsAtMs.filter((ms) => ms > killedMs - 1_000);
  const gaps = times.slice(1).map((ms, index) => ms - times[index]!);
  return { ...result, longestGapMs: Math.round(Math.max(...gaps)), agreement: await agreement(world) };
});

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const perTransfer = (used: Used, { final }: LoadResult): number => Math.round((used.cpuSeconds * 1e6) / final);

function sustained(validators: number, perSecondMax: number): Promise<object> {
  return withWorld(validators, async (world) => {
    const watch = new Watch(world.validators.at(-1)!);
    const feed = prepared(world, perSecondMax * (seconds + 3));
    await load({ to: world.validators[0]!, watch, feed, seconds: 3, rate: null });
    const [result, used] = await measured(world, () => load({ to: world.validators[0]!, watch, feed, seconds, rate: null }));
    return { ...result, ...used, cpuUsPerTransfer: perTransfer(used, result), ranOut: feed.next === feed.transactions.length, agreement: await agreement(world) };
  });
}

/** What another program of ours measures. */
async function figuresOf<T extends object>(program: string, ...parameters: string[]): Promise<T> {
  const { stdout } = await promisify(execFile)(process.execPath, [join(import.meta.dirname, program), ...parameters], { maxBuffer: 16 * PAGE_MIB });
  return JSON.parse(stdout) as T;
}

/** What the next processes need not compile: it is on the disk when this one has ended. */
async function warm(): Promise<void> {
  await withWorld(1, () => sleep(1_000));
}

/** Sixteen new accounts a transaction. */
function fill({ chain, senders: from }: World, count: number): Feed {
  const fresh = strangers(GENESIS_ACCOUNTS + count).slice(GENESIS_ACCOUNTS);
  return feedOf(Array.from({ length: Math.ceil(count / 16) }, (_, index) =>
    sign(chain.chainId, from[index % from.length]!, fresh.slice(16 * index, 16 * index + 16).map((to) => ({ kind: "transfer", to, amount: 1_000n })))));
}

/** A node that is no validator, with an empty folder. */
async function joinOne(world: World): Promise<{ joinSeconds: number; joinCpuSeconds: number; joinedAt: number }> {
  for (const one of world.validators) if ((await one.status()).height < JOIN_HEIGHT_MIN) throw new Error("Cannot measure a join: the chain is too short for a snapshot");
  const startedMs = performance.now();
  const target = (await world.validators[0]!.status()).height;
  const newcomer = await startProcess(world.chain, VALIDATORS, { listen: ["/ip4/127.0.0.1/tcp/0"], peers: world.validators[0]!.listening });
  try {
    while ((await newcomer.status()).height < target) await sleep(20);
    // On a busy computer its own CPU says more than the clock.
    return { joinSeconds: Math.round(performance.now() - startedMs) / 1_000, joinCpuSeconds: cpuSeconds(newcomer.pid), joinedAt: (await newcomer.status()).heightFirst };
  } finally {
    await newcomer.stop("SIGKILL");
  }
}

async function bareNodeMib(): Promise<number> {
  const child = spawn(process.execPath, [...VALIDATOR_FLAGS, "-e", "setInterval(() => {}, 1000)"], { env: { ...process.env, ...VALIDATOR_ENVIRONMENT }, stdio: "ignore" });
  await sleep(2_000);
  const rss = rssMib(child.pid!);
  child.kill();
  return rss;
}

const wanted = options.only === undefined ? Object.keys(PARTS) : options.only.split(",");
const saved = join(import.meta.dirname, "..", "..", "chain", "bench", "chain.json");
const before = options.save && existsSync(saved) ? (JSON.parse(readFileSync(saved, "utf8")) as { results: Record<string, object> }).results : {};
const results: Record<string, object> = {};
function measuredSoFar(): object {
  const all = { ...before, ...results };
  return { ...on, ...worstOf(Object.values(all) as Partial<Others>[]), validators: VALIDATORS, seconds, results: all };
}
await warm();
for (const name of wanted) {
  const part = PARTS[name];
  if (part === undefined) throw new Error(`There is no part "${name}": ${Object.keys(PARTS).join(", ")}`);
  const beside = await others();
  const startedMs = performance.now();
  results[name] = { ...(await part()), ...beside, tookSeconds: Math.round((performance.now() - startedMs) / 1_000) };
  process.stderr.write(`${name} ${JSON.stringify(results[name])}\n`);
  // As each ends: a later one that fails, or whoever has no more patience, takes nothing of it away.
  if (options.save) save("chain", measuredSoFar(), "chain");
}
report("chain", measuredSoFar(), false, "chain");
process.exit(0);
