/** A deployment whose only replica is on the machine that took its upload, and that may move from there: what its loss must not take along. */
import { execFile } from "node:child_process";
import { cpSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { addressText } from "#chain/codec/address.ts";
import type { Deployed } from "#tools/bench/heal.ts";
import type { Site } from "#tools/chain/machines.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const DEPLOY_MS_MAX = 180_000;

export type DeployedThere = Deployed & { /** Machines that had the component, and the configuration, when deploy said that it was done: while it may run only there, and after. */ readonly copies: readonly [pinned: number, free: number] };

/** Through the API of machine `index` of the site, by the development account of that machine. */
export async function deployThere(site: Site, api: string, index: number, name: string, greeting: string): Promise<DeployedThere> {
  const project = join(site.directory, `project-${name}`);
  cpSync(join(ROOT, "workloads", "examples", "hello"), project, { recursive: true });
  const deploy = async (operators: readonly string[]): Promise<Deployed & { readonly copies: number }> => {
    writeFileSync(join(project, "godwit.toml"), `name = "${name}"\nkind = "service"\n[environment]\nGREETING = "${greeting}"\n[placement]\noperators = ${JSON.stringify(operators)}\n`);
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const environment = { ...process.env, GODWIT_API: api, GODWIT_DATA: join(site.directory, String(index)) };
    execFile(join(ROOT, "tools", "godwit"), ["deploy", project, "--json"], { env: environment, timeout: DEPLOY_MS_MAX }, (error, stdout, stderr) => (error === null ? resolve(stdout) : reject(new Error(`godwit deploy failed: ${stderr}`, { cause: error }))));
    return JSON.parse(await promise) as Deployed & { readonly copies: number };
  };
  const { machines } = (await (await fetch(`${api}/v1/machines`)).json()) as { machines: readonly { id: string; operator: string }[] };
  const own = machines.find(({ id }) => id === addressText(site.machines[index]!))!.operator;
  const { copies } = await deploy([own]);
  const { id, host, copies: free } = await deploy([]);
  return { id, host, copies: [copies, free] };
}
