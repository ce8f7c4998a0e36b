/**
 * The ways of `npm run test:boot` that boot nothing: two builds of the same sources give the same files. The second one has another folder, cache, umask, language and time
 * zone; and, in `elsewhere`, another release of Debian around it (debootstrap), another path of the sources and another user.
 *
 * What both are given, and do not build: the kernel and the sandbox's native parts. These are compiled by the host's own gcc and against its C library; the SBOM has their hashes.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { openKey } from "#os/keys.ts";
import { cacheDirectory } from "#sandbox/native/directory.mjs";
import { buildImage } from "#tools/image/build.ts";
import { type Facts, type Stage, WORDS } from "./boots.ts";

const REPOSITORY = join(import.meta.dirname, "..", "..");
/** Not built a second time. */
const GIVEN = ["kernel", "native", "packages"] as const;
const FILES = { usb: ["vmlinuz", "initramfs", "godwit.efi", "cmdline", "godwit.img", "manifest", "sbom.json"], iso: ["godwit.efi", "godwit.iso", "manifest"] } as const;
const USER = 12_345;
/** What the other root must have: `cargo` comes with its own linker, and the scripts that crates build with are linked by gcc. */
const PACKAGES = "gcc,libc6-dev,ca-certificates";

/** What runs a script with `$OUT`, `$KEY`, `$NODE` and `$SOURCES` in it, in the other surroundings. */
type Surroundings = { run(script: string): void; readonly out: string };

async function compare({ work }: Stage, name: string, { run, out }: Surroundings): Promise<Facts> {
  const { seed } = await openKey(join(work, "key"));
  const digests: Record<string, string> = {};
  for (const target of ["usb", "iso"] as const) {
    const first = join(work, `${name}-${target}`);
    mkdirSync(first, { recursive: true });
    await buildImage({ target, effort: "quick", out: first, words: WORDS, signingSeed: seed });
    run(`"$NODE" --disable-warning=ExperimentalWarning "$SOURCES/tools/cli/main.ts" image build --target ${target} --quick --out "$OUT/${target}" --key "$KEY" --append '${WORDS.join(" ")}'`);
    const digest = (folder: string, file: string): string => createHash("sha256").update(readFileSync(join(folder, file))).digest("hex");
    for (const file of FILES[target]) {
      assert.equal(digest(join(out, target), file), digest(first, file), file);
      digests[file] = digest(first, file).slice(0, 16);
    }
  }
  return { digests };
}

function shell(script: string, environment: Readonly<Record<string, string>>, before: readonly string[] = []): void {
  const [program, ...words] = [...before, "sh", "-euc", script];
  const { status, stderr, error } = spawnSync(program ?? "", words, { encoding: "utf8", env: { PATH: process.env["PATH"] ?? "", ...environment } });
  assert.equal(status, 0, `${error?.message ?? ""}${stderr}`);
}

export async function sameBytes(stage: Stage): Promise<Facts> {
  const { work } = stage;
  const cache = join(work, "again-cache");
  mkdirSync(join(cache, "godwit"), { recursive: true });
  for (const name of GIVEN) shell(`ln -s '${join(cacheDirectory(), name)}' '${join(cache, "godwit", name)}'`, {});
  const out = join(work, "again");
  return await compare(stage, "once", {
    out,
    run: (script) => shell(`umask 077; cd /; ${script}`, { HOME: homedir(), XDG_CACHE_HOME: cache, LC_ALL: "C.UTF-8", LANG: "tr_TR.UTF-8", TZ: "Asia/Tokyo", OUT: out, KEY: join(work, "key"), NODE: process.execPath, SOURCES: REPOSITORY }),
  });
}

/** Needs root and debootstrap; the other root stays in the cache, half a gigabyte. */
export async function sameBytesElsewhere(stage: Stage): Promise<Facts> {
  const here = /^VERSION_CODENAME=(\w+)$/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1];
  const release = here === "trixie" ? "bookworm" : "trixie";
  const root = otherRoot(release);
  const home = join(stage.work, "elsewhere");
  const cache = join(home, "cache", "godwit");
  for (const folder of [...GIVEN.map((name) => join(cache, name)), join(home, "out")]) mkdirSync(folder, { recursive: true });
  await openKey(join(stage.work, "key"));
  const inside = (path: string): string => `"${root}${path}"`;
  const bind = (from: string, to: string): string => `mkdir -p ${inside(to)}; mount --bind "${from}" ${inside(to)}`;
  const mounts = [
    "mount --make-rprivate /", bind(REPOSITORY, "/srv/some where else"), bind(process.env["RUSTUP_HOME"] ?? join(homedir(), ".rustup"), "/opt/rustup"), bind(process.env["CARGO_HOME"] ?? join(homedir(), ".cargo"), "/opt/cargo"),
    `cp "${join(stage.work, "key")}" "${home}/key"`, `chown -R ${USER}:${USER} "${home}"`, bind(home, "/opt/builder"), ...GIVEN.map((name) => bind(join(cacheDirectory(), name), `/opt/builder/cache/godwit/${name}`)),
    `mount -t proc proc ${inside("/proc")}`, `mount --rbind /dev ${inside("/dev")}`,
  ];
  const environment = [
    "HOME=/opt/builder", "XDG_CACHE_HOME=/opt/builder/cache", "RUSTUP_HOME=/opt/rustup", "CARGO_HOME=/opt/cargo", "CARGO_NET_OFFLINE=true", "PATH=/opt/cargo/bin:/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=Asia/Tokyo", "OUT=/opt/builder/out", "KEY=/opt/builder/key",
  ];
  const node = process.execPath.startsWith(`${REPOSITORY}/`) ? `/srv/some where else${process.execPath.slice(REPOSITORY.length)}` : "";
  assert.notEqual(node, "", "Node is that of the repository's packages");
  const facts = await compare(stage, "here", {
    out: join(home, "out"),
    run: (script) => shell([
      ...mounts,
      `exec chroot "${root}" env -i ${environment.map((word) => `"${word}"`).join(" ")} NODE="${node}" SOURCES="/srv/some where else" setpriv --reuid ${USER} --regid ${USER} --clear-groups sh -euc "umask 077; cd /tmp; $SCRIPT"`,
    ].join("\n"), { SCRIPT: script, HOME: homedir() }, ["unshare", "--mount", "--uts"]),
  });
  return { here: here ?? "?", elsewhere: release, ...facts };
}

function otherRoot(release: string): string {
  const root = join(cacheDirectory(), "roots", release);
  if (existsSync(root)) return root;
  const staged = `${root}.${process.pid}`;
  mkdirSync(staged, { recursive: true });
  try {
    shell(`debootstrap --variant=minbase --include=${PACKAGES} ${release} '${staged}' >&2`, { HOME: homedir() });
    renameSync(staged, root);
  } finally {
    rmSync(staged, { recursive: true, force: true });
  }
  return root;
}
