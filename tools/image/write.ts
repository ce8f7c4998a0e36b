/**
 * Puts an image on a stick: refuses what is mounted, in use as swap or part of a volume, or not removable; reads it back after.
 *
 * The device is opened for writing with O_EXCL, so that the kernel itself refuses one that somebody uses.
 */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, readFile, readdir, readlink, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { codeOf } from "#os/error.ts";
import { ImageError } from "./errors.ts";

const CHUNK_BYTES: number = 4 * 1024 * 1024;
const SECTOR = 512;

export type WriteOptions = { readonly allowFixedDisk?: boolean; readonly onProgress?: (what: "written" | "verified", done: number, total: number) => void };

export async function writeImage(imageFile: string, device: string, { allowFixedDisk = false, onProgress = () => {} }: WriteOptions = {}): Promise<string> {
  const { size } = await stat(imageFile);
  await checkDevice(device, size, allowFixedDisk);
  const openDevice = (flags: number): Promise<FileHandle> => open(device, flags).catch((cause: unknown) => {
    throw new ImageError(codeOf(cause) === "EBUSY" ? "device_in_use" : "device_unusable", `Cannot write to ${device}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  });
  return await writeAndVerify(imageFile, size, device, openDevice, onProgress);
}

/** The device is closed in between: with its last user the kernel forgets what it has of it, and what is read then is what the device has. */
export async function writeAndVerify(imageFile: string, size: number, device: string, openDevice: (flags: number) => Promise<FileHandle>, onProgress: NonNullable<WriteOptions["onProgress"]>): Promise<string> {
  const chunk = new Uint8Array(CHUNK_BYTES);
  const wanted = createHash("sha256");
  {
    await using image = await open(imageFile, "r");
    await using target = await openDevice(constants.O_RDWR | constants.O_EXCL | constants.O_SYNC);
    for (let at = 0; at < size; at += chunk.length) {
      const { bytesRead } = await image.read(chunk, 0, Math.min(chunk.length, size - at), at);
      if (bytesRead === 0) throw new ImageError("image_changed", `Cannot write ${imageFile}: it became shorter meanwhile`);
      wanted.update(chunk.subarray(0, bytesRead));
      await target.write(chunk, 0, bytesRead, at);
      onProgress("written", at + bytesRead, size);
    }
    await target.sync();
  }
  // Not alone any more: a desktop may have mounted what it found on it.
  await using target = await openDevice(constants.O_RDONLY);
  const found = createHash("sha256");
  for (let at = 0; at < size; at += chunk.length) {
    const { bytesRead } = await target.read(chunk, 0, Math.min(chunk.length, size - at), at);
    found.update(chunk.subarray(0, bytesRead));
    onProgress("verified", at + bytesRead, size);
    if (bytesRead === 0) break;
  }
  const [digest, read] = [wanted.digest("hex"), found.digest("hex")];
  if (digest !== read) throw new ImageError("verification_failed", `Cannot trust ${device}: what it gives back is not what was written (${read.slice(0, 16)}… and not ${digest.slice(0, 16)}…)`);
  return digest;
}

async function checkDevice(device: string, bytes: number, allowFixedDisk: boolean): Promise<void> {
  const found = await stat(device).catch((cause: unknown) => {
    throw new ImageError("device_unusable", `Cannot write to ${device}: there is no such device`, { cause });
  });
  if (!found.isBlockDevice()) throw new ImageError("device_unusable", `Cannot write to ${device}: it is no disk`);
  const name = basename(device);
  const folder = join("/sys/class/block", name);
  const names = [name, ...(await readdir(folder)).filter((entry) => entry.startsWith(name))];
  const mounts = (await readFile("/proc/self/mounts", "utf8")).split("\n").map((line) => basename(line.split(" ")[0] ?? ""));
  const mounted = names.find((one) => mounts.includes(one));
  if (mounted !== undefined) throw new ImageError("device_mounted", `Cannot write to ${device}: ${mounted} is mounted; unmount it first`);
  for (const one of names) {
    const holders = await readdir(join("/sys/class/block", one, "holders")).catch((): string[] => []);
    if (holders.length > 0) throw new ImageError("device_in_use", `Cannot write to ${device}: ${one} is part of ${holders.join(", ")}`);
  }
  const size = Number(await readFile(join(folder, "size"), "utf8")) * SECTOR;
  if (size < bytes) throw new ImageError("device_small", `Cannot write to ${device}: it has ${size} bytes and the image ${bytes}`);
  const removable = (await readFile(join(folder, "removable"), "utf8").catch(() => "0")).trim() === "1" || /\/usb\d/.test(await readlink(folder));
  if (!removable && !allowFixedDisk) throw new ImageError("device_fixed", `Cannot write to ${device}: it is not removable; --fixed-disk says that this is meant`);
}
