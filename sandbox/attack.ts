/**
 * What an escaped guest would do, done: each try with the errno that it must end with and the one that it got (JAIL.md).
 *
 * The tries run inside of a jailed process, runner or compiler, that was started for it and serves nobody.
 */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { addon } from "./addon.ts";
import { HEADER_BYTES, sha256Hex } from "./cache.ts";
import { SandboxError } from "./errors.ts";
import { COMPILE_CPU_SECONDS_MAX, COMPILE_MEMORY_BYTES_MAX } from "./limits.ts";
import { nativePaths } from "./native.ts";

/** What holds of the walls that a kernel or its settings may lack. */
export type Walls = {
  /** The kernel's version of it; 0: none, and no runner starts. */
  readonly landlock: number;
  readonly landlockFull: boolean;
  /** Namespaces: an empty network; no process but its own; an empty root folder. */
  readonly network: boolean;
  readonly processes: boolean;
  readonly mounts: boolean;
  /** They were made inside a user namespace, by somebody who is not root. */
  readonly userNamespace: boolean;
  readonly noNewPrivileges: boolean;
};
/** errnos; 0: it worked. */
export type Attempt = { readonly name: string; readonly expected: number; readonly got: number };
export type Attack = {
  readonly process: "runner" | "compiler";
  readonly walls: Walls;
  readonly attempts: readonly Attempt[];
  /** What ended it: calls in the 32-bit way, the last try, end the process by SIGSYS. */
  readonly signal: string | null;
};
export type AttackOptions = {
  /** Who the process is to be; default: who we are. Only root can say. */
  readonly user?: number;
  /** Where the programs are, when that user cannot read where they are now. */
  readonly programs?: Readonly<{ runner: string; compiler: string }>;
};

const TIMEOUT_MS = 10_000;
const CODE_BYTES = 8_192;

export async function attackFromRunner(options: AttackOptions = {}): Promise<Attack> {
  const native = addon();
  const directory = mkdtempSync(join(tmpdir(), "godwit-attack-"));
  const listener = native.listen("127.0.0.1", 0);
  let code = -1;
  try {
    const vault = new native.CodeVault(directory);
    const bytes = randomBytes(HEADER_BYTES + CODE_BYTES);
    for (const name of ["good", "changed", "secret"]) writeFileSync(join(directory, name), bytes);
    for (const name of ["good", "changed"]) vault.allow(name, sha256Hex(bytes.subarray(HEADER_BYTES)));
    bytes[HEADER_BYTES + CODE_BYTES / 2]! ^= 1;
    writeFileSync(join(directory, "changed"), bytes);
    code = vault.open();
    const program = (options.programs ?? nativePaths()).runner;
    const names = ["good=good", "changed=changed", "secret=secret", "other=../../etc/passwd"];
    return await attack(program, [String(process.pid), "--attack", ...names], ["ignore", "pipe", "pipe", "pipe", listener.fd, code], options);
  } finally {
    if (code >= 0) native.closeDescriptor(code);
    native.closeDescriptor(listener.fd);
    rmSync(directory, { recursive: true, force: true });
  }
}

export function attackFromCompiler(options: AttackOptions = {}): Promise<Attack> {
  const program = (options.programs ?? nativePaths()).compiler;
  return attack(program, [process.pid, COMPILE_MEMORY_BYTES_MAX, COMPILE_CPU_SECONDS_MAX, "--attack"].map(String), ["pipe", "pipe", "pipe"], options);
}

function attack(program: string, args: string[], stdio: ("ignore" | "pipe" | number)[], { user }: AttackOptions): Promise<Attack> {
  const child = spawn(program, args, { stdio, env: {}, cwd: "/", timeout: TIMEOUT_MS, killSignal: "SIGKILL", ...(user !== undefined && { uid: user, gid: user }) });
  let [out, reason] = ["", ""];
  child.stdout?.setEncoding("utf8").on("data", (text: string) => (out += text));
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (reason += text));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (_, signal) => {
      if (out === "") reject(new SandboxError("runner_failed", `Cannot attack from inside ${program}: ${reason.trim() || `it ended by ${signal}`}`));
      else resolve({ ...(JSON.parse(out) as Omit<Attack, "signal">), signal });
    });
  });
}
