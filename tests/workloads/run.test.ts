/** The SDK's tasks in the real sandbox: arguments, environment, streams, clocks, exit, traps. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runTask } from "#sandbox/sandbox.ts";
import { guest, type GuestName } from "../guests/build.ts";

type Ran = { exitCode: number; trap: string | undefined; stdout: string; stderr: string };

const MIB = 1024 * 1024;

async function run(name: GuestName, args: readonly string[], stdin: string | Uint8Array[] = "", environment: Record<string, string> = {}, memoryBytesMax: number = 64 * MIB): Promise<Ran> {
  const written = { stdout: new TextDecoder(), stderr: new TextDecoder() };
  let [stdout, stderr] = ["", ""];
  const result = await runTask(await guest(name), {
    name,
    arguments: args,
    environment,
    limits: { memoryBytesMax },
    stdin: typeof stdin === "string" ? new TextEncoder().encode(stdin) : pieces(stdin),
    stdout: (chunk) => void (stdout += written.stdout.decode(chunk, { stream: true })),
    stderr: (chunk) => void (stderr += written.stderr.decode(chunk, { stream: true })),
  });
  return { exitCode: result.exitCode, trap: result.trap?.code, stdout, stderr };
}

async function* pieces(chunks: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

const ok = (stdout: string): Ran => ({ exitCode: 0, trap: undefined, stdout, stderr: "" });

test("tally adds up a column, exactly, the largest sum first", async () => {
  const table = "city,note,amount\r\nOslo,a,12.50\r\nLagos,b,7\r\nOslo,c,0.75\r\n\r\nBergen,d,-0.10\r\nQuito,e,7.00";
  assert.deepEqual(await run("tally", ["city", "amount"], table), ok([
    "         13.25  Oslo (2)", "          7.00  Lagos (1)", "          7.00  Quito (1)", "         -0.10  Bergen (1)", "         27.15  in all", "",
  ].join("\n")));
});

test("tally says what is wrong with its input, on stderr, and ends with 1", async () => {
  const cases: readonly [args: string[], stdin: string, stderr: string][] = [
    [["city"], "", "tally: usage: tally KEY VALUE < table.csv\n"],
    [["city", "amount"], "", "tally: the input is empty\n"],
    [["city", "price"], "city,amount\n", 'tally: no column "price" among city, amount\n'],
    [["city", "amount"], "city,amount\nOslo,1\nOslo\n", "tally: line 3 has 1 columns, the header 2\n"],
    [["city", "amount"], "city,amount\nOslo,1.234\n", 'tally: line 2: "1.234" is not an amount\n'],
  ];
  for (const [args, stdin, stderr] of cases) assert.deepEqual(await run("tally", args, stdin), { exitCode: 1, trap: undefined, stdout: "", stderr });
});

test("tally reads two megabytes of table within one of memory: the collector keeps up", async () => {
  const rows = new TextEncoder().encode("Oslo,0.01\nLagos,0.02\n".repeat(2_000));
  const chunks = [new TextEncoder().encode("city,amount\n"), ...Array.from({ length: 50 }, () => rows)];
  assert.deepEqual(await run("tally", ["city", "amount"], chunks, {}, MIB), ok("       2000.00  Lagos (100000)\n       1000.00  Oslo (100000)\n       3000.00  in all\n"));
});

test("arguments come without the program's name, in any script", async () => {
  assert.deepEqual(await run("rogueTask", ["arguments", "", "två ord", "👋"]), ok("arguments||två ord|👋"));
});

test("the collector takes nothing away that the host is still writing: 3,000 arguments, far beyond its first step", async () => {
  const args = Array.from({ length: 3_000 }, (_, i) => `argument ${i} ${"ö".repeat(i % 50)}`);
  assert.deepEqual(await run("rogueTask", ["arguments", ...args]), ok(["arguments", ...args].join("|")));
});

test("the environment is the manifest's and nothing of this process", async () => {
  assert.deepEqual(await run("rogueTask", ["environment"], "", { B: "2", A: "één", EMPTY: "" }), ok("A=één\nB=2\nEMPTY=\n"));
  assert.deepEqual(await run("rogueTask", ["environment"]), ok(""));
});

test("readLine() knows \\n, \\r\\n, empty lines and a last line without an end, however the bytes are cut", async () => {
  const text = new TextEncoder().encode("één\r\n\ntwo\nlast");
  const expected = ok("ÉÉN\n\nTWO\nLAST\n");
  assert.deepEqual(await run("rogueTask", ["upper"], [text]), expected);
  assert.deepEqual(await run("rogueTask", ["upper"], Array.from(text, (byte) => Uint8Array.of(byte))), expected);
  assert.deepEqual(await run("rogueTask", ["upper"], [...text].map((_, i) => text.subarray(i, i + 1)).slice(0, 0)), ok(""));
});

test("readBytes() takes a megabyte whole", async () => {
  assert.deepEqual(await run("rogueTask", ["count"], [new Uint8Array(700_000), new Uint8Array(300_001)]), ok("1000001"));
});

test("stdout and stderr are two streams", async () => {
  assert.deepEqual(await run("rogueTask", ["both"]), { ...ok("to stdout\n"), stderr: "to stderr\n" });
});

test("a code other than 0 arrives as 1; exit() ends at once with what was written", async () => {
  assert.deepEqual(await run("rogueTask", ["fail"]), { ...ok(""), exitCode: 1 });
  assert.deepEqual(await run("rogueTask", ["exit"]), { ...ok("before\n"), exitCode: 1 });
});

test("a throw prints message, file, line and column, then traps", async () => {
  const { exitCode, trap, stderr } = await run("rogueTask", ["trap"]);
  assert.deepEqual({ exitCode, trap }, { exitCode: 134, trap: "trap" });
  assert.match(stderr, /^abort: as asked: trap at assembly\/rogueTask\.ts:\d+:\d+\n$/);
});

test("what was written before a console line or a trap is out before it", async () => {
  const { stdout, stderr } = await run("rogueTask", ["order"]);
  assert.equal(stdout, "one\ntwo\nthree\n");
  assert.match(stderr, /^abort: after three /);
});

test("what was written is out before a task sleeps, and before it waits for input", async () => {
  const written = { ticks: "", answers: "" };
  const ticker = await runTask(await guest("rogueTask"), { name: "ticker", arguments: ["tick"], limits: { wallTimeMsMax: 1_000 }, stdout: (chunk) => void (written.ticks += new TextDecoder().decode(chunk)) });
  assert.equal(ticker.trap?.code, "wall_time_limit");
  assert.match(written.ticks, /^tick\n/);
  const seen = Promise.withResolvers<void>();
  const stdin = (async function* (): AsyncGenerator<Uint8Array> {
    yield new TextEncoder().encode("one\n");
    await seen.promise;
    yield new TextEncoder().encode("two\n");
  })();
  await runTask(await guest("rogueTask"), { name: "asker", arguments: ["upper"], stdin, stdout: (chunk) => {
    written.answers += new TextDecoder().decode(chunk);
    if (written.answers.startsWith("ONE\n")) seen.resolve();
  } });
  assert.equal(written.answers, "ONE\nTWO\n");
});

test("Math.random and Date.now are the host's", async () => {
  const draws = await Promise.all(Array.from({ length: 4 }, async () => (await run("rogueTask", ["random"])).stdout));
  assert.equal(new Set(draws).size, 4);
  for (const draw of draws) assert(Number(draw) >= 0 && Number(draw) < 1, draw);
  const beforeMs = Date.now();
  const told = Date.parse((await run("rogueTask", ["date"])).stdout);
  assert(told >= beforeMs && told <= Date.now());
});
