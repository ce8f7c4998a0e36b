/**
 * The next image, taken from a URL: nothing of it is started that is not, byte for byte, what the signed manifest names.
 *
 * The kernel is laid ready (kexec) and started through the one door out, with this machine's own words and `godwit.trial=1`. An image
 * on trial that panics, crashes or does not accept work in time ends in a restart by the firmware, which knows the image of before
 * only (stick, boot server): that is the way back, and nothing has to be undone.
 */
import { createHash } from "node:crypto";
import { type FileHandle, mkdtemp, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { fromHex, publicKey } from "#chain/types.ts";
import { AgentError } from "../error.ts";
import { IMAGE_FETCH_MS_MAX, IMAGE_PART_BYTES_MAX } from "../limits.ts";
import type { Identity } from "./identity.ts";
import { type ImagePart, type Manifest, readManifest } from "./manifest.ts";

/** What goes behind the next image's initramfs, made of its manifest and kernel. */
export type Tail = (manifest: Uint8Array, kernel: FileHandle) => Promise<Uint8Array>;
/** Open for reading, and without a name: what was written and hashed is what is read, whoever writes beside it. */
export type NextImage = AsyncDisposable & { readonly manifest: Manifest; readonly kernel: FileHandle; readonly initramfs: FileHandle };

const MANIFEST_BYTES_MAX: number = 64 * 1024;
const TRIAL_WORD = "godwit.trial=1";
/** The kernel, then its initramfs. */
const PARTS = ["vmlinuz", "initramfs"] as const;

/** Fetches and checks the image in the folder `url`. Its parts take room in `directory` until they are closed, and have no names there. */
export async function fetchImage(url: string, directory: string, identity: Pick<Identity, "signer" | "release">, nowMs: number, tail: Tail = async () => new Uint8Array()): Promise<NextImage> {
  if (identity.signer === null) throw new AgentError("image_unsigned", "Cannot upgrade this machine: its image was built without a signing key, so it knows nobody whose images it may take");
  const signal = AbortSignal.timeout(IMAGE_FETCH_MS_MAX);
  const base = url.replace(/\/?$/, "/");
  const signed = await gather(`${base}manifest`, MANIFEST_BYTES_MAX, signal);
  const { manifest } = readManifest(signed, [publicKey(fromHex(identity.signer))], nowMs, identity.release);
  await using opened = new AsyncDisposableStack();
  const folder = await mkdtemp(join(directory, "next-"));
  opened.defer(() => rm(folder, { recursive: true, force: true }));
  const handles: FileHandle[] = [];
  for (const name of PARTS) {
    const part = manifest.parts.find((one) => one.name === name);
    if (part === undefined) throw new AgentError("manifest_refused", `Cannot use the image: its manifest names no ${name}`);
    const behind = name === "initramfs" ? await tail(signed, handles[0]!) : new Uint8Array();
    handles.push(opened.use(await keep(`${base}${name}`, part, join(folder, name), behind, signal)));
  }
  await rm(folder, { recursive: true });
  const kept = opened.move();
  return { manifest, kernel: handles[0]!, initramfs: handles[1]!, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** What the next boot gets anew: a join token is good once. */
const PASSING_WORDS = [TRIAL_WORD, "BOOT_IMAGE=", "godwit.join="];

/** This machine's own words again, once on trial. */
export const trialCommandLine = (line: string): string => [...line.trim().split(/\s+/).filter((word) => !PASSING_WORDS.some((start) => word.startsWith(start))), TRIAL_WORD].join(" ");

async function* body(url: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const response = await fetch(url, { signal, redirect: "error" }).catch((cause: unknown) => {
    throw new AgentError("image_unreachable", `Cannot fetch ${url}`, { cause });
  });
  if (!response.ok || response.body === null) throw new AgentError("image_unreachable", `Cannot fetch ${url}: it answers ${response.status}`);
  yield* response.body;
}

async function gather(url: string, bytesMax: number, signal: AbortSignal): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body(url, signal)) {
    length += chunk.length;
    if (length > bytesMax) throw new AgentError("manifest_refused", `Cannot use ${url}: it has more than ${bytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function keep(url: string, { name, sha256, bytes }: ImagePart, file: string, behind: Uint8Array, signal: AbortSignal): Promise<FileHandle> {
  if (!Number.isSafeInteger(bytes) || bytes > IMAGE_PART_BYTES_MAX) throw new AgentError("manifest_refused", `Cannot use the image: its ${name} has ${bytes} bytes`);
  const wrong = (why: string): AgentError => new AgentError("image_wrong", `Cannot use ${url}: ${why}`);
  const hash = createHash("sha256");
  let length = 0;
  const out = await open(file, "wx", 0o600);
  // The same file by its descriptor: the kernel reads no file that somebody has open for writing, so it is given another one.
  const written = await open(`/proc/self/fd/${out.fd}`, "r").catch(async (error: unknown) => {
    await out.close();
    throw error;
  });
  try {
    for await (const chunk of body(url, signal)) {
      length += chunk.length;
      if (length > bytes) throw wrong("it is longer than its manifest says");
      hash.update(chunk);
      await out.writeFile(chunk);
    }
    if (length !== bytes || hash.digest("hex") !== sha256) throw wrong("its bytes are not those of its manifest");
    // The kernel takes a second archive after the first at a multiple of four.
    if (behind.length > 0) await out.writeFile(Buffer.concat([new Uint8Array((4 - (length % 4)) % 4), behind]));
    return written;
  } catch (error) {
    await written.close();
    throw error;
  } finally {
    await out.close();
  }
}
