/**
 * Where a component comes from: a file of any language's toolchain, or a project folder that is built first.
 *
 * Loads the build pipeline and the sandbox only when they are used.
 */
import type { Stats } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { sha256 } from "#chain/crypto.ts";
import { hex } from "#chain/types.ts";
import { LIMITS_MAX } from "#sandbox/limits.ts";
import type { Deployment as SandboxDeployment } from "#sandbox/sandbox.ts";
import type { Manifest } from "#workloads/manifest.ts";
import type { Build } from "#workloads/sdk/build.ts";
import { CliError, type Shell } from "./command.ts";
import { keepSymbols } from "./symbols.ts";
import { withProgress } from "./table.ts";

export type SandboxSettings = Required<Pick<SandboxDeployment, "environment" | "limits" | "concurrency" | "cpuWeight" | "outgoing" | "reuse">>;

const MIB = 1024 * 1024;
export const MANIFEST_FILE = "godwit.toml";

/** Builds a project folder; an author's mistake is told with file, line and column. */
export async function buildComponent(folder: string, shell: Shell, options: { optimise?: boolean; coverage?: boolean } = {}): Promise<Build> {
  const { BuildError, buildProject } = await import("#workloads/sdk/build.ts");
  const build = await withProgress(shell, `building ${folder}`, buildProject(folder, options)).catch((error: unknown) => {
    if (error instanceof BuildError) throw new CliError(error.code, error.message, { diagnostics: error.diagnostics }, error);
    throw error;
  });
  await keepSymbols(build.digest, build.symbols);
  return build;
}

/** What the sandbox is given of a manifest: everything that holds on a machine holds here. */
export const sandboxSettings = ({ environment, limits, memoryMib, concurrency, cpuMillis, outgoing, reuse }: Manifest): SandboxSettings =>
  ({ environment, concurrency, outgoing, reuse, cpuWeight: cpuMillis, limits: { ...limits, memoryBytesMax: memoryMib * MIB } });

async function look(path: string, shell: Shell): Promise<Stats> {
  const absolute = resolve(shell.currentDirectory, path);
  return stat(absolute).catch((error: unknown) => {
    throw new CliError("file_missing", `There is no file or folder ${absolute}`, {}, error);
  });
}

/** The component at `path`: a file as it is, a folder built. */
export async function loadComponent(path: string, shell: Shell): Promise<{ component: Uint8Array; digest: string; build: Build | null }> {
  const absolute = resolve(shell.currentDirectory, path);
  const found = await look(path, shell);
  if (found.isDirectory()) {
    const build = await buildComponent(absolute, shell);
    return { component: build.component, digest: build.digest, build };
  }
  if (found.size > LIMITS_MAX.componentBytesMax) throw new CliError("component_too_large", `Cannot use ${absolute}: it has ${found.size} bytes and ${LIMITS_MAX.componentBytesMax} is the limit`);
  const component = new Uint8Array(await readFile(absolute));
  return { component, digest: hex(sha256(component)), build: null };
}

/** The manifest at `file`, else the one of the project folder `path`, else the one beside the component file `path`, else the one here. */
export async function loadManifest(file: string | undefined, path: string, shell: Shell): Promise<Manifest> {
  const absolute = resolve(shell.currentDirectory, path);
  const isFolder = (await look(path, shell)).isDirectory();
  const usual = isFolder ? [join(absolute, MANIFEST_FILE)] : [join(dirname(absolute), MANIFEST_FILE), join(shell.currentDirectory, MANIFEST_FILE)];
  const candidates = file === undefined ? usual : [resolve(shell.currentDirectory, file)];
  for (const candidate of candidates) {
    const text = await readFile(candidate, "utf8").catch(() => null);
    if (text === null) continue;
    const { parseManifest } = await import("#workloads/manifest.ts");
    const parsed = parseManifest(text, candidate);
    if (parsed.ok) return parsed.manifest;
    const lines = parsed.errors.map((error) => `${error.file}:${error.line}:${error.column}: ${error.message} (${error.code})`);
    throw new CliError("manifest_invalid", [`${candidate} has errors:`, ...lines].join("\n"), { diagnostics: parsed.errors });
  }
  throw new CliError("manifest_missing", `Cannot deploy ${path} without a manifest: there is no ${candidates.join(" and no ")}`);
}
