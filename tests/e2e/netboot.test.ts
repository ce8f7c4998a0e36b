/** The netboot server over real sockets, in network namespaces: its own client boots from it, and strangers do not stop it. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Lan, openLan } from "#tools/devnet/lan.ts";
import { needs } from "../require.ts";

const MAIN = join(import.meta.dirname, "..", "..", "tools", "cli", "main.ts");
const CLIENT = join(import.meta.dirname, "netbootClient.ts");
const BOOT_MAC = "52:54:00:00:00:02";
const READY_MS = 120_000;
/** How long nothing must come. */
const SILENCE_MS = 1_500;
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

type Client = { do<Answer>(step: string, given?: Readonly<Record<string, unknown>>): Promise<Answer> };
type Place = { readonly lan: Lan; readonly uki: Uint8Array; readonly initramfs: Uint8Array; readonly rows: Record<string, unknown>[]; readonly errors: string[]; readonly server: ChildProcess };

function inside(lan: Lan, index: number, ...command: readonly string[]): void {
  const [program = "", ...words] = [...lan.prefix(index), ...command];
  const { status, stderr } = spawnSync(program, words, { encoding: "utf8" });
  assert.equal(status, 0, `${command.join(" ")}: ${stderr}`);
}

/** A server on machine 0's eth0, and machines 1 and 2 without an address. */
async function openPlace(t: TestContext, count: number, ...words: readonly string[]): Promise<Place> {
  const lan = openLan(count);
  t.after(() => lan.close());
  for (let index = 1; index < count; index++) inside(lan, index, "ip", "address", "flush", "dev", "eth0");
  const folder = await mkdtemp(join(tmpdir(), "godwit-netboot-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const [uki, initramfs] = [randomBytes(3_000_001), randomBytes(20_000)];
  await Promise.all([["godwit.efi", uki], ["vmlinuz", randomBytes(9_000)], ["initramfs", initramfs], ["cmdline", "console=ttyS0 panic=10"], ["machines.toml", MACHINES]].map(([name, content]) => writeFile(join(folder, String(name)), content!)));
  const [program = "", ...before] = lan.prefix(0);
  if (words.includes("--enrol")) {
    const api = spawn(program, [...before, process.execPath, "-e", API], { stdio: ["ignore", "pipe", "inherit"] });
    t.after(() => api.kill("SIGKILL"));
    await once(api.stdout, "data");
    for (const name of ["enrolment", "operator"]) assert.equal(spawnSync(process.execPath, [MAIN, "account", "new", name], { env: { ...process.env, HOME: folder } }).status, 0);
  }
  const server = spawn(program, [...before, process.execPath, MAIN, "netboot", "--interface", "eth0", "--image", folder, "--machines", join(folder, "machines.toml"), "--json", "--unsigned", ...words], { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, HOME: folder } });
  t.after(() => server.kill("SIGKILL"));
  const place: Place = { lan, uki, initramfs, rows: [], errors: [], server };
  createInterface({ input: server.stdout! }).on("line", (line) => place.rows.push(JSON.parse(line) as Record<string, unknown>));
  const ready = Promise.withResolvers<void>();
  const timer = setTimeout(() => ready.reject(new Error(`the server does not come up: ${place.errors.join("\n")}`)), READY_MS);
  createInterface({ input: server.stderr! }).on("line", (line) => {
    place.errors.push(line);
    if (/HTTP on http/.test(line)) ready.resolve();
  });
  await ready.promise.finally(() => clearTimeout(timer));
  return place;
}

/** As much of a machine's API as a boot server asks before anybody joins. */
const API = `require("node:http").createServer((_request, response) => response.end(JSON.stringify({ version: "1", chainId: "0102030405060708", machine: "m", operator: "o", bootId: "", zone: "z", apiPort: 1, httpPort: 1,
  head: { height: 1, id: "00", timeMs: "1", moneySecond: "1", stateRoot: "00" }, runner: { state: "running", pid: 1 }, fees: { base: "0", perByte: "0" } }))).listen(7480, "127.0.0.1", () => console.log("up"))`;
const MACHINES = `
arguments = "godwit.region=oslo"
[machine."${BOOT_MAC}"]
name = "kitchen"
address = "10.77.0.50"
arguments = "godwit.zone=grid.example"
`;

function startClient(t: TestContext, lan: Lan, index: number): Client {
  const [program = "", ...before] = lan.prefix(index);
  const child = spawn(program, [...before, process.execPath, CLIENT], { stdio: ["pipe", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async do<Answer>(step: string, given: Readonly<Record<string, unknown>> = {}): Promise<Answer> {
      child.stdin.write(`${JSON.stringify({ step, ...given })}\n`);
      const { value, done } = await lines.next();
      assert(done !== true, `the client ended at ${step}`);
      return JSON.parse(value) as Answer;
    },
  };
}

type Offer = { address: string; file: string; vendorClass: string | null } | null;
type Read = { bytes: number; sha256: string; agreed: Record<string, string> | null; error?: number } | null;
type Fetched = { status: number; length: string; range: string | null; sha256: string; text: string | null } | null;

test("a machine boots from our own server over the network", { timeout: 600_000 }, async (t) => {
  if (!needs(t, "root")) return;
  const place = await openPlace(t, 2, "--enrol", "--account", "enrolment", "--for", "operator", "--api", "http://127.0.0.1:7480", "--router", "10.77.0.1", "--dns", "10.77.0.1");
  const { lan, uki, initramfs, rows } = place;
  inside(lan, 1, "ip", "link", "set", "eth0", "address", BOOT_MAC);
  const client = startClient(t, lan, 1);
  const self = "10.77.0.1";

  await t.test("firmware of every kind is offered an address and its file", async () => {
    const discover = (given: Readonly<Record<string, unknown>>): Promise<Offer> => client.do("discover", { on: "eth0", mac: BOOT_MAC, ...given });
    assert.deepEqual(await discover({ vendor: "PXEClient:Arch:00000:UNDI:002001", architecture: 0 }), { address: "10.77.0.50", file: "undionly.kpxe", vendorClass: null });
    assert.deepEqual(await discover({ vendor: "PXEClient:Arch:00007:UNDI:003001", architecture: 7 }), { address: "10.77.0.50", file: "godwit.efi", vendorClass: null });
    assert.deepEqual(await discover({ vendor: "HTTPClient:Arch:00016:UNDI:003001", architecture: 16 }), { address: "10.77.0.50", file: `http://${self}/godwit.efi`, vendorClass: "HTTPClient" });
    assert.deepEqual(await discover({ vendor: "PXEClient:Arch:00000:UNDI:002001", architecture: 0, ipxe: true }), { address: "10.77.0.50", file: `http://${self}/boot.ipxe?mac=52-54-00-00-00-02`, vendorClass: null });
    const other = await client.do<Offer>("discover", { on: "eth0", mac: "52:54:00:00:00:99", vendor: "MSFT 5.0" });
    assert(other !== null && other.file === null && /^10\.77\.0\.1\d\d$/.test(other.address));
  });

  await t.test("the image's own DHCP client gets address, way out and name server", async () => {
    const [given] = await client.do<{ name: string; address: string; prefix: number; router: string; lease: { dns: string[] } }[]>("lease");
    assert(given !== undefined);
    assert.deepEqual([given.name, given.address, given.prefix, given.router, given.lease.dns], ["eth0", "10.77.0.50", 24, self, [self]]);
    assert.equal(await client.do("reach", { host: self }), true);
  });

  await t.test("TFTP: the image arrives whole, with and without windows and losses; an unknown file is refused; a size is asked for and aborted", async () => {
    const read = (given: Readonly<Record<string, unknown>>): Promise<Read> => client.do("tftp", { host: self, file: "godwit.efi", ...given });
    const whole = { bytes: uki.length, sha256: sha256(uki) };
    const { agreed, ...got } = (await read({ options: { tsize: "0", blksize: "1468", windowsize: "4" } }))!;
    assert.deepEqual(got, whole);
    assert.deepEqual(agreed, { tsize: String(uki.length), blksize: "1468", windowsize: "4" });
    const aborted = await read({ options: { tsize: "0" }, abort: true });
    assert.deepEqual(aborted?.agreed, { tsize: String(uki.length) });
    const lossy = await client.do<Read>("tftp", { host: self, file: "initramfs", options: { blksize: "1024", windowsize: "2" }, lose: 8 });
    assert.deepEqual([lossy?.bytes, lossy?.sha256], [initramfs.length, sha256(initramfs)]);
    for (const file of ["../machines.toml", "/etc/passwd", "nothing"]) assert.notEqual((await read({ file }))?.bytes ?? 0, uki.length);
    assert.equal((await read({ file: "nothing" }))?.error, 1);
  });

  let token = "";
  await t.test("HTTP: script and words of this machine, files with ranges, nothing else", async () => {
    const fetched = (path: string, given: Readonly<Record<string, unknown>> = {}): Promise<Fetched> => client.do("http", { url: `http://${self}${path}`, ...given });
    const script = (await fetched("/boot.ipxe?mac=52-54-00-00-00-02"))!;
    assert.match(script.text!, /^#!ipxe\nkernel http:\/\/10\.77\.0\.1\/vmlinuz initrd=initramfs console=ttyS0 panic=10 godwit\.operator=gw1\w+ godwit\.region=oslo godwit\.zone=grid\.example godwit\.hostname=kitchen godwit\.boot=http:\/\/10\.77\.0\.1 godwit\.join=/);
    token = /godwit\.join=(\S+)/.exec(script.text!)?.[1] ?? "";
    const words = (await fetched(`/v1/arguments?mac=${BOOT_MAC}`))!;
    assert.match(words.text!, /^godwit\.operator=gw1\w+ godwit\.region=oslo godwit\.zone=grid\.example godwit\.hostname=kitchen godwit\.boot=http:\/\/10\.77\.0\.1 godwit\.join=/);
    // Twice: the first time does not make it the one that is asked for.
    for (const path of ["/v1/arguments", "/v1/arguments", "/boot.ipxe", "/boot.ipxe"]) assert.doesNotMatch((await fetched(`${path}?mac=52-54-00-00-00-99`))!.text!, /godwit\.join=/, "another machine's token is for that machine");
    assert.equal((await fetched("/godwit.efi"))!.sha256, sha256(uki));
    const part = (await fetched("/godwit.efi", { headers: { range: "bytes=1000-1999" } }))!;
    assert.deepEqual([part.status, part.range, part.sha256], [206, `bytes 1000-1999/${uki.length}`, sha256(uki.subarray(1000, 2000))]);
    assert.deepEqual([(await fetched("/godwit.efi", { method: "HEAD" }))!.length, (await fetched("/godwit.efi", { headers: { range: "bytes=99999999-" } }))!.status], [String(uki.length), 416]);
    for (const [path, status] of [["/nothing", 404], ["/..%2fmachines.toml", 404], ["/boot.ipxe", 400], ["/v1/join", 400], ["/v1/arguments?mac=x", 400], [`/v1/vault/${"ab".repeat(32)}/index`, 404]] as const) assert.equal((await fetched(path))!.status, status, path);
    assert.equal((await fetched(`/v1/vault/${"ab".repeat(32)}/index`, { method: "PUT", body: {} }))!.status, 403, "who is not registered leaves nothing");
  });
  assert.match(token, /^[\w-]{32}$/);

  await t.test("hostile packets do not stop it", async () => {
    assert.equal(await client.do("noise", { on: "eth0", host: self, seed: 42, count: 3_000 }), "sent");
    const after = await client.do<Read>("tftp", { host: self, file: "godwit.efi", options: { blksize: "1468", windowsize: "32" } });
    assert.equal(after?.sha256, sha256(uki));
    assert.equal(place.server.exitCode, null);
  });

  await t.test("the table tells who booted, and how far it has come", async () => {
    const stages = (): unknown[] => rows.filter(({ mac }) => mac === BOOT_MAC).map(({ stage }) => stage);
    for (const stage of ["asked", "loading", "loaded", "running"]) {
      // A row is a line of its output, which comes when it comes.
      for (const endMs = performance.now() + READY_MS; !stages().includes(stage) && performance.now() < endMs;) await sleep(20);
      assert(stages().includes(stage), `${stage} is not in ${stages().join(" ")}`);
    }
    assert.equal(rows.findLast(({ mac }) => mac === BOOT_MAC)?.["name"], "kitchen");
  });
});

test("on a network that it was not told of, nothing answers", { timeout: 300_000 }, async (t) => {
  if (!needs(t, "root")) return;
  const { lan } = await openPlace(t, 2);
  const [, , , other = ""] = lan.prefix(1);
  inside(lan, 1, "ip", "link", "delete", "eth0");
  inside(lan, 0, "ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth1", "netns", other);
  inside(lan, 0, "ip", "address", "add", "10.78.0.1/24", "dev", "eth1");
  inside(lan, 0, "ip", "link", "set", "eth1", "up");
  inside(lan, 1, "ip", "link", "set", "eth1", "up");
  inside(lan, 1, "ip", "address", "add", "10.78.0.2/24", "dev", "eth1");
  inside(lan, 1, "ip", "route", "add", "10.77.0.0/24", "via", "10.78.0.1");
  const client = startClient(t, lan, 1);
  for (const host of ["10.78.0.1", "10.77.0.1"]) assert.equal(await client.do("reach", { host }), true, `the wire to ${host}`);
  assert.equal(await client.do("discover", { on: "eth1", mac: BOOT_MAC, vendor: "PXEClient:Arch:00007:UNDI:003001", architecture: 7, waitMs: SILENCE_MS }), null);
  for (const host of ["10.78.0.1", "10.77.0.1"]) {
    assert.equal(await client.do("tftp", { host, file: "godwit.efi", waitMs: SILENCE_MS }), null, host);
    assert.equal(await client.do("http", { url: `http://${host}/godwit.efi`, waitMs: SILENCE_MS }), null, host);
  }
});

test("beside another DHCP server it says what to boot and gives no address", { timeout: 300_000 }, async (t) => {
  if (!needs(t, "root")) return;
  const { lan } = await openPlace(t, 2, "--proxy-dhcp");
  const client = startClient(t, lan, 1);
  const discover = (given: Readonly<Record<string, unknown>>): Promise<Offer> => client.do("discover", { on: "eth0", mac: BOOT_MAC, ...given });
  assert.deepEqual(await discover({ vendor: "PXEClient:Arch:00007:UNDI:003001", architecture: 7 }), { address: "0.0.0.0", file: "godwit.efi", vendorClass: "PXEClient" });
  assert.equal(await discover({ vendor: "MSFT 5.0", waitMs: SILENCE_MS }), null);
});
