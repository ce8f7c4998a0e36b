/**
 * What one kernel hands to the next at an upgrade, in memory and nowhere else: files behind the next image's initramfs, which PID 1 shows as `/carried`.
 *
 * The machine's keys: so that it comes back as the same machine, and takes its leases up again. And the image itself, manifest and kernel (the rest of it the machine
 * runs from): so that other machines of the grid are upgraded from this one. Nothing of it is trusted for coming from here: who takes an image from a machine checks
 * every byte against the signed manifest.
 */
import { createReadStream } from "node:fs";
import { mkdir, readFile, readdir, rm, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { Writable } from "node:stream";
import { codeOf } from "../error.ts";
import { writeWhole } from "../keys.ts";
import { CARRIED_FILE_BYTES_MAX } from "../limits.ts";
import { type CpioEntry, type Hole, cpioPieces, initramfsEntries, writeCpio } from "./cpio.ts";

const FOLDER = "carried";
const SECTOR_BYTES = 512;
const KEY_NAME = /^[a-z]{1,32}$/;
/** What this machine runs from: what PID 1 mounted as the root, and PID 1. */
const RUNNING = { root: "/dev/loop0", init: "/proc/1/exe" } as const;

export type CarriedImage = { readonly manifest: Uint8Array; readonly kernel: Uint8Array };
export const IMAGE_PARTS = ["manifest", "vmlinuz", "initramfs"] as const;
export type ImagePartName = (typeof IMAGE_PARTS)[number];
/** An image that other machines can take from here. */
export type HeldImage = { readonly write: (part: ImagePartName, to: Writable, signal: AbortSignal) => Promise<void> };

/** The archive to put behind an initramfs. */
export async function carriedArchive(keysFolder: string, { manifest, kernel }: CarriedImage): Promise<Uint8Array> {
  const names = (await readdir(keysFolder).catch(nothing)).filter((name) => KEY_NAME.test(name));
  const entries: CpioEntry[] = [{ kind: "file", path: `${FOLDER}/image/manifest`, content: manifest }, { kind: "file", path: `${FOLDER}/image/vmlinuz`, content: kernel }];
  for (const name of names) {
    const content = await readFile(join(keysFolder, name));
    if (content.length <= CARRIED_FILE_BYTES_MAX) entries.push({ kind: "file", path: `${FOLDER}/keys/${name}`, content });
  }
  return writeCpio(entries);
}

/** Gives this machine the keys that it had before, once; the names of those. */
export async function takeKeys(keysFolder: string, from: string = `/${FOLDER}`): Promise<string[]> {
  const folder = join(from, "keys");
  const names = (await readdir(folder).catch(nothing)).filter((name) => KEY_NAME.test(name));
  if (names.length > 0) await mkdir(keysFolder, { recursive: true, mode: 0o700 });
  for (const name of names) {
    await writeWhole(join(keysFolder, name), await readFile(join(folder, name)));
    await rm(join(folder, name));
  }
  return names;
}

/** Null: this machine was not started by an upgrade, and nobody gave it the whole of its image. */
export async function heldImage(from: string = `/${FOLDER}`, running: { readonly root: string; readonly init: string } = RUNNING): Promise<HeldImage | null> {
  const fileOf = (name: "manifest" | "vmlinuz"): string => join(from, "image", name);
  if (!(await stat(fileOf("manifest")).then(() => true, () => false))) return null;
  return {
    write: (part, to, signal) => pipeline(part === "initramfs" ? initramfs(running) : createReadStream(fileOf(part)), to, { signal, end: false }),
  };
}

async function* initramfs({ root, init }: { readonly root: string; readonly init: string }): AsyncGenerator<Uint8Array> {
  const hole: Hole = { bytes: await sizeOf(root) };
  for (const piece of cpioPieces(initramfsEntries(await readFile(init), hole))) {
    if (piece instanceof Uint8Array) yield piece;
    else yield* createReadStream(root) as AsyncIterable<Uint8Array>;
  }
}

/** A device has no size of its own for stat. */
async function sizeOf(file: string): Promise<number> {
  const { size } = await stat(file);
  if (size > 0) return size;
  return Number(await readFile(join("/sys/class/block", basename(file), "size"), "utf8")) * SECTOR_BYTES;
}

function nothing(error: unknown): string[] {
  if (codeOf(error) === "ENOENT") return [];
  throw error;
}
