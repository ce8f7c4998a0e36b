/**
 * The ways of `npm run test:boot` that go over the network: each firmware from our own server until the machine accepts work; and machines that join a chain through the
 * boot server, with a validator beside it.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { addressText } from "#chain/codec/address.ts";
import { keyPair } from "#os/keys.ts";
import { type Guest, type Lab, NETBOOT_WAYS, type NetbootWay, SERVER_ADDRESS, addressOfGuest, macOf, openNetbootLab } from "./netbootLab.ts";

const MAIN = join(import.meta.dirname, "..", "..", "tools", "cli", "main.ts");
/** A computer that is busy and slow takes ten times as long as one that is not. */
const JOINED_MS_MAX = 1_200_000;
const UP_MS_MAX = 900_000;
const LOOK_MS = 1_000;
const CHAIN_PORT = 7482;
const HELLO = join(import.meta.dirname, "..", "..", "workloads", "examples", "hello");

/** Power-on to accepting work, with words that only the server has: the chain is one of them. */
export async function netboots(way: NetbootWay, image: string, more: { readonly hasOtherDhcp?: boolean } = {}): Promise<Readonly<Record<string, unknown>>> {
  const owner = addressText(keyPair(new Uint8Array(32).fill(5)).address);
  await using lab = await openNetbootLab(image, 1, `no_timer_check panic=-1 godwit.alone=${owner}`, [], {}, more);
  const begun = performance.now();
  const guest = await lab.boot(1, way);
  await guest.seen(/ door +\d+ ms /, JOINED_MS_MAX);
  const healthzMs = Math.round(performance.now() - begun);
  await guest.seen(/ agent +\d+ ms accepts work/, JOINED_MS_MAX);
  const row = lab.rows.findLast(({ mac }) => mac === macOf(1));
  assert.deepEqual([row?.["way"], row?.["stage"], row?.["name"]], [way.way, "running", "guest1"]);
  assert.match(guest.lines.find((line) => / address +\d+ ms /.test(line)) ?? "", new RegExp(` eth0 ${addressOfGuest(1)}/24`));
  if (way.loads !== undefined) assert.ok(lab.rows.some(({ mac, note }) => mac === macOf(1) && note === way.loads), `nobody asked for ${way.loads}:\n${[...lab.rows.map((one) => JSON.stringify(one)), ...lab.errors].join("\n")}`);
  return { healthzMs, joinedMs: Math.round(performance.now() - begun) };
}

/** What else is tried: more words for QEMU, by machine, and what must be seen when all are up. */
type Check = { readonly words?: (index: number) => readonly string[]; readonly after?: (guests: readonly Guest[]) => Promise<void> };

/** One machine's clock is years ahead, the other's years behind: both join, and then have the time that a quorum of validators signed. */
export const joinsWithWrongClocks = (image: string): Promise<Readonly<Record<string, unknown>>> => joinsThroughServer(image, 2, {
  words: (index) => ["-rtc", index === 1 ? "base=2034-05-06T07:08:09" : "base=1999-01-02T03:04:05"],
  after: async ([ahead, behind]) => {
    await ahead!.seen(/ time +the clock was off by -\d+ s: set to what a quorum of validators signed/, UP_MS_MAX);
    await behind!.seen(/ time +\d+ ms .*set by \d+ ms to the time of the image/, UP_MS_MAX);
  },
});

/** `count` machines at once, which join one chain through the boot server and come up there; of three, one is then switched off. */
export async function joinsThroughServer(image: string, count: number, check: Check = {}): Promise<Readonly<Record<string, unknown>>> {
  const home = await mkdtemp(join(tmpdir(), "godwit-join-"));
  try {
    const environment = { HOME: home, GODWIT_DATA: join(home, "data") };
    const godwitBy = ([program, ...before]: readonly string[], ...words: readonly string[]): Record<string, string> => {
      const { status, stdout, stderr } = spawnSync(program ?? "", [...before, "--disable-warning=ExperimentalWarning", MAIN, ...words, "--json"], { encoding: "utf8", env: { ...process.env, ...environment } });
      assert.equal(status, 0, `${words.join(" ")}: ${stderr}`);
      return JSON.parse(stdout) as Record<string, string>;
    };
    const godwit = (...words: readonly string[]): Record<string, string> => godwitBy([process.execPath], ...words);
    const operator = godwit("account", "new", "operator")["address"] ?? "";
    const key = godwit("chain", "keys", join(home, "validator"))["consensusKey"] ?? "";
    const genesis = join(home, "genesis");
    godwit("chain", "genesis", genesis, "--name", "lab", "--validator", key, "--account", `${operator}=1000000`, "--delta-ms", "400");
    const words = ["--genesis", genesis, "--enrol", "--account", "operator", "--for", operator, "--api", `http://${addressOfGuest(1)}:7480`];
    await using lab = await openNetbootLab(image, count, `no_timer_check panic=-1 godwit.peer=${SERVER_ADDRESS}:${CHAIN_PORT}`, words, environment);
    const [program = "", ...before] = lab.prefix;
    const validator = spawn(program, [...before, process.execPath, "--disable-warning=ExperimentalWarning", MAIN, "chain", "validator", join(home, "validator"), "--genesis", genesis, "--listen", `${SERVER_ADDRESS}:${CHAIN_PORT}`], { stdio: "ignore", env: { ...process.env, ...environment } });
    try {
      const begun = performance.now();
      const guests = await Promise.all(Array.from({ length: count }, (_, at) => lab.boot(at + 1, NETBOOT_WAYS[0]!, { memoryMib: 768, words: check.words?.(at + 1) ?? [] })));
      await Promise.all(guests.map((guest) => guest.seen(/ join +enrolled: this machine is registered/, JOINED_MS_MAX)));
      const registeredMs = Math.round(performance.now() - begun);
      await untilUp(lab, count);
      const upMs = Math.round(performance.now() - begun);
      const inside = (...more: readonly string[]): Record<string, string> => godwitBy([program, ...before, process.execPath], ...more);
      await check.after?.(guests);
      return { registeredMs, upMs, machines: count, ...(count === 1 ? await changesKey(lab, guests[0]!, inside) : count < 3 ? {} : await takesOver(lab, guests, inside)) };
    } catch (error) {
      throw new Error(`${error instanceof Error ? error.message : String(error)}\n${lab.errors.join("\n")}`, { cause: error });
    } finally {
      validator.kill("SIGKILL");
    }
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

async function untilUp(lab: Lab, count: number): Promise<void> {
  await until(`${count} machines are up`, async () => ((await lab.get(`http://${addressOfGuest(1)}:7480/v1/machines`))?.body.match(/"state":"up"/g) ?? []).length === count);
}

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  let last: unknown = null;
  for (const deadline = performance.now() + UP_MS_MAX; performance.now() < deadline; await sleep(LOOK_MS)) {
    try {
      if (await isSo()) return;
      last = null;
    } catch (error) {
      last = error;
    }
  }
  throw new Error(`Not within ${UP_MS_MAX} ms: ${what}${last instanceof Error ? `: ${last.message}` : ""}`);
}

/** Its state of the chain is at the boot server. Then, from afar: the machine is another one to the ledger, and comes up as that one without a start of the machine. */
async function changesKey(lab: Lab, guest: Guest, godwit: (...words: readonly string[]) => Record<string, string>): Promise<Readonly<Record<string, unknown>>> {
  const begun = performance.now();
  const api = `http://${addressOfGuest(1)}:7480`;
  let next = "";
  await guest.seen(/ vault +the boot server keeps 1 files of this machine/, UP_MS_MAX);
  await until("it has another key", async () => {
    next = godwit("machine", "rekey", "--account", "operator", "--api", api)["next"] ?? "";
    return next !== "";
  });
  await guest.seen(/ key +this machine has another key now, in memory/, UP_MS_MAX);
  await until("it is up again", async () => {
    const { machines = [] } = JSON.parse((await lab.get(`${api}/v1/machines`))?.body ?? "null") as { machines?: readonly { readonly id: string; readonly state: string }[] };
    return machines.length === 1 && machines[0]?.id === next && machines[0].state === "up";
  });
  assert.equal(guest.lines.filter((line) => line.includes("the root is in place")).length, 1);
  return { rekeyMs: Math.round(performance.now() - begun) };
}

type Lease = { readonly machine: string | null; readonly state: string };

/** A deployment on two of the machines; one of these loses its power; another has its lease, and answers. */
async function takesOver(lab: Lab, guests: readonly Guest[], godwit: (...words: readonly string[]) => Record<string, string>): Promise<Readonly<Record<string, unknown>>> {
  const api = (at: number): string => `http://${addressOfGuest(at + 1)}:7480`;
  const answerOf = async (at: number, path: string): Promise<Record<string, unknown>> => JSON.parse((await lab.get(`${api(at)}${path}`))?.body ?? "null") as Record<string, unknown>;
  const account = ["--account", "operator", "--api", api(0)];
  // A machine that is emulated on a busy computer answers late: what came of it is looked for, and it is tried again.
  let id = "", url = "";
  await until("hello is deployed", async () => {
    const rows = godwit("ps", ...account) as unknown as readonly Record<string, string>[];
    [{ id = "", url = "" } = {}] = rows;
    if (rows.length === 0) godwit("deploy", HELLO, ...account);
    return rows.length > 0;
  });
  await until("it has two replicas", async () => {
    godwit("scale", "hello", "2", ...account);
    return true;
  });
  let machines: readonly string[] = [];
  await until("each machine says who it is", async () => {
    machines = await Promise.all(guests.map(async (_, at) => (await answerOf(at, "/v1/status"))["machine"] as string));
    return true;
  });
  const leasesAt = async (at: number): Promise<readonly Lease[]> => (await answerOf(at, `/v1/deployments/${id}`))["leases"] as readonly Lease[];
  const isReadyOn = async (at: number, alive: ReadonlySet<string>): Promise<boolean> => {
    const leases = await leasesAt(at);
    return leases.length === 2 && leases.every(({ machine, state }) => state === "ready" && machine !== null && alive.has(machine)) && new Set(leases.map(({ machine }) => machine)).size === 2;
  };
  let gone = -1;
  await until("two machines have a lease each", async () => {
    const isSo = await isReadyOn(0, new Set(machines));
    gone = machines.indexOf((await leasesAt(0))[0]?.machine ?? "");
    return isSo && gone >= 0;
  });
  const cutMs = performance.now();
  guests[gone]!.serial.kill("SIGKILL");
  const rest = machines.filter((_, at) => at !== gone);
  const asked = gone === 0 ? 1 : 0;
  await until("the two that are left have a lease each", () => isReadyOn(asked, new Set(rest)));
  const takenMs = Math.round(performance.now() - cutMs);
  const host = new URL(url).hostname;
  for (const machine of rest) await until(`${host} answers on guest ${machines.indexOf(machine) + 1}`, async () => (await lab.get(`http://${addressOfGuest(machines.indexOf(machine) + 1)}/`, host))?.status === 200);
  return { takenMs };
}
