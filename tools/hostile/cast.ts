/**
 * The cast: guests that do their worst, each with the outcome that it must have.
 *
 * An outcome is a few words: the status and code of its answer, `cut` for an answer that visibly did not end, the code of a refused
 * compile or load. Where the way to the limit is the computer's (its speed, its memory), several are right.
 */
import { connect } from "node:net";
import { LIMITS_MAX, type Limits } from "#sandbox/limits.ts";
import { inspect } from "#sandbox/sandbox.ts";
import { guest } from "#tests/guests/build.ts";
import * as handmade from "#tests/guests/handmade.ts";
import type { Answer, Stage } from "./stage.ts";

export type Member = {
  readonly guest: string;
  readonly expected: readonly string[];
  /** Gives the outcome. */
  readonly act: (stage: Stage) => Promise<string>;
};

const MIB = 1024 * 1024;
const HOST = "hostile.localhost";
/** Enough to see that it would go on for ever, and little enough to see many. */
const LIMITS: Partial<Limits> = { wallTimeMsMax: 500, cpuTimeMsMax: 150, fuelPerCallMax: LIMITS_MAX.fuelPerCallMax };
/** One component's compile here: a bomb must end by it and not by the patience of whoever watches. */
const COMPILE_LIMITS = { cpuSecondsMax: 1, wallTimeMsMax: 20_000, memoryBytesMax: 512 * MIB };
/** Which of the two it meets first is the load's to say. */
const ENDLESS = ["504 cpu_time_limit", "504 wall_time_limit"];
/** For a guest that is to come to its end. */
const PATIENT: Partial<Limits> = { ...LIMITS, cpuTimeMsMax: 10_000, wallTimeMsMax: 25_000 };
const ENDED_WITHIN_MS = 5_000;
const LOOP = "(loop $again (br $again))";

const attacker = (): Promise<Uint8Array> => guest("attacks");

const said = ({ status, code, complete }: Answer): string => (status === 0 || !complete ? "cut" : code === undefined ? String(status) : `${status} ${code}`);
const codeOf = (error: unknown): string => (error instanceof Error && "code" in error ? String(error.code) : String(error));

/** A path of a guest, asked once. */
const asks = (name: string, component: () => Promise<Uint8Array>, path: string, expected: readonly string[], limits: Partial<Limits> = LIMITS): Member => ({
  guest: name, expected,
  act: async (stage) => {
    await stage.load(await component(), { limits });
    return said(await stage.ask({ host: HOST, path }));
  },
});
/** A component that must not come to serve. */
const loads = (name: string, component: () => Promise<Uint8Array>, expected: readonly string[], limits: Partial<Limits> = LIMITS): Member => ({
  guest: name, expected, act: async (stage) => stage.load(await component(), { limits }).then(() => "loaded", codeOf),
});
const compiles = (name: string, component: () => Promise<Uint8Array>, expected: readonly string[]): Member => ({
  guest: name, expected, act: async (stage) => stage.compile(await component(), COMPILE_LIMITS).then(() => "compiled", codeOf),
});
const rogue = (): Promise<Uint8Array> => guest("rogue");
const made = (service: handmade.Service) => (): Promise<Uint8Array> => handmade.service(service);

/** Members that run in the runner: a soak repeats them. */
export const SERVICES: readonly Member[] = [
  asks("loop without end", rogue, "/loop", ENDLESS),
  asks("loop without end, little fuel", rogue, "/loop", ["504 fuel_limit"], { fuelPerCallMax: 1_000_000 }),
  asks("sleep for a minute in a host call", rogue, "/slow?ms=60000", ["504 wall_time_limit"]),
  // On a busy computer what the round before held may not be back yet: then there is no room to begin.
  asks("memory.grow bomb", rogue, "/hog", ["500 memory_limit", "503 memory_full"], { ...PATIENT, memoryBytesMax: 16 * MIB }),
  asks("table.grow bomb", made({ module: "(table $t 1 funcref)", handle: "(if (i32.eq (table.grow $t (ref.null func) (i32.const 100000000)) (i32.const -1)) (then unreachable))" }), "/", ["500 table_limit"]),
  asks("deep recursion", rogue, "/recurse", ["500 trap"], PATIENT),
  asks("handle flood", attacker, "/fields", ["500 trap", "500 memory_limit"], PATIENT),
  asks("random bytes by the megabyte", attacker, "/random", ["500 trap"]),
  asks("host calls without end", made(handmade.endlessCalls), "/", ["504 fuel_limit", ...ENDLESS]),
  asks("host calls that copy megabytes", attacker, "/arguments", ENDLESS),
  asks("post-return without end", made({ postReturn: LOOP }), "/", ENDLESS),
  {
    guest: "allocation callback without end", expected: ENDLESS,
    act: async (stage) => {
      await stage.load(await handmade.service(handmade.endlessRealloc), { limits: LIMITS, environment: { A: "1" } });
      return said(await stage.ask({ host: HOST, path: "/" }));
    },
  },
  {
    guest: "log flood", expected: ["200, lines dropped"],
    act: async (stage) => {
      await stage.load(await guest("rogue"), { limits: PATIENT });
      const answer = said(await stage.ask({ host: HOST, path: "/spam?lines=20000" }));
      return ((await stage.runner.usage())["hostile"]?.logLinesDropped ?? 0) > 0 ? `${answer}, lines dropped` : answer;
    },
  },
  asks("log lines that grow as JSON", attacker, "/escapes", ["200"], { ...PATIENT, logBytesPerSecondMax: LIMITS_MAX.logBytesPerSecondMax }),
  asks("header bomb", rogue, "/header?length=1000000", ["500 trap", "500 answer_too_large", "500 guest_error"], PATIENT),
  asks("status that is none", rogue, "/status?code=999", ["500 trap", "500 guest_error", "999"]),
  asks("status of a switch of protocols", attacker, "/switch", ["500 guest_error"]),
  asks("answer shorter than it says", attacker, "/short", ["500 guest_error", "cut"]),
  asks("endless body", attacker, "/endless", ["cut"]),
  asks("answer that never ends", attacker, "/stuck", ["cut"]),
  asks("answer that is broken off", rogue, "/cut", ["cut", "500 trap"]),
  asks("no answer at all", made({}), "/", ["500 no_answer"]),
  { guest: "client that never reads", expected: ["its guest has ended"], act: slowReader },
  { guest: "client that goes", expected: ["its guest has ended"], act: goneClient },
  { guest: "client whose body does not come", expected: ["408 body_too_slow", "504 wall_time_limit"], act: silentBody },
  loads("trap in the start function", made({ module: "(func $start unreachable) (start $start)" }), ["load_failed"]),
  loads("start function without end", made({ module: `(func $start ${LOOP}) (start $start)` }), ["load_failed"]),
  loads("memory that is too large from the start", made({ memory: '(memory (export "memory") 1000)' }), ["load_failed"], { memoryBytesMax: 16 * MIB }),
  loads("trap in the program's beginning", () => guest("deadOnArrival"), ["load_failed"]),
];

/** The smallest that meets the compiler. */
export const TINY_BOMB: Member = compiles("a kilobyte that asks for ten million instances", () => handmade.instanceBomb(7), ["compile_limit", "compile_failed", "compile_interrupted"]);
/** Members that meet the compiler. */
export const COMPONENTS: readonly Member[] = [
  TINY_BOMB,
  compiles("types of 2^30 fields", () => handmade.typeBomb(30), ["compile_failed"]),
  compiles("a hundred thousand aliases", () => handmade.aliasBomb(100_000), ["compiled", "compile_limit", "compile_interrupted", "compile_failed"]),
  compiles("one function of a million instructions", () => handmade.hugeFunction(1_000_000), ["compiled", "compile_limit", "compile_interrupted"]),
  compiles("a million branches", () => handmade.branchBomb(2_000, 500), ["compiled", "compile_limit", "compile_interrupted"]),
  compiles("100,000 functions", () => handmade.manyFunctions(100_000), ["compiled", "compile_limit", "compile_interrupted"]),
];

/** `count` components cut somewhere and as many with a bit turned, by a fixed series of numbers. What is accepted by every check is served. */
export const broken = (count: number): readonly Member[] => (["truncated", "bit-flipped"] as const).map((how) => ({
  guest: `${count} ${how} components`, expected: ["every one refused or served"],
  act: async (stage) => {
    const whole = await guest("hello");
    const random = series(how.length);
    const odd = new Set<string>();
    for (let n = 0; n < count; n += 1) {
      const bytes = how === "truncated" ? whole.slice(0, random(whole.length)) : whole.slice();
      if (how === "bit-flipped") bytes[random(bytes.length)]! ^= 1 << random(8);
      const outcome = await tried(stage, bytes);
      if (!/^(not_wasm|core_module|component_invalid|import_unknown|world_unknown|compile_failed|compile_limit|compile_interrupted|load_failed|served)$/.test(outcome)) odd.add(outcome);
    }
    return odd.size === 0 ? "every one refused or served" : [...odd].join(", ");
  },
}));

async function tried(stage: Stage, bytes: Uint8Array): Promise<string> {
  try {
    await inspect(bytes);
    await stage.load(bytes, { limits: LIMITS });
    await stage.ask({ host: HOST, path: "/" });
    return "served";
  } catch (error) {
    return codeOf(error);
  }
}

/** xorshift32: the same components on every computer. */
function series(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

async function slowReader(stage: Stage): Promise<string> {
  await stage.load(await attacker(), { limits: LIMITS });
  const socket = connect({ port: stage.port, host: "127.0.0.1" });
  socket.on("error", () => {});
  socket.write(`GET /endless HTTP/1.1\r\nhost: ${HOST}\r\n\r\n`);
  socket.pause();
  await running(stage, 1);
  const outcome = (await running(stage, 0)) ? "its guest has ended" : "its guest goes on";
  socket.destroy();
  return outcome;
}

async function silentBody(stage: Stage): Promise<string> {
  await stage.load(await guest("rogue"), { limits: LIMITS });
  const socket = connect({ port: stage.port, host: "127.0.0.1" });
  let text = "";
  socket.setEncoding("latin1").on("data", (part: string) => (text += part)).on("error", () => {});
  socket.write(`POST /count HTTP/1.1\r\nhost: ${HOST}\r\ncontent-length: 10\r\n\r\n`);
  const endMs = performance.now() + 2 * ENDED_WITHIN_MS;
  while (!/"code":"\w+"/.test(text) && performance.now() < endMs) await new Promise((resolve) => setTimeout(resolve, 10));
  socket.destroy();
  return `${/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0} ${/"code":"(\w+)"/.exec(text)?.[1] ?? "nothing"}`;
}

async function goneClient(stage: Stage): Promise<string> {
  await stage.load(await guest("rogue"), { limits: { ...LIMITS, wallTimeMsMax: 60_000, cpuTimeMsMax: 60_000 } });
  const socket = connect({ port: stage.port, host: "127.0.0.1" });
  socket.on("error", () => {});
  socket.write(`GET /loop HTTP/1.1\r\nhost: ${HOST}\r\n\r\n`);
  const hasBegun = await running(stage, 1);
  socket.destroy();
  if (!hasBegun) return "its guest did not begin";
  return (await running(stage, 0)) ? "its guest has ended" : "its guest goes on";
}

async function running(stage: Stage, count: number): Promise<boolean> {
  const endMs = performance.now() + ENDED_WITHIN_MS;
  while (performance.now() < endMs) {
    if ((await stage.runner.usage())["hostile"]?.running === count) return true;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return false;
}
