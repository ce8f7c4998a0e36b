/**
 * What this machine has to offer: memory and CPU that leases may take, read once at the start.
 *
 * Leases never get all of it: MEMORY_RESERVED_MIB are the agent's and the runner's own, and a share stays free for the kernel,
 * caches and compiles. A limit of a container (cgroup) counts where it is below what the computer has.
 */
import { readFile } from "node:fs/promises";
import { availableParallelism, cpus, totalmem } from "node:os";
import { MEMORY_HEADROOM_PERCENT, MEMORY_RESERVED_MIB } from "./limits.ts";

export type Inventory = {
  readonly memoryMib: number;
  readonly cpuMillis: number;
  readonly cpuModel: string;
  readonly region: string;
};
const MIB = 1024 * 1024;
/** The control group's limits as files: version 2, then version 1. */
const MEMORY_LIMIT_FILES = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

export async function takeInventory(region: string): Promise<Inventory> {
  const present = Math.min(totalmem(), ...(await Promise.all(MEMORY_LIMIT_FILES.map(readLimit))));
  return { memoryMib: offeredMemoryMib(present / MIB), cpuMillis: availableParallelism() * 1000, cpuModel: cpus()[0]?.model ?? "unknown", region };
}

function offeredMemoryMib(presentMib: number): number {
  const offered = Math.floor((presentMib * (100 - MEMORY_HEADROOM_PERCENT)) / 100) - MEMORY_RESERVED_MIB;
  return Math.max(0, offered);
}

async function readLimit(path: string): Promise<number> {
  const text = await readFile(path, "utf8").catch(() => "max");
  return /^[0-9]+\s*$/.test(text) ? Number(text) : Number.POSITIVE_INFINITY;
}
