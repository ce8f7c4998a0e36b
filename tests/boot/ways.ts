/**
 * `npm run test:boot -- [--json] [WAY …]`: every way into a machine and out of it, each a machine of its own in QEMU.
 *
 * Minutes, not seconds: so it is no part of `npm test`, which has the direct boot. Exit code 1 when a way failed.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { cacheDirectory } from "#sandbox/native/directory.mjs";
import { buildImage } from "#tools/image/build.ts";
import { predictPcr11 } from "#tools/image/uki.ts";
import { type Facts, JOIN_MS_MAX, OWNER, type Stage, WORDS, accepts, boots, secure, stick, switchedOff, uefi } from "./boots.ts";
import { debianKernel } from "./debianKernel.ts";
import { devnetOfGuests } from "./devnetWay.ts";
import { hangs, onVlan, outOfMemory, sameByStick, sameByTpm, showsItself, startTpm } from "./machineWays.ts";
import { NETBOOT_WAYS, type NetbootWay, SERVER_ADDRESS } from "./netbootLab.ts";
import { sameBytes, sameBytesElsewhere } from "./sameBytes.ts";
import { joinsThroughServer, joinsWithWrongClocks, netboots } from "./netbootWays.ts";
import { upgrade, upgradeAlone, upgradeFails, upgradeOnTrial } from "./upgradeWays.ts";
import { type Qemu, directBoot, startQemu } from "./qemu.ts";

const SNAKEOIL = "/usr/share/ovmf/PkKek-1-snakeoil";
type Way = { readonly name: string; readonly run: (stage: Stage) => Promise<Facts | void> };

const WAYS: readonly Way[] = [
  { name: "the same bytes by two builds", run: sameBytes },
  { name: "the same bytes in a root of another release", run: sameBytesElsewhere },
  { name: "direct", run: ({ plain }) => boots({ boot: directBoot(plain, WORDS) }, async (machine) => ({ ...timesOf(machine.serial()), phases: phasesOf(machine.serial()), ...(await showsItself(machine)) })) },
  { name: "direct, Debian's kernel", run: ({ work }) => onDebiansKernel(work) },
  {
    name: "direct, 384 MB", run: ({ plain }) => boots({ memoryMib: 384, boot: directBoot(plain, WORDS) }, async (machine) => {
      const { body } = await machine.answered(machine.apiPort, "/healthz", JOIN_MS_MAX, ({ status }) => status === 200);
      assert.match(body, /"ok"/);
    }),
  },
  { name: "stick, UEFI", run: ({ work, plain }) => boots({ boot: [...uefi(work), ...stick(join(plain, "godwit.img"))] }) },
  { name: "stick, BIOS", run: ({ plain }) => boots({ boot: stick(join(plain, "godwit.img")) }) },
  { name: "Secure Boot, signed", run: async ({ work, signed }) => boots({ boot: [...secure(work), ...stick(join(await signed(), "godwit.img"))] }) },
  { name: "Secure Boot, one byte changed", run: refusedWhenTampered },
  { name: "TPM, PCR 11 as predicted", run: measured },
  { name: "no DHCP", run: withoutDhcp },
  { name: "no link, until the cable is plugged in", run: pluggedInLater },
  { name: "static address", run: ({ plain }) => boots({ boot: directBoot(plain, [...WORDS, "godwit.address=10.0.2.15/24,10.0.2.2"]) }) },
  {
    name: "two cards, one with DHCP", run: ({ plain }) => boots({
      boot: directBoot(plain, WORDS), network: (forward) => ["-netdev", "hubport,id=n0,hubid=7", "-device", "e1000e,netdev=n0,romfile=", "-netdev", `user,id=n1${forward}`, "-device", "virtio-net-pci,netdev=n1,romfile="],
    }, async (machine) => assert.match(machine.serial(), / address +\d+ ms eth\d 10\.0\.2\.15\/24/)),
  },
  { name: "CD, UEFI", run: fromCd },
  { name: "VLAN", run: ({ plain }) => onVlan(plain) },
  { name: "the same machine after a loss of power, TPM", run: ({ work, plain }) => sameByTpm(work, plain) },
  { name: "the same machine after a loss of power, stick", run: ({ work, plain }) => sameByStick(work, plain) },
  { name: "an agent that hangs", run: ({ work }) => hangs(work) },
  { name: "out of memory", run: ({ plain }) => boots({ boot: directBoot(plain, [...WORDS, "sysrq_always_enabled"]) }, outOfMemory) },
  { name: "upgrade-alone", run: ({ work }) => upgradeAlone({ work, words: WORDS, owner: OWNER }) },
  { name: "upgrade", run: ({ work }) => upgrade({ work, words: WORDS, owner: OWNER }) },
  { name: "upgrade-fails", run: ({ work }) => upgradeFails({ work, words: WORDS, owner: OWNER }) },
  { name: "upgrade-on-trial", run: ({ work }) => upgradeOnTrial({ work, words: WORDS, owner: OWNER }) },
  { name: "devnet of two guests", run: async ({ work, bare }) => devnetOfGuests(work, await bare()) },
  { name: "kill of Node", run: ({ plain }) => boots({ boot: directBoot(plain, [...WORDS, "sysrq_always_enabled"]) }, killNode) },
  ...NETBOOT_WAYS.map((way): Way => ({ name: `netboot, ${way.name}`, run: async ({ bare }) => netboots(way, await bare()) })),
  ...NETBOOT_WAYS.filter(({ name }) => ["iPXE", "UEFI PXE"].includes(name)).map((way): Way => ({ name: `netboot, ${way.name}, beside another DHCP server`, run: ({ work }) => besideAnother(work, way) })),
  { name: "netboot, joins a chain through the boot server", run: async ({ bare }) => joinsThroughServer(await bare(), 1) },
  { name: "netboot, joins with a clock that is years ahead or behind", run: async ({ bare }) => joinsWithWrongClocks(await bare()) },
  { name: "netboot, three at once form a chain, and take over a lease when one is switched off", run: async ({ bare }) => joinsThroughServer(await bare(), 3) },
];

async function fromCd({ work }: Stage): Promise<Facts> {
  const out = join(work, "cd");
  mkdirSync(out);
  await buildImage({ target: "iso", effort: "quick", out, words: WORDS });
  return await boots({ boot: [...uefi(work), "-cdrom", join(out, "godwit.iso")] });
}

/** An image that is loaded as one file is told by nobody where its boot server is: it has the word inside. */
async function besideAnother(work: string, way: NetbootWay): Promise<Facts> {
  const out = join(work, "beside");
  mkdirSync(out, { recursive: true });
  await buildImage({ target: "netboot", effort: "quick", out, words: [...WORDS.filter((word) => !word.startsWith("godwit.")), `godwit.boot=http://${SERVER_ADDRESS}`] });
  return await netboots(way, out, { hasOtherDhcp: true });
}

async function onDebiansKernel(work: string): Promise<Facts> {
  const out = join(work, "debian");
  mkdirSync(out);
  await buildImage({ target: "uki", effort: "quick", out, words: WORDS, otherKernel: await debianKernel(cacheDirectory()) });
  return await boots({ boot: directBoot(out, WORDS) });
}

/** The kernel's own key for "end every process": PID 1 alone goes on. */
async function killNode(machine: Qemu): Promise<Facts> {
  const before = await heightOf(machine);
  const killedMs = performance.now();
  await machine.monitor("sendkey alt-sysrq-i");
  await machine.printed(/the agent ended \(signal 9\), crash 1/, 30_000);
  await machine.answered(machine.apiPort, "/healthz", JOIN_MS_MAX, ({ status }) => status === 200);
  assert.ok((await heightOf(machine)) >= before, "the chain began anew");
  return { backMs: Math.round(performance.now() - killedMs) };
}

async function heightOf(machine: Qemu): Promise<number> {
  const { body } = await machine.answered(machine.apiPort, "/v1/status", JOIN_MS_MAX, ({ status }) => status === 200);
  return (JSON.parse(body) as { head: { height: number } }).head.height;
}

async function refusedWhenTampered({ work, signed }: Stage): Promise<void> {
  const disk = readFileSync(join(await signed(), "godwit.img"));
  const at = disk.indexOf(Buffer.from(WORDS[0]!));
  assert.ok(at > 0);
  disk[at + 8]! ^= 1;
  const file = join(work, "tampered.img");
  writeFileSync(file, disk);
  await using machine = await startQemu({ boot: [...secure(work), ...stick(file)] });
  await machine.printed(/Access Denied|Security Violation/i, 120_000);
  assert.doesNotMatch(machine.serial(), / calls +\d+ ms/);
}

async function measured({ work, plain }: Stage): Promise<Facts> {
  await using tpm = await startTpm(work);
  const predicted = predictPcr11(readFileSync(join(plain, "godwit.efi")));
  return await boots({ boot: [...uefi(work), ...stick(join(plain, "godwit.img")), ...tpm.words] }, async (machine) => {
    const found = / measured +\d+ ms pcr 11 ([0-9a-f]{64})/.exec(machine.serial())?.[1];
    assert.equal(found, predicted);
    return { pcr11: found };
  });
}

/** It says that it waits, its door answers inside, and its button works. */
async function withoutDhcp({ plain }: Stage): Promise<void> {
  await using machine = await startQemu({ boot: directBoot(plain, WORDS), network: () => ["-netdev", "hubport,id=n0,hubid=7", "-device", "virtio-net-pci,netdev=n0,romfile="] });
  await machine.printed(/network +eth0: the link is up/, JOIN_MS_MAX);
  await sleep(5_000);
  assert.doesNotMatch(machine.serial(), / address +\d+ ms/);
  await switchedOff(machine);
}

/** A cable that is not there is said, and waited for; then the machine goes on by itself. */
async function pluggedInLater({ plain }: Stage): Promise<Readonly<Record<string, unknown>>> {
  await using machine = await startQemu({ boot: [...directBoot(plain, WORDS), "-S"] });
  // It stands still until its monitor is there.
  for (let tried = 0; !(await machine.monitor("set_link n0 off").then(() => true, () => false)); tried++) {
    assert.ok(tried < 600, "QEMU's monitor does not come up");
    await sleep(100);
  }
  await machine.monitor("cont");
  await machine.printed(/ door +\d+ ms/, JOIN_MS_MAX);
  await machine.printed(/ button +\d+ ms/, JOIN_MS_MAX);
  await sleep(5_000);
  assert.doesNotMatch(machine.serial(), /the link is up| address +\d+ ms/);
  const pluggedMs = performance.now();
  await machine.monitor("set_link n0 on");
  await machine.printed(/ network +eth0: the link is up/, JOIN_MS_MAX);
  await machine.printed(/ address +\d+ ms eth0 10\.0\.2\.15\/24/, JOIN_MS_MAX);
  const addressMs = Math.round(performance.now() - pluggedMs);
  await accepts(machine);
  return { addressMs };
}

/** By the kernel's clock: when PID 1 started Node, when Node came to our first line, when the door answered. What is before is the emulator's and its firmware's. */
function timesOf(serial: string): Facts {
  const at = (line: RegExp): number => Math.round(Number(line.exec(serial)?.[1] ?? Number.NaN) * 1000);
  const [root, calls, door] = [at(/^ *([\d.]+) {2}init +the root is in place/m), at(/^ *([\d.]+) {2}calls /m), at(/^ *([\d.]+) {2}door /m)];
  return { kernelMs: root, nodeMs: calls - root, doorMs: door - calls };
}

const phasesOf = (serial: string): Record<string, number> => Object.fromEntries([...serial.matchAll(/^ *[\d.]+ {2}(\w+) +(\d+) ms/gm)].map(([, name, ms]) => [name!, Number(ms)]));

async function openStage(work: string): Promise<Stage> {
  const log = (line: string): void => void process.stderr.write(`${line}\n`);
  const plain = join(cacheDirectory(), "image", "usb");
  mkdirSync(plain, { recursive: true });
  await buildImage({ target: "usb", effort: "quick", out: plain, words: WORDS, log });
  let [made, named]: (Promise<string> | null)[] = [null, null];
  const withoutChain = async (): Promise<string> => {
    const out = join(cacheDirectory(), "image", "bare");
    mkdirSync(out, { recursive: true });
    await buildImage({ target: "netboot", effort: "quick", out, words: WORDS.filter((word) => !word.startsWith("godwit.")), log });
    return out;
  };
  const build = async (): Promise<string> => {
    const keyFile = join(work, "secure-boot.key");
    const { status, stderr } = spawnSync("openssl", ["pkey", "-in", `${SNAKEOIL}.key`, "-passin", "pass:snakeoil", "-out", keyFile], { encoding: "utf8" });
    assert.equal(status, 0, stderr);
    const out = join(work, "signed");
    mkdirSync(out);
    await buildImage({ target: "usb", effort: "quick", out, words: WORDS, secureBoot: { keyFile, certificateFile: `${SNAKEOIL}.pem` }, log });
    return out;
  };
  return { work, plain, signed: () => (made ??= build()), bare: () => (named ??= withoutChain()) };
}

async function main(argv: readonly string[]): Promise<number> {
  const json = argv.includes("--json");
  const wanted = argv.filter((word) => word !== "--json");
  const unknown = wanted.filter((name) => !WAYS.some((way) => way.name === name));
  if (unknown.length > 0) {
    process.stderr.write(`There is no way ${unknown.map((name) => `"${name}"`).join(", ")}: ${WAYS.map(({ name }) => `"${name}"`).join(", ")}\n`);
    return 2;
  }
  const work = mkdtempSync(join(tmpdir(), "godwit-boot-"));
  const results: Record<string, unknown>[] = [];
  try {
    const stage = await openStage(work);
    for (const { name, run } of WAYS.filter((way) => wanted.length === 0 || wanted.includes(way.name))) {
      const begun = performance.now();
      const outcome = await run(stage).then((facts) => ({ pass: true, ...facts }), (error: unknown) => ({ pass: false, error: error instanceof Error ? error.message : String(error) }));
      const row = { way: name, seconds: Number(((performance.now() - begun) / 1000).toFixed(1)), ...outcome };
      results.push(row);
      if (!json) process.stdout.write(`${row.pass ? "pass" : "FAIL"} ${row.seconds.toFixed(1).padStart(6)} s  ${name}${"error" in row ? `\n${String(row.error)}` : ""}\n`);
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  if (json) process.stdout.write(`${JSON.stringify({ results })}\n`);
  return results.every(({ pass }) => pass === true) ? 0 : 1;
}

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
process.exitCode = await main(process.argv.slice(2));
