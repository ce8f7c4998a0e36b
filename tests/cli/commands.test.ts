/** Every command that talks to a machine, against a machine that checks signatures, nonces, fees and times as a real one does. */
import assert from "node:assert/strict";
import test, { type TestContext } from "node:test";
import { hex } from "#chain/types.ts";
import { type Operation, decodeTransaction } from "#chain/codec/transaction.ts";
import { reportText } from "#tools/cli/commands/audit.ts";
import { type FakeMachine, startFakeMachine } from "./fakeMachine.ts";
import { type Terminal, openTerminal } from "./terminal.ts";


/** A machine and a terminal whose only account holds 100 tokens and has a deployment called hello. */
async function world(t: TestContext): Promise<{ machine: FakeMachine; terminal: Terminal; address: string; id: string }> {
  const machine = await startFakeMachine(t);
  const terminal = openTerminal(t, { GODWIT_API: machine.url });
  const { address } = await terminal.json("account", "new", "alice");
  machine.balances.set(address, 100_000_000_000n);
  const id = "ab".repeat(20);
  machine.deployments.set(id, {
    kind: "deploy", id, owner: address, name: "hello", state: "active", balance: 5_000_000_000n, componentDigest: new Uint8Array(32) as never, configurationDigest: null,
    memoryMib: 64, cpuMillis: 100, concurrency: 8, replicas: 1, deposit: 5_000_000_000n, rateMax: 0n, isolation: 0,
  });
  return { machine, terminal, address, id };
}
const last = (machine: FakeMachine): Operation => machine.operations.at(-1) ?? assert.fail("nothing was sent");

test("status warns where it is certain that too few validators keep the state on a disk, and not where some have not said", async (t) => {
  const { terminal, machine } = await world(t);
  const row = /^state +kept on disks of validators of weight (\d) of 4$/m;
  for (const [weight, weightKnown, warns] of [[3, 3, false], [1, 3, false], [0, 2, false], [0, 3, true], [1, 4, true], [2, 4, false]] as const) {
    machine.stateKept = { weight, weightKnown, weightMin: 2, weightAll: 4 };
    const { stdout, stderr, code } = await terminal.run("status");
    assert.deepEqual([row.exec(stdout)?.[1], stderr.startsWith(`warning too few validators keep the chain's state on a disk: weight ${weight} of 4, and 2 is the least`), code], [String(weight), warns, 0], `${weight} of ${weightKnown} known`);
  }
});

test("status, ps and bill: tables for people, the machine's own words with --json", async (t) => {
  const { terminal, address, id } = await world(t);
  assert.equal((await terminal.json("status"))["runner"].pid, 42);
  assert.match((await terminal.run("status")).stdout, /^runner +running, process 42$/m);
  assert.deepEqual((await terminal.json("status"))["stateKept"], { weight: 3, weightKnown: 3, weightMin: 2, weightAll: 4 });
  const [row] = (await terminal.json("ps")) as unknown as Record<string, unknown>[];
  assert.deepEqual([row?.["id"], row?.["name"], row?.["owner"]], [id, "hello", address]);
  assert.match((await terminal.run("ps")).stdout, /^hello +abababababab +1\/1 +running +64 MiB +100m +0\.0044424 +http:\/\/hello\.gw1/m);
  const bill = await terminal.json("bill", "hello");
  assert.deepEqual([bill["total"], bill["ratePerSecond"], bill["segments"].length], ["74040", "1234", 1]);
  const { stdout } = await terminal.run("bill", "hello");
  assert.match(stdout, /^MACHINE +REPLICA +SECONDS +RATE\/S +AMOUNT\n\S+… +0 +60 +0\.000001234 +0\.00007404|0 +60 +0\.000001234 +0\.000074040 +running$/m);
  assert.match(stdout, /^total +0\.00007404$/m);
  assert.match(stdout, /^runway +46d 21h$/m);
});

test("ps --limits shows every limit of one's own deployments, and what is private to nobody else", async (t) => {
  const { machine, terminal, address, id } = await world(t);
  machine.configurations.set(`sha256:${"00".repeat(32)}`, { owner: address, environment: {}, limits: { wallTimeMsMax: 1_234 }, outgoing: [{ scheme: "https", host: "a.example", port: 443 }], reuse: true, healthPath: null });
  const { stdout } = await terminal.run("ps", "--limits");
  assert.match(stdout, /^wallTimeMsMax +1234$/m);
  assert.match(stdout, /^fuelPerCallMax +10000000000$/m);
  assert.match(stdout, /^outgoing +https:\/\/a\.example:443$/m);
  const rows = (await terminal.json("ps", "--limits", "hello")) as unknown as Record<string, any>[]; // oxlint-disable-line typescript/no-explicit-any
  assert.deepEqual([rows.length, rows[0]?.["id"], rows[0]?.["settings"].limits.wallTimeMsMax, rows[0]?.["settings"].reuse], [1, id, 1_234, true]);
  assert(machine.requests.filter(({ path }) => path.endsWith("/configuration")).every(({ sender }) => sender === address), "signed by the owner");
  assert.deepEqual(await terminal.errorOf("ps", "--limits", "nothing"), { exit: 1, code: "deployment_unknown" });
  assert.equal((await terminal.errorOf("ps", "--limits", "--all")).exit, 2);
  assert.equal((await terminal.errorOf("ps", "hello")).exit, 2);
});

test("ps --all pages through everybody's deployments", async (t) => {
  const { machine, terminal, id } = await world(t);
  const one = machine.deployments.get(id) ?? assert.fail();
  for (const i of [1, 2, 3, 4]) machine.deployments.set(`${i}`.repeat(40), { ...one, id: `${i}`.repeat(40), name: `other${i}`, owner: "gw1someoneelse" });
  assert.equal(((await terminal.json("ps")) as unknown as unknown[]).length, 1);
  assert.equal(((await terminal.json("ps", "--all")) as unknown as unknown[]).length, 5);
});

test("a deployment is meant by its name, its id, or NAME.ADDRESS; the live one before one that closes", async (t) => {
  const { machine, terminal, address, id } = await world(t);
  const one = machine.deployments.get(id) ?? assert.fail();
  machine.deployments.set("01".repeat(20), { ...one, id: "01".repeat(20), state: "closing" });
  for (const wanted of ["hello", id, `hello.${address}`]) assert.equal((await terminal.json("topup", wanted, "1"))["id"], id, wanted);
  const { address: bob } = await terminal.json("account", "new", "bob");
  machine.balances.set(bob, 100_000_000_000n);
  assert.equal((await terminal.json("topup", `hello.${address}`, "1", "--account", "bob"))["id"], id);
  assert.deepEqual(await terminal.errorOf("topup", "hello", "1", "--account", "bob"), { exit: 1, code: "deployment_unknown" });
  assert.deepEqual(await terminal.errorOf("bill", "ff".repeat(20)), { exit: 1, code: "deployment_unknown" });
});

test("the beginning of an id that ps prints is enough; one that two deployments share is not, nor another account's", async (t) => {
  const { machine, terminal, id } = await world(t);
  const short = (await terminal.run("ps")).stdout.match(/\b[0-9a-f]{12}\b/)?.[0] ?? assert.fail();
  assert.equal((await terminal.json("bill", short))["deploymentId"], id);
  assert.deepEqual(await terminal.errorOf("bill", short.slice(1)), { exit: 1, code: "deployment_unknown" });
  const twin = `${short}${"0".repeat(28)}`;
  machine.deployments.set(twin, { ...machine.deployments.get(id)!, id: twin, name: "twin" });
  assert.deepEqual(await terminal.errorOf("bill", short), { exit: 1, code: "deployment_unknown" });
  machine.deployments.set(twin, { ...machine.deployments.get(twin)!, owner: "somebody" });
  machine.deployments.delete(id);
  assert.deepEqual(await terminal.errorOf("bill", short), { exit: 1, code: "deployment_unknown" });
});

test("scale, resize, topup, claim, transfer and rm each send the operation they say", async (t) => {
  const { machine, terminal, id } = await world(t);
  const { address: bob } = await terminal.json("account", "new", "bob");
  const sent = async (...args: string[]): Promise<Operation> => {
    await terminal.json(...args, "--account", "alice");
    return last(machine);
  };
  const scale = await sent("scale", "hello", "3");
  assert(scale.kind === "scale" && scale.replicas === 3 && hex(scale.deploymentId) === id);
  const resize = await sent("resize", "hello", "--memory", "128");
  assert(resize.kind === "resize" && resize.memoryMib === 128 && resize.cpuMillis === 100);
  const topUp = await sent("topup", "hello", "2.5");
  assert(topUp.kind === "topUp" && topUp.amount === 2_500_000_000n);
  const claim = await sent("claim", "hello", "1");
  assert(claim.kind === "claim" && claim.index === 1);
  const transfer = await sent("transfer", bob, "1.5");
  assert(transfer.kind === "transfer" && transfer.amount === 1_500_000_000n);
  assert.equal(machine.balances.get(bob), 1_500_000_000n);
  assert.equal((await sent("transfer", "bob", "0.000000001")).kind, "transfer");
  assert.equal((await sent("rm", "hello")).kind, "close");
  assert.equal(machine.deployments.get(id)?.state, "closing");
});

test("wrong_nonce is tried again once, with the nonce read anew, and not twice", async (t) => {
  const { machine, terminal } = await world(t);
  for (const code of ["wrong_nonce", "nonce_used"]) {
    machine.requests.length = 0;
    machine.refuseNext("POST", code);
    await terminal.json("topup", "hello", "1");
    assert.equal(machine.requests.filter(({ method }) => method === "POST").length, 2);
    assert.equal(machine.requests.filter(({ path }) => path.startsWith("/v1/accounts/")).length, 2);
    machine.refuseNext("POST", code);
    machine.refuseNext("POST", code);
    assert.deepEqual(await terminal.errorOf("topup", "hello", "1"), { exit: 1, code });
    assert.equal(machine.requests.filter(({ method }) => method === "POST").length, 4);
  }
});

test("a nonce that a waiting transaction has is free again when that one is final", async (t) => {
  const { machine, terminal, address } = await world(t);
  machine.refuseNext("POST", "replacement_underpriced");
  const paid = terminal.json("topup", "hello", "1");
  while (!machine.requests.some(({ method }) => method === "POST")) await new Promise((resolve) => setTimeout(resolve, 5));
  machine.nonces.set(address, 1n);
  await paid;
  assert.equal(machine.nonces.get(address), 2n);
});

test("a refusal keeps its code, at the door and in a block, and is not tried again", async (t) => {
  const { machine, terminal } = await world(t);
  machine.refuseNext("POST", "insufficient_funds");
  assert.deepEqual(await terminal.errorOf("topup", "hello", "1"), { exit: 1, code: "insufficient_funds" });
  machine.refuseInBlock("too_many_changes");
  assert.deepEqual(await terminal.errorOf("resize", "hello", "--cpu", "5"), { exit: 1, code: "too_many_changes" });
  assert.equal(machine.requests.filter(({ method }) => method === "POST").length, 2);
});

test("a transaction whose answer is lost is not sent again, and its id is told", async (t) => {
  const { machine, terminal } = await world(t);
  machine.cutNext = true;
  const { code, stderr } = await terminal.run("topup", "hello", "1", "--json");
  const { error } = JSON.parse(stderr) as { error: { code: string; txid: string } };
  assert.deepEqual([code, error.code], [1, "outcome_unknown"]);
  const sent = machine.requests.filter(({ method }) => method === "POST");
  assert.equal(sent.length, 1);
  assert.equal(error.txid, hex(decodeTransaction(sent[0]?.body ?? assert.fail()).txid));
});

test("times come from the machine's clock: this computer's may be wrong by days", async (t) => {
  const { machine, terminal } = await world(t);
  for (const clockAheadMs of [-3 * 86_400_000, 3 * 86_400_000]) {
    machine.clockAheadMs = clockAheadMs;
    await terminal.json("topup", "hello", "1");
    assert.equal((await terminal.run("logs", "hello")).code, 0);
  }
});

test("logs are signed by the owner; each line is one line; --json gives one object a line", async (t) => {
  const { machine, terminal, address } = await world(t);
  machine.logLines = [{ stream: "stdout", line: "one" }, { stream: "stderr", line: "two\u001b[2J" }, { stream: "system", line: "three" }];
  const { code, stdout } = await terminal.run("logs", "hello");
  assert.equal(code, 0);
  assert.equal(stdout, "1970-01-01T00:00:01.000Z stdout one\n1970-01-01T00:00:01.001Z stderr two\u001b[2J\n1970-01-01T00:00:01.002Z system three\n");
  assert.equal(machine.requests.at(-1)?.sender, address);
  assert((await terminal.runWith({ isTerminal: true }, "logs", "hello")).stdout.includes("two\\x1b[2J"));
  const lines = (await terminal.run("logs", "hello", "--json", "-n", "2")).stdout.trim().split("\n").map((line) => (JSON.parse(line) as { line: string }).line);
  assert.deepEqual(lines, ["two\u001b[2J", "three"]);
  await terminal.run("account", "new", "bob");
  assert.deepEqual(await terminal.errorOf("logs", "ab".repeat(20), "--account", "bob"), { exit: 1, code: "not_owner" });
});

test("a line of a request comes after its id, which the answer had as x-request-id", async (t) => {
  const { machine, terminal } = await world(t);
  machine.logLines = [{ stream: "stdout", line: "GET /", requestId: "d5b9211b28847c46" }, { stream: "system", line: "Loaded" }];
  const lines = (await terminal.run("logs", "hello")).stdout.trim().split("\n").map((line) => line.split(" ").slice(1).join(" "));
  assert.deepEqual(lines, ["stdout d5b9211b28847c46 GET /", "system Loaded"]);
});

test("logs -f goes on until the deployment is closed, which is no failure, and says so and what it had to skip", async (t) => {
  const { machine, terminal } = await world(t);
  machine.logLines = [{ stream: "stdout", line: "one" }, { stream: "stdout", line: "two" }];
  const { code, stdout, stderr } = await terminal.run("logs", "-f", "hello");
  assert.equal(code, 0);
  assert.deepEqual(stdout.match(/(?<=stdout ).*/g), ["one", "two"]);
  assert.match(stderr, /^warning 3 lines were skipped.*\nhello is closed: its log ends here\n$/);
  assert.equal((await terminal.run("logs", "hello")).stderr, "");
});

test("events: a line for each, page after page, with its block and the transaction that did it; -f ends with the deployment", async (t) => {
  const { machine, terminal, id } = await world(t);
  machine.events = [
    { height: 2, kind: "deployed", deployment: id, name: "hello", transaction: "ab".repeat(32) }, { height: 3, kind: "placed", deployment: id, name: "hello", lease: 0, machine: `gw1${"q".repeat(38)}` },
    { height: 4, kind: "down", machine: `gw1${"p".repeat(38)}` }, { height: 5, kind: "failed", deployment: id, name: "hello", lease: 0, cause: "trap\u001b[2J" }, { height: 6, kind: "closed", deployment: id, name: "hello" },
  ];
  const lines = async (...words: string[]): Promise<string[]> => (await terminal.run("events", ...words)).stdout.trimEnd().split("\n");
  const [header, ...rows] = await lines("hello");
  assert.match(header!, /^ +BLOCK +TIME +SECOND +EVENT +DEPLOYMENT +LEASE +MACHINE +TRANSACTION +BLOCK ID +CAUSE$/);
  assert.equal(rows.length, 4);
  assert.match(rows[0]!, /^ +2 +1970-01-01T00:00:02\.000Z +2 +deployed +hello +abababababab +000000000000$/);
  assert.match(rows[1]!, /^ +3 +\S+ +3 +placed +hello +0 +gw1qqqqqqqqq… +000000000000$/);
  assert(rows[2]!.endsWith("trap\\x1b[2J"));
  assert.equal(rows[1]!.indexOf("gw1"), header!.indexOf("MACHINE"));
  assert.deepEqual((await lines()).length, 6);
  assert.deepEqual((await lines("hello", "-f", "--since", "5")).slice(1).map((line) => line.trim().split(/ +/)[3]), ["failed", "closed"]);
  const json = (await lines("hello", "--json")).map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual(json.map(({ height, kind }) => [height, kind]), [[2, "deployed"], [3, "placed"], [5, "failed"], [6, "closed"]]);
  machine.events = [];
  assert.deepEqual(await lines("hello"), ["Nothing happened"]);
  assert.deepEqual(await terminal.errorOf("events", "nothing"), { exit: 1, code: "deployment_unknown" });
  assert.equal((await terminal.errorOf("events", "--since", "x")).exit, 2);
});

test("bill --watch prints until it is stopped, and that is no failure", async (t) => {
  const { terminal } = await world(t);
  const stop = new AbortController();
  const { code, stdout, stderr } = await terminal.runWith({ signal: stop.signal, onOutput: () => stop.abort() }, "bill", "--watch", "hello");
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^60 s run, 0\.000001234\/s \(0\.0044424\/h\), total 0\.00007404, runway 46d 21h\n$/);
});

test("a replica that fails ends the wait with its cause; one that is slow ends it in time", async (t) => {
  const { machine, terminal } = await world(t);
  machine.replicas = "failed";
  assert.deepEqual(await terminal.errorOf("scale", "hello", "2"), { exit: 1, code: "replica_failed" });
  machine.replicas = "slow";
  assert.deepEqual(await terminal.errorOf("scale", "hello", "3", "--wait", "1"), { exit: 1, code: "not_ready" });
  assert.equal((await terminal.run("scale", "hello", "4", "--wait", "0")).code, 0);
});

test("what failed on one machine and is tried on another is waited for, and said", async (t) => {
  const { machine, terminal } = await world(t);
  machine.replicas = "retried";
  const { code, stdout, stderr } = await terminal.run("scale", "hello", "2");
  assert.deepEqual([code, stdout], [0, "hello has 2 replicas\n"], stderr);
  assert.equal(stderr.match(/^warning A replica of hello failed on a machine: trap at instantiation\. /gm)?.length, 1, stderr);
});

test("more replicas than the grid has room for are allowed, and what is missing is told at once, not after the wait", async (t) => {
  const { machine, terminal } = await world(t);
  machine.replicas = "full";
  const stop = new AbortController();
  const { code, stderr } = await terminal.runWith({ signal: stop.signal, onError: (text) => { if (text.includes("memory")) stop.abort(); } }, "scale", "hello", "3", "--wait", "3600");
  assert.equal(code, 1);
  assert.match(stderr, /^warning No machine takes 2 of the 3 replicas of hello now: 1 machine without the memory\. /m);
  assert.match(stderr, /^error interrupted: /m);
  assert.equal((await terminal.run("scale", "hello", "4", "--wait", "0")).code, 0);
});

test("a wait that is stopped says that the deployment stays", async (t) => {
  const { machine, terminal } = await world(t);
  machine.replicas = "slow";
  const stop = new AbortController();
  const waiting = terminal.runWith({ signal: stop.signal }, "scale", "hello", "2", "--json");
  while (machine.requests.filter(({ path }) => path.endsWith("ab")).length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  stop.abort();
  const { code, stderr } = await waiting;
  const { error } = JSON.parse(stderr) as { error: { code: string; id: string } };
  assert.deepEqual([code, error.code, error.id], [1, "interrupted", "ab".repeat(20)]);
});

test("tx says what the machine knows of a transaction", async (t) => {
  const { terminal } = await world(t);
  assert.deepEqual(await terminal.errorOf("tx", "00".repeat(32)), { exit: 1, code: "transaction_unknown" });
});

test("an audit that cannot read the chain has failed; what a machine says in its findings cannot steer a terminal", async (t) => {
  const { terminal } = await world(t);
  assert.deepEqual(await terminal.errorOf("audit"), { exit: 1, code: "audit_failed" });
  const line = { deployment: "ab".repeat(20), owner: "gw1somebody", seconds: "15", due: "78750", paid: "78750", balance: "0", refunded: "7499921250" };
  const text = reportText({ ok: false, height: 20, supply: "1010000000000000", lines: [line], findings: ["total: the API says \u001b[2J"] });
  assert(text.includes(" 0.000078750 ") && text.includes("supply 1010000: not everything is accounted for") && text.includes("says \\x1b[2J"), text);
});
