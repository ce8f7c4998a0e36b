/**
 * The folder of one chain on one machine, opened by one process at a time.
 *
 *   DIR/genesis    the genesis file; another one in the same folder is refused (`genesis_differs`)
 *   DIR/blocks/    blockStore.ts
 *   DIR/epochs     epochHeaders.ts
 *   DIR/votes      voteLog.ts, of a validator
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
import { VoteLog } from "./voteLog.ts";

export type DataFolder = { readonly blocks: BlockStore; readonly epochs: EpochHeaders; readonly votes: VoteLog | null; close(): Promise<void> };

export async function openDataFolder(directory: string, genesis: Uint8Array, chainId: ChainId, validatorKey: PublicKey | null, wasLost: boolean = false): Promise<DataFolder> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const lock: FolderLock = await lockFolder(directory);
  const opened: { close(): Promise<void> }[] = [];
  const close = async (): Promise<void> => {
    for (const one of opened.reverse()) await one.close();
    await lock.release();
  };
  try {
    await checkGenesis(directory, genesis);
    const blocks = await BlockStore.open(join(directory, "blocks"));
    opened.push(blocks);
    const epochs = await EpochHeaders.open(directory, PRESETS[decodeGenesis(genesis).parameters].unbondingMs);
    opened.push(epochs);
    const votes = validatorKey && (await VoteLog.open(join(directory, "votes"), { chainId, publicKey: validatorKey, mustExist: blocks.height > 0, wasLost }));
    if (votes) opened.push(votes);
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

async function checkGenesis(directory: string, genesis: Uint8Array): Promise<void> {
  const path = join(directory, "genesis");
  let stored: Uint8Array;
  try {
    stored = await readFile(path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw new NodeError("data_folder_unusable", `Cannot read ${path}: ${String(cause)}`, { cause });
    const handle = await open(`${path}.new`, "w", 0o600);
    await handle.writeFile(genesis);
    await handle.sync();
    await handle.close();
    await rename(`${path}.new`, path);
    await syncDirectory(directory);
    return;
  }
  if (Buffer.compare(stored, genesis) !== 0) throw new NodeError("genesis_differs", `Cannot open data folder ${directory}: it belongs to another chain`);
}
