/** What of the sandbox's walls this computer has, and what it means where one is missing. Changes nothing. */
import { readFileSync } from "node:fs";
import { release } from "node:os";
import { attackFromRunner, type Walls } from "./attack.ts";
import { type Controller, makeGroup } from "./cgroup.ts";

export type Finding = { readonly name: string; readonly holds: boolean; readonly value: string | number | boolean; readonly meaning: string };

const CONTROLLERS: readonly Controller[] = ["memory", "pids"];
/** Mappings of one resident deployment and of one instance, and what a full runner has of both. */
const MAPS_MIN = 65_530;
const DESCRIPTORS_MIN = 4_096;
/** The first kernel with all that is wanted of it: landlock with scopes for signals; ioctl PAGEMAP_SCAN. */
const LANDLOCK_WANTED = 6;
const PAGEMAP_SCAN_KERNEL = [6, 7] as const;
const OVERCOMMIT_NEVER = 2;

/** Throws native_missing, and runner_failed when no runner can start here at all. */
export async function examine(): Promise<Finding[]> {
  const { walls } = await attackFromRunner();
  const group = makeGroup();
  await group?.remove();
  return [...wallFindings(walls), ...groupFindings(group), ...kernelFindings()];
}

function wallFindings(walls: Walls): Finding[] {
  const { landlock, landlockFull, network, processes, mounts, userNamespace, noNewPrivileges } = walls;
  return [
    { name: "landlock", holds: landlockFull && landlock >= LANDLOCK_WANTED, value: landlock, meaning: "no file can be opened, no TCP port used, no signal sent; without any of it no runner starts, with an old one seccomp alone denies what it does not know" },
    { name: "seccomp", holds: true, value: true, meaning: "system calls are on a list, on every thread; without it no runner starts" },
    { name: "no_new_privs", holds: noNewPrivileges, value: noNewPrivileges, meaning: "nothing that is executed gains rights; without it no runner starts" },
    { name: "network namespace", holds: network, value: network, meaning: "the runner's network is empty; without it only landlock and seccomp deny the network" },
    { name: "process namespace", holds: processes, value: processes, meaning: "the runner can name no process but its own; without it only seccomp denies signals and ptrace" },
    { name: "mount namespace", holds: mounts, value: mounts, meaning: "the runner's root folder is empty; without it names, sizes and times of files can be asked for, and nothing else" },
    { name: "user namespace", holds: true, value: userNamespace, meaning: "whether the namespaces were made by somebody who is not root, inside of one" },
    // The attack's runner got one, or it would have failed.
    { name: "sealed memory files", holds: true, value: true, meaning: "executed code cannot be changed by anybody; without them no deployment loads" },
  ];
}

function groupFindings(group: ReturnType<typeof makeGroup>): Finding[] {
  const held = group?.controllers ?? [];
  return [
    { name: "control groups", holds: CONTROLLERS.every((controller) => held.includes(controller)), value: group === null ? "none" : `version ${group.version}: ${held.join(", ")}`, meaning: "bound the runner's memory and threads as a whole; without them each deployment has its limits, and a runner that outgrows the computer may take others with it" },
  ];
}

function kernelFindings(): Finding[] {
  const maps = Number(text("/proc/sys/vm/max_map_count"));
  const descriptors = Number(/^Max open files\s+\S+\s+(\S+)/m.exec(text("/proc/self/limits"))?.[1] ?? 0);
  const overcommit = Number(text("/proc/sys/vm/overcommit_memory"));
  const [major = 0, minor = 0] = release().split(".").map(Number);
  const scans = major > PAGEMAP_SCAN_KERNEL[0] || (major === PAGEMAP_SCAN_KERNEL[0] && minor >= PAGEMAP_SCAN_KERNEL[1]);
  return [
    { name: "kernel", holds: true, value: release(), meaning: "Linux 5.13 is the least, for landlock" },
    { name: "PAGEMAP_SCAN", holds: scans, value: scans, meaning: "finds what an instance has written (Linux 6.7); without it an ended instance costs more time, and leaves as little" },
    { name: "vm.max_map_count", holds: maps >= MAPS_MIN, value: maps, meaning: `mappings of one process: three or four for each resident deployment and instance; under ${MAPS_MIN} fewer fit` },
    { name: "RLIMIT_NOFILE", holds: descriptors >= DESCRIPTORS_MIN, value: descriptors, meaning: "descriptors: one for each connection and two for each resident deployment" },
    { name: "vm.overcommit_memory", holds: overcommit !== OVERCOMMIT_NEVER, value: overcommit, meaning: "instances reserve 4 TiB of addresses that they never use; with 2 a runner may not start" },
  ];
}

function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
