/**
 * Where this machine's key outlives the power: the memory of its TPM, or a marked partition; else nowhere, and each boot is another machine to the ledger.
 *
 * The key is made once, by the machine that is to have it, and leaves its place only into the data folder, which is memory. A place that was named on the command line
 * (`godwit.key=`) must be there and must work: a machine that is known to have an identity does not come up as a stranger. Without the word, the first place that is
 * there is taken, and one that fails is told and passed over.
 */
import { randomBytes } from "node:crypto";
import { closeSync, existsSync, openSync, readFileSync, readSync, writeSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { hex } from "#chain/types.ts";
import { AgentError, codeOf, messageOf } from "../error.ts";
import { writeWhole } from "../keys.ts";
import type { KeyPlaceName } from "./cmdline.ts";
import { findKeyPartition, readKey, writeKey } from "./keyPartition.ts";
import { type TpmWire, readSecret, writeSecret } from "./tpm.ts";

export type KeyPlace = { readonly name: KeyPlaceName; /** Null: it holds none. */ read(): Promise<Uint8Array | null>; /** Over `before`, where that is there. */ write(seed: Uint8Array, before?: Uint8Array): Promise<void> };
/** Null: this machine has no such place. */
export type FindPlace = (waitMs: number) => Promise<KeyPlace | null>;

/** A stick that was named is waited for: its bus is slow to come up. */
const NAMED_WAIT_MS = 20_000;
/** A stick that nobody named is there by then, or is not looked for: others wait for this machine. */
const UPTIME_MS = 6_000;
const LOOK_MS = 100;
const TPM_FILES = ["/dev/tpmrm0", "/dev/tpm0"] as const;
const TPM_ANSWER_BYTES_MAX = 4_096;

/** The key in `keysFolder/machine`, from wherever it is kept; what to tell of it. */
export async function settleMachineKey(keysFolder: string, wanted: KeyPlaceName | "none" | null, places: Readonly<Record<KeyPlaceName, FindPlace>> = PLACES, uptimeMs: () => number = uptime): Promise<string> {
  const file = join(keysFolder, "machine");
  if (existsSync(file)) return "as before";
  if (wanted === "none") return "in memory: the next boot is another machine";
  const told: string[] = [];
  for (const name of wanted === null ? (["tpm", "partition"] as const) : [wanted]) {
    try {
      const place = await places[name](wanted === null ? Math.max(0, UPTIME_MS - uptimeMs()) : NAMED_WAIT_MS);
      if (place === null) {
        if (wanted !== null) throw new AgentError("key_place_missing", `Cannot find the machine key: godwit.key=${name} is on the command line, and this machine has none`);
        continue;
      }
      const { seed, isNew } = await seedOf(place);
      await mkdir(keysFolder, { recursive: true, mode: 0o700 });
      await writeWhole(file, new TextEncoder().encode(`${hex(seed)}\n`));
      return [...told, `${isNew ? "made, and kept in" : "from"} the ${name === "tpm" ? "TPM" : "partition"}`].join("; ");
    } catch (error) {
      if (wanted !== null) throw error;
      told.push(`${codeOf(error)}: ${messageOf(error)}`);
    }
  }
  return [...told, "in memory: the next boot is another machine"].join("; ");
}

/** Puts `next` in the place that keeps `before`; where that was. */
export async function replaceMachineKey(before: Uint8Array, next: Uint8Array, places: Readonly<Record<KeyPlaceName, FindPlace>> = PLACES): Promise<string> {
  for (const name of ["tpm", "partition"] as const) {
    const place = await places[name](0);
    const kept = (await place?.read().catch(() => null)) ?? null;
    if (place === null || kept === null || Buffer.compare(kept, before) !== 0) continue;
    await place.write(next, before);
    const again = await place.read();
    if (again === null || Buffer.compare(again, next) !== 0) throw new AgentError("key_place_broken", `Cannot keep the machine key: what the ${place.name} gives back is not what was written`);
    return `kept in the ${name === "tpm" ? "TPM" : "partition"}`;
  }
  return "in memory: the next boot is another machine";
}

async function seedOf(place: KeyPlace): Promise<{ readonly seed: Uint8Array; readonly isNew: boolean }> {
  const kept = await place.read();
  if (kept !== null) return { seed: kept, isNew: false };
  const seed = new Uint8Array(randomBytes(32));
  await place.write(seed);
  const again = await place.read();
  if (again === null || Buffer.compare(again, seed) !== 0) throw new AgentError("key_place_broken", `Cannot keep the machine key: what the ${place.name} gives back is not what was written`);
  return { seed, isNew: true };
}

const PLACES: Readonly<Record<KeyPlaceName, FindPlace>> = {
  tpm: async () => {
    const file = TPM_FILES.find(existsSync);
    if (file === undefined) return null;
    const withTpm = async <Result>(work: (wire: TpmWire) => Promise<Result>): Promise<Result> => {
      using wire = tpmAt(file);
      return await work(wire);
    };
    return { name: "tpm", read: () => withTpm(readSecret), write: (seed) => withTpm((wire) => writeSecret(wire, seed)) };
  },
  partition: async (waitMs) => {
    for (const until = performance.now() + waitMs; ;) {
      const device = findKeyPartition();
      if (device !== null) return { name: "partition", read: () => readKey(device), write: (seed, before) => writeKey(device, seed, before) };
      if (performance.now() >= until) return null;
      await sleep(LOOK_MS);
    }
  },
};

/** One command is one write, its answer one read. */
const tpmAt = (file: string): TpmWire & Disposable => {
  const descriptor = openSync(file, "r+");
  const wire = async (command: Uint8Array): Promise<Uint8Array> => {
    writeSync(descriptor, command);
    const answer = new Uint8Array(TPM_ANSWER_BYTES_MAX);
    return answer.subarray(0, readSync(descriptor, answer));
  };
  return Object.assign(wire, { [Symbol.dispose]: () => closeSync(descriptor) });
};

const uptime = (): number => Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]) * 1000;

