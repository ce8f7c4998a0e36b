/** What a build needs of its host, said before the work begins: programs with the packages they come in, and room on the disk. */
import { existsSync } from "node:fs";
import { mkdir, statfs } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { ImageError } from "./errors.ts";

export type Target = "uki" | "netboot" | "usb" | "iso";
const ALWAYS: readonly (readonly [program: string, debianPackage: string])[] = [["apt-get", "apt"], ["dpkg-deb", "dpkg"], ["cargo", "rustup or cargo"]];
const KERNEL: typeof ALWAYS = [["make", "make"], ["gcc", "gcc"], ["flex", "flex"], ["bison", "bison"], ["bc", "bc"], ["tar", "tar"], ["xz", "xz-utils"], ["zstd", "zstd"], ["perl", "perl"]];
const MIB = 1024 * 1024;
/** Sources unpacked and objects of a kernel; a root, its squashfs and the image. */
const KERNEL_BYTES: number = 4096 * MIB;
const IMAGE_BYTES: number = 700 * MIB;

export async function checkHost(options: { readonly buildsKernel: boolean; readonly signsForSecureBoot: boolean; readonly cache: string; readonly out: string }): Promise<void> {
  const wanted = [...ALWAYS, ...(options.buildsKernel ? KERNEL : []), ...(options.signsForSecureBoot ? [["sbsign", "sbsigntool"] as const] : [])];
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  const missing = wanted.filter(([program]) => !folders.some((folder) => existsSync(join(folder, program))));
  if (missing.length > 0) {
    throw new ImageError("tool_missing", `Cannot build an image without ${missing.map(([program]) => program).join(", ")}: apt-get install ${[...new Set(missing.map(([, name]) => name))].join(" ")}`);
  }
  for (const [folder, bytes] of [[options.cache, IMAGE_BYTES + (options.buildsKernel ? KERNEL_BYTES : 0)], [options.out, IMAGE_BYTES]] as const) {
    await mkdir(folder, { recursive: true });
    const { bavail, bsize } = await statfs(folder);
    if (bavail * bsize < bytes) throw new ImageError("disk_full", `Cannot build an image in ${folder}: it needs ${Math.ceil(bytes / MIB)} MiB, and ${Math.floor((bavail * bsize) / MIB)} are free`);
  }
}
