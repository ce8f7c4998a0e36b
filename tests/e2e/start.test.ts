/** `npm start` from outside: what a newcomer sees, what stays, what is refused. */
import assert from "node:assert/strict";
import { readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import test from "node:test";
import { needs } from "../require.ts";
import { cliJson, descendants, eventually, http, isAlive, runStart, startMachine, temporaryFolder } from "./stage.ts";

const STOP_MS_MAX = 20_000;

test("npm start deploys the example by the public path; Ctrl-C leaves no process; the next start goes on with the same chain", async (t) => {
  if (!needs(t, "cargo")) return;
  const directory = temporaryFolder(t);
  const first = await startMachine(t, directory, ["--parameters", "minimal"]);
  const [, url] = (await first.printed(/^try\s+curl (http:\S+)/m)) as unknown as [string, string];
  const host = new URL(url).hostname;
  const answer = await http(first.httpPort, host);
  assert.equal(answer.status, 200);
  assert.match(answer.body, /^Hello from a godwit/);
  const bill = await first.printed(/^bill\s+(\d+) s × ([\d.]+) = ([\d.]+) tokens; runway \S+/m);
  assert.ok(bill);
  const [chain, account] = [await cliJson(first, ["status"]), await cliJson(first, ["account", "show"])];
  const processes = descendants(first.process.pid!);
  assert.ok(processes.length > 0, "the runner is a process of its own");
  const stopped = await first.stop("SIGINT");
  assert.equal(stopped.code, 0);
  assert.ok(stopped.elapsedMs < STOP_MS_MAX, `stopped in ${stopped.elapsedMs} ms`);
  await eventually("every process gone", async () => !processes.some(isAlive));

  const second = await startMachine(t, directory, []);
  await second.printed(/^try\s+curl/m);
  assert.match(second.output(), /deployed already/);
  const again = await eventually("the example served again", async () => {
    const answered = await http(second.httpPort, host);
    return answered.status === 200 && answered;
  });
  assert.match(again.body, /^Hello from a godwit/);
  const [chainAgain, accountAgain] = [await cliJson(second, ["status"]), await cliJson(second, ["account", "show"])];
  assert.equal(chainAgain.chainId, chain.chainId);
  assert.ok(chainAgain.head.height >= chain.head.height);
  assert.equal(accountAgain.balance, account.balance);
  await second.stop();

  const fresh = await startMachine(t, directory, ["--fresh", "--no-demo"]);
  assert.notEqual((await cliJson(fresh, ["status"])).chainId, chain.chainId);
  assert.deepEqual(await cliJson(fresh, ["ps"]), []);
  await fresh.stop();
});

test("a port in use is refused by number before anything is changed", async (t) => {
  if (!needs(t, "cargo")) return;
  const taken = createServer().listen(0, "127.0.0.1");
  t.after(() => taken.close());
  await new Promise((resolve) => taken.on("listening", resolve));
  const port = String((taken.address() as { port: number }).port);
  for (const [option, other] of [["--api-port", "--http-port"], ["--http-port", "--api-port"]] as const) {
    const directory = join(temporaryFolder(t), "data");
    const { code, stderr } = await runStart(["--data", directory, option, port, other, "0", "--no-demo"]);
    assert.equal(code, 1);
    assert.match(stderr, /^error port_in_use: /m);
    assert.match(stderr, new RegExp(port));
    assert.throws(() => readdirSync(directory), "no folder was made");
  }
});

test("a data folder in use is refused, and --fresh deletes nothing of it", async (t) => {
  if (!needs(t, "cargo")) return;
  const directory = temporaryFolder(t);
  const machine = await startMachine(t, directory);
  for (const options of [[], ["--fresh"]]) {
    const { code, stderr } = await runStart(["--data", directory, "--api-port", "0", "--http-port", "0", "--no-demo", ...options]);
    assert.equal(code, 1);
    assert.match(stderr, /^error data_folder_in_use: /m);
  }
  assert.equal((await cliJson(machine, ["account", "show"])).balance, "1000000000000000");
  await machine.stop();
});

test("wrong usage is exit code 2, and --fresh spares a folder that is no data folder", async (t) => {
  const directory = temporaryFolder(t);
  writeFileSync(join(directory, "precious.txt"), "mine");
  for (const options of [["--port", "1"], ["--api-port", "70000"], ["--parameters", "none"]]) {
    const { code, stderr } = await runStart(["--data", join(directory, "x"), ...options]);
    assert.equal(code, 2);
    assert.match(stderr, /^error usage: /m);
  }
  const { code, stderr } = await runStart(["--data", directory, "--fresh", "--no-demo"]);
  assert.equal(code, 1);
  assert.match(stderr, /^error not_a_data_folder: /m);
  assert.deepEqual(readdirSync(directory), ["precious.txt"]);
});
