/** `godwit deploy` of a component file: what is uploaded, what is signed, and what never reaches the chain. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { hex } from "#chain/types.ts";
import { sha256 } from "#chain/crypto.ts";
import type { Deploy } from "#chain/codec/transaction.ts";
import { type FakeMachine, startFakeMachine } from "./fakeMachine.ts";
import { type Terminal, openTerminal } from "./terminal.ts";

const COMPONENT = Uint8Array.from([0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0]);
const MANIFEST = `name = "greeter"
kind = "service"
outgoing = ["https://api.example.com"]

[resources]
memory_mib = 32
cpu_millis = 250
concurrency = 4
replicas = 2
isolation = "process"
reuse = true
[limits]
wall_time_ms = 2_000

[budget]
deposit = "2.5"
rate_max_per_hour = "0.36"

[environment]
WHOM = "world"
ANSWER = "42"
`;

async function world(t: TestContext): Promise<{ machine: FakeMachine; terminal: Terminal; address: string; write: (file: string, content: string | Uint8Array) => string }> {
  const machine = await startFakeMachine(t);
  const terminal = openTerminal(t, { GODWIT_API: machine.url });
  const { address } = await terminal.json("account", "new", "alice");
  machine.balances.set(address, 100_000_000_000n);
  const write = (file: string, content: string | Uint8Array): string => {
    const path = join(terminal.home, file);
    mkdirSync(join(path, ".."), { recursive: true });
    writeFileSync(path, content);
    return path;
  };
  return { machine, terminal, address, write };
}
const deployOf = (machine: FakeMachine): Deploy => {
  const op = machine.operations.at(-1);
  return op?.kind === "deploy" ? op : assert.fail("no deploy was sent");
};

test("everything of the manifest is signed, after component and configuration are uploaded under their digests", async (t) => {
  const { machine, terminal, address, write } = await world(t);
  const file = write("greeter/greeter.wasm", COMPONENT);
  write("greeter/godwit.toml", MANIFEST);
  const answer = await terminal.json("deploy", file);
  const op = deployOf(machine);
  const { name, memoryMib, cpuMillis, concurrency, replicas, deposit, rateMax, isolation } = op;
  assert.deepEqual({ name, memoryMib, cpuMillis, concurrency, replicas, deposit, rateMax, isolation },
    { name: "greeter", memoryMib: 32, cpuMillis: 250, concurrency: 4, replicas: 2, deposit: 2_500_000_000n, rateMax: 100_000n, isolation: 1 });
  assert.equal(hex(op.componentDigest), hex(sha256(COMPONENT)));
  assert.deepEqual(machine.configurations.get(`sha256:${hex(op.configurationDigest ?? assert.fail())}`), {
    owner: address, environment: { ANSWER: "42", WHOM: "world" }, limits: { wallTimeMsMax: 2_000 }, outgoing: [{ scheme: "https", host: "api.example.com", port: 443 }], reuse: true, healthPath: null,
  });
  assert.deepEqual(machine.requests.map(({ method, path }) => `${method} ${path.split("/")[2]?.split("?")[0]}`).filter((call) => !call.startsWith("GET")), ["PUT components", "PUT configurations", "POST transactions"]);
  const [held] = [...machine.deployments.values()];
  assert.deepEqual([answer["id"], answer["url"], answer["ratePerSecond"], answer["balance"], answer["runwaySeconds"]],
    [held?.id, `http://greeter.${address}.localhost:7481/`, "2468", "2500000000", "1012965"]);
});

test("for people it prints each step with its time, then URL, rate and runway", async (t) => {
  const { terminal, address, write } = await world(t);
  write("godwit.toml", 'name = "plain"\nkind = "service"\n');
  const { code, stdout, stderr } = await terminal.run("deploy", write("plain.wasm", COMPONENT));
  assert.equal(code, 0);
  assert.deepEqual(stderr.split("\n").map((line) => line.replace(/^ +\d+ ms  /, "").replace(/[ :].*/, "")), ["planned", "uploaded", "final", "placed", "ready", "copied", ""]);
  assert.match(stdout, /^deployed +plain \([0-9a-f]{40}\), revision 1$/m);
  assert(stdout.includes(`http://plain.${address}.localhost:7481/`));
  assert.match(stdout, /^replicas +1 of 1 ready$/m);
  assert.match(stdout, /^rate +0\.000001234\/s \(0\.0044424\/h\)$/m);
  assert.match(stdout, /^runway +9d 9h$/m);
});

test("without environment, limits and places there is no configuration; options go before the manifest", async (t) => {
  const { machine, terminal, write } = await world(t);
  write("godwit.toml", 'name = "plain"\nkind = "service"\n');
  await terminal.json("deploy", write("plain.wasm", COMPONENT), "--name", "other", "--replicas", "3", "--deposit", "7");
  const op = deployOf(machine);
  assert.deepEqual([op.configurationDigest, op.name, op.replicas, op.deposit, op.isolation], [null, "other", 3, 7_000_000_000n, 0]);
  assert.equal(machine.configurations.size, 0);
});

test("a wrong manifest is told with file, line and column, and nothing is sent", async (t) => {
  const { machine, terminal, write } = await world(t);
  const manifest = write("godwit.toml", 'name = "plain"\nkind = "servic"\n\n[resources]\nmemory = 5\n');
  const file = write("plain.wasm", COMPONENT);
  const { code, stderr } = await terminal.run("deploy", file, "--json");
  assert.equal(code, 1);
  const { error } = JSON.parse(stderr) as { error: { code: string; diagnostics: { line: number; column: number; code: string }[] } };
  assert.equal(error.code, "manifest_invalid");
  assert.deepEqual(error.diagnostics.map(({ line, column, code: of }) => [line, column, of]), [[2, 8, "choice_unknown"], [5, 1, "key_unknown"]]);
  const plain = await terminal.run("deploy", file);
  assert(plain.stderr.includes(`${manifest}:2:8: `), plain.stderr);
  assert.equal(machine.requests.length, 0);
});

test("what is missing or of another kind is refused before anything is signed", async (t) => {
  const { machine, terminal, write } = await world(t);
  const file = write("alone/plain.wasm", COMPONENT);
  assert.deepEqual(await terminal.errorOf("deploy", file), { exit: 1, code: "manifest_missing" });
  assert.deepEqual(await terminal.errorOf("deploy", join(terminal.home, "nothing.wasm")), { exit: 1, code: "file_missing" });
  assert.deepEqual(await terminal.errorOf("deploy", join(terminal.home, "alone")), { exit: 1, code: "manifest_missing" });
  write("large/godwit.toml", 'name = "large"\nkind = "service"\n');
  assert.deepEqual(await terminal.errorOf("deploy", write("large/large.wasm", new Uint8Array(17 * 1024 * 1024))), { exit: 1, code: "component_too_large" });
  assert(machine.requests.every(({ method }) => method === "GET"));
  write("alone/godwit.toml", 'name = "plain"\nkind = "task"\n');
  assert.deepEqual(await terminal.errorOf("deploy", file), { exit: 1, code: "not_a_task" });
  assert.equal(machine.operations.length, 0);
});

test("an upload that is refused, a deposit that is too small and a replica that fails are each told by their code", async (t) => {
  const { machine, terminal, write } = await world(t);
  write("godwit.toml", 'name = "plain"\nkind = "service"\n');
  const file = write("plain.wasm", COMPONENT);
  machine.refuseNext("PUT /v1/components", "core_module");
  assert.deepEqual(await terminal.errorOf("deploy", file), { exit: 1, code: "core_module" });
  machine.refuseInBlock("insufficient_funds");
  assert.deepEqual(await terminal.errorOf("deploy", file), { exit: 1, code: "insufficient_funds" });
  assert.equal(machine.operations.length, 0);
  machine.replicas = "failed";
  assert.deepEqual(await terminal.errorOf("deploy", file), { exit: 1, code: "replica_failed" });
  assert.deepEqual(await terminal.errorOf("deploy", file), { exit: 1, code: "replica_failed" });
  assert.equal(machine.operations.length, 1, "what is there already is not made again");
});

test("plan shows changes, places and prices, spends nothing, and says what cannot be met", async (t) => {
  const { machine, terminal, write } = await world(t);
  write("godwit.toml", 'name = "plain"\nkind = "service"\n');
  const file = write("plain.wasm", COMPONENT);
  const fresh = await terminal.json("plan", file);
  assert.deepEqual([fresh["exists"], fresh["changes"], fresh["problems"]], [false, [{ what: "deployment", now: "none", wanted: "plain", by: "godwit deploy" }], []]);
  assert.deepEqual([fresh["ratePerSecond"], fresh["runwaySeconds"], fresh["forecast"].placed.length], ["1234", String(1_000_000_000n / 1_234n), 1]);
  assert.deepEqual(machine.requests.filter(({ method }) => method !== "GET"), [], "nothing was sent");

  await terminal.json("deploy", file);
  write("godwit.toml", 'name = "plain"\nkind = "service"\n[resources]\nmemory_mib = 128\nreplicas = 3\n');
  const changed = await terminal.json("plan", write("plain.wasm", Uint8Array.from([...COMPONENT, 0, 0])));
  assert.deepEqual((changed["changes"] as { what: string; by: string | null }[]).map(({ what, by }) => [what, by]), [["component", "godwit deploy"], ["memory", "godwit deploy"], ["replicas", "godwit deploy"]]);

  write("godwit.toml", 'name = "large"\nkind = "service"\n[resources]\nmemory_mib = 1024\nreplicas = 5\n[budget]\ndeposit = "0.000001"\n');
  const { code, stdout } = await terminal.run("plan", "--json", file);
  const refused = JSON.parse(stdout) as { problems: string[]; forecast: { unplaced: number[]; obstacles: Record<string, number> } };
  assert.deepEqual([code, refused.forecast.unplaced, refused.forecast.obstacles, refused.problems.length], [1, [4], { memory_full: 1 }, 2]);
});
