/** A machine from power-on to power-off, in QEMU's software emulation: one boot for the whole file. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import test from "node:test";
import { eventually, temporaryFolder } from "#tests/e2e/stage.ts";
import { imageForTests } from "./image.ts";
import { directBoot, startQemu } from "./qemu.ts";

const ROOT = join(import.meta.dirname, "..", "..");
/** A busy computer emulates ten times slower; what a machine must reach is measured by `npm run test:boot` on a quiet one. */
const BOOT_MS_MAX = 240_000;
const JOIN_MS_MAX = 240_000;
const OFF_MS_MAX = 120_000;

test("a machine boots from nothing but the image, takes a deployment through its API, answers, and goes off by its button", { timeout: 900_000 }, async (t) => {
  const image = await imageForTests(t);
  if (image === null) return;
  const home = temporaryFolder(t);
  const godwit = (environment: Record<string, string>, ...words: string[]): Record<string, unknown> => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, "tools", "cli", "main.ts"), ...words, "--json"], { encoding: "utf8", env: { PATH: process.env["PATH"], XDG_CACHE_HOME: process.env["XDG_CACHE_HOME"], HOME: home, ...environment } });
    assert.equal(status, 0, `${words.join(" ")}: ${stderr}`);
    return JSON.parse(stdout) as Record<string, unknown>;
  };
  const { address } = godwit({}, "account", "new", "owner");
  await using machine = await startQemu({ boot: directBoot(image, [`godwit.alone=${String(address)}`]) });

  await t.test("/healthz answers before chain and libp2p are read", async () => {
    const first = await machine.answered(machine.apiPort, "/healthz", BOOT_MS_MAX);
    assert.ok(first.status === 503 || first.status === 200);
    assert.doesNotMatch(machine.serial(), / agent +\d+ ms/);
    t.diagnostic(`power-on to /healthz: ${Math.round(first.atMs)} ms`);
  });
  await t.test("each phase prints its name and its milliseconds", async () => {
    await machine.printed(/ agent +\d+ ms accepts work/, JOIN_MS_MAX);
    for (const name of ["calls", "mounts", "settings", "kernel", "loopback", "button", "door", "network", "address"]) assert.match(machine.serial(), new RegExp(` ${name} +\\d+ ms`));
    t.diagnostic(machine.serial().split("\n").filter((line) => / ms( |$)/.test(line)).join("\n"));
  });
  await t.test("every wall of the sandbox holds on this kernel, and the machine says so over its API", async () => {
    const answer = await machine.answered(machine.apiPort, "/v1/doctor", JOIN_MS_MAX, ({ status }) => status === 200);
    const { findings } = JSON.parse(answer.body) as { findings: { name: string; holds: boolean; value: unknown }[] };
    assert.deepEqual(findings.filter(({ holds }) => !holds), []);
    assert.match(String(findings.find(({ name }) => name === "control groups")?.value), /^version 2: memory, pids$/);
    assert.equal(findings.find(({ name }) => name === "PAGEMAP_SCAN")?.holds, true);
    assert.equal(findings.find(({ name }) => name === "signatures")?.value, "native");
  });
  await t.test("hello is deployed through the API and answers", async () => {
    const { url } = godwit({ GODWIT_API: `http://127.0.0.1:${machine.apiPort}`, GODWIT_ACCOUNT: "owner" }, "deploy", join(ROOT, "workloads", "examples", "hello"));
    const host = new URL(String(url)).host;
    const answer = await eventually("hello answers", () => machine.get(machine.httpPort, "/", host), JOIN_MS_MAX);
    assert.equal(answer.status, 200);
    assert.match(answer.body, /hello/i);
  });
  await t.test("the power button stops everything in order, and the machine is off within 30 s", async () => {
    await machine.monitor("system_powerdown");
    const code = await Promise.race([machine.off, new Promise<string>((resolve) => setTimeout(resolve, OFF_MS_MAX, "still on").unref())]);
    assert.equal(code, 0, machine.serial().slice(-2000));
    assert.match(machine.serial(), /stopping +power button[\s\S]*stopping +agent stopped[\s\S]*powering off/);
  });
});
