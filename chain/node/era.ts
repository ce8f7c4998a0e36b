/**
 * The written recovery of a site where everything was switched off at once, and too many validators lost what they had signed: a new
 * *era* of the same chain, from a final block that all who go on have.
 *
 *     DIR/chain ── final block h, and the state after it ──► another folder: genesis of the era · block h · snapshot · empty vote log
 *
 * The genesis of an era names its number, the chain before and the block; so the chain has another id, and no vote of the old era can
 * contradict one of the new: votes of both can even name the same epoch and view. What came after h is gone; who sent it sends it again.
 * Who joins later is given the checkpoint of its beginning. Every operator must start from the same block, and use a number once: those who do not are on a chain of their own, without a quorum.
 */
import { join } from "node:path";
import { epochAfter } from "#chain/codec/epoch.ts";
import { chainIdOf, decodeGenesis, encodeGenesis } from "#chain/codec/genesis.ts";
import { decodeCertificate } from "#chain/codec/schema.ts";
import { PRESETS } from "#chain/constants.ts";
import type { Checkpoint } from "#chain/light/checkpoint.ts";
import { type ChainId, type Digest, type Height, type PublicKey, height as heightOf } from "#chain/types.ts";
import { trustedTransactions } from "./blockCheck.ts";
import { findGenesis, openDataFolder } from "./dataFolder.ts";
import { NodeError } from "./errors.ts";
import { Executor } from "./executor.ts";
import { heldFromBytes } from "./heldBlocks.ts";
import { readSnapshot, writeSnapshot } from "./snapshotFile.ts";
import { VoteLog } from "./voteLog.ts";

export type EraOptions = {
  /** Of the chain that stopped; it is left as it is. */
  readonly from: string;
  /** A folder that is not there yet. */
  readonly to: string;
  readonly number: number;
  /** The newest final block of the folder when it is left out. */
  readonly height?: number;
  /** Of a validator: it begins with an empty vote log, for its key has signed nothing in this era. */
  readonly validatorKey?: PublicKey;
};
export type NewEra = {
  readonly chainId: ChainId; readonly genesis: Uint8Array; readonly height: Height; readonly id: Digest; readonly stateRoot: Digest;
  /** The validators with which it begins: nothing leads to them from genesis, so who joins later or verifies is given this. */
  readonly checkpoint: Checkpoint;
};

export async function beginEra({ from, to, number, height, validatorKey }: EraOptions): Promise<NewEra> {
  const { directory, genesis: before } = await findGenesis(from);
  const genesis = decodeGenesis(before);
  const chainBefore = chainIdOf(before);
  const no = (code: string, why: string): never => { throw new NodeError(code, `Cannot begin era ${number} of the chain in ${directory}: ${why}`); };
  if (number <= (genesis.era?.number ?? 0)) no("era_used", `it is in era ${genesis.era?.number ?? 0} already`);
  const old = await openDataFolder(directory, before, chainBefore, null);
  try {
    const at = height ?? old.blocks.height;
    const stored = old.blocks.read(at) ?? no("block_missing", `block ${at} is not there: its newest one is ${old.blocks.height}`);
    const snapshot = await readSnapshot(directory, genesis, chainBefore, old.blocks);
    const base = snapshot !== null && snapshot.height <= at ? snapshot : null;
    if (base === null && old.blocks.heightFirst > 1) no("state_missing", `the state of block ${at} is not there: its blocks begin at ${old.blocks.heightFirst}`);
    const executor = new Executor(before, () => undefined, base);
    for (let next = (base?.height ?? 0) + 1; next <= at; next++) {
      const held = heldFromBytes(old.blocks.read(next)!.bytes);
      const executed = executor.execute(held, trustedTransactions(held));
      if ("ok" in executed) no(executed.code, executed.message);
      executor.commit(held.ref.id);
    }
    const { block: { header } } = heldFromBytes(stored.bytes);
    const image = executor.image();
    const begins = epochAfter(at, PRESETS[genesis.parameters].epochBlocks);
    const checkpoint: Checkpoint = { epoch: begins, timeMs: header.timeMs - (header.timeMs % 1_000n), validatorsHash: begins === header.epoch ? header.validatorsHash : header.nextValidatorsHash };
    const bytes = encodeGenesis({ ...genesis, era: { number, before: chainBefore, height: at, id: stored.id } });
    const chainId = chainIdOf(bytes);
    const folder = await openDataFolder(to, bytes, chainId, null);
    try {
      if (folder.blocks.height > 0) no("folder_in_use", `${to} has blocks already`);
      if (validatorKey) await (await VoteLog.open(join(to, "votes"), { chainId, publicKey: validatorKey, mustExist: false })).close();
      await folder.blocks.appendFirst(stored);
      const finalization = decodeCertificate(stored.certificate);
      await writeSnapshot(to, chainId, { height: at, id: stored.id, header, finalization, image, index: [] }, new AbortController().signal);
      // So that who begins at the checkpoint is told who its validators are; the certificate is of the era before, and proves nothing here.
      if (checkpoint.epoch > 0) await folder.epochs.add(checkpoint.epoch - 1, { header, finalization, next: executor.final.validatorsOf(begins)!.map(({ key, weight }) => ({ publicKey: key, weight })) });
    } finally {
      await folder.close();
    }
    return { chainId, genesis: bytes, height: heightOf(at), id: stored.id, stateRoot: header.stateRoot, checkpoint };
  } finally {
    await old.close();
  }
}
