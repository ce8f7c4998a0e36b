/** The jail, tried from inside: `godwit doctor --attack` as root and as somebody else, and what doctor says of this computer. */
import assert from "node:assert/strict";
import { chmodSync, copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable, Writable } from "node:stream";
import test from "node:test";
import { attackFromCompiler, attackFromRunner, type Attack } from "#sandbox/attack.ts";
import { nativePaths } from "#sandbox/sandbox.ts";
import { needs } from "#tests/require.ts";
import { main } from "#tools/cli/main.ts";
import { nativeIsThere } from "./serving.ts";

const NOBODY = 65_534;
const ATTEMPTS_MIN = { runner: 120, compiler: 100 };

function assertHeld({ process, attempts, signal }: Attack): void {
  assert.deepEqual(attempts.filter(({ expected, got }) => expected !== got), [], process);
  assert.ok(attempts.length > ATTEMPTS_MIN[process], `${attempts.length} attempts`);
  assert.equal(signal, "SIGSYS", "calls in the 32-bit way end the process");
}

async function godwit(...argv: string[]): Promise<{ code: number; out: string }> {
  let out = "";
  const stdout = new Writable({ write: (chunk, _, done) => (out += chunk, done()) });
  const shell = { stdin: Readable.from([]), stdout, stderr: stdout, environment: {}, homeDirectory: tmpdir(), currentDirectory: tmpdir(), signal: new AbortController().signal, nowMs: Date.now };
  return { code: await main(argv, shell), out };
}

test("godwit doctor --attack --json: from inside runner and compiler nothing ends in another way than it must", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { code, out } = await godwit("doctor", "--attack", "--json");
  const { attempts, escaped } = JSON.parse(out) as { attempts: { process: string; name: string; expected: string; got: string }[]; escaped: number };
  assert.deepEqual([code, escaped, attempts.filter(({ expected, got }) => expected !== got)], [0, 0, []]);
  for (const process of ["runner", "compiler"]) {
    for (const name of ["execve /bin/sh", "fork", "ptrace the agent", "process_vm_readv of the agent", "connect to the API on loopback", "connect to another host", "connect to a unix socket", "bpf", "io_uring_setup", "userfaultfd", "mount", "unshare", "kill the agent"]) {
      assert.equal(attempts.find((attempt) => attempt.process === process && attempt.name === name)?.got, "EPERM", `${process}: ${name}`);
    }
  }
  for (const name of ["shutdown of the listener", "write to sealed code", "execute a changed copy of sealed code", "mprotect of written memory, to execute it"]) {
    assert.equal(attempts.find((attempt) => attempt.process === "runner" && attempt.name === name)?.got, "EPERM", name);
  }
  assert.equal(attempts.find(({ name }) => name === "ask for changed code")?.got, "EIO");
  t.diagnostic(`${attempts.length} attempts, all refused`);
});

test("the same holds for somebody who is not root, with or without namespaces", async (t) => {
  if (!needs(t, "root") || !(await nativeIsThere(t))) return;
  const directory = mkdtempSync(join(tmpdir(), "godwit-jail-"));
  try {
    chmodSync(directory, 0o755);
    const { runner, compiler } = nativePaths();
    const programs = { runner: join(directory, "runner"), compiler: join(directory, "compiler") };
    copyFileSync(runner, programs.runner);
    copyFileSync(compiler, programs.compiler);
    for (const attack of [attackFromRunner, attackFromCompiler]) assertHeld(await attack({ user: NOBODY, programs }));
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("as root every wall that the kernel has is up", async (t) => {
  if (!needs(t, "root") || !(await nativeIsThere(t))) return;
  const attack = await attackFromRunner();
  assertHeld(attack);
  const { landlock, ...others } = attack.walls;
  assert.ok(landlock >= 1);
  assert.deepEqual({ network: others.network, processes: others.processes, mounts: others.mounts, noNewPrivileges: others.noNewPrivileges }, { network: true, processes: true, mounts: true, noNewPrivileges: true });
});

test("godwit doctor says of each wall whether it holds here and what it is for", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { code, out } = await godwit("doctor", "--json");
  const { findings } = JSON.parse(out) as { findings: { name: string; holds: boolean; meaning: string }[] };
  assert.equal(code, findings.every(({ holds }) => holds) ? 0 : 1);
  for (const name of ["landlock", "seccomp", "control groups", "mount namespace", "PAGEMAP_SCAN", "vm.max_map_count", "RLIMIT_NOFILE"]) {
    assert.ok((findings.find((finding) => finding.name === name)?.meaning.length ?? 0) > 20, name);
  }
});
