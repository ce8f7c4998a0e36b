/**
 * The root file system of a machine as one squashfs: Node, the C library, the sandbox's native parts, our code; nothing else.
 *
 * Read-only, and read from memory a page at a time: what nobody touches costs its compressed size only. Written by the pinned
 * mksquashfs with its own libraries, without times and owners, so that another release of the host makes the same bytes.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, cp, mkdir, readFile, readdir, rename, rm, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { nativePaths } from "#sandbox/native.ts";
import { bundle } from "./bundle.ts";
import { stripElf } from "./elf.ts";
import { unpacked } from "./packages.ts";
import { pinnedTool } from "./pinnedTools.ts";
import { LIBRARIES, TOOLS } from "./pins.ts";
import { run } from "./processes.ts";
import { trimNode } from "./trimNode.ts";

const REPOSITORY = join(import.meta.dirname, "..", "..");
/** What programs on the image are linked to; the loader first. */
const SHARED_OBJECTS: readonly (readonly [library: string, file: string])[] = [
  ["libc6", "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"], ["libc6", "lib/x86_64-linux-gnu/libc.so.6"], ["libc6", "lib/x86_64-linux-gnu/libm.so.6"],
  ["libc6", "lib/x86_64-linux-gnu/libdl.so.2"], ["libc6", "lib/x86_64-linux-gnu/libpthread.so.0"], ["libstdc++6", "usr/lib/x86_64-linux-gnu/libstdc++.so.6"],
  ["libgcc-s1", "lib/x86_64-linux-gnu/libgcc_s.so.1"], ["libatomic1", "usr/lib/x86_64-linux-gnu/libatomic.so.1"],
];
const EMPTY_FOLDERS = ["dev", "proc", "sys", "run", "tmp", "var", "root", "carried"];
const FOLDER_MODE = 0o755;
const EPOCH = new Date(0);
/** Level 19 takes a minute and saves a tenth; 15 is what a build on the way to a test uses. */
export type Effort = "quick" | "small";
const LEVEL: Readonly<Record<Effort, string>> = { quick: "9", small: "19" };

/** Compressed roots in the cache, 50 MB each. */
const ROOTS_KEPT = 4;

export type Part = { readonly path: string; readonly origin: string; readonly sha256: string; readonly bytes: number };
export type RootImage = { readonly file: string; readonly parts: readonly Part[] };

/** What a machine knows of its own image: whose signature the next one must have, and below which release it is refused; when it was made. */
export type Identity = { readonly signer: string | null; readonly release: number; /** RFC 3339; no clock is before it. */ readonly releasedAt: string };

export async function buildRoot(cache: string, work: string, effort: Effort, entryPoint: string, identity: Identity): Promise<RootImage> {
  const tree = join(work, "root");
  await mkdir(tree, { recursive: true });
  const parts: Part[] = [];
  const put = async (path: string, origin: string, content: Uint8Array, mode = 0o644): Promise<void> => {
    const file = join(tree, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, content);
    await chmod(file, mode);
    await utimes(file, EPOCH, EPOCH);
    parts.push({ path: `/${path}`, origin, sha256: createHash("sha256").update(content).digest("hex"), bytes: content.length });
  };
  for (const folder of EMPTY_FOLDERS) await mkdir(join(tree, folder), { recursive: true });
  await put("bin/node", `npm:node@${process.versions.node}`, trimNode(stripElf(await readFile(process.execPath))), 0o755);
  for (const [name, path] of SHARED_OBJECTS) {
    const pin = LIBRARIES.find((library) => library.name === name)!;
    const to = path.replace(/^usr\//, "").replace(/^lib\/x86_64-linux-gnu\/ld-/, "lib64/ld-");
    await put(to, `debian:${pin.name}=${pin.version}`, await readFile(join(await unpacked(pin, cache), path)), 0o755);
  }
  const native = nativePaths();
  for (const [path, from] of Object.entries({ "godwit-runner": native.runner, "godwit-compiler": native.compiler, "godwit.node": native.addon, "godwit-verify.node": native.verify })) {
    await put(`godwit/native/${path}`, "sandbox/native", await readFile(from), 0o755);
  }
  await put("godwit/native/engine", "sandbox/native", await readFile(join(dirname(native.addon), "engine")));
  await put("godwit/package.json", "package.json", await packageFile());
  await put("godwit/image.json", "tools/image", new TextEncoder().encode(`${JSON.stringify(identity)}\n`));
  for (const { path, content } of await bundle(REPOSITORY, entryPoint)) await put(`godwit/${path}`, "os, chain, sandbox and their packages", content);
  await put("etc/hosts", "tools/image", new TextEncoder().encode("127.0.0.1 localhost\n::1 localhost\n"));
  await put("etc/nsswitch.conf", "tools/image", new TextEncoder().encode("hosts: files dns\n"));
  await symlink("/run/resolv.conf", join(tree, "etc/resolv.conf"));
  await openFolders(tree);
  const file = join(work, "root.squashfs");
  await squash(cache, tree, file, effort, parts);
  return { file, parts: parts.toSorted((a, b) => (a.path < b.path ? -1 : 1)) };
}

/** The modes of folders are ours, whatever the umask of who builds: the machine's processes that are not root go through them, and the bytes are the same. */
export async function openFolders(tree: string): Promise<void> {
  await chmod(tree, FOLDER_MODE);
  for (const entry of await readdir(tree, { withFileTypes: true })) if (entry.isDirectory()) await openFolders(join(tree, entry.name));
}

/** The name and version that the API tells, and how Node reads `.js`. */
async function packageFile(): Promise<Uint8Array> {
  const { name, version } = JSON.parse(await readFile(join(REPOSITORY, "package.json"), "utf8")) as { name: string; version: string };
  return new TextEncoder().encode(`${JSON.stringify({ name, version, type: "module" })}\n`);
}

/** The same tree at the same effort was compressed once. */
async function squash(cache: string, tree: string, file: string, effort: Effort, parts: readonly Part[]): Promise<void> {
  const key = createHash("sha256").update(JSON.stringify([effort, parts, TOOLS, FOLDER_MODE])).digest("hex").slice(0, 16);
  const kept = join(cache, "root", `${key}.squashfs`);
  if (!existsSync(kept)) {
    const [loader, ...words] = await pinnedTool(cache, "mksquashfs");
    await rm(file, { force: true });
    await run(loader, [...words, tree, file, "-comp", "zstd", "-Xcompression-level", LEVEL[effort], "-b", "256K", "-all-root", "-all-time", "0", "-mkfs-time", "0", "-no-xattrs", "-noappend", "-quiet", "-no-progress"]);
    await mkdir(dirname(kept), { recursive: true });
    await cp(file, `${kept}.${process.pid}`);
    await rename(`${kept}.${process.pid}`, kept);
    await prune(dirname(kept));
  } else await cp(kept, file);
}

async function prune(folder: string): Promise<void> {
  const files = await Promise.all((await readdir(folder)).filter((name) => name.endsWith(".squashfs")).map(async (name) => ({ path: join(folder, name), madeMs: (await stat(join(folder, name))).mtimeMs })));
  for (const { path } of files.toSorted((a, b) => b.madeMs - a.madeMs).slice(ROOTS_KEPT)) await rm(path, { force: true });
}
