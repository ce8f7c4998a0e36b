/**
 * The files of a project's `assets` folder as a module of AssemblyScript, `godwit/assets/files`: they become part of the component.
 *
 * The same files give the same text. Names that begin with a dot are left out; a link is not followed out of the folder.
 */
import { createHash } from "node:crypto";
import { readFile, readdir } from "node:fs/promises";
import { extname, join, relative, sep } from "node:path";

/** All files together. A component is compiled on every machine that runs it: larger sites belong elsewhere. */
export const ASSETS_BYTES_MAX: number = 512 * 1024;

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".json": "application/json", ".md": "text/markdown; charset=utf-8",
  ".txt": "text/plain; charset=utf-8", ".xml": "application/xml", ".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif",
  ".webp": "image/webp", ".ico": "image/x-icon", ".woff2": "font/woff2", ".wasm": "application/wasm", ".pdf": "application/pdf",
};

/** Of a project without the folder. */
export const NO_ASSETS_MODULE: string = assetsModuleOf([]);

type AssetFile = { readonly path: string; readonly bytes: Uint8Array };

/** The module's text; or, when the folder cannot be embedded, why not. */
export async function assetsModule(folder: string): Promise<{ readonly text: string } | { readonly refusal: string }> {
  const files = await readAssets(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return null;
    throw error;
  });
  if (files === null) return { refusal: "this folder of assets is not there" };
  const total = files.reduce((sum, { bytes }) => sum + bytes.length, 0);
  if (total > ASSETS_BYTES_MAX) return { refusal: `its files have ${total} bytes together, and ${ASSETS_BYTES_MAX} is the limit` };
  return { text: assetsModuleOf(files) };
}

async function readAssets(folder: string): Promise<AssetFile[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => relative(folder, join(entry.parentPath, entry.name))).filter((path) => !path.split(sep).some((part) => part.startsWith(".")));
  return Promise.all(paths.toSorted().map(async (path) => ({ path: `/${path.split(sep).map(encodeURIComponent).join("/")}`, bytes: new Uint8Array(await readFile(join(folder, path))) })));
}

function assetsModuleOf(files: readonly AssetFile[]): string {
  const constants = files.map(({ bytes }, i) => `const FILE_${i}: StaticArray<u8> = [${bytes.join(",")}];`);
  const branches = files.map(({ path, bytes }, i) => `  if (path == ${JSON.stringify(path)}) return new Asset(${JSON.stringify(typeOf(path))}, ${JSON.stringify(etagOf(bytes))}, FILE_${i});`);
  return [`import { Asset } from "./asset";`, ...constants, "export function find(path: string): Asset | null {", ...branches, "  return null;", "}", ""].join("\n");
}

const typeOf = (path: string): string => CONTENT_TYPES[extname(path).toLowerCase()] ?? "application/octet-stream";
const etagOf = (bytes: Uint8Array): string => `"${createHash("sha256").update(bytes).digest("hex").slice(0, 16)}"`;
