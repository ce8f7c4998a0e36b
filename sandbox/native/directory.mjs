/**
 * Where the native products of these very sources are: one folder in the user's cache, named by a hash of what they are made of.
 *
 * Plain JavaScript for any Node ≥ 18, as the set-up runs it before the pinned Node is there. The version of rustc is not part
 * of the name: what an older one made is as good, and finding the products must not cost the start of a process.
 */
import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

export const workspaceDirectory = fileURLToPath(new URL(".", import.meta.url));

export function cacheDirectory() {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "godwit");
}

/** Everything that cargo reads from the workspace for these products, in a fixed order: PID 1 of the image is none of them. */
function sources(directory) {
  const files = [];
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) {
      if (entry.name !== "target" && path !== join(workspaceDirectory, "init")) files.push(...sources(path));
    } else if (/\.(rs|toml|lock)$/.test(entry.name)) files.push(path);
  }
  return files.sort((a, b) => (a < b ? -1 : 1));
}

let found;
/** GODWIT_NATIVE names another folder: the machine image has its products there. */
export function nativeDirectory() {
  if (process.env.GODWIT_NATIVE) return process.env.GODWIT_NATIVE;
  if (found) return found;
  const hash = createHash("sha256").update(`${process.platform} ${process.arch}\0`);
  for (const path of sources(workspaceDirectory)) {
    hash.update(`${relative(workspaceDirectory, path)}\0`).update(readFileSync(path)).update("\0");
  }
  found = join(cacheDirectory(), "native", hash.digest("hex").slice(0, 16));
  return found;
}
