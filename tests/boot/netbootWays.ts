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
import { type Lab, NETBOOT_WAYS, type NetbootWay, SERVER_ADDRESS, addressOfGuest, macOf, openNetbootLab } from "./netbootLab.ts";

const MAIN = join(import.meta.dirname, "..", "..", "tools", "cli", "main.ts");
const JOINED_MS_MAX = 180_000;
const UP_MS_MAX = 60_000;
const LOOK_MS = 1_000;
const CHAIN_PORT = 7482;

/** Power-on to accepting work, with words that only the server has: the chain is one of them. */
export async function netboots(way: NetbootWay, image: string): Promise<Readonly<Record<string, unknown>>> {
  const owner = addressText(keyPair(new Uint8Array(32).fill(5)).address);
  await using lab = await openNetbootLab(image, 1, `no_timer_check panic=-1 godwit.alone=${owner}`);
  const begun = performance.now();
  const guest = await lab.boot(1, way);
  await guest.seen(/ door +\d+ ms /, JOINED_MS_MAX);
  const healthzMs = Math.round(performance.now() - begun);
  await guest.seen(/ agent +\d+ ms accepts work/, JOINED_MS_MAX);
  const row = lab.rows.findLast(({ mac }) => mac === macOf(1));
  assert.deepEqual([row?.["way"], row?.["stage"], row?.["name"]], [way.way, "running", "guest1"]);
  return { healthzMs, joinedMs: Math.round(performance.now() - begun) };
}

/** `count` machines at once, which join one chain through the boot server and come up there. */
export async function joinsThroughServer(image: string, count: number): Promise<Readonly<Record<string, unknown>>> {
  const home = await mkdtemp(join(tmpdir(), "godwit-join-"));
  try {
    const environment = { HOME: home, GODWIT_DATA: join(home, "data") };
    const godwit = (...words: readonly string[]): Record<string, string> => {
      const { status, stdout, stderr } = spawnSync(process.execPath, ["--disable-warning=ExperimentalWarning", MAIN, ...words, "--json"], { encoding: "utf8", env: { ...process.env, ...environment } });
      assert.equal(status, 0, `${words.join(" ")}: ${stderr}`);
      return JSON.parse(stdout) as Record<string, string>;
    };
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
      const guests = await Promise.all(Array.from({ length: count }, (_, at) => lab.boot(at + 1, NETBOOT_WAYS[0]!, { memoryMib: 768 })));
      await Promise.all(guests.map((guest) => guest.seen(/ join +enrolled: this machine is registered/, JOINED_MS_MAX)));
      const registeredMs = Math.round(performance.now() - begun);
      await untilUp(lab, count);
      return { registeredMs, upMs: Math.round(performance.now() - begun), machines: count };
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
  const [program = "", ...before] = lab.prefix;
  let seen = "";
  for (const deadline = performance.now() + UP_MS_MAX; performance.now() < deadline; await sleep(LOOK_MS)) {
    const { stdout } = spawnSync(program, [...before, process.execPath, "-e", `fetch("http://${addressOfGuest(1)}:7480/v1/machines").then((answer) => answer.text()).then(console.log, console.log)`], { encoding: "utf8" });
    seen = stdout;
    if ((seen.match(/"state":"up"/g) ?? []).length === count) return;
  }
  throw new Error(`Not ${count} machines are up: ${seen}`);
}
