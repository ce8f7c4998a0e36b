/**
 * The files that the netboot server serves: those of the image's folder and the loader for BIOS, by exact name, found once at the start.
 * A name that is not in it is 404, whatever its path.
 */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { CliError } from "../cli/command.ts";
import { FILES } from "./way.ts";

export type CatalogueFile = { readonly name: string; readonly path: string; readonly bytes: number };
export type Catalogue = ReadonlyMap<string, CatalogueFile>;

/** Where Debian's package `ipxe` puts it. */
const LOADER_FOLDER = "/usr/lib/ipxe";
const FILES_MAX = 64;
const GENESIS = "genesis";

/** `genesisFile` is served as `genesis`, which is where machines ask for it. */
export async function openCatalogue(imageFolder: string, genesisFile: string | null = null, loaderFolder: string = LOADER_FOLDER): Promise<Catalogue> {
  const files = new Map<string, CatalogueFile>();
  const add = async (folder: string, name: string): Promise<void> => {
    const found = await stat(join(folder, name)).catch(() => null);
    if (found?.isFile() === true && !files.has(name)) files.set(name, { name, path: join(folder, name), bytes: found.size });
  };
  const names = await readdir(imageFolder).catch((error: NodeJS.ErrnoException) => {
    throw new CliError("image_unknown", `Cannot read the image in ${imageFolder}: ${error.message}`);
  });
  for (const name of names.slice(0, FILES_MAX)) await add(imageFolder, name);
  await add(loaderFolder, FILES.biosLoader);
  if (genesisFile !== null) {
    const found = await stat(genesisFile).catch((error: NodeJS.ErrnoException) => { throw new CliError("genesis_unknown", `Cannot read the genesis in ${genesisFile}: ${error.message}`); });
    files.set(GENESIS, { name: GENESIS, path: genesisFile, bytes: found.size });
  }
  if (!files.has(FILES.uki) && !files.has(FILES.kernel)) throw new CliError("image_unknown", `There is no image in ${imageFolder}: neither ${FILES.uki} nor ${FILES.kernel} (make one with godwit image build --target netboot)`);
  return files;
}
