/**
 * Builds this project and serves it on a free port, in the sandbox that a machine of a grid has. Without optimisation, which builds
 * several times as fast. GODWIT names the command where it is not on the PATH.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const godwit = process.env.GODWIT ?? "godwit";
const project = dirname(dirname(fileURLToPath(import.meta.url)));

export async function startService() {
  const folder = mkdtempSync(join(tmpdir(), "service-"));
  const component = join(folder, "service.wasm");
  const built = spawnSync(godwit, ["build", project, "--debug", "-o", component], { stdio: ["ignore", "ignore", "inherit"] });
  if (built.status !== 0) throw built.error ?? new Error("The project does not build: see above");

  const child = spawn(godwit, ["serve", component, "--port", "0", "--json"], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  const ended = exited.then(([code]) => Promise.reject(new Error(`godwit serve ended with ${code}: see above`)));
  // The first line says where it serves; the ones after it are the service's log.
  const [line] = await Promise.race([once(createInterface(child.stdout), "line"), ended]);
  return {
    url: JSON.parse(line).url,
    async stop() {
      ended.catch(() => {});
      child.kill();
      await exited;
      rmSync(folder, { recursive: true });
    },
  };
}
