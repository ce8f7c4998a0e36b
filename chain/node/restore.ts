/** The stored blocks once more into the ledger when a node opens, after the snapshot if there is one, so that it stands where it stood. */
import { type BlockHeader, type Certificate, decodeCertificate } from "#chain/codec/schema.ts";
import type { BlockRef } from "#chain/consensus/events.ts";
import { trustedTransactions } from "./blockCheck.ts";
import type { BlockStore } from "./blockStore.ts";
import { NodeError } from "./errors.ts";
import type { Executor } from "./executor.ts";
import type { FinalBlocks } from "./finalBlocks.ts";
import { heldFromBytes } from "./heldBlocks.ts";
import type { StoredSnapshot } from "./snapshotFile.ts";

export type Restored = { readonly ref: BlockRef; readonly header: BlockHeader; readonly finalization: Certificate | null };

/** The newest final block; null: none after genesis. The blocks were checked when they came, and the checksums say that they are the same. */
export function restoreBlocks(directory: string, blocks: BlockStore, snapshot: StoredSnapshot | null, executor: Executor, final: FinalBlocks): Restored | null {
  const heightSnapshot = snapshot?.height ?? 0;
  if (!snapshot && blocks.heightFirst > 1) throw new NodeError("snapshot_missing", `Cannot open ${directory}: its blocks begin at ${blocks.heightFirst}, and the snapshot before them is gone; empty the folder to join again`);
  if (snapshot) final.restoreIndex(snapshot.index, snapshot.height);
  let newest: Restored | null = null;
  for (let at = Math.max(1, heightSnapshot); at <= blocks.height; at++) {
    const stored = blocks.read(at)!;
    const held = heldFromBytes(stored.bytes);
    newest = { ref: held.ref, header: held.block.header, finalization: at === blocks.height ? decodeCertificate(stored.certificate) : null };
    if (at === heightSnapshot) continue;
    const transactions = trustedTransactions(held);
    const executed = executor.execute(held, transactions);
    if ("ok" in executed) throw new NodeError("state_root_differs", `Cannot open block ${at} of ${directory}: ${executed.message}`);
    executor.commit(held.ref.id);
    final.note(held.ref, transactions);
  }
  return newest;
}
