/**
 * Machines in QEMU's software emulation, seen from outside: serial line, forwarded ports, monitor. Needs no root and no KVM.
 *
 * Everything that is started ends with the test. The serial line is read from a file: a machine never waits for a reader.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "#tools/chain/machines.ts";
import { atExit } from "./leftovers.ts";

const LOOK_MS = 50;
const TEXT_MEMORY_AT = "0xb8000";
const TEXT_MEMORY_BYTES = 32_768;
/** The monitor has said all that it says when it is silent for so long. */
const MONITOR_SILENT_MS = 300;
const ANSWER_MS_MAX = 2_000;
/** One each LOOK_MS, as long as they last. */
const ASKED_AT_ONCE_MAX: number = ANSWER_MS_MAX / LOOK_MS;
/** Emulated machines: without hardware timers that QEMU keeps busy hosts waiting for. */
export const TEST_WORDS: readonly string[] = ["console=tty0", "console=ttyS0", "panic=-1", "loglevel=4", "printk.devkmsg=on", "rdinit=/init", "no_timer_check"];

export type Qemu = {
  readonly apiPort: number;
  readonly httpPort: number;
  readonly startedMs: number;
  readonly process: ChildProcess;
  /** Exit code, when the machine is off. */
  readonly off: Promise<number | null>;
  serial(): string;
  printed(pattern: RegExp, timeoutMs: number): Promise<RegExpExecArray>;
  get(port: number, path: string, host?: string): Promise<{ status: number; body: string } | null>;
  /** The first answer at all. */
  answered(port: number, path: string, timeoutMs: number, isRight?: (answer: { status: number; body: string }) => boolean): Promise<{ status: number; body: string; atMs: number }>;
  monitor(command: string): Promise<void>;
  /** What stands on the screen of a PC in text mode, all of its memory: lines of one screen, and others. */
  screenText(): Promise<string>;
  [Symbol.asyncDispose](): Promise<void>;
};
export type QemuOptions = {
  readonly memoryMib?: number;
  /** What boots: `-kernel`, `-initrd`, drives, firmware. */
  readonly boot: readonly string[];
  /** A restart of the machine is one, and not the end of it. */
  readonly reboots?: boolean;
  /** Default: one virtio card behind QEMU's own router. */
  readonly network?: (forward: string) => readonly string[];
};

export const directBoot = (folder: string, words: readonly string[]): string[] =>
  ["-kernel", join(folder, "vmlinuz"), "-initrd", join(folder, "initramfs"), "-append", [...TEST_WORDS, ...words].join(" ")];
const oneCard = (forward: string): string[] => ["-netdev", `user,id=n0${forward}`, "-device", "virtio-net-pci,netdev=n0,romfile="];

export async function startQemu({ memoryMib = 1024, boot, network = oneCard, reboots = false }: QemuOptions): Promise<Qemu> {
  const folder = mkdtempSync(join(tmpdir(), "godwit-qemu-"));
  const [apiPort, httpPort] = [await freePort(), await freePort()];
  const serialFile = join(folder, "serial");
  const monitorSocket = join(folder, "monitor");
  writeFileSync(serialFile, "");
  const startedMs = performance.now();
  const child = spawn("qemu-system-x86_64", [
    "-M", "q35,smm=on", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", String(memoryMib), "-display", "none", ...(reboots ? [] : ["-no-reboot"]),
    "-serial", `file:${serialFile}`, "-monitor", `unix:${monitorSocket},server,nowait`, ...boot, ...network(`,hostfwd=tcp:127.0.0.1:${apiPort}-:7480,hostfwd=tcp:127.0.0.1:${httpPort}-:80`),
  ], { stdio: ["ignore", "ignore", "pipe"] });
  const leftover = atExit(() => void child.kill("SIGKILL"));
  let complaints = "";
  child.stderr.on("data", (chunk: Buffer) => (complaints += chunk.toString()));
  const off = once(child, "close").then(([code]) => code as number | null);
  const serial = (): string => readFileSync(serialFile, "latin1").replaceAll("\r", "");
  const within = async <Found>(what: string, timeoutMs: number, look: () => Promise<Found | null>): Promise<Found> => {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const found = await look();
      if (found !== null) return found;
      if (performance.now() > deadline || child.exitCode !== null) throw new Error(`Not seen ${child.exitCode === null ? `within ${timeoutMs} ms` : "before the machine was off"}: ${what}\n${complaints}${serial().slice(-4000)}`);
      await sleep(LOOK_MS);
    }
  };
  return {
    apiPort, httpPort, startedMs, process: child, off, serial, get,
    printed: (pattern, timeoutMs) => within(String(pattern), timeoutMs, async () => pattern.exec(serial())),
    answered: async (port, path, timeoutMs, isRight = () => true) => {
      // QEMU's router takes a question while nobody is there, and repeats it only after seconds: what costs nothing to answer is asked again before that.
      const atOnce = path === "/healthz" ? ASKED_AT_ONCE_MAX : 1;
      let found: { status: number; body: string; atMs: number } | null = null;
      let asking = 0;
      const ask = async (): Promise<void> => {
        if (asking >= atOnce || found !== null) return;
        asking += 1;
        const answer = await get(port, path);
        asking -= 1;
        if (answer !== null && isRight(answer)) found ??= { ...answer, atMs: performance.now() - startedMs };
      };
      return await within(`an answer of ${path}`, timeoutMs, async () => {
        void ask();
        return found;
      });
    },
    monitor: async (command) => void (await tellMonitor(monitorSocket, command)),
    screenText: async () => {
      const dump = await tellMonitor(monitorSocket, `xp /${TEXT_MEMORY_BYTES / 2}hx ${TEXT_MEMORY_AT}`);
      // A character in the low byte of each word, its colours in the high one.
      return [...dump.matchAll(/0x([0-9a-f]{4})\b/g)].map(([, word]) => String.fromCharCode(Number.parseInt(word!.slice(2), 16))).join("");
    },
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await off;
      leftover[Symbol.dispose]();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Null: nobody answers yet. QEMU's router takes connections before the machine listens. */
function get(port: number, path: string, host?: string): Promise<{ status: number; body: string } | null> {
  return new Promise((resolve) => {
    const sent = request({ host: "127.0.0.1", port, path, agent: false, timeout: ANSWER_MS_MAX, ...(host === undefined ? {} : { headers: { host } }) }, (response: IncomingMessage) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text: string) => (body += text)).on("end", () => resolve({ status: response.statusCode ?? 0, body })).on("error", () => resolve(null));
    });
    sent.on("timeout", () => sent.destroy()).on("error", () => resolve(null)).end();
  });
}

/** Resolves with what the monitor answers, when it says no more. */
function tellMonitor(path: string, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = "";
    let timer: NodeJS.Timeout | undefined;
    const again = (): void => {
      clearTimeout(timer);
      timer = setTimeout(() => socket.end(() => resolve(said)), MONITOR_SILENT_MS);
    };
    const socket = createConnection(path, () => socket.write(`${command}\n`, again));
    socket.on("error", reject).on("data", (chunk: Buffer) => {
      said += chunk.toString("latin1");
      again();
    });
  });
}
