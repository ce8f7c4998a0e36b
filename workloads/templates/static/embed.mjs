/**
 * Puts the files of the folder site into assembly/site.ts, from where they become part of the component.
 *
 *   node embed.mjs                         once, after a change in site/
 *   node --watch-path=site embed.mjs       at each save there, beside godwit dev
 */
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, extname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

const project = dirname(fileURLToPath(import.meta.url));
const site = join(project, "site");
export const moduleFile = join(project, "assembly", "site.ts");

/** A component is compiled on every machine that runs it: larger sites belong elsewhere. */
const SITE_BYTES_MAX = 512 * 1024;
const CONTENT_TYPES = {
  ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".json": "application/json",
  ".txt": "text/plain; charset=utf-8", ".xml": "application/xml", ".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg",
  ".gif": "image/gif", ".webp": "image/webp", ".ico": "image/x-icon", ".woff2": "font/woff2", ".pdf": "application/pdf",
};

const HEAD = `// Made by embed.mjs from the folder site: change the files there.

export class File {
  constructor(public contentType: string, public etag: string, private content: StaticArray<u8>) {}

  bytes(): Uint8Array {
    const bytes = new Uint8Array(this.content.length);
    memory.copy(bytes.dataStart, changetype<usize>(this.content), this.content.length);
    return bytes;
  }
}
`;

/** The text of assembly/site.ts: the same files give the same text. */
export function siteModule() {
  const files = filesOf(site).map((path) => ({ path: `/${relative(site, path).split(sep).map(encodeURIComponent).join("/")}`, bytes: readFileSync(path) })).sort((a, b) => (a.path < b.path ? -1 : 1));
  const total = files.reduce((sum, { bytes }) => sum + bytes.length, 0);
  if (total > SITE_BYTES_MAX) throw new Error(`The folder site has ${total} bytes and ${SITE_BYTES_MAX} is the limit`);
  const constants = files.map(({ path, bytes }, i) => `// ${path}\nconst FILE_${i}: StaticArray<u8> = [${bytes.join(",")}];\n`);
  const branches = files.map(({ path, bytes }, i) => `  if (path == ${JSON.stringify(path)}) return new File(${JSON.stringify(CONTENT_TYPES[extname(path).toLowerCase()] ?? "application/octet-stream")}, ${JSON.stringify(etagOf(bytes))}, FILE_${i});\n`);
  return `${HEAD}\n/** The file at a path, which begins with a slash and is percent-encoded; null when there is none. */\nexport function find(path: string): File | null {\n${branches.join("")}  return null;\n}\n\n${constants.join("")}`;
}

const etagOf = (bytes) => `"${createHash("sha256").update(bytes).digest("hex").slice(0, 16)}"`;

function filesOf(folder) {
  return readdirSync(folder, { withFileTypes: true }).filter(({ name }) => !name.startsWith(".")).flatMap((entry) => (entry.isDirectory() ? filesOf(join(folder, entry.name)) : [join(folder, entry.name)]));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(moduleFile, siteModule());
