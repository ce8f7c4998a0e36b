/**
 * What a join has brought takes the place of what a folder held, all of it or nothing, also where the power goes in the middle:
 *
 *   DIR/joining/{blocks/, snapshot}   is being written: of no use to anybody, and gone at the next opening
 *   DIR/joined/{blocks/, snapshot}    all of it is on the disk: at the next opening it takes the place of DIR/blocks and DIR/snapshot
 *   DIR/behind                        empty; peers have gone on for longer than they keep blocks: the next opening asks them for a snapshot
 *
 * The vote log stays where it is: what a validator has signed binds it, whatever blocks it has. Of the epochs that it was away for nothing
 * is in there, for it signed nothing there.
 */
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Certificate, encodeCertificate } from "#chain/codec/schema.ts";
import { BlockStore } from "./blockStore.ts";
import { syncDirectory } from "./frameFile.ts";
import type { HeldBlock } from "./heldBlocks.ts";
import { encodeResults } from "./results.ts";
import { writeChunks } from "./snapshotFile.ts";

const exists = (path: string): Promise<boolean> => stat(path).then(() => true, () => false);

/** Whether there is a chain in the folder to go on from. */
export async function holdsChain(directory: string): Promise<boolean> {
  return (await readdir(join(directory, "blocks")).catch((): string[] => [])).length > 0 || (await exists(join(directory, "joined")));
}

/** An empty folder for `write` to fill; when it has, that is what the next opening finds. */
export async function writeJoined(directory: string, write: (aside: string) => Promise<void>): Promise<void> {
  const aside = join(directory, "joining");
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await rm(aside, { recursive: true, force: true });
  await mkdir(aside, { mode: 0o700 });
  await write(aside);
  await rename(aside, join(directory, "joined"));
  await syncDirectory(directory);
}

/** What a node that had come to this block itself would have: the block, final, and the snapshot of the state after it. */
export function writeJoinedState(directory: string, { ref: { height, id }, bytes, block: { header } }: HeldBlock, finalization: Certificate, chunks: readonly Uint8Array[]): Promise<void> {
  return writeJoined(directory, async (aside) => {
    const blocks = await BlockStore.open(join(aside, "blocks"));
    try {
      await blocks.appendFirst({ height, id, bytes, certificate: encodeCertificate(finalization), results: encodeResults({ outcomes: [], events: [] }) });
      await writeChunks(aside, header.chainId, { height, id, header, finalization }, chunks);
    } finally {
      await blocks.close();
    }
  });
}

/** Whether something took a place. Until `forgetJoined` it is so again at each opening, and changes nothing more. */
export async function takeJoined(directory: string): Promise<boolean> {
  const from = join(directory, "joined");
  await rm(join(directory, "joining"), { recursive: true, force: true });
  if (!(await exists(from))) return false;
  for (const name of ["blocks", "snapshot"]) {
    if (!(await exists(join(from, name)))) continue;
    await rm(join(directory, name), { recursive: true, force: true });
    await rename(join(from, name), join(directory, name));
    await syncDirectory(directory);
  }
  return true;
}
export const forgetJoined = (directory: string): Promise<void> => rm(join(directory, "joined"), { recursive: true, force: true });

export const isLeftBehind = (directory: string): Promise<boolean> => exists(join(directory, "behind"));
export async function noteLeftBehind(directory: string): Promise<void> {
  await (await open(join(directory, "behind"), "w", 0o600)).close();
}
export const forgetLeftBehind = (directory: string): Promise<void> => rm(join(directory, "behind"), { force: true });
