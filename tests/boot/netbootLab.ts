/**
 * A network for machines that boot: a namespace with a bridge, our own netboot server on it, and machines in QEMU on taps of it. Each way of booting over the
 * network is a row of NETBOOT_WAYS: which firmware, and what the server must have been asked.
 *
 * Software emulation only; needs root, `ip`, QEMU, and for UEFI OVMF. Everything is in the namespace, and goes with it.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { atExit } from "./leftovers.ts";

const MAIN = join(import.meta.dirname, "..", "..", "tools", "cli", "main.ts");
export const SERVER_ADDRESS = "10.78.0.1";
const OTHER_DHCP_ADDRESS = "10.78.0.2";
const OVMF = { code: "/usr/share/OVMF/OVMF_CODE_4M.fd", variables: "/usr/share/OVMF/OVMF_VARS_4M.fd" } as const;
const SERVER_READY_MS = 120_000;
const MEMORY_MIB = 1024;
const LINES_MAX = 5_000;
const GET_MS_MAX = 10_000;

export type NetbootWay = { readonly name: string; readonly firmware: "bios" | "uefi"; readonly nic: readonly string[]; readonly words: readonly string[]; /** As the server's table calls it. */ readonly way: string; /** What the server must have given by TFTP. */ readonly loads?: string };
export const NETBOOT_WAYS: readonly NetbootWay[] = [
  { name: "iPXE", firmware: "bios", nic: [], words: ["-boot", "n"], way: "ipxe" },
  // There is no free PXE firmware for BIOS that is not iPXE: one is started here that loads what plain firmware is told to (tests/e2e/netboot.test.ts), the second begins anew from it.
  { name: "BIOS PXE", firmware: "bios", nic: ["romfile="], words: ["-kernel", "/usr/lib/ipxe/ipxe.lkrn", "-append", `dhcp && chain tftp://${SERVER_ADDRESS}/undionly.kpxe`], way: "ipxe", loads: "undionly.kpxe" },
  { name: "UEFI PXE", firmware: "uefi", nic: ["romfile=", "bootindex=0"], words: [], way: "uefi-pxe", loads: "godwit.efi" },
  // OVMF tries PXE first unless told not to.
  { name: "UEFI HTTP", firmware: "uefi", nic: ["romfile=", "bootindex=0"], words: ["-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n", "-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n"], way: "uefi-http" },
];

export type Guest = { readonly lines: readonly string[]; readonly serial: ChildProcess; /** Resolves with the line that matches, or throws with the last ones. */ seen(pattern: RegExp, timeoutMs: number): Promise<string> };
export type Lab = AsyncDisposable & {
  readonly rows: readonly Readonly<Record<string, unknown>>[];
  readonly errors: readonly string[];
  /** What runs a program beside the server. */
  readonly prefix: readonly string[];
  /** What answers there, seen from beside the server; null: nobody. */
  get(url: string, host?: string): Promise<{ readonly status: number; readonly body: string } | null>;
  boot(index: number, way: NetbootWay, options?: { readonly memoryMib?: number; readonly words?: readonly string[] }): Promise<Guest>;
};

export const macOf = (index: number): string => `52:54:00:78:00:${index.toString(16).padStart(2, "0")}`;
export const addressOfGuest = (index: number): string => `10.78.0.${20 + index}`;

/** Machines 1 to `count`, each named, with its own address; `kernelWords` for all. */
export async function openNetbootLab(imageFolder: string, count: number, kernelWords: string, serverWords: readonly string[] = [], environment: Readonly<Record<string, string>> = {}, { hasOtherDhcp = false }: { readonly hasOtherDhcp?: boolean } = {}): Promise<Lab> {
  await using made = new AsyncDisposableStack();
  const name = `godwit-boot-${process.pid}`;
  const folder = await mkdtemp(join(tmpdir(), "godwit-boot-"));
  made.defer(() => rm(folder, { recursive: true, force: true }));
  makeNamespace(made, name);
  const inside = (...words: readonly string[]): void => run("ip", "-n", name, ...words);
  inside("link", "set", "lo", "up");
  inside("link", "add", "bridge", "type", "bridge", "stp_state", "0", "forward_delay", "0");
  inside("address", "add", `${SERVER_ADDRESS}/24`, "dev", "bridge");
  inside("link", "set", "bridge", "up");
  for (let index = 1; index <= count; index++) {
    inside("tuntap", "add", "dev", `tap${index}`, "mode", "tap");
    inside("link", "set", `tap${index}`, "master", "bridge", "up");
  }
  const machines = Array.from({ length: count }, (_, at) => `[machine."${macOf(at + 1)}"]\nname = "guest${at + 1}"\naddress = "${addressOfGuest(at + 1)}"\n`);
  await writeFile(join(folder, "machines.toml"), `arguments = ${JSON.stringify(kernelWords)}\nunknown = "ignore"\n${machines.join("")}`);
  if (hasOtherDhcp) await otherDhcp(made, name, count);
  const prefix = ["ip", "netns", "exec", name];
  const lab = { rows: [] as Record<string, unknown>[], errors: [] as string[] };
  const server = spawn("ip", [...prefix.slice(1), process.execPath, "--disable-warning=ExperimentalWarning", MAIN, "netboot", "--interface", "bridge", "--image", imageFolder, "--machines", join(folder, "machines.toml"), "--json", ...(existsSync(join(imageFolder, "manifest")) ? [] : ["--unsigned"]), ...(hasOtherDhcp ? ["--proxy-dhcp"] : []), ...serverWords], { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...environment } });
  made.defer(() => ended(server));
  createInterface({ input: server.stdout }).on("line", (line) => lab.rows.push(JSON.parse(line) as Record<string, unknown>));
  const ready = Promise.withResolvers<void>();
  createInterface({ input: server.stderr }).on("line", (line) => {
    lab.errors.push(line);
    if (line.includes("HTTP on http")) ready.resolve();
  });
  const timer = setTimeout(() => ready.reject(new Error(`The netboot server does not come up: ${lab.errors.join("\n")}`)), SERVER_READY_MS);
  await ready.promise.finally(() => clearTimeout(timer));
  const life = made.move();
  return {
    ...lab, prefix, get: (url, host) => getInside(prefix, url, host),
    boot: async (index, way, { memoryMib = MEMORY_MIB, words = [] } = {}) => {
      const firmware = way.firmware === "bios" ? [] : await uefiWords(folder, index);
      const guest = spawn("ip", [...prefix.slice(1), "qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", String(memoryMib), "-nographic", "-no-reboot", ...firmware,
        "-netdev", `tap,id=n0,ifname=tap${index},script=no,downscript=no`, "-device", ["virtio-net-pci", "netdev=n0", `mac=${macOf(index)}`, ...way.nic].join(","), ...way.words, ...words], { stdio: ["ignore", "pipe", "pipe"] });
      life.defer(() => ended(guest));
      return watched(guest);
    },
    [Symbol.asyncDispose]: () => life.disposeAsync(),
  };
}

function makeNamespace(made: AsyncDisposableStack, name: string): void {
  run("ip", "netns", "add", name);
  made.defer(() => void spawnSync("ip", ["netns", "delete", name]));
  made.use(atExit(() => {
    // Whatever still runs in it: machines, servers.
    for (const pid of spawnSync("ip", ["netns", "pids", name], { encoding: "utf8" }).stdout.split("\n").filter((line) => line !== "").map(Number)) process.kill(pid, "SIGKILL");
    spawnSync("ip", ["netns", "delete", name]);
  }));
}

/** The network's own DHCP server, on a computer of its own: dnsmasq, which knows nothing of booting. */
async function otherDhcp(made: AsyncDisposableStack, name: string, count: number): Promise<void> {
  const own = `${name}-dhcp`;
  makeNamespace(made, own);
  run("ip", "-n", name, "link", "add", "dhcp", "type", "veth", "peer", "name", "eth0", "netns", own);
  run("ip", "-n", name, "link", "set", "dhcp", "master", "bridge", "up");
  run("ip", "-n", own, "address", "add", `${OTHER_DHCP_ADDRESS}/24`, "dev", "eth0");
  run("ip", "-n", own, "link", "set", "eth0", "up");
  const hosts = Array.from({ length: count }, (_, at) => `--dhcp-host=${macOf(at + 1)},${addressOfGuest(at + 1)}`);
  const server = spawn("ip", ["netns", "exec", own, "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0", "--user=root", "--interface=eth0", "--leasefile-ro", "--no-resolv", "--no-hosts", `--dhcp-range=${OTHER_DHCP_ADDRESS},static,255.255.255.0,1h`, ...hosts], { stdio: ["ignore", "ignore", "pipe"] });
  made.defer(() => ended(server));
  const started = Promise.withResolvers<void>();
  let said = "";
  server.on("error", (error) => started.reject(new Error(`Cannot start dnsmasq (of Debian's dnsmasq-base): ${error.message}`)));
  server.once("exit", () => started.reject(new Error(`dnsmasq ended: ${said}`)));
  server.stderr.setEncoding("utf8").on("data", (text: string) => {
    said = (said + text).slice(-2_000);
    if (said.includes("DHCP, static leases only")) started.resolve();
  });
  await started.promise;
}

async function uefiWords(folder: string, index: number): Promise<string[]> {
  const variables = join(folder, `variables${index}.fd`);
  await copyFile(OVMF.variables, variables);
  return ["-drive", `if=pflash,format=raw,readonly=on,file=${OVMF.code}`, "-drive", `if=pflash,format=raw,file=${variables}`];
}

function watched(serial: ChildProcess): Guest {
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  const wake = (): void => { for (const look of waiting) look(); };
  for (const stream of [serial.stdout!, serial.stderr!]) {
    createInterface({ input: stream }).on("line", (line) => {
      if (lines.push(line) > LINES_MAX) lines.shift();
      wake();
    });
  }
  serial.once("exit", wake);
  return {
    lines, serial,
    seen: (pattern, timeoutMs) => new Promise((resolve, reject) => {
      const fail = (why: string): void => {
        waiting.delete(look);
        clearTimeout(timer);
        reject(new Error(`${String(pattern)} ${why}; the last lines:\n${lines.slice(-30).join("\n")}`));
      };
      const timer = setTimeout(() => fail(`is not seen within ${timeoutMs} ms`), timeoutMs);
      const look = (): void => {
        const line = lines.find((one) => pattern.test(one));
        if (line === undefined) {
          if (serial.exitCode !== null || serial.signalCode !== null) fail(`is not seen: the machine ended with ${serial.exitCode ?? serial.signalCode}`);
          return;
        }
        waiting.delete(look);
        clearTimeout(timer);
        resolve(line);
      };
      waiting.add(look);
      look();
    }),
  };
}

const GET = `const [url, host] = process.argv.slice(1);
const asked = require("node:http").get(url, { timeout: ${GET_MS_MAX}, headers: host === undefined ? {} : { host } }, (response) => {
  let body = "";
  response.setEncoding("utf8").on("data", (text) => (body += text)).on("end", () => console.log(JSON.stringify({ status: response.statusCode, body })));
});
asked.on("timeout", () => asked.destroy()).on("error", () => console.log("null"));`;

async function getInside(prefix: readonly string[], url: string, host?: string): Promise<{ readonly status: number; readonly body: string } | null> {
  const child = spawn(prefix[0]!, [...prefix.slice(1), process.execPath, "-e", GET, url, ...(host === undefined ? [] : [host])], { stdio: ["ignore", "pipe", "ignore"] });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (part: string) => (text += part));
  await once(child, "close");
  return text.trim() === "" ? null : (JSON.parse(text) as { status: number; body: string } | null);
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await gone;
}

function run(...command: readonly string[]): void {
  const { status, stderr, error } = spawnSync(command[0]!, command.slice(1), { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command.join(" ")} ended with ${status ?? String(error)}: ${stderr}`);
}
