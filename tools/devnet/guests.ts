/**
 * Machines of a devnet as QEMU guests of the real image, on taps of its bridge: booted from the kernel and the initramfs, known to the ledger by the key on
 * a disk of their own, registered by their operators from outside. They keep nothing else, so none of them validates: the chain's validator is a process
 * beside them (guestHost.ts).
 *
 *     DIRECTORY/  image/  beside/ (the validator)  0/disk  0/serial  1/disk …
 *
 * Software emulation: a guest is up in a minute or two, and each keeps a core busy meanwhile. A power cut is kill -9 of QEMU, a pause is SIGSTOP.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { addressText } from "#chain/codec/address.ts";
import { signMachineProof, signTransaction } from "#chain/codec/transaction.ts";
import { sha256Hex } from "#chain/crypto.ts";
import { chainId, fromHex } from "#chain/types.ts";
import { recordOf } from "#os/boot/keyPartition.ts";
import { DEVELOPMENT_OFFER } from "#os/development.ts";
import { openKey } from "#os/keys.ts";
import type { MachineProcess, Site } from "#tools/chain/machines.ts";
import { ApiClient } from "#tools/cli/client.ts";
import { writeKeyDisk } from "#tools/image/disk.ts";
import { LAN_HOST, type Lan } from "./lan.ts";

const HOST = join(import.meta.dirname, "guestHost.ts");
const CHAIN_PORT = 7482;
const GENESIS_PORT = 7480;
const HOST_READY_MS_MAX = 60_000;
/** A busy computer emulates a boot in minutes. */
const START_MS_MAX = 900_000;
const OFF_MS_MAX = 20_000;
const LOOK_MS = 250;
const MEMORY_MIB = 768;
/** What a guest of that memory may offer (os/inventory.ts), and a little less. */
const OFFER = { memoryMib: 448, cpuMillis: 2_000 } as const;
const FEE = 1_000_000n;
const TRANSACTION_MS = 120_000;
/** A guest does not outlive who started it, however that one ends. */
const ENDS_WITH_US = ["setpriv", "--pdeathsig", "KILL"] as const;
/** Its lines go to the serial port alone; nothing waits for hardware timers that an emulation has not. */
const KERNEL_WORDS = ["console=ttyS0", "panic=-1", "loglevel=4", "printk.devkmsg=on", "rdinit=/init", "no_timer_check"] as const;

export type Guests = AsyncDisposable & { start(index: number, clockOffsetMs: number, abort?: AbortSignal): Promise<MachineProcess> };

/** `image`: a folder with `vmlinuz` and `initramfs`; the chain's validator runs when this resolves. */
export async function openGuests(site: Site, lan: Lan, image: string, sockets: string): Promise<Guests> {
  const beside = join(site.directory, "beside");
  await mkdir(join(beside, "keys"), { recursive: true, mode: 0o700 });
  await copyFile(join(site.directory, "0", "keys", "validator"), join(beside, "keys", "validator"));
  const host = spawn(...commandOf(lan.prefix(0), process.execPath, HOST, beside, site.genesisFile, LAN_HOST, String(CHAIN_PORT), String(GENESIS_PORT)), { stdio: ["pipe", "pipe", "inherit"], detached: true });
  const ended = once(host, "exit");
  const timer = setTimeout(() => host.kill("SIGKILL"), HOST_READY_MS_MAX);
  await Promise.race([once(host.stdout, "data"), ended.then(([code]) => Promise.reject(new Error(`The validator beside the guests ended with ${code}`)))]);
  clearTimeout(timer);
  const genesis = await readFile(site.genesisFile);
  // The others too: a validator without a machine tells nobody who may be hopped to.
  const peersOf = (index: number): string[] => [LAN_HOST, ...site.machines.map((_, other) => other).filter((other) => other !== index).map((other) => lan.address(other))].map((one) => `${one}:${CHAIN_PORT}`);
  const wordsOf = async (index: number): Promise<string> => [
    ...KERNEL_WORDS, `godwit.hostname=m${index + 1}`, `godwit.address=${lan.address(index)}/24`, "godwit.ntp=off", "godwit.key=partition",
    `godwit.genesis=sha256:${sha256Hex(genesis)}@http://${LAN_HOST}:${GENESIS_PORT}/genesis`, `godwit.peer=${peersOf(index).join(",")}`,
    `godwit.operator=${addressText((await openKey(join(site.directory, String(index), "keys", "operator"))).address)}`,
  ].join(" ");
  return {
    start: async (index, clockOffsetMs, abort) => {
      const folder = join(site.directory, String(index));
      const disk = join(folder, "disk");
      await writeKeyDisk(disk, recordOf((await openKey(join(folder, "keys", "machine"))).seed));
      const monitor = join(sockets, `monitor-${index}`);
      const child = spawn(...commandOf(
        lan.prefix(index), ...ENDS_WITH_US, "qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", String(MEMORY_MIB), "-display", "none", "-no-reboot", "-serial", "stdio",
        "-monitor", `unix:${monitor},server,nowait`, "-rtc", `base=${new Date(Date.now() + clockOffsetMs).toISOString().slice(0, 19)}`,
        "-kernel", join(image, "vmlinuz"), "-initrd", join(image, "initramfs"), "-append", await wordsOf(index), "-drive", `if=virtio,format=raw,file=${disk}`,
        "-netdev", `tap,id=n0,ifname=${lan.port(index)},script=no,downscript=no`, "-device", `virtio-net-pci,netdev=n0,mac=52:54:00:77:00:${(index + 1).toString(16).padStart(2, "0")},romfile=`,
      ), { stdio: ["ignore", "pipe", "pipe"], detached: true });
      return guestOf(child, monitor, join(folder, "serial"), abort);
    },
    [Symbol.asyncDispose]: async () => {
      host.stdin.end();
      await ended;
    },
  };
}

const commandOf = (prefix: readonly string[], ...words: readonly string[]): [string, string[]] => {
  const [program, ...rest] = [...prefix, ...words];
  return [program!, rest];
};

/** Resolves when it accepts work. Its doors are the caller's: it has addresses of its own. */
async function guestOf(child: ChildProcess, monitor: string, serialFile: string, abort: AbortSignal | undefined): Promise<MachineProcess> {
  const lines: string[] = [];
  for (const stream of [child.stdout!, child.stderr!]) createInterface({ input: stream }).on("line", (line) => void lines.push(line));
  const closed = once(child, "close");
  let isClosed = false;
  void closed.then(() => (isClosed = true));
  const output = (): string => lines.join("\n");
  const signal = (name: NodeJS.Signals): void => {
    try {
      process.kill(-child.pid!, name);
    } catch {
      // It has ended.
    }
  };
  const stop = async (name: NodeJS.Signals = "SIGINT"): Promise<void> => {
    if (name === "SIGINT") pressPower(monitor);
    else signal(name);
    const timer = setTimeout(() => signal("SIGKILL"), OFF_MS_MAX);
    await closed;
    clearTimeout(timer);
    await writeFile(serialFile, output());
  };
  const kill = (): void => signal("SIGKILL");
  abort?.addEventListener("abort", kill, { once: true });
  using _ = { [Symbol.dispose]: () => abort?.removeEventListener("abort", kill) };
  if (abort?.aborted) kill();
  for (const endMs = performance.now() + START_MS_MAX; !/ agent +\d+ ms accepts work/.test(output()); await sleep(LOOK_MS)) {
    if (!isClosed && performance.now() < endMs) continue;
    kill();
    throw new Error(`The guest ${isClosed ? "ended before it accepted work" : `did not accept work within ${START_MS_MAX} ms`}:\n${lines.slice(-40).join("\n")}`);
  }
  return { process: child, api: "", httpPort: 0, output, signal, stop };
}

function pressPower(monitor: string): void {
  const socket = createConnection(monitor, () => socket.end("system_powerdown\n"));
  socket.on("error", () => {}).resume();
}

/** Its operator makes the machine one of the grid, once; `api` is that of any machine. */
export async function registerGuest(site: Site, index: number, api: string): Promise<void> {
  const keys = join(site.directory, String(index), "keys");
  const [operator, machine] = await Promise.all([openKey(join(keys, "operator")), openKey(join(keys, "machine"))]);
  await using client = new ApiClient({ url: api, signer: { address: operator.address, seed: operator.seed }, signal: AbortSignal.timeout(TRANSACTION_MS) });
  const { machines } = (await (await fetch(`${api}/v1/machines`, { signal: AbortSignal.timeout(TRANSACTION_MS) })).json()) as { machines: readonly { id: string }[] };
  if (machines.some(({ id }) => id === addressText(machine.address))) return;
  const [status, { nonce }] = await Promise.all([client.status(), client.account(addressText(operator.address))]);
  const chain = chainId(fromHex(status.chainId));
  const { region, pricePerGibSecond, pricePerCoreSecond, bond } = DEVELOPMENT_OFFER;
  const offered = { ...OFFER, region, cpuModel: "" };
  const op = { kind: "registerMachine", ...signMachineProof(machine.seed, chain, operator.address), ...OFFER, region, pricePerGibSecond, pricePerCoreSecond, bond: bond(offered) } as const;
  const body = { chainId: chain, sender: operator.address, nonce, validUntilMs: BigInt(Date.now() + TRANSACTION_MS), fee: FEE, ops: [op] };
  await client.submit(signTransaction(body, [operator.seed]), { wait: "final" });
}
