/** `--verify`: no machine need be trusted. A real one is taken at its word's proof; one that lies, in any part, is found. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { needs } from "../require.ts";
import { cli, cliJson, root, startMachine, temporaryFolder } from "./stage.ts";

/** Passes requests on to the API of a machine, and its JSON answers back with `change` made to them. */
async function liar(t: TestContext, api: string, change: (path: string, text: string) => string): Promise<string> {
  const server = createServer((asked, answer) => {
    const path = asked.url ?? "/";
    asked.pipe(request(new URL(path, api), { method: asked.method ?? "GET", headers: { ...asked.headers, host: new URL(api).host } }, (reply) => {
      const chunks: Buffer[] = [];
      reply.on("data", (chunk: Buffer) => chunks.push(chunk)).on("end", () => {
        const isJson = String(reply.headers["content-type"]).includes("json");
        const body = isJson ? Buffer.from(change(path, Buffer.concat(chunks).toString())) : Buffer.concat(chunks);
        answer.writeHead(reply.statusCode ?? 500, { "content-type": String(reply.headers["content-type"]), date: String(reply.headers.date) }).end(body);
      });
    }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test("ps, bill and account show with --verify hold for a real machine, and find each lie of another; a verified bill adds up to the unit, as JSON and as CSV", async (t) => {
  if (!needs(t, "cargo")) return;
  const folder = temporaryFolder(t);
  const machine = await startMachine(t, join(folder, "data"), ["--no-demo"]);
  await cliJson(machine, ["deploy", join(root, "workloads", "examples", "hello")]);
  const environment = { XDG_CONFIG_HOME: join(folder, "config") };
  const first = await cli(machine, ["ps", "--verify"], { environment });
  assert.equal(first.code, 0, first.stderr);
  assert.match(first.stderr, /is new here: its id is believed/);
  assert.match(first.stderr, /verified up to block [1-9]/);
  const again = await cli(machine, ["ps", "--verify"], { environment });
  assert.deepEqual([again.code, again.stderr.includes("is new here")], [0, false]);
  assert.equal(readdirSync(join(folder, "config", "godwit", "light")).length, 1);
  const [told, proven] = [await cliJson(machine, ["account", "show"]), await cliJson(machine, ["account", "show", "--verify"], { environment })];
  assert.equal(proven.balance, told.balance);

  // What this one has followed to another may begin with, who then needs no genesis.
  const { checkpoint } = await cliJson(machine, ["status", "--verify"], { environment }) as { checkpoint: string };
  const other = { XDG_CONFIG_HOME: join(folder, "other") };
  const begun = await cliJson(machine, ["status", "--verify", "--checkpoint", checkpoint], { environment: other }) as { verifiedHeight: number };
  assert.ok(begun.verifiedHeight > 0);
  for (const [wrong, code] of [[checkpoint.replace(/.{64}$/, "0".repeat(64)), "checkpoint_wrong"], [checkpoint.replace(/-\d+-/, "-1700000000-"), "checkpoint_old"]] as const) {
    const { code: exit, stderr } = await cli(machine, ["status", "--verify", "--checkpoint", wrong, "--json"], { environment: other });
    assert.deepEqual([exit, (JSON.parse(stderr.trim().split("\n").at(-1) ?? "") as { error: { code: string } }).error.code], [1, code]);
  }

  const [believed, checked] = [await cliJson(machine, ["stake", "parameters"]), await cliJson(machine, ["stake", "parameters", "--verify"], { environment })];
  assert.deepEqual(checked, believed);
  const forged = await liar(t, machine.api, (path, text) => (path === "/v1/parameters" ? text.replace(/"value":"\d+"/g, '"value":"1"') : text));
  assert.deepEqual(await cliJson(machine, ["stake", "parameters", "--verify"], { environment: { ...environment, GODWIT_API: forged } }), believed);

  await cliJson(machine, ["resize", "hello", "--memory", "128"]);
  const bill = await cliJson<{ total: string; paid: string; earlier: { amount: string }; segments: { amount: string; rate: string; seconds: string }[] }>(machine, ["bill", "hello", "--verify"], { environment });
  assert.equal(bill.segments.length, 2);
  assert.equal(bill.segments.reduce((sum, { rate, seconds }) => sum + BigInt(rate) * BigInt(seconds), BigInt(bill.earlier.amount)), BigInt(bill.total));
  const csv = await cli(machine, ["bill", "hello", "--verify", "--csv"], { environment });
  const [head, ...rows] = csv.stdout.trimEnd().split("\n").map((row) => row.split(","));
  assert.deepEqual(head, ["machine", "operator", "replica", "from", "to", "seconds", "rate", "amount", "state"]);
  const column = (name: string, row: readonly string[]): bigint => BigInt(row[head!.indexOf(name)]!);
  for (const row of rows) assert.deepEqual([column("to", row) - column("from", row), column("seconds", row) * column("rate", row)], [column("seconds", row), column("amount", row)]);
  const said = /: 2 segments add up to (\d+) base units/.exec(csv.stderr)?.[1];
  assert.equal(String(rows.reduce((sum, row) => sum + column("amount", row), 0n)), said);

  const ofBill = (change: (text: string) => string) => (path: string, text: string): string => (path.endsWith("/bill") ? change(text) : text);
  const lies: readonly (readonly [string, (path: string, text: string) => string])[] = [
    ["answer_false", (path, text) => (path.startsWith("/v1/deployments") ? text.replace(/"replicas":1/g, '"replicas":2') : text)],
    ["answer_false", (path, text) => (path.startsWith("/v1/deployments") ? text.replace(/"rate":"\d+"/g, '"rate":"1"') : text)],
    ["answer_false", (path, text) => (path.startsWith("/v1/deployments") ? text.replace(/"state":"ready"/g, '"state":"placed"') : text)],
    ["answer_false", (path, text) => (path.startsWith("/v1/deployments") ? text.replace(/sha256:[0-9a-f]{64}/g, `sha256:${"0".repeat(64)}`) : text)],
    ["genesis_wrong", (path, text) => (path.startsWith("/v1/status") ? text.replace(/"chainId":"[0-9a-f]{16}"/, `"chainId":"${"0".repeat(16)}"`) : text)],
  ];
  const bills: readonly (readonly [string, (path: string, text: string) => string])[] = [
    ["answer_false", ofBill((text) => text.replace(/"rate":"(\d+)"/, (_, rate: string) => `"rate":"${Number(rate) + 1}"`))],
    ["answer_false", ofBill((text) => text.replace(/"openedAt":"(\d+)"/, (_, at: string) => `"openedAt":"${Number(at) - 1}"`))],
    ["answer_false", ofBill((text) => text.replace(/"segments":\[\{.*?\},/, '"segments":['))],
  ];
  for (const [command, code, change] of [...lies.map((one) => ["ps", ...one] as const), ...bills.map((one) => ["bill hello", ...one] as const)]) {
    const { code: exit, stderr } = await cli(machine, [...command.split(" "), "--verify", "--json"], { environment: { ...environment, GODWIT_API: await liar(t, machine.api, change) } });
    assert.deepEqual([exit, (JSON.parse(stderr.trim().split("\n").at(-1) ?? "") as { error: { code: string } }).error.code], [1, code]);
  }
});
