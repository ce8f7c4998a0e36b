/**
 * The folder of one chain on one machine, opened by one process at a time.
 *
 *   DIR/genesis    the genesis file; another one in the same folder is refused (`genesis_differs`)
 *   DIR/version    of what is in it, and of the state that its blocks give; another one is refused and left as it is (`data_folder_version`)
 *   DIR/blocks/    blockStore.ts
 *   DIR/epochs     epochHeaders.ts
 *   DIR/votes      voteLog.ts, of a validator
 *   DIR/joined/    joinedFolder.ts: what takes the place of blocks and snapshot
 */
import { mkdir, open, readFile, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { decodeGenesis } from "#chain/codec/genesis.ts";
import { PRESETS } from "#chain/constants.ts";
import type { ChainId, PublicKey } from "#chain/types.ts";
import { BlockStore } from "./blockStore.ts";
import { EpochHeaders } from "./epochHeaders.ts";
import { NodeError } from "./errors.ts";
import { type FolderLock, lockFolder } from "./folderLock.ts";
import { syncDirectory } from "./frameFile.ts";
import { forgetJoined, takeJoined } from "./joinedFolder.ts";
import { VoteLog } from "./voteLog.ts";

/** Goes up with each change of the rules or of a leaf after which the blocks of a folder give another state. Folders without the file are the first. */
export const FOLDER_VERSION = 5;

export type DataFolder = { readonly blocks: BlockStore; readonly epochs: EpochHeaders; readonly votes: VoteLog | null; close(): Promise<void> };

/** `wasLost`, and after a join: blocks without a vote log. Whatever this key has signed before this folder, the others know (R12). */
export async function openDataFolder(directory: string, genesis: Uint8Array, chainId: ChainId, validatorKey: PublicKey | null, wasLost: boolean = false): Promise<DataFolder> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const lock: FolderLock = await lockFolder(directory);
  const opened: { close(): Promise<void> }[] = [];
  const close = async (): Promise<void> => {
    for (const one of opened.reverse()) await one.close();
    await lock.release();
  };
  try {
    await checkVersion(directory);
    await checkGenesis(directory, genesis);
    const hasJoined = await takeJoined(directory);
    const blocks = await BlockStore.open(join(directory, "blocks"));
    opened.push(blocks);
    const epochs = await EpochHeaders.open(directory, PRESETS[decodeGenesis(genesis).parameters].unbondingMs);
    opened.push(epochs);
    const votes = validatorKey && (await VoteLog.open(join(directory, "votes"), { chainId, publicKey: validatorKey, mustExist: blocks.height > 0, wasLost: wasLost || hasJoined }));
    if (votes) opened.push(votes);
    if (hasJoined) await forgetJoined(directory);
    return { blocks, epochs, votes, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The genesis file of a chain's folder, given itself or the machine's folder that it lies in (`DIR/chain`). */
export async function findGenesis(directory: string): Promise<{ directory: string; genesis: Uint8Array }> {
  for (const folder of [directory, join(directory, "chain")]) {
    try {
      if ((await stat(join(folder, "genesis"))).isFile()) return { directory: folder, genesis: await readFile(join(folder, "genesis")) };
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw new NodeError("data_folder_unusable", `Cannot read ${folder}: ${String(cause)}`, { cause });
    }
  }
  throw new NodeError("data_folder_unusable", `Cannot find a chain in ${directory}: there is no genesis file`);
}

/** Before anything else is read. */
async function checkVersion(directory: string): Promise<void> {
  const textOf = async (name: string): Promise<string | null> => readFile(join(directory, name), "latin1").catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== "ENOENT") throw new NodeError("data_folder_unusable", `Cannot read ${join(directory, name)}: ${String(cause)}`, { cause });
    return null;
  });
  const found = (await textOf("version")) ?? ((await textOf("genesis")) === null ? null : "1");
  if (found === null) return writeSynced(directory, "version", Buffer.from(`${FOLDER_VERSION}\n`));
  if (found.trim() === String(FOLDER_VERSION)) return;
  throw new NodeError("data_folder_version", `Cannot open data folder ${directory}: it is of version ${found.trim().slice(0, 16)}, and this program reads ${FOLDER_VERSION}; start with that program, or in an empty folder and sync`);
}

async function checkGenesis(directory: string, genesis: Uint8Array): Promise<void> {
  const path = join(directory, "genesis");
  let stored: Uint8Array;
  try {
    stored = await readFile(path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw new NodeError("data_folder_unusable", `Cannot read ${path}: ${String(cause)}`, { cause });
    return writeSynced(directory, "genesis", genesis);
  }
  if (Buffer.compare(stored, genesis) !== 0) throw new NodeError("genesis_differs", `Cannot open data folder ${directory}: it belongs to another chain`);
}

async function writeSynced(directory: string, name: string, bytes: Uint8Array): Promise<void> {
  const path = join(directory, name);
  const handle = await open(`${path}.new`, "w", 0o600);
  await handle.writeFile(bytes);
  await handle.sync();
  await handle.close();
  await rename(`${path}.new`, path);
  await syncDirectory(directory);
}
