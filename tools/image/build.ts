/**
 * An image from its parts: kernel, initramfs (PID 1 and the root as one squashfs), command line; then what the target asks for.
 *
 *     OUT/  godwit.efi (unified image)  vmlinuz  initramfs  [godwit.img | godwit.iso]  manifest  sbom.json  cmdline
 *
 * Rules: same inputs, same bytes (but for a Secure Boot signature, which has its time in it); what the host lacks is said before the
 * work begins; each step is told with its time.
 */
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { publicKeyOf } from "#chain/crypto.ts";
import { hex } from "#chain/types.ts";
import { cacheDirectory } from "#sandbox/native/directory.mjs";
import { type Target, checkHost } from "./checks.ts";
import { writeStick } from "./disk.ts";
import { ImageError } from "./errors.ts";
import { buildInit } from "./init.ts";
import { writeIso } from "./iso.ts";
import { buildKernel, compilerOf, kernelInCache } from "./kernel.ts";
import { type CpioEntry, initramfsEntries, writeCpio } from "#os/boot/cpio.ts";
import { type Manifest, partOf, signManifest } from "#os/boot/manifest.ts";
import { unpacked } from "./packages.ts";
import { LOADERS } from "./pins.ts";
import { run } from "./processes.ts";
import { type Effort, buildRoot } from "./root.ts";
import { sbomOf } from "./sbom.ts";
import { predictPcr11, writeUki } from "./uki.ts";

export type ImageOptions = {
  readonly target: Target;
  readonly out: string;
  /** Words of the kernel's command line after ours: `godwit.…`, `console=…`. */
  readonly words?: readonly string[];
  readonly effort?: Effort;
  /** What PID 1 starts, from the top of the repository; tests start something else. */
  readonly program?: string;
  readonly release?: number;
  /** No machine's clock is before it. */
  readonly releasedAt?: string;
  readonly expiresAt?: string;
  /** Signs the manifest; without one the image has none. */
  readonly signingSeed?: Uint8Array;
  /** PEM files of the operator's own Secure Boot key. */
  readonly secureBoot?: { readonly keyFile: string; readonly certificateFile: string };
  /** Another kernel than ours, and what it needs in the initramfs: for tests where ours has not been built. */
  readonly otherKernel?: { readonly kernel: Uint8Array; readonly entries: readonly CpioEntry[] };
  readonly log?: (line: string) => void;
};
export type Image = { readonly out: string; readonly bytes: number; readonly pcr11: string; readonly sha256: string };

/** A day and not the time of the build: the same sources make the same bytes. It goes on with the version. */
const RELEASED_AT = "2026-11-26T00:00:00Z";
/** Serial line and screen both; a panic restarts; the lines of PID 1 and the agent come through the kernel's log. */
export const KERNEL_WORDS: readonly string[] = ["console=ttyS0,115200", "console=tty0", "panic=10", "loglevel=4", "printk.devkmsg=on", "rdinit=/init"];
export const UKI_FILE = "godwit.efi";
export const KERNEL_FILE = "vmlinuz";
export const INITRAMFS_FILE = "initramfs";
export const MANIFEST_FILE = "manifest";
export const CMDLINE_FILE = "cmdline";

export async function buildImage(options: ImageOptions): Promise<Image> {
  const { target, out, effort = "small" } = options;
  const cache = cacheDirectory();
  const step = stepper(options.log ?? (() => {}));
  await checkHost({ out, cache, buildsKernel: options.otherKernel === undefined && (await kernelInCache(cache)) === null, signsForSecureBoot: options.secureBoot !== undefined });
  const kernel = options.otherKernel?.kernel ?? (await readFile((await buildKernel(cache, step.log)).file));
  step.done("kernel");
  const work = await mkdtemp(join(out, ".work-"));
  try {
    const init = await buildInit(cache);
    step.done("PID 1");
    const { release = 1, releasedAt = RELEASED_AT, expiresAt = "2027-12-31T00:00:00Z" } = options;
    const root = await buildRoot(cache, work, effort, options.program ?? "os/init.ts", { signer: options.signingSeed === undefined ? null : hex(publicKeyOf(options.signingSeed)), release, releasedAt });
    step.done("root file system");
    const initramfs = writeCpio([...initramfsEntries(init, await readFile(root.file)), ...(options.otherKernel?.entries ?? [])]);
    const cmdline = [...KERNEL_WORDS, ...(options.words ?? [])].join(" ");
    const version = await readVersion();
    const stub = await readFile(join(await unpacked(LOADERS[0]!, cache), "usr/lib/systemd/boot/efi/linuxx64.efi.stub"));
    const text = new TextEncoder();
    const unsigned = writeUki(stub, [
      { name: ".osrel", content: text.encode(`ID=godwit\nNAME=Godwit\nVERSION_ID=${version}\n`) }, { name: ".cmdline", content: text.encode(cmdline) },
      { name: ".initrd", content: initramfs }, { name: ".linux", content: kernel },
    ]);
    const uki = options.secureBoot === undefined ? unsigned : await signForSecureBoot(unsigned, options.secureBoot, work);
    step.done(`unified image, ${(uki.length / 1e6).toFixed(1)} MB`);
    const files: [string, Uint8Array][] = [[UKI_FILE, uki], [KERNEL_FILE, kernel], [INITRAMFS_FILE, initramfs], [CMDLINE_FILE, text.encode(cmdline)]];
    if (target === "usb") files.push(["godwit.img", await writeStick(cache, work, uki, kernel, initramfs, cmdline)]);
    if (target === "iso") files.push(["godwit.iso", await writeIso(cache, work, uki)]);
    const parts = files.map(([name, content]) => partOf(name, content));
    files.push(["sbom.json", sbomOf(version, parts, root.parts, init, options.otherKernel === undefined ? await compilerOf(cache) : null)]);
    const pcr11 = predictPcr11(uki);
    if (options.signingSeed !== undefined) {
      const manifest: Manifest = { format: 1, name: "godwit", version, release, expiresAt, parts, pcr11 };
      files.push([MANIFEST_FILE, signManifest(manifest, options.signingSeed)]);
    }
    await mkdir(out, { recursive: true });
    for (const [name, content] of files) await writeFile(join(out, name), content);
    step.done(`${target} in ${out}`);
    return { out, bytes: uki.length, pcr11, sha256: createHash("sha256").update(uki).digest("hex") };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function signForSecureBoot(uki: Uint8Array, { keyFile, certificateFile }: { readonly keyFile: string; readonly certificateFile: string }, work: string): Promise<Uint8Array> {
  const [from, to] = [join(work, "unsigned.efi"), join(work, "signed.efi")];
  await writeFile(from, uki);
  await run("sbsign", ["--key", keyFile, "--cert", certificateFile, "--output", to, from]).catch((cause: unknown) => {
    throw new ImageError("secure_boot_key", `Cannot sign the image with ${keyFile}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  });
  return await readFile(to);
}

async function readVersion(): Promise<string> {
  const { version } = JSON.parse(await readFile(join(import.meta.dirname, "..", "..", "package.json"), "utf8")) as { version: string };
  return version;
}

function stepper(log: (line: string) => void): { log: (line: string) => void; done: (what: string) => void } {
  let last = Date.now();
  return {
    log,
    done: (what) => {
      const now = Date.now();
      log(`${((now - last) / 1000).toFixed(1).padStart(6)} s  ${what}`);
      last = now;
    },
  };
}
