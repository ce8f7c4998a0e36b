/**
 * One process per data folder: `data_folder_in_use` for the second.
 *
 * The lock is a listening unix socket in Linux's abstract name space, named by the folder's device and inode. The kernel gives
 * the name to one process at a time and takes it back when that process ends, however it ends: nothing is left after kill -9,
 * no pid has to be guessed at, and a folder reached by another path or a symbolic link is still the same folder.
 * Elsewhere than on Linux the socket is a file in the folder; one that nobody answers on is left over and is taken.
 *
 * What it does not see: a process in another network namespace (a container that mounts the same folder). For that, FrameFile
 * stops at the first byte that it did not write itself (`foreign_write`), before a vote leaves.
 */
import { stat, unlink } from "node:fs/promises";
import { type Server, connect, createServer } from "node:net";
import { join } from "node:path";
import { sha256 } from "#chain/crypto.ts";
import { hex } from "#chain/types.ts";
import { NodeError } from "./errors.ts";

export type FolderLock = { release(): Promise<void> };

export async function lockFolder(directory: string): Promise<FolderLock> {
  const { dev, ino } = await stat(directory, { bigint: true });
  const linux = process.platform === "linux";
  const name = linux ? `\0godwit-${hex(sha256(new TextEncoder().encode(`${dev}/${ino}`))).slice(0, 32)}` : join(directory, "lock.sock");
  if (!linux && !(await answers(name))) await unlink(name).catch(() => undefined);
  let server: Server;
  try {
    server = await listen(name);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "EADDRINUSE") throw new NodeError("data_folder_unusable", `Cannot lock data folder ${directory}: ${String(cause)}`, { cause });
    throw new NodeError("data_folder_in_use", `Cannot open data folder ${directory}: another godwit process has it open`);
  }
  return { release: () => new Promise((resolve) => server.close(() => resolve())) };
}

function listen(path: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once("error", reject);
    server.listen({ path, exclusive: true }, () => {
      server.unref();
      resolve(server);
    });
  });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
