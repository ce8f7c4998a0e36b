/**
 * The ways of `npm run test:boot` that end in another image: an upgrade of a machine that holds a lease, from a server and then from a machine; one that is refused; and
 * two that do not come up (a kernel that panics, a machine that finds no network), after which the image of before is back by itself.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createReadStream } from "node:fs";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { addressText } from "#chain/codec/address.ts";
import { signTransaction } from "#chain/codec/transaction.ts";
import { chainIdOf } from "#chain/codec/genesis.ts";
import { publicKey, signature } from "#chain/types.ts";
import { parseJoinRequest, joinKeyBytes, JOIN_PATH } from "#os/boot/joinRequest.ts";
import { type Manifest, partOf, signManifest } from "#os/boot/manifest.ts";
import { DEVELOPMENT_OFFER } from "#os/development.ts";
import { TRIAL_MS_MAX } from "#os/limits.ts";
import { type KeyPair, keyPair, openKey } from "#os/keys.ts";
import { cli, cliJson, eventually, http, root } from "#tests/e2e/stage.ts";
import { makeSite, startSiteMachine } from "#tools/chain/machines.ts";
import { ApiClient } from "#tools/cli/client.ts";
import { buildImage } from "#tools/image/build.ts";
import type { Facts } from "./boots.ts";
import { type Qemu, directBoot, startQemu } from "./qemu.ts";

const ACCEPTS_MS_MAX = 300_000;
const HERE_MS_MAX = 240_000;
const REST_MS = 5_000;
const ACCEPTS = / agent +\d+ ms accepts work/g;
const SIGNER = new Uint8Array(32).fill(11);
const STRANGER = new Uint8Array(32).fill(12);

type UpgradeStage = { readonly work: string; readonly words: readonly string[]; readonly owner: KeyPair };

/** Images by folder, as an HTTP server in the operator's network has them. */
async function serveImages(folders: Readonly<Record<string, string>>, more?: (request: IncomingMessage, response: ServerResponse) => boolean): Promise<AsyncDisposable & { url(path: string): string }> {
  const server = createServer((request, response) => {
    const [, name = "", file] = /^\/([a-z]+)\/(manifest|vmlinuz|initramfs)$/.exec(request.url ?? "") ?? [];
    const folder = folders[name];
    if (file !== undefined && folder !== undefined) return void createReadStream(join(folder, file)).pipe(response.writeHead(200));
    if (more?.(request, response) !== true) response.writeHead(404).end();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: (path) => `http://10.0.2.2:${(server.address() as AddressInfo).port}${path}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

async function build({ work, words }: UpgradeStage, name: string, release: number, signingSeed: Uint8Array, program?: string): Promise<string> {
  const out = join(work, name);
  await mkdir(out, { recursive: true });
  await buildImage({ target: "uki", effort: "quick", out, words, release, signingSeed, ...(program === undefined ? {} : { program }) });
  return out;
}

/** The same image with the manifest of another signer. */
async function signAnew(from: string, to: string, seed: Uint8Array): Promise<void> {
  await mkdir(to);
  for (const part of ["vmlinuz", "initramfs"]) await copyFile(join(from, part), join(to, part));
  const text = await readFile(join(from, "manifest"), "utf8");
  await writeFile(join(to, "manifest"), signManifest(JSON.parse(text.slice(text.indexOf("{"))) as Manifest, seed));
}

async function command(machine: Qemu, { address, seed }: KeyPair, image: string): Promise<void> {
  await using client = new ApiClient({ url: `http://127.0.0.1:${machine.apiPort}`, signer: { address, seed } });
  await client.command("upgrade", image);
}

/** Times that the machine has come to accept work. */
const started = (machine: Qemu): number => machine.serial().match(ACCEPTS)?.length ?? 0;
const startsAgain = (machine: Qemu, times: number): Promise<unknown> => eventually(`it accepts work for the ${times}. time:\n${machine.serial().slice(-1500)}`, async () => started(machine) >= times, ACCEPTS_MS_MAX);

/**
 * A site of one machine here, and a machine in QEMU that joins it through a boot server: it holds a lease, is upgraded, hands the lease over before, and takes one up after
 * as the machine that it was; another one is upgraded from it. Nobody who asks for the deployment meanwhile is failed.
 */
export async function upgrade(stage: UpgradeStage): Promise<Facts> {
  const images = { first: await build(stage, "first", 1, SIGNER), next: await build(stage, "next", 2, SIGNER), foreign: join(stage.work, "foreign") };
  await signAnew(images.next, images.foreign, STRANGER);
  const site = await makeSite(join(stage.work, "site"), 1, { parameters: "default" });
  const genesis = new Uint8Array(await readFile(site.genesisFile));
  const operator = await openKey(join(site.directory, "0", "keys", "operator"));
  const here = await startSiteMachine(site, 0);
  await using client = new ApiClient({ url: here.api });
  const joins: string[] = [];
  await using server = await serveImages(images, (request, response) => {
    if (request.url === "/genesis") response.writeHead(200).end(genesis);
    else if (request.url?.startsWith("/v1/arguments") === true) response.writeHead(200).end("");
    else if (request.url === JOIN_PATH) void enrol(request, client, operator, genesis, joins).then((state) => response.writeHead(200).end(JSON.stringify({ state })), (error: unknown) => response.writeHead(500).end(String(error)));
    else return false;
    return true;
  });
  const words = [
    "no_timer_check", "panic=-1", `godwit.genesis=sha256:${createHash("sha256").update(genesis).digest("hex")}@${server.url("/genesis")}`, `godwit.peer=10.0.2.2:${site.ports[0]}`,
    `godwit.operator=${addressText(operator.address)}`, `godwit.boot=${server.url("")}`, "godwit.join=a-token-of-sixteen-or-more",
  ];
  try {
    await using guest = await startQemu({ boot: directBoot(images.first, words), reboots: true });
    const other = (): Promise<string | null> => client.allMachines().then((all) => all.find(({ id, state, draining }) => state === "up" && !draining && id !== addressText(site.machines[0]!))?.id ?? null);
    const machine = await eventually(`the machine is up in the ledger:\n${guest.serial().slice(-1500)}`, other, HERE_MS_MAX);
    const facts = await withoutAFailedRequest(here.api, site.directory, here.httpPort, async (leases) => {
      await takesALease(leases, machine, 2);
      await command(guest, operator, server.url("/foreign"));
      await guest.printed(/upgrade +FAILED .*which nobody named/, HERE_MS_MAX);
      await command(guest, operator, server.url("/next"));
      await guest.printed(/stopping +upgrade to [\d.]+, release 2[\s\S]*stopping +1 of 1 leases are on other machines now[\s\S]*starting the next kernel/, HERE_MS_MAX);
      await guest.printed(/starting the next kernel[\s\S]*identity +\d+ ms the keys of before the upgrade: machine[\s\S]*accepts work/, ACCEPTS_MS_MAX);
      assert.equal(await eventually(`it is up again:\n${guest.serial().slice(-1500)}`, other, HERE_MS_MAX), machine, "the same machine");
      await takesALease(leases, machine, 3);
      return {};
    });
    await givesItsImage(guest, images.next);
    assert.equal(joins.length, 1, "nobody enrolled anew");
    return facts;
  } finally {
    await here.stop();
  }
}

/**
 * One replica more, until that one is on the machine. An emulated machine that is busy with its own start falls silent for seconds, is down for these and rests afterwards:
 * then the replica goes to the other one, and it is tried again.
 */
async function takesALease(leases: Leases, machine: string, replicas: number): Promise<void> {
  for (const deadline = performance.now() + HERE_MS_MAX; ; ) {
    await leases.scale(replicas);
    const where = await eventually("each lease is ready", async () => {
      const all = await leases.all();
      return all.length === replicas && all.every(({ state }) => state === "ready") && all.map((lease) => lease.machine);
    }, HERE_MS_MAX);
    if (where.includes(machine)) return;
    assert.ok(performance.now() < deadline, `${machine} takes no lease: ${where.join(", ")}`);
    await leases.scale(replicas - 1);
    await eventually("one less", async () => (await leases.all()).length < replicas, HERE_MS_MAX);
    await sleep(REST_MS);
  }
}

/** The same without others: what the machine checks, carries over and gives away. Quick, and it needs no computer that keeps up with a chain. */
export async function upgradeAlone(stage: UpgradeStage): Promise<Facts> {
  const images = { first: await build(stage, "alone-first", 1, SIGNER), next: await build(stage, "alone-next", 2, SIGNER), foreign: join(stage.work, "alone-foreign") };
  await signAnew(images.next, images.foreign, STRANGER);
  await using server = await serveImages(images);
  await using machine = await startQemu({ boot: directBoot(images.first, [...stage.words, `godwit.operator=${addressText(stage.owner.address)}`]), reboots: true });
  await startsAgain(machine, 1);
  const identity = async (): Promise<string> => (await fetch(`http://127.0.0.1:${machine.apiPort}/v1/status`).then((answer) => answer.json() as Promise<{ machine: string }>)).machine;
  const before = await identity();
  await command(machine, stage.owner, server.url("/foreign"));
  await machine.printed(/upgrade +FAILED .*which nobody named/, HERE_MS_MAX);
  await command(machine, stage.owner, server.url("/next"));
  await machine.printed(/stopping +upgrade to [\d.]+, release 2[\s\S]*starting the next kernel[\s\S]*identity +\d+ ms the keys of before the upgrade: [a-z, ]*machine/, ACCEPTS_MS_MAX);
  await startsAgain(machine, 2);
  assert.equal(await identity(), before, "the same machine");
  await givesItsImage(machine, images.next);
  await machine.monitor("system_powerdown");
  return {};
}

/** Registers whoever asks: what a boot server does with a good token. */
async function enrol(request: IncomingMessage, client: ApiClient, operator: KeyPair, genesis: Uint8Array, joins: string[]): Promise<"registered"> {
  const join = parseJoinRequest(await buffer(request));
  assert.ok(join !== null);
  const { machineKey, proof } = joinKeyBytes(join);
  const { memoryMib, cpuMillis, region } = join;
  const { pricePerGibSecond, pricePerCoreSecond, bond } = DEVELOPMENT_OFFER;
  const { nonce } = await client.account(addressText(operator.address));
  await client.submit(signTransaction({
    chainId: chainIdOf(genesis), sender: operator.address, nonce, validUntilMs: (await client.machineTimeMs()) + 30_000n, fee: 1_000_000n,
    ops: [{ kind: "registerMachine", machineKey: publicKey(machineKey), proof: signature(proof), memoryMib, cpuMillis, region, pricePerGibSecond, pricePerCoreSecond, bond: bond({ memoryMib, cpuMillis, region, cpuModel: "" }) }],
  }, [operator.seed]), { wait: "final" });
  joins.push(join.machineKey);
  return "registered";
}

type Leases = { scale(replicas: number): Promise<void>; all(): Promise<readonly { readonly index: number; readonly state: string; readonly machine: string | null }[]> };
/** Deploys hello through `api`, and asks for it all the time until the work is done. */
async function withoutAFailedRequest(api: string, directory: string, port: number, work: (leases: Leases) => Promise<Facts>): Promise<Facts> {
  const environment = { GODWIT_API: api, GODWIT_DATA: join(directory, "0"), HOME: directory };
  const { id, url } = await cliJson<{ id: string; url: string }>(null, ["deploy", join(root, "workloads", "examples", "hello")], { environment });
  const host = new URL(url).hostname;
  await eventually("it answers", async () => (await http(port, host)).status === 200, HERE_MS_MAX);
  let isDone = false;
  const counts = { answered: 0, failed: 0 };
  const asking = (async () => {
    while (!isDone) {
      const isRight = await http(port, host).then(({ status }) => status === 200, () => false);
      counts[isRight ? "answered" : "failed"] += 1;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  })();
  await using client = new ApiClient({ url: api });
  try {
    const facts = await work({
      scale: async (replicas) => {
        const { code, stderr } = await cli(null, ["scale", "hello", String(replicas), "--json"], { environment });
        assert.equal(code, 0, stderr);
      },
      all: async () => (await client.deployment(id)).leases,
    });
    isDone = true;
    await asking;
    assert.equal(counts.failed, 0, `${counts.failed} of ${counts.failed + counts.answered} requests failed`);
    return { ...facts, requests: counts.answered };
  } finally {
    isDone = true;
  }
}

/** Byte for byte what its own upgrade was: the manifest holds for it. */
async function givesItsImage(guest: Qemu, from: string): Promise<void> {
  for (const part of ["manifest", "vmlinuz", "initramfs"]) {
    const answer = await fetch(`http://127.0.0.1:${guest.apiPort}/v1/image/${part}`);
    assert.equal(answer.status, 200, part);
    const digest = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
    assert.equal(digest(new Uint8Array(await answer.arrayBuffer())), digest(await readFile(join(from, part))), part);
  }
}

/** Signed and named as it should be, and its kernel finds nothing to start: it panics, and what the firmware starts is the image of before. */
export async function upgradeFails(stage: UpgradeStage): Promise<Facts> {
  const first = await build(stage, "before", 1, SIGNER);
  const broken = join(stage.work, "broken");
  await mkdir(broken);
  await copyFile(join(first, "vmlinuz"), join(broken, "vmlinuz"));
  const initramfs = new Uint8Array(4_096);
  await writeFile(join(broken, "initramfs"), initramfs);
  const parts = [partOf("vmlinuz", await readFile(join(broken, "vmlinuz"))), partOf("initramfs", initramfs)];
  await writeFile(join(broken, "manifest"), signManifest({ format: 1, name: "godwit", version: "9.9.9", release: 2, expiresAt: "2030-01-01T00:00:00Z", parts, pcr11: "" }, SIGNER));
  await using server = await serveImages({ broken });
  const { address, seed } = stage.owner;
  await using machine = await startQemu({ boot: directBoot(first, [...stage.words, `godwit.operator=${addressText(address)}`]), reboots: true });
  await startsAgain(machine, 1);
  await command(machine, keyPair(seed), server.url("/broken"));
  await machine.printed(/stopping +upgrade to 9\.9\.9, release 2[\s\S]*starting the next kernel/, HERE_MS_MAX);
  const begun = performance.now();
  await startsAgain(machine, 2);
  assert.match(machine.serial(), /Kernel panic/);
  await machine.monitor("system_powerdown");
  return { backMs: Math.round(performance.now() - begun) };
}

/** One that comes up, finds no network and has its clock set by years: nothing of it breaks, and no work is accepted. After the three minutes of its trial the image of before is back. */
export async function upgradeOnTrial(stage: UpgradeStage): Promise<Facts> {
  const [first, mute] = [await build(stage, "trial-first", 1, SIGNER), await build(stage, "mute", 2, SIGNER, "tests/boot/mute.ts")];
  await using server = await serveImages({ mute });
  const { address, seed } = stage.owner;
  await using machine = await startQemu({ boot: directBoot(first, [...stage.words, `godwit.operator=${addressText(address)}`]), reboots: true });
  await startsAgain(machine, 1);
  await command(machine, keyPair(seed), server.url("/mute"));
  await machine.printed(/starting the next kernel[\s\S]*network +eth0: the link is up/, HERE_MS_MAX);
  const begun = performance.now();
  await machine.printed(/stopping +this image is on trial and does not accept work: back to the one before/, TRIAL_MS_MAX + HERE_MS_MAX);
  const triedMs = Math.round(performance.now() - begun);
  assert.ok(triedMs > TRIAL_MS_MAX / 2, `over after ${triedMs} ms: its clock was set by years`);
  assert.equal(started(machine), 1);
  await startsAgain(machine, 2);
  await machine.monitor("system_powerdown");
  return { triedMs, backMs: Math.round(performance.now() - begun) };
}
