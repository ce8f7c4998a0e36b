/**
 * Compiled code on disk, such that a changed byte is never executed.
 *
 * An entry is one page of header and then the code. The header says which component, engine and code (by sha256) it is of, under
 * a MAC whose key only this user can read and no runner ever sees. Whoever executes the code gets a sealed copy that was hashed
 * after it was sealed (native/core/src/vault.rs). Entries are written whole and renamed; a runner can open none.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { mkdir, open, readFile, rename, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";

export const HEADER_BYTES = 4096;
const MAGIC = "godwit-code-1";
const KEY_BYTES = 32;

export type Header = { readonly component: string; readonly engine: string; readonly codeSha256: string; readonly codeBytes: number };

export const codeDirectory = (cacheDirectory: string): string => join(cacheDirectory, "compiled");
export const entryName = (digest: string, engine: string): string => `${digest}-${engine}.code`;
export const entryPath = (cacheDirectory: string, digest: string, engine: string): string => join(codeDirectory(cacheDirectory), entryName(digest, engine));
export const sha256Hex = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** The header of an entry, or null when there is none that we made for this component and engine. */
export async function readHeader(cacheDirectory: string, digest: string, engine: string): Promise<Header | null> {
  const key = await readKey(cacheDirectory);
  let file;
  try {
    file = await open(entryPath(cacheDirectory, digest, engine), "r");
  } catch {
    return null;
  }
  try {
    const page = Buffer.alloc(HEADER_BYTES);
    const { bytesRead } = await file.read(page, 0, HEADER_BYTES, 0);
    const header = bytesRead === HEADER_BYTES ? parseHeader(page, key) : null;
    return header?.component === digest && header.engine === engine ? header : null;
  } finally {
    await file.close();
  }
}

/** The code of an entry, or null when anything about it is not as it was written. */
export async function readCode(cacheDirectory: string, digest: string, engine: string): Promise<Uint8Array | null> {
  const header = await readHeader(cacheDirectory, digest, engine);
  if (header === null) return null;
  const bytes = await readFile(entryPath(cacheDirectory, digest, engine));
  const code = bytes.subarray(HEADER_BYTES);
  return code.length === header.codeBytes && sha256Hex(code) === header.codeSha256 ? code : null;
}

/** Of an entry that is as it was written, and yet no good: made by a compiler that this engine does not understand. */
export async function removeEntry(cacheDirectory: string, digest: string, engine: string): Promise<void> {
  await unlink(entryPath(cacheDirectory, digest, engine)).catch(() => {});
}

export async function writeEntry(cacheDirectory: string, digest: string, engine: string, code: Uint8Array): Promise<void> {
  await mkdir(codeDirectory(cacheDirectory), { recursive: true, mode: 0o700 });
  const key = await readKey(cacheDirectory);
  const header: Header = { component: digest, engine, codeSha256: sha256Hex(code), codeBytes: code.length };
  const path = entryPath(cacheDirectory, digest, engine);
  const staged = `${path}.${randomBytes(6).toString("hex")}`;
  try {
    await writeFile(staged, Buffer.concat([encodeHeader(header, key), code]), { mode: 0o600 });
    await rename(staged, path);
  } catch (error) {
    await unlink(staged).catch(() => {});
    throw error;
  }
}

function encodeHeader(header: Header, key: Uint8Array): Uint8Array {
  const text = JSON.stringify(header);
  const page = Buffer.alloc(HEADER_BYTES);
  page.write(`${MAGIC}\n${text}\n${mac(text, key).toString("hex")}\n`);
  return page;
}

function parseHeader(page: Uint8Array, key: Uint8Array): Header | null {
  const [magic, text, given] = Buffer.from(page).toString("utf8").split("\n");
  if (magic !== MAGIC || text === undefined || given === undefined) return null;
  const expected = mac(text, key);
  const found = Buffer.from(given, "hex");
  if (found.length !== expected.length || !timingSafeEqual(found, expected)) return null;
  return JSON.parse(text) as Header;
}

const mac = (text: string, key: Uint8Array): Buffer => createHmac("sha256", key).update(`${MAGIC}\n${text}`).digest();

/** Made at first use. Whoever wins the race to make it, all read the same file afterwards. */
async function readKey(cacheDirectory: string): Promise<Uint8Array> {
  const path = join(cacheDirectory, "key");
  for (;;) {
    try {
      const key = await readFile(path);
      if (key.length === KEY_BYTES) return key;
      await unlink(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
    await mkdir(cacheDirectory, { recursive: true, mode: 0o700 });
    const staged = `${path}.${randomBytes(6).toString("hex")}`;
    await writeFile(staged, randomBytes(KEY_BYTES), { mode: 0o600 });
    await rename(staged, path);
  }
}
