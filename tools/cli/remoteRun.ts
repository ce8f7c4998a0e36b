/** `godwit run --remote`: the same task on a machine of the grid; its lines, and its exit code, are this command's. */
import { basename } from "node:path";
import { LIMITS_TASK_DEFAULT } from "#sandbox/limits.ts";
import { type Manifest, parseManifest } from "#workloads/manifest.ts";
import { type Wanted, upload } from "./bring.ts";
import { CliError, type Input, type Shell } from "./command.ts";
import { loadComponent, loadManifest } from "./component.ts";
import { parseTokens } from "./money.ts";
import { openSession } from "./session.ts";
import { Steps } from "./steps.ts";
import { sourceLinesOf } from "./symbols.ts";
import { plain, print, warn } from "./table.ts";
import { endText, followTask, startTask, wantedTask } from "./task.ts";

/** With arguments and environment it must fit into one configuration (os/limits.ts). */
const STDIN_BYTES_MAX: number = 48 * 1024;
const ATTEMPTS_MAX = 100;

export type RemoteSettings = { readonly environment: Readonly<Record<string, string>>; readonly limits: Wanted["limits"] & { readonly memoryBytesMax?: number } };

export async function runRemote(input: Input, shell: Shell, { environment, limits }: RemoteSettings): Promise<number> {
  const [path = "", ...given] = input.positionals;
  const { memoryBytesMax, ...settable } = limits;
  const manifest = await manifestOf(input, path, shell);
  if (manifest.kind !== "task") throw new CliError("not_a_task", `Cannot run ${path}: it is a service (godwit deploy)`);
  const stdin = await readStdin(shell);
  const deposit = input.text("deposit");
  const attempts = input.count("attempts", 1, ATTEMPTS_MAX);
  const wanted: Wanted = {
    ...wantedTask(manifest, { ...(given.length === 0 ? {} : { arguments: given }), ...(stdin.length === 0 ? {} : { stdin }) }),
    environment: { ...manifest.environment, ...environment }, limits: { ...manifest.limits, ...settable },
    ...(memoryBytesMax === undefined ? {} : { memoryMib: memoryBytesMax / (1024 * 1024) }), ...(deposit === undefined ? {} : { depositAmount: parseTokens("--deposit", deposit) }),
    task: { ...manifest.task, ...(attempts === undefined ? {} : { attempts }) },
  };
  await using session = await openSession(input, shell);
  const { component, digest, build } = await loadComponent(path, shell);
  for (const warning of build?.warnings ?? []) warn(shell, `${warning.file}:${warning.line}:${warning.column}: ${warning.message}`);
  const steps = new Steps(shell);
  const digests = await upload(session, shell, component, wanted);
  steps.done(`uploaded ${component.length} bytes, inspected and compiled`);
  const { id, done } = await startTask(session, shell, wanted, digests);
  steps.done(`final in block ${done.height}: ${wanted.name} (${id.slice(0, 12)})`);
  const withLines = await sourceLinesOf(digest);
  const { deployment, task } = await followTask(session, shell, id, ({ stream, line }) => {
    if (input.json) return;
    const output = stream === "stdout" ? shell.stdout : shell.stderr;
    const shown = stream === "system" ? plain(withLines(line)) : output.isTTY === true ? plain(line) : line;
    if (stream !== "system" || shell.quiet !== true) output.write(`${shown}\n`);
  }, (why) => warn(shell, why));
  const { exitCode, reason, runs, failures, losses } = task;
  const bill = await session.client.bill(id);
  if (input.json) print(shell, true, { id, name: deployment.name, exitCode, reason, runs, failures, losses, seconds: bill.segments.reduce((sum, { seconds }) => sum + seconds, 0n), amount: bill.total }, () => "");
  if (reason !== "exit") throw new CliError(reason ?? "unknown", `The task ended by ${endText(task)} in run ${runs}`, { id, runs });
  return exitCode ?? 1;
}

/** A component without a manifest has what a manifest with nothing in it says. */
async function manifestOf(input: Input, path: string, shell: Shell): Promise<Manifest> {
  try {
    return await loadManifest(input.text("manifest"), path, shell);
  } catch (error) {
    if (!(error instanceof CliError) || error.code !== "manifest_missing" || !path.endsWith(".wasm")) throw error;
    const name = basename(path, ".wasm").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 63) || "task";
    const parsed = parseManifest(`name = "${name}"\nkind = "task"\n[resources]\nmemory_mib = ${LIMITS_TASK_DEFAULT.memoryBytesMax / (1024 * 1024)}\n`, path);
    if (!parsed.ok) throw error;
    return parsed.manifest;
  }
}

/** What is piped in, to its end; a terminal is not waited for. */
async function readStdin(shell: Shell): Promise<Uint8Array> {
  if ((shell.stdin as { readonly isTTY?: boolean }).isTTY === true) return new Uint8Array(0);
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of shell.stdin as AsyncIterable<Uint8Array | string>) {
    const bytes = typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk;
    length += bytes.length;
    if (length > STDIN_BYTES_MAX) throw new CliError("stdin_too_large", `Cannot give a task on the grid more than ${STDIN_BYTES_MAX} bytes of stdin: let it fetch what it needs`);
    chunks.push(bytes);
  }
  return new Uint8Array(Buffer.concat(chunks));
}
