/** One boot as a way of `npm run test:boot` has it: until it accepts work, what the way looks at, and off by its button; and what machines boot from. */
import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { addressText } from "#chain/codec/address.ts";
import { type KeyPair, keyPair } from "#os/keys.ts";
import { type Qemu, type QemuOptions, startQemu } from "./qemu.ts";

export const JOIN_MS_MAX = 240_000;
const OFF_MS_MAX = 60_000;
const FIRMWARE = "/usr/share/OVMF";
/** Of whom the money of a machine's own chain is. */
export const OWNER: KeyPair = keyPair(new Uint8Array(32).fill(9));
export const WORDS: readonly string[] = [`godwit.alone=${addressText(OWNER.address)}`, "no_timer_check", "panic=-1"];

export type Facts = Readonly<Record<string, unknown>>;
/** `plain`: an image with WORDS for all targets but the CD. */
export type Stage = { readonly work: string; readonly plain: string; signed(): Promise<string>; /** Names no chain: the network does. */ bare(): Promise<string> };

export const accepts = (machine: Qemu): Promise<unknown> => machine.printed(/ agent +\d+ ms accepts work/, JOIN_MS_MAX);

export async function boots(options: QemuOptions, then?: (machine: Qemu) => Promise<Facts | void>): Promise<Facts> {
  await using machine = await startQemu(options);
  const healthz = await machine.answered(machine.apiPort, "/healthz", JOIN_MS_MAX);
  await accepts(machine);
  const joinedMs = performance.now() - machine.startedMs;
  const more = (await then?.(machine)) ?? {};
  await switchedOff(machine);
  return { healthzMs: Math.round(healthz.atMs), joinedMs: Math.round(joinedMs), ...more };
}

export async function switchedOff(machine: Qemu): Promise<void> {
  await machine.monitor("system_powerdown");
  const code = await Promise.race([machine.off, sleep(OFF_MS_MAX, "still on", { ref: false })]);
  assert.equal(code, 0, machine.serial().slice(-1500));
}

/** `keeps`: what the machine writes to the stick stays on it. */
export const stick = (image: string, keeps = false): string[] => ["-device", "qemu-xhci", "-drive", `if=none,id=stick,format=raw,snapshot=${keeps ? "off" : "on"},file=${image}`, "-device", "usb-storage,drive=stick,bootindex=0"];

export function uefi(work: string, code = "OVMF_CODE_4M.fd", variables = "OVMF_VARS_4M.fd"): string[] {
  const copy = join(mkdtempSync(join(work, "vars-")), "vars.fd");
  copyFileSync(join(FIRMWARE, variables), copy);
  return [
    "-global", "driver=cfi.pflash01,property=secure,value=on",
    "-drive", `if=pflash,format=raw,unit=0,readonly=on,file=${join(FIRMWARE, code)}`, "-drive", `if=pflash,format=raw,unit=1,file=${copy}`,
  ];
}
export const secure = (work: string): string[] => uefi(work, "OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.snakeoil.fd");
