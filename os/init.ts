/**
 * The machine from its first line of ours to the agent, and to its end. On the image this is what PID 1 starts, and starts again
 * after a crash; nothing else runs it.
 *
 * What it needs to answer `/healthz` is read first; chain and libp2p (most of the code) come with the last phase. Lines go to the
 * kernel's log, and so to every console there is: screen and serial line.
 */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { RunningAgent } from "./agent.ts";
import type { ChainNode } from "#chain/node/chainNode.ts";
import { type Door, bindDoor } from "./api/door.ts";
import { parseMac } from "./boot/addresses.ts";
import type { ChainClock } from "./boot/clock.ts";
import { CMDLINE_BYTES_MAX, type Settings, parseCmdline } from "./boot/cmdline.ts";
import { EXIT_CODES, Way, restartWhenEnded } from "./boot/ending.ts";
import { IDENTITY_FILE, releasedMsIn } from "./boot/identity.ts";
import { applySettings, mountAll } from "./boot/mounts.ts";
import { type Network, startNetwork } from "./boot/network.ts";
import { type Phase, runPhases } from "./boot/phases.ts";
import { Trial } from "./boot/trial.ts";
import type { VaultKeeper } from "./boot/vault.ts";
import { completedLine, fetchWords, tokenIn, wordsFrom } from "./boot/words.ts";
import { AgentError, messageOf } from "./error.ts";
import type { KeyPair } from "./keys.ts";
import { watchPowerButton } from "./linux/acpi.ts";
import { checkCalls } from "./linux/calls.ts";
import { LINK_LOOPBACK, readLinks, setLinkUp } from "./linux/netlink.ts";
import { MachineLog } from "./machineControl.ts";
import { printable } from "./printable.ts";

type Machine = {
  settings: Settings;
  network: Network | null;
  door: Door | null;
  agent: RunningAgent | null;
  vault: VaultKeeper | null;
  status: { stop(): void } | null;
  trial: Trial | null;
  /** The command line, with the boot server's words when they have come. */
  line: string;
  /** The one door out. */
  readonly way: Way;
};

const DIRECTORY = "/var/godwit";
const API_PORT = 7480;
const HTTP_PORT = 80;
/** A machine without an address answers nobody; it goes on asking, and begins its chain when it has one. */
const EVERYWHERE = "0.0.0.0";
const HOST_NAME = "godwit";
const DEFAULT_REGION = "local";
/** An error on the screen can be read, and then the machine tries again: a server may have come up meanwhile. */
const ERROR_SHOWN_MS = 30_000;
/** Reading code takes this thread for a second, on a busy emulator for ten: whoever asks as soon as the machine has an address, or before chain and libp2p are read, has had an answer. */
const DOOR_TURN_MS = 100;
const KERNEL_LOG = "/dev/kmsg";
/** Above the console's level 4, so that it is seen; user facility. */
const KERNEL_LOG_PRIORITY = "<11>";

/** PID 1 restarts a machine whose agent says nothing for two minutes (sandbox/native/init). */
const ALIVE_MS = 5_000;
const uptimeMs = (): number => Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]) * 1000;

const log = new MachineLog();
const ending = new AbortController();

function say(line: string): void {
  log.add(printable(line), Date.now());
  const text = `${(uptimeMs() / 1000).toFixed(2).padStart(7)}  ${printable(line)}`;
  try {
    appendFileSync(KERNEL_LOG, `${KERNEL_LOG_PRIORITY}${text}\n`);
  } catch {
    console.log(text);
  }
}

const PHASES: readonly Phase<Machine>[] = [
  { name: "calls", run: () => { checkCalls(); return ""; } },
  { name: "mounts", run: () => `${mountAll()} file systems` },
  { name: "settings", run: readSettings },
  { name: "kernel", run: nameAndSet },
  { name: "measured", optional: true, run: readMeasurement },
  { name: "loopback", run: raiseLoopback },
  { name: "door", run: openDoor },
  { name: "network", run: beginNetwork },
  { name: "address", run: awaitAddress },
  { name: "words", optional: true, run: takeWords },
  { name: "time", optional: true, run: askTime },
  { name: "identity", run: settleIdentity },
  { name: "vault", optional: true, run: takeFromVault },
  { name: "agent", run: beginAgent },
  { name: "screen", optional: true, run: beginScreen },
];

function readSettings(machine: Machine): string {
  machine.line = readFileSync("/proc/cmdline", "utf8").slice(0, CMDLINE_BYTES_MAX);
  const parsed = parseCmdline(machine.line);
  if (!parsed.ok) throw new AgentError("cmdline_wrong", `the kernel's command line:\n${parsed.errors.map(({ message }) => `  ${message}`).join("\n")}`);
  machine.settings = parsed.settings;
  if (parsed.settings.isTrial) machine.trial = new Trial(uptimeMs(), () => void machine.way.leave("restart", "this image is on trial and does not accept work: back to the one before"));
  return parsed.settings.genesis === null ? (parsed.settings.alone === null ? "no chain is named" : "a chain of its own") : `genesis ${parsed.settings.genesis.sha256.slice(0, 16)}…`;
}

function nameAndSet({ settings }: Machine): string {
  const name = settings.hostName ?? HOST_NAME;
  writeFileSync("/proc/sys/kernel/hostname", name);
  const refused = applySettings();
  return `${name}${refused.length === 0 ? "" : `; not on this kernel: ${refused.join(", ")}`}`;
}

/** What the firmware's stub measured of this very image; `godwit image build` prints what it must be. */
function readMeasurement(): string {
  const file = "/sys/class/tpm/tpm0/pcr-sha256/11";
  return existsSync(file) ? `pcr 11 ${readFileSync(file, "utf8").trim().toLowerCase()}` : "no TPM";
}

function raiseLoopback(): string {
  for (const { index, type } of readLinks()) if (type === LINK_LOOPBACK) setLinkUp(index);
  return "";
}

async function openDoor(machine: Machine): Promise<string> {
  machine.door = await bindDoor(EVERYWHERE, machine.settings.apiPort ?? API_PORT);
  return `port ${machine.door.port} answers`;
}

function beginNetwork(machine: Machine): string {
  machine.network = startNetwork({ settings: machine.settings, onLine: (line) => say(`network   ${line}`) });
  return "";
}

async function awaitAddress({ network }: Machine): Promise<string> {
  await network!.ready;
  await sleep(DOOR_TURN_MS);
  return network!.current().map(({ name, address, prefix }) => `${name} ${address}/${prefix}`).join(", ");
}

/** An image that was loaded as one file has its own words only; the server that it came from has the others. */
async function takeWords(machine: Machine): Promise<string> {
  const { network, settings } = machine;
  const from = wordsFrom(settings, network!.current());
  const mac = parseMac(readLinks().find(({ name }) => name === from?.name)?.mac ?? "");
  if (from === null || mac === null) return "";
  const { bootServer } = from;
  const line = completedLine(machine.line, await fetchWords(bootServer, mac));
  const parsed = parseCmdline(line);
  if (!parsed.ok) throw new AgentError("words_wrong", `the words of ${bootServer}: ${parsed.errors.map(({ message }) => message).join("; ")}`);
  machine.line = line;
  machine.settings = parsed.settings;
  if (parsed.settings.hostName !== null) writeFileSync("/proc/sys/kernel/hostname", parsed.settings.hostName);
  return `of ${bootServer}`;
}

async function askTime({ network, settings }: Machine): Promise<string> {
  const { setByNtp } = await import("./boot/clock.ts");
  return (await setByNtp(settings.ntp ?? network!.current().flatMap(({ lease }) => lease?.ntp ?? []), releasedMsIn(IDENTITY_FILE))).text;
}

/** The chain is open: its time counts from now on, and the boot server is asked to take this machine in. */
function begunWith(machine: Machine, node: ChainNode, key: KeyPair, clock: ChainClock): void {
  node.onFinal(({ header }) => clock.final(Number(header.timeMs)));
  const { bootServer, joinToken, operator, region } = machine.settings;
  const [first] = machine.network!.current();
  const mac = parseMac(readLinks().find(({ name }) => name === first?.name)?.mac ?? "");
  if (bootServer === null || joinToken === null || operator === null || mac === null) return;
  const onLine = (line: string): void => say(`join      ${line}`);
  const join = async (): Promise<void> => {
    const [{ enrol }, { takeInventory }] = await Promise.all([import("./boot/enrolment.ts"), import("./inventory.ts")]);
    const { memoryMib, cpuMillis, region: where } = await takeInventory(region ?? DEFAULT_REGION);
    await enrol({ bootServer, token: joinToken, mac, machine: key, operator, chainId: node.chainId, offer: { memoryMib, cpuMillis, region: where }, onLine, signal: ending.signal, freshToken: async () => tokenIn(await fetchWords(bootServer, mac)) });
  };
  join().catch((error: unknown) => onLine(messageOf(error)));
}

async function settleIdentity({ settings }: Machine): Promise<string> {
  const keys = join(DIRECTORY, "keys");
  const { takeKeys } = await import("./boot/carried.ts");
  const carried = await takeKeys(keys);
  if (carried.length > 0) return `the keys of before the upgrade: ${carried.join(", ")}`;
  const { settleMachineKey } = await import("./boot/machineKey.ts");
  return await settleMachineKey(keys, settings.keyPlace);
}

/** Nothing on this machine outlives the power; what it left with its boot server comes back to the machine that has the same key. */
async function takeFromVault(machine: Machine): Promise<string> {
  const { bootServer } = machine.settings;
  if (bootServer === null) return "";
  const [{ VaultKeeper, restoreFromVault }, { openKey }] = await Promise.all([import("./boot/vault.ts"), import("./keys.ts")]);
  const options = { bootServer, machine: await openKey(join(DIRECTORY, "keys", "machine")), directory: DIRECTORY, onLine: (line: string) => say(`vault     ${line}`) };
  try {
    return await restoreFromVault(options);
  } finally {
    machine.vault = new VaultKeeper(options);
  }
}

async function beginAgent(machine: Machine): Promise<string> {
  const { settings, door, way } = machine;
  await sleep(DOOR_TURN_MS);
  const [{ startAgent }, { joinAsTold }, { DEVELOPMENT_OFFER }, { KeyChange }, { heldImage }, { followChain }, { remoteControl }, { packSnapshot }, { VAULT_SNAPSHOT_BYTES_MAX }] = await Promise.all([
    import("./agent.ts"), import("./boot/membership.ts"), import("./development.ts"), import("./boot/rekey.ts"), import("./boot/carried.ts"), import("./boot/clock.ts"), import("./boot/remote.ts"), import("#chain/node/keptSnapshot.ts"),
    import("./boot/vaultFormat.ts"),
  ]);
  const clock = followChain(releasedMsIn(IDENTITY_FILE), (line) => say(`time      ${line}`));
  const keys = new KeyChange({ keysFolder: join(DIRECTORY, "keys"), onLine: (line) => say(`key       ${line}`), onTaken: () => void way.leave("again", "the agent begins anew with the next key") });
  machine.agent = await startAgent({
    directory: DIRECTORY, address: EVERYWHERE, apiPort: door!.port, door: door!, httpPort: settings.httpPort ?? HTTP_PORT, zone: settings.zone ?? "localhost",
    ...(settings.metrics === null ? {} : { metrics: settings.metrics }),
    offer: { ...DEVELOPMENT_OFFER, region: settings.region ?? DEVELOPMENT_OFFER.region },
    machineLog: log, image: await heldImage(), control: remoteControl(way, DIRECTORY, say, keys),
    onNode: (node, key) => {
      begunWith(machine, node, key, clock);
      // A chain of its own begins anew with each boot.
      if (settings.genesis !== null) machine.vault?.keepSnapshots(() => packSnapshot(node, VAULT_SNAPSHOT_BYTES_MAX));
      keys.follow({ node, machine: key }).catch((error: unknown) => say(`key       ${messageOf(error)}`));
    },
    join: (directory) => joinAsTold(directory, settings), onLog: (line) => say(`agent     ${line}`),
  });
  machine.trial?.pass();
  restartWhenEnded(machine.agent, way);
  return `accepts work on port ${machine.agent.httpPort}`;
}

async function beginScreen(machine: Machine): Promise<string> {
  const [{ openScreen }, { showStatus }] = await Promise.all([import("./linux/screen.ts"), import("./boot/status.ts")]);
  const screen = openScreen();
  machine.status = showStatus({ agent: machine.agent!, screen, log, addresses: () => machine.network!.current(), onFault: (line) => say(`screen    ${line}`) });
  return `${screen.columns} by ${screen.rows}`;
}

/** A machine that a chain knows empties itself before it goes. */
async function handOver({ agent }: Machine): Promise<void> {
  const { before, left } = (await agent?.handLeasesOver()) ?? { before: 0, left: 0 };
  if (before > 0) say(`stopping  ${before - left} of ${before} leases are on other machines now`);
}

async function main(): Promise<void> {
  const way: Way = new Way([
    { name: "joining stopped", run: async () => ending.abort() },
    // What is said from now on is on the screen that is shown.
    { name: "screen stopped", run: async () => machine.status?.stop() },
    { name: "leases handed over", run: async () => handOver(machine) },
    { name: "vault kept", run: async () => machine.vault?.stop() },
    { name: "agent stopped", run: async () => machine.agent?.stop() },
    { name: "network stopped", run: async () => machine.network?.stop() },
  ], say, (code) => process.exit(code));
  const machine: Machine = { settings: null as unknown as Settings, network: null, door: null, agent: null, vault: null, status: null, trial: null, line: "", way };
  // SIGINT is Ctrl-Alt-Del, handed on by PID 1.
  process.on("SIGTERM", () => void way.leave("powerOff", "asked to power off"));
  process.on("SIGPWR", () => void way.leave("powerOff", "the power is going"));
  process.on("SIGINT", () => void way.leave("restart", "asked to restart"));
  try {
    const button = (): string => {
      watchPowerButton(() => void way.leave("powerOff", "power button"));
      return "";
    };
    // After the address: the button of a machine that has none is the only thing that works on it.
    await runPhases<Machine>([...PHASES.slice(0, 6), { name: "button", optional: true, run: button }, ...PHASES.slice(6)], machine, uptimeMs, say);
  } catch (error) {
    for (const line of messageOf(error).split("\n")) say(`FAILED    ${line}`);
    if (error instanceof Error && error.cause instanceof Error && error.cause.cause !== undefined) say(`FAILED    ${messageOf(error.cause.cause)}`);
    say(`FAILED    this machine tries again in ${ERROR_SHOWN_MS / 1000} s`);
    setTimeout(() => process.exit(EXIT_CODES.restart), ERROR_SHOWN_MS);
  }
}

process.kill(process.ppid, "SIGUSR1");
setInterval(() => process.kill(process.ppid, "SIGUSR1"), ALIVE_MS).unref();
await main();
