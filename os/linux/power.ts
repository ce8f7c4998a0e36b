/** The last things a machine does, and its clock: sync(2), reboot(2), kexec_file_load(2), clock_settime(2). */
import { closeSync, openSync } from "node:fs";
import { addressOfBytes, calls, checked } from "./calls.ts";

/** `kexec` starts the kernel that `loadNextKernel` laid ready; without one it fails with EINVAL. */
export type Ending = "restart" | "powerOff" | "kexec";
const COMMANDS: Readonly<Record<Ending, number>> = { restart: 0x01234567, powerOff: 0x4321fedc, kexec: 0x45584543 };
const SYS_KEXEC_FILE_LOAD = 320n;

export function syncDisks(): void {
  calls().sync();
}

/** Does not return where it works. What is not synced is lost: `syncDisks` first. */
export function endMachine(how: Ending): void {
  checked(`make the machine ${how}`, calls().reboot(COMMANDS[how] | 0));
}

/** Lays a kernel ready for `endMachine("kexec")`. */
export function loadNextKernel(kernelFile: string, initramfsFile: string, commandLine: string): void {
  const line = new TextEncoder().encode(`${commandLine}\0`);
  const kernel = openSync(kernelFile, "r");
  try {
    const initramfs = openSync(initramfsFile, "r");
    try {
      checked(`load the kernel ${kernelFile}`, calls().syscall(SYS_KEXEC_FILE_LOAD, BigInt(kernel), BigInt(initramfs), BigInt(line.length), addressOfBytes(line), 0n, 0n));
    } finally {
      closeSync(initramfs);
    }
  } finally {
    closeSync(kernel);
  }
}

/** Sets the clock of the machine. */
export function setClock(timeMs: number): void {
  const CLOCK_REALTIME = 0;
  const time = new Uint8Array(16);
  const view = new DataView(time.buffer);
  view.setBigInt64(0, BigInt(Math.floor(timeMs / 1000)), true);
  view.setBigInt64(8, BigInt(Math.floor(timeMs % 1000)) * 1_000_000n, true);
  checked("set the clock", calls().clock_settime(CLOCK_REALTIME, time));
}
