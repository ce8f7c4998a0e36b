/** The next kernel and the clock: kexec_file_load(2), clock_settime(2). The end itself (sync, reboot) is PID 1's: sandbox/native/init. */
import { addressOfBytes, calls, checked } from "./calls.ts";

const SYS_KEXEC_FILE_LOAD = 320n;

/** Lays a kernel ready for the end of the machine that asks for it (os/boot/ending.ts): of two open files that nobody has open for writing. */
export function loadNextKernel(kernel: number, initramfs: number, commandLine: string): void {
  const line = new TextEncoder().encode(`${commandLine}\0`);
  checked("load the next kernel", calls().syscall(SYS_KEXEC_FILE_LOAD, BigInt(kernel), BigInt(initramfs), BigInt(line.length), addressOfBytes(line), 0n, 0n));
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
