/** Two machines of one chain on this computer: what is deployed through one is placed on the other, which fetches its bytes and serves it. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { freePort } from "#tools/chain/machines.ts";
import { needs } from "../require.ts";
import { cliJson, eventually, http, root, runStart, startMachine, temporaryFolder } from "./stage.ts";

test("two machines form one chain, and a deployment made on one is placed on both and served by both", async (t) => {
  if (!needs(t, "cargo")) return;
  const folder = temporaryFolder(t);
  const directories = [join(folder, "a"), join(folder, "b")] as const;
  const keys = await Promise.all(directories.map((directory) => cliJson(null, ["chain", "keys", directory])));
  const genesis = join(folder, "genesis");
  await cliJson(null, ["chain", "genesis", genesis, "--parameters", "minimal", "--delta-ms", "100", ...keys.flatMap(({ consensusKey, operator }) => ["--validator", consensusKey, "--account", `${operator}=20000`])]);
  const ports = await Promise.all([freePort(), freePort()]);
  const [a, b] = await Promise.all(directories.map((directory, index) => startMachine(t, directory, [
    "--genesis", genesis, "--listen", `127.0.0.1:${ports[index]}`, "--peer", `127.0.0.1:${ports[1 - index]}`,
  ]))) as [Awaited<ReturnType<typeof startMachine>>, Awaited<ReturnType<typeof startMachine>>];
  const account = ["--account", join(directories[0], "keys", "operator")];
  const machines = (api: string): Promise<number> => fetch(`${api}/v1/machines`).then(async (answer) => ((await answer.json()) as { machines: { state: string }[] }).machines.filter(({ state }) => state === "up").length);
  await eventually("each knows both", async () => (await Promise.all([a, b].map(({ api }) => machines(api)))).every((count) => count === 2));
  const { url, id, copies } = await cliJson(a, ["deploy", join(root, "workloads", "examples", "hello"), ...account]);
  assert.equal(copies, 2, "as many machines as there are hold the component before the deploy is reported done");
  await cliJson(a, ["scale", "hello", "2", ...account]);
  const host = new URL(url).hostname;
  for (const machine of [a, b]) await eventually("it answers on both", async () => (await http(machine.httpPort, host)).status === 200);
  const leases = ((await (await fetch(`${b.api}/v1/deployments/${id}`)).json()) as { leases: { machine: string; state: string }[] }).leases;
  assert.equal(new Set(leases.map(({ machine }) => machine)).size, 2, "each has one replica");
  await eventually("both replicas are ready", async () => ((await (await fetch(`${a.api}/v1/deployments/${id}`)).json()) as { leases: typeof leases }).leases.every(({ state }) => state === "ready"));
  await Promise.all([a.stop(), b.stop()]);

  // A start that fails ends, although others were dialled already.
  writeFileSync(join(directories[0], "chain", "version"), "999\n");
  const { code, stderr } = await runStart(["--no-demo", "--data", directories[0], "--api-port", "0", "--http-port", "0", "--genesis", genesis, "--listen", `127.0.0.1:${ports[0]}`, "--peer", `127.0.0.1:${ports[1]}`]);
  assert.deepEqual([code, /^error (\w+):/m.exec(stderr)?.[1]], [1, "data_folder_version"]);
});
