/** File systems of the kernel: mount(2) and umount2(2) with the flags by name. The place is made where it is missing. */
import { mkdirSync } from "node:fs";
import { calls, checked } from "./calls.ts";

export type MountFlag = "readOnly" | "noSuid" | "noDev" | "noExec" | "remount" | "bind" | "private" | "recursive";
const FLAGS: Readonly<Record<MountFlag, number>> = { readOnly: 1, noSuid: 2, noDev: 4, noExec: 8, remount: 32, bind: 4096, recursive: 16_384, private: 262_144 };

export type Mount = { readonly source: string; readonly target: string; readonly type: string; readonly flags?: readonly MountFlag[]; readonly options?: string };

export function mount({ source, target, type, flags = [], options = "" }: Mount): void {
  mkdirSync(target, { recursive: true });
  const bits = flags.reduce((sum, flag) => sum | FLAGS[flag], 0);
  checked(`mount ${type || source} on ${target}`, calls().mount(source, target, type, BigInt(bits), options));
}

/** Takes it away at once for new opens, and for good when the last file on it is closed. */
export function unmount(target: string): void {
  const DETACH = 2;
  checked(`unmount ${target}`, calls().umount2(target, DETACH));
}
