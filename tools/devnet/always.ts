/**
 * What befalls a devnet in every chaos, whatever its seed: the machine that took an upload is killed right after the deploy was done, and claims
 * for the time that it was dead; the chain stands still for a minute; all machines are off at once; a disk is full; a data folder is of another version.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, readdirSync, renameSync, rmSync, rmdirSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { addressText } from "#chain/codec/address.ts";
import { signTransaction } from "#chain/codec/transaction.ts";
import { address, chainId, fromHex } from "#chain/types.ts";
import { openKey } from "#os/keys.ts";
import { allUp } from "#tools/bench/heal.ts";
import { ApiClient } from "#tools/cli/client.ts";
import { type Devnet, DevnetError } from "./devnet.ts";
import { type Load, type Place, serving } from "./load.ts";
import type { Fault } from "./schedule.ts";
import { deployThere } from "./uploader.ts";

const TOKEN = 1_000_000_000n;
const HALT_MS = 60_000;
const BLACKOUT_MS = 2_000;
const HEAL_MS_MAX = 30_000;
const WELL_MS_MAX = 60_000;
/** Money seconds are whole ones, and the last beat is up to half a second old. */
const END_SECONDS_MAX = 2n;
/** What a machine writes while its disk is being made ready. */
const DISK_MARGIN_MIB = 24;

/** What `chaos.ts` lends: where things are, and how a verdict is given. */
export type Stage = {
  readonly devnet: Devnet;
  readonly places: readonly Place[];
  readonly load: Load;
  begin(fault: string): void;
  befall(fault: Fault): Promise<void>;
  holds(promise: string, timeoutMs: number, look: () => Promise<true | null>): Promise<boolean>;
  say(promise: string, isKept: boolean, said: string, tookMs?: number | null): Promise<void>;
  get(api: string, path: string): Promise<unknown>;
};

/** `seed` chooses the machines. */
export async function befallAlways(stage: Stage, seed: number): Promise<void> {
  const count = stage.places.length;
  const machine = (nth: number): number => (seed + nth) % count;
  await uploaderKilled(stage, machine(0));
  const third = Math.floor((count - 1) / 3);
  await stage.befall({ kind: "halt", atMs: 0, durationMs: HALT_MS, machines: Array.from({ length: third + 1 }, (_, n) => machine(1 + n)).toSorted((a, b) => a - b), offsetMs: 0 });
  await stage.befall({ kind: "blackout", atMs: 0, durationMs: BLACKOUT_MS, machines: Array.from({ length: count }, (_, n) => n), offsetMs: 0 });
  await diskFull(stage, machine(2));
  await otherVersion(stage, machine(3));
}

type Bill = { readonly paid: string; readonly segments: readonly { readonly machine: string; readonly rate: string; readonly seconds: string; readonly amount: string; readonly end: string | null }[] };

async function uploaderKilled(stage: Stage, index: number): Promise<void> {
  const { devnet, places, load } = stage;
  const [name, self] = [devnet.names[index]!, addressText(devnet.site.machines[index]!)];
  stage.begin(`uploader killed ${name}`);
  const { api } = places[(index + 1) % places.length]!;
  const deployed = await deployThere(devnet.site, places[index]!.api, index, `uploader${index}`, "Still here").catch((error: unknown) => error as Error);
  if (deployed instanceof Error) return stage.say("a deploy is reported done", false, deployed.message);
  load.spare([index]);
  const secondThen = BigInt(((await stage.get(api, "/v1/status")) as { moneySecondNow: string }).moneySecondNow);
  await devnet.kill([name]);
  await claim(stage, index, api, deployed.id);
  await stage.holds("what was deployed outlives the machine that took the upload", HEAL_MS_MAX, async () => {
    const on = await serving(devnet.site, places, api, deployed);
    return on !== null && !on.includes(index) ? true : null;
  });
  await claim(stage, index, api, deployed.id);
  const { segments } = (await stage.get(api, `/v1/deployments/${deployed.id}/bill`)) as Bill;
  const own = segments.filter((segment) => segment.machine === self);
  const isExact = own.every(({ rate, seconds, amount, end }) => end !== null && BigInt(end) <= secondThen + END_SECONDS_MAX && BigInt(rate) * BigInt(seconds) === BigInt(amount));
  await stage.say("a machine that claims while it is dead is paid up to its last beat", own.length > 0 && isExact, `killed in money second ${secondThen}: ${JSON.stringify(own)}`);
  await devnet.start([name]);
  await stage.holds("every machine is up again", WELL_MS_MAX, async () => (await allUp(places, places.length)) || null);
  load.count([index]);
}

/** By the operator of the machine, through another one; that it is refused is an answer too. */
async function claim({ devnet }: Stage, index: number, api: string, id: string): Promise<void> {
  const { seed, address: sender } = await openKey(join(devnet.site.directory, String(index), "keys", "operator"));
  try {
    await using client = new ApiClient({ url: api, signer: { address: sender, seed } });
    const [status, { nonce }] = await Promise.all([client.status(), client.account(addressText(sender))]);
    const body = { chainId: chainId(fromHex(status.chainId)), sender, nonce, validUntilMs: BigInt(Date.now()) + 30_000n, fee: TOKEN / 1_000n, ops: [{ kind: "claim", deploymentId: address(fromHex(id)), index: 0 } as const] };
    await client.submit(signTransaction(body, [seed]), { wait: "final" });
  } catch {
    // The claim's fate is the ledger's: the bill says what was paid.
  }
}

/** The data folder of a machine on a small disk of its own, which is filled: the machine says so and signs nothing more; with room again it goes on. */
async function diskFull(stage: Stage, index: number): Promise<void> {
  const { devnet, places, load } = stage;
  const name = devnet.names[index]!;
  stage.begin(`disk full ${name}`);
  const folder = join(devnet.site.directory, String(index));
  load.spare([index]);
  await devnet.kill([name]);
  const disk = smallDisk(folder);
  if (disk === null) {
    await devnet.start([name]);
    load.count([index]);
    return stage.say("a full disk stops its machine with a clear error", true, "not tried: only root can mount a small disk");
  }
  try {
    await devnet.start([name]);
    await stage.holds("every machine is up again", WELL_MS_MAX, async () => (await allUp(places, places.length)) || null);
    fill(join(folder, "filler"));
    const said = (): string | undefined => /.*(?:store_write_failed|ENOSPC).*/.exec(devnet.output(index))?.[0];
    await stage.holds("a full disk stops its machine with a clear error", WELL_MS_MAX, async () => (said() === undefined ? null : true));
    const others = places.filter((_, at) => at !== index);
    const heights = async (): Promise<number[]> => Promise.all(others.map(async ({ api }) => ((await stage.get(api, "/v1/blocks/latest")) as { height: number }).height));
    const then = Math.max(...(await heights()));
    await stage.holds("the others go on without it", WELL_MS_MAX, async () => ((await heights()).every((height) => height > then) ? true : null));
    await devnet.kill([name]);
    rmSync(join(folder, "filler"));
    await devnet.start([name]);
    await stage.holds("with room again its store is whole, and it goes on", WELL_MS_MAX, async () => {
      const { halted, head } = (await stage.get(places[index]!.api, "/v1/status")) as { halted: string | null; head: { height: number } };
      return halted === null && head.height > then ? true : null;
    });
  } finally {
    await devnet.kill([name]);
    disk.giveBack();
    await devnet.start([name]);
  }
  await stage.holds("every machine is up again", WELL_MS_MAX, async () => (await allUp(places, places.length)) || null);
  load.count([index]);
}

/** Moves the folder onto a disk in memory that has little more room than it needs; null: only root can. */
function smallDisk(folder: string): { giveBack(): void } | null {
  if (process.getuid?.() !== 0) return null;
  const run = (program: string, ...words: string[]): string => {
    const { status, stdout, stderr } = spawnSync(program, words, { encoding: "utf8" });
    if (status !== 0) throw new DevnetError("disk_failed", `${program} ${words.join(" ")} failed: ${stderr}`);
    return stdout;
  };
  const whole = `${folder}.whole`;
  renameSync(folder, whole);
  mkdirSync(folder, { mode: 0o700 });
  const usedMib = Math.ceil(Number(run("du", "-sk", whole).split("\t")[0]) / 1024);
  run("mount", "-t", "tmpfs", "-o", `size=${usedMib + DISK_MARGIN_MIB}m,mode=700`, "tmpfs", folder);
  run("cp", "-a", `${whole}/.`, folder);
  return {
    giveBack: () => {
      rmSync(whole, { recursive: true });
      run("cp", "-a", folder, whole);
      run("umount", "-l", folder);
      rmdirSync(folder);
      renameSync(whole, folder);
    },
  };
}

function fill(path: string): void {
  const file = openSync(path, "w");
  try {
    for (const chunk = new Uint8Array(1024 * 1024); ;) writeSync(file, chunk);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
  } finally {
    closeSync(file);
  }
}

/** A folder that a newer program wrote is refused by its name, and not one byte of it is changed. */
async function otherVersion(stage: Stage, index: number): Promise<void> {
  const { devnet, places, load } = stage;
  const name = devnet.names[index]!;
  stage.begin(`another version ${name}`);
  load.spare([index]);
  await devnet.kill([name]);
  const chain = join(devnet.site.directory, String(index), "chain");
  const [file, own] = [join(chain, "version"), readFileSync(join(chain, "version"))];
  writeFileSync(file, "999\n");
  const before = hashOf(chain);
  const refused = await devnet.start([name]).then(() => "it started", (error: Error) => error.message);
  await stage.say("a data folder of another version is refused by its code and left as it is", refused.includes("data_folder_version") || /of version 999/.test(refused) ? hashOf(chain) === before : false, refused.split("\n").find((line) => line.includes("version")) ?? refused.slice(0, 200));
  writeFileSync(file, own);
  await devnet.start([name]);
  await stage.holds("every machine is up again", WELL_MS_MAX, async () => (await allUp(places, places.length)) || null);
  load.count([index]);
}

function hashOf(folder: string): string {
  const hash = createHash("sha256");
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true }).filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name)).toSorted()) {
    if (existsSync(entry)) hash.update(entry).update(readFileSync(entry));
  }
  return hash.digest("hex");
}
