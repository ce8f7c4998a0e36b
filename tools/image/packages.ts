/**
 * Pinned Debian packages: fetched by apt once, checked against the table, unpacked into the cache. A package that is not the pinned
 * one, byte for byte, is never unpacked.
 */
import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { mkdir, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ImageError } from "./errors.ts";
import { ALL_PINS, type Pin } from "./pins.ts";
import { run } from "./processes.ts";

/** The folder with the package's files. */
export async function unpacked(pin: Pin, cache: string): Promise<string> {
  const folder = join(cache, "packages", pin.sha256);
  if (existsSync(folder)) return folder;
  const staged = `${folder}.${process.pid}`;
  await rm(staged, { recursive: true, force: true });
  await mkdir(join(staged, "download"), { recursive: true });
  const file = await download(pin, join(staged, "download"));
  await run("dpkg-deb", ["-x", file, join(staged, "files")]);
  await rename(join(staged, "files"), folder).catch((error: unknown) => {
    // Somebody else was as fast.
    if (!existsSync(folder)) throw error;
  });
  await rm(staged, { recursive: true, force: true });
  return folder;
}

async function download(pin: Pin, folder: string): Promise<string> {
  try {
    await run("apt-get", ["download", "-qq", `${pin.name}=${pin.version}`], { cwd: folder });
  } catch (cause) {
    throw new ImageError("package_gone", `Cannot fetch ${pin.name}=${pin.version}, which the image is pinned to: run apt-get update and try again; where the package lists no longer have it, godwit image build --update-pins takes what they have`, { cause });
  }
  const [name] = await readdir(folder);
  if (name === undefined) throw new ImageError("package_gone", `Cannot fetch ${pin.name}=${pin.version}: apt-get download left no file`);
  const file = join(folder, name);
  const found = await sha256OfFile(file);
  if (found !== pin.sha256) throw new ImageError("package_changed", `Cannot use ${pin.name}=${pin.version}: its SHA-256 is ${found} and not ${pin.sha256}`);
  return file;
}

export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
  return hash.digest("hex");
}

/** Writes the table in pins.ts anew with the versions that this host's package lists have; says what changed. */
export async function updatePins(): Promise<string[]> {
  const path = join(import.meta.dirname, "pins.ts");
  let source = await readFile(path, "utf8");
  const changes: string[] = [];
  for (const pin of ALL_PINS) {
    const shown = await run("apt-cache", ["show", "--no-all-versions", pin.name]);
    const version = /^Version: (\S+)$/m.exec(shown)?.[1];
    const sha256 = /^SHA256: ([0-9a-f]{64})$/m.exec(shown)?.[1];
    if (version === undefined || sha256 === undefined) throw new ImageError("package_gone", `Cannot pin ${pin.name}: the package lists of this host have none`);
    if (sha256 === pin.sha256) continue;
    changes.push(`${pin.name} ${pin.version} → ${version}`);
    source = source.replace(`version: "${pin.version}", sha256: "${pin.sha256}"`, `version: "${version}", sha256: "${sha256}"`);
  }
  if (changes.length > 0) await writeFile(path, source);
  return changes;
}
