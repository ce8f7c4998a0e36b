/**
 * The files that the netboot server serves: those of the image's folder and the loader for BIOS, by exact name, found once at the start.
 * A name that is not in it is 404, whatever its path. A file that was changed since is not served: it is not the one that was checked.
 */
import { type FileHandle, open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { CliError } from "../cli/command.ts";
import { FILES } from "./way.ts";

export type CatalogueFile = { readonly name: string; readonly path: string; readonly bytes: number; readonly changedMs: number; readonly inode: number };
export type Catalogue = ReadonlyMap<string, CatalogueFile>;

/** Where Debian's package `ipxe` puts it. */
const LOADER_FOLDER = "/usr/lib/ipxe";
const FILES_MAX = 64;
const GENESIS = "genesis";

/** `genesisFile` is served as `genesis`, which is where machines ask for it. */
export async function openCatalogue(imageFolder: string, genesisFile: string | null = null, loaderFolder: string = LOADER_FOLDER): Promise<Catalogue> {
  const files = new Map<string, CatalogueFile>();
  const add = async (folder: string, name: string): Promise<void> => {
    const found = files.has(name) ? null : await catalogueFile(name, join(folder, name)).catch(() => null);
    if (found !== null) files.set(name, found);
  };
  const names = await readdir(imageFolder).catch((error: NodeJS.ErrnoException) => {
    throw new CliError("image_unknown", `Cannot read the image in ${imageFolder}: ${error.message}`);
  });
  for (const name of names.slice(0, FILES_MAX)) await add(imageFolder, name);
  await add(loaderFolder, FILES.biosLoader);
  if (genesisFile !== null) {
    const found = await catalogueFile(GENESIS, genesisFile).catch((error: NodeJS.ErrnoException) => { throw new CliError("genesis_unknown", `Cannot read the genesis in ${genesisFile}: ${error.message}`); });
    if (found !== null) files.set(GENESIS, found);
  }
  if (!files.has(FILES.uki) && !files.has(FILES.kernel)) throw new CliError("image_unknown", `There is no image in ${imageFolder}: neither ${FILES.uki} nor ${FILES.kernel} (make one with godwit image build --target netboot)`);
  return files;
}

/** Null: it is no file. */
export async function catalogueFile(name: string, path: string): Promise<CatalogueFile | null> {
  const found = await stat(path);
  return found.isFile() ? { name, path, bytes: found.size, changedMs: found.mtimeMs, inode: found.ino } : null;
}

/** Throws `image_changed` for another file than the one that was found. */
export async function openUnchanged({ name, path, bytes, changedMs, inode }: CatalogueFile): Promise<FileHandle> {
  const handle = await open(path);
  const now = await handle.stat();
  if (now.size === bytes && now.mtimeMs === changedMs && now.ino === inode) return handle;
  await handle.close();
  throw new CliError("image_changed", `Cannot serve ${name}: it was changed since it was checked; start this server anew to serve what is there now`);
}
