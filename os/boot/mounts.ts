/**
 * The file systems of a machine and the settings of its kernel, as tables. PID 1 has mounted the root, /dev and /proc before.
 *
 * The root is read-only; what is written is in memory: /var (the data folder), /run, /tmp. None of it outlives the power.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { type Mount, mount } from "../linux/mount.ts";

const MOUNTS: readonly Mount[] = [
  { source: "sysfs", target: "/sys", type: "sysfs", flags: ["noSuid", "noDev", "noExec"] },
  { source: "securityfs", target: "/sys/kernel/security", type: "securityfs", flags: ["noSuid", "noDev", "noExec"] },
  { source: "cgroup2", target: "/sys/fs/cgroup", type: "cgroup2", flags: ["noSuid", "noDev", "noExec"] },
  { source: "devpts", target: "/dev/pts", type: "devpts", flags: ["noSuid", "noExec"], options: "mode=620,ptmxmode=666" },
  { source: "shm", target: "/dev/shm", type: "tmpfs", flags: ["noSuid", "noDev"], options: "mode=1777" },
  { source: "run", target: "/run", type: "tmpfs", flags: ["noSuid", "noDev"], options: "mode=755" },
  { source: "tmp", target: "/tmp", type: "tmpfs", flags: ["noSuid", "noDev"], options: "mode=1777" },
  { source: "var", target: "/var", type: "tmpfs", flags: ["noSuid", "noDev"], options: "mode=755" },
];

/** Value by file under /proc/sys; each with its reason. */
const SETTINGS: readonly (readonly [path: string, value: string, why: string])[] = [
  ["vm/max_map_count", "1048576", "three or four mappings for each resident deployment and instance"],
  ["net/core/somaxconn", "65535", "clients wait in the backlog while the runner starts again"],
  ["kernel/panic", "10", "a machine nobody looks at comes back by itself"],
  ["kernel/panic_on_oops", "1", "a kernel with a known fault inside is not to be trusted"],
  ["kernel/kptr_restrict", "2", "addresses of the kernel are nobody's business"],
];

/** The number of file systems mounted; those that are mounted already count too. */
export function mountAll(): number {
  const mounted = new Set(readFileSync("/proc/mounts", "utf8").split("\n").map((line) => line.split(" ")[1]));
  for (const one of MOUNTS) if (!mounted.has(one.target)) mount(one);
  return MOUNTS.length;
}

/** Those that this kernel does not have. */
export function applySettings(): string[] {
  const refused: string[] = [];
  for (const [path, value] of SETTINGS) {
    try {
      writeFileSync(`/proc/sys/${path}`, value);
    } catch {
      refused.push(path);
    }
  }
  return refused;
}
