/**
 * Bad input, in the order of the list that the first issue gives: a clear error by its code, and nothing lost. One machine for all;
 * ports and folders in use are in start.test.ts, kills in kill.test.ts.
 */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { addressOf, addressText, parseAddress } from "#chain/codec/address.ts";
import { signRequest } from "#chain/codec/request.ts";
import { type TransactionBody, signTransaction } from "#chain/codec/transaction.ts";
import { generateKey, publicKeyOf, sha256 } from "#chain/crypto.ts";
import { type Address, chainId, fromHex, hex } from "#chain/types.ts";
import { LIMITS_DEFAULT } from "#sandbox/limits.ts";
import { coreModule, guest, importUnknown, worldUnknown } from "../guests/build.ts";
import { needs } from "../require.ts";
import { type Machine, cli, cliJson, eventually, http, startMachine, temporaryFolder } from "./stage.ts";

const MANIFEST = 'name = "probe"\nkind = "service"\n\n[budget]\ndeposit = "1"\n';

type Account = { readonly seed: Uint8Array; readonly address: Address };

async function developmentAccount(machine: Machine): Promise<Account> {
  const seed = fromHex((await readFile(join(machine.directory, "keys", "development"), "utf8")).trim());
  return { seed, address: addressOf(publicKeyOf(seed)) };
}

/** The code that `godwit deploy` ends with, for a component file and a manifest. */
async function deployFile(t: TestContext, machine: Machine, component: Uint8Array, manifest: string = MANIFEST): Promise<{ code: string; message: string }> {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, "probe.wasm"), component);
  writeFileSync(join(folder, "godwit.toml"), manifest);
  const { code, stderr } = await cli(machine, ["deploy", join(folder, "probe.wasm"), "--json"]);
  assert.equal(code, 1, stderr);
  return (JSON.parse(stderr) as { error: { code: string; message: string } }).error;
}

/** Hands a transaction in with one thing wrong; gives the status and code of the answer. */
async function submit(machine: Machine, account: Account, wrong: Partial<TransactionBody>, seed: Uint8Array = account.seed): Promise<{ status: number; code: string }> {
  const read = async <T>(path: string): Promise<T> => (await (await fetch(machine.api + path)).json()) as T;
  const [status, { nonce }] = await Promise.all([read<{ chainId: string }>("/v1/status"), read<{ nonce: string }>(`/v1/accounts/${addressText(account.address)}`)]);
  const body: TransactionBody = {
    chainId: chainId(fromHex(status.chainId)), sender: account.address, nonce: BigInt(nonce), validUntilMs: BigInt(Date.now()) + 30_000n, fee: 1_000_000n,
    ops: [{ kind: "transfer", to: account.address, amount: 1n }], ...wrong,
  };
  const answer = await fetch(`${machine.api}/v1/transactions?wait=final`, { method: "POST", headers: { "content-type": "application/cbor" }, body: Buffer.from(signTransaction(body, [seed])) });
  const { code } = (await answer.json()) as { code: string };
  return { status: answer.status, code };
}

test("every bad input of an author gets its code, and the machine serves on", async (t) => {
  if (!needs(t, "cargo")) return;
  const machine = await startMachine(t, temporaryFolder(t), ["--no-demo", "--parameters", "minimal"]);
  const account = await developmentAccount(machine);
  const balance = async (): Promise<string> => (await cliJson(machine, ["account", "show"])).balance;
  const before = await balance();

  await t.test("not WebAssembly", async () => {
    assert.equal((await deployFile(t, machine, new TextEncoder().encode("#!/bin/sh\necho no\n"))).code, "not_wasm");
  });
  await t.test("a core module instead of a component", async () => {
    assert.equal((await deployFile(t, machine, coreModule())).code, "core_module");
  });
  await t.test("an import that the worlds do not have is named", async () => {
    const { code, message } = await deployFile(t, machine, await importUnknown());
    assert.equal(code, "import_unknown");
    assert.match(message, /example:weather\/forecast@1\.0\.0/);
  });
  await t.test("a component that is neither service nor task", async () => {
    assert.equal((await deployFile(t, machine, await worldUnknown())).code, "world_unknown");
  });
  await t.test("a component over the limit, at the command line and at the door", async () => {
    const large = new Uint8Array(LIMITS_DEFAULT.componentBytesMax + 1);
    assert.equal((await deployFile(t, machine, large)).code, "component_too_large");
    const answer = await fetch(`${machine.api}/v1/components/sha256:${hex(sha256(large))}`, { method: "PUT", headers: { "content-type": "application/octet-stream", authorization: await signed(machine, account, large) }, body: large });
    assert.equal(answer.status, 413);
  });
  await t.test("a body over the limit", async () => {
    const answer = await fetch(`${machine.api}/v1/transactions`, { method: "POST", headers: { "content-type": "application/cbor" }, body: new Uint8Array(64 * 1024) });
    assert.equal(answer.status, 413);
  });
  await t.test("a digest that does not match", async () => {
    const component = await guest("hello");
    const other = new Uint8Array(component);
    other[other.length - 1]! ^= 1;
    const answer = await fetch(`${machine.api}/v1/components/sha256:${hex(sha256(component))}`, { method: "PUT", headers: { "content-type": "application/octet-stream", authorization: await signed(machine, account, other, sha256(component)) }, body: other });
    assert.deepEqual([answer.status, ((await answer.json()) as { code: string }).code], [422, "digest_mismatch"]);
  });
  await t.test("a manifest error has file, line and what was expected", async () => {
    const { code, message } = await deployFile(t, machine, await guest("hello"), `${MANIFEST}\n[resources]\nmemory_mib = "much"\n`);
    assert.equal(code, "manifest_invalid");
    assert.match(message, /godwit\.toml:8:\d+: .*memory_mib/);
    assert.match(message, /number|integer/);
  });
  await t.test("too little money, for the escrow and for the first minute", async () => {
    assert.equal((await deployFile(t, machine, await guest("hello"), MANIFEST.replace('"1"', '"9000000"'))).code, "insufficient_funds");
    assert.equal((await deployFile(t, machine, await guest("hello"), MANIFEST.replace('"1"', '"0.000000001"'))).code, "insufficient_funds");
  });
  await t.test("wrong nonce, chain, expiry, and a signature by another key", async () => {
    const wrongs: [Partial<TransactionBody>, string, Uint8Array?][] = [
      [{ nonce: 0n }, "wrong_nonce"],
      [{ nonce: 10_000n }, "wrong_nonce"],
      [{ chainId: chainId(new Uint8Array(8)) }, "wrong_chain"],
      [{ validUntilMs: 1n }, "expired"],
      [{ validUntilMs: BigInt(Date.now()) + 86_400_000n }, "expiry_too_far"],
      [{}, "bad_signature", generateKey().privateKey],
    ];
    // The account has used nonce 0 only when it has sent something.
    await cliJson(machine, ["transfer", (await cliJson(machine, ["account", "show"])).address, "1"]);
    for (const [wrong, code, seed] of wrongs) {
      const refused = await submit(machine, account, wrong, seed);
      assert.deepEqual([refused.code, refused.status >= 400], [code, true]);
    }
  });
  await t.test("nothing was lost: one transfer's fee, and no deployment", async () => {
    assert.deepEqual(await cliJson(machine, ["ps"]), []);
    const lost = BigInt(before) - BigInt(await balance());
    assert.ok(lost > 0n && lost < 10_000_000n, `lost ${lost} base units`);
  });
  await machine.stop();
});

/** The header of a signed upload of `bytes` under the digest `named`. */
async function signed(machine: Machine, account: Account, bytes: Uint8Array, named: Uint8Array = sha256(bytes)): Promise<string> {
  const status = await cliJson(machine, ["status"]);
  const bodyDigest = sha256(bytes);
  const machineAddress = parseAddress(status.machine);
  assert.ok(machineAddress);
  return signRequest({ chainId: chainId(fromHex(status.chainId)), sender: account.address, method: "PUT", path: `/v1/components/sha256:${hex(named)}`, bodyDigest, machine: machineAddress, expiryMs: BigInt(Date.now()) + 60_000n }, account.seed);
}

test("hostile guests and strangers: logs stay private, 404, 500 and 504 are told apart, and others are served meanwhile", async (t) => {
  if (!needs(t, "cargo")) return;
  const machine = await startMachine(t, temporaryFolder(t), ["--no-demo"]);
  const folder = temporaryFolder(t);
  const environment = { XDG_CONFIG_HOME: temporaryFolder(t) };
  const deploy = async (name: string, component: Uint8Array): Promise<string> => {
    writeFileSync(join(folder, `${name}.wasm`), component);
    writeFileSync(join(folder, "godwit.toml"), MANIFEST.replace("probe", name));
    return new URL((await cliJson(machine, ["deploy", join(folder, `${name}.wasm`)])).url).hostname;
  };
  const rogue = await deploy("rogue", await guest("rogue"));
  const hello = await deploy("hello", await guest("hello"));

  await t.test("logs read by another tenant are refused", async () => {
    await http(machine.httpPort, hello);
    const id = (await cliJson(machine, ["ps"])).find(({ name }: { name: string }) => name === "hello").id as string;
    await cliJson(machine, ["account", "new", "stranger"], { environment });
    const { code, stdout, stderr } = await cli(machine, ["logs", id, "--account", "stranger", "--json"], { environment });
    assert.deepEqual([code, stdout, JSON.parse(stderr).error.code], [1, "", "not_owner"]);
    assert.equal((await fetch(`${machine.api}/v1/deployments/${id}/logs`)).status, 401);
  });
  await t.test("an unknown Host is 404", async () => {
    const answer = await http(machine.httpPort, "nobody.example");
    assert.deepEqual([answer.status, JSON.parse(answer.body).code], [404, "host_unknown"]);
  });
  await t.test("a guest that traps is 500 with a request id, and the trap is in its tenant's log", async () => {
    const answer = await http(machine.httpPort, rogue, { path: "/trap" });
    const requestId = answer.headers["x-request-id"];
    assert.equal(answer.status, 500);
    assert.equal(JSON.parse(answer.body).requestId, requestId);
    assert.doesNotMatch(answer.body, /as asked/, "what the guest says is for its owner");
    await eventually("the trap in the log", async () => {
      const { stdout } = await cli(machine, ["logs", "rogue", "--json"]);
      const lines = stdout.trim().split("\n").map((line) => JSON.parse(line) as { requestId: string | null; stream: string; line: string });
      const own = lines.filter((line) => line.requestId === requestId);
      return own.some(({ stream }) => stream === "system") && own.some(({ line }) => line.includes("as asked: trap"));
    });
  });
  await t.test("a guest that loops for ever is 504 within its limit, and other requests flow meanwhile", async () => {
    let done = false;
    const loop = http(machine.httpPort, rogue, { path: "/loop", timeoutMs: 40_000 }).finally(() => (done = true));
    const meanwhile: number[] = [];
    while (!done) {
      const answer = await http(machine.httpPort, hello);
      assert.equal(answer.status, 200);
      meanwhile.push(answer.elapsedMs);
    }
    const answer = await loop;
    assert.equal(answer.status, 504);
    assert.ok(answer.elapsedMs < LIMITS_DEFAULT.wallTimeMsMax + 20_000, `answered after ${answer.elapsedMs} ms`);
    assert.ok(meanwhile.length >= 20, `${meanwhile.length} other requests were answered meanwhile`);
  });
  await t.test("a component that fails at its instantiation pauses its own deployment and says why", async () => {
    writeFileSync(join(folder, "dead.wasm"), await guest("deadOnArrival"));
    writeFileSync(join(folder, "godwit.toml"), MANIFEST.replace("probe", "dead"));
    const { code, stderr } = await cli(machine, ["deploy", join(folder, "dead.wasm"), "--json"]);
    assert.deepEqual([code, JSON.parse(stderr).error.code], [1, "replica_failed"]);
    assert.equal((await http(machine.httpPort, hello)).status, 200);
  });
  await machine.stop();
});
