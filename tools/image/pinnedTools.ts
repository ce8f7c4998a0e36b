/**
 * Programs of the build host that write what is in an image, and are not the host's: the pinned ones, with their own C library and loader. Another release of the host
 * has other versions, which write other bytes.
 */
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { unpacked } from "./packages.ts";
import { LIBRARIES, TOOLS } from "./pins.ts";

export type PinnedTool = "mksquashfs" | "mtools";

/** What to run before the words of `tool`, and as what; the first is the loader. */
export async function pinnedTool(cache: string, tool: PinnedTool): Promise<readonly [loader: string, ...words: string[]]> {
  const packages = await Promise.all([...TOOLS, ...LIBRARIES].map(async (pin) => ({ name: pin.name, folder: await unpacked(pin, cache) })));
  const folderOf = (name: string): string => packages.find((one) => one.name === name)!.folder;
  const libraries = packages.flatMap(({ folder }) => [join(folder, "lib", "x86_64-linux-gnu"), join(folder, "usr", "lib", "x86_64-linux-gnu")]).join(":");
  const program = join(folderOf(tool === "mtools" ? "mtools" : "squashfs-tools"), "usr", "bin", tool);
  return [join(folderOf("libc6"), "lib", "x86_64-linux-gnu", "ld-linux-x86-64.so.2"), "--library-path", libraries, program];
}

/** Commands in a folder for PATH: others start them by name. */
export async function mtoolsCommands(cache: string, folder: string): Promise<string> {
  const words = await pinnedTool(cache, "mtools");
  await mkdir(folder, { recursive: true });
  for (const name of ["mformat", "mmd", "mcopy", "mattrib", "mmove"]) {
    const file = join(folder, name);
    await writeFile(file, `#!/bin/sh\nexec ${quoted([...words, "-c", name])} "$@"\n`);
    await chmod(file, 0o755);
  }
  return folder;
}

/** Words for a shell. */
export const quoted = (words: readonly string[]): string => words.map((word) => `'${word.replaceAll("'", String.raw`'\''`)}'`).join(" ");
