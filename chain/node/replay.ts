/**
 * Executes a stored chain again from genesis, trusting nothing but the genesis file: ids, links, certificates, signatures,
 * money time and every state root. What an operator runs on a folder, and what tests compare a restarted node with.
 */
import { chainIdOf, decodeGenesis } from "#chain/codec/genesis.ts";
import { decodeCertificate } from "#chain/codec/schema.ts";
import { PRESETS } from "#chain/constants.ts";
import { type Digest, type Height, height, hex } from "#chain/types.ts";
import { openBlock, refusalOfHeader } from "./blockCheck.ts";
import { findGenesis, openDataFolder } from "./dataFolder.ts";
import { epochFacts } from "./epochs.ts";
import { NodeError } from "./errors.ts";
import { Executor } from "./executor.ts";
import { heldFromBytes } from "./heldBlocks.ts";

export async function replay(path: string): Promise<{ height: Height; id: Digest; stateRoot: Digest; transactions: number }> {
  const { directory, genesis: genesisBytes } = await findGenesis(path);
  const genesis = decodeGenesis(genesisBytes);
  const chainId = chainIdOf(genesisBytes);
  const rules = { ...PRESETS[genesis.parameters], deltaMs: genesis.deltaMs };
  const executor = new Executor(genesisBytes, () => undefined);
  const folder = await openDataFolder(directory, genesisBytes, chainId, null);
  try {
    let count = 0;
    if (folder.blocks.heightFirst > 1) throw new NodeError("blocks_pruned", `Cannot replay ${directory}: its blocks begin at ${folder.blocks.heightFirst}`);
    let facts = epochFacts(executor.final, chainId, rules.epochBlocks, null)!;
    for (let at = 1; at <= folder.blocks.height; at++) {
      const no = (code: string, why: string): never => { throw new NodeError(code, `Cannot replay block ${at} of ${directory}: ${why}`); };
      const stored = folder.blocks.read(at)!;
      const held = heldFromBytes(stored.bytes);
      if (hex(held.ref.id) !== hex(stored.id)) no("block_invalid", "its id is not the hash of its header");
      const wrong = refusalOfHeader(held, executor.finalFacts, { chainId, epoch: facts.epoch, validatorsHash: facts.validatorsHash, rules });
      if (wrong) no(wrong.code, wrong.message);
      const certificate = decodeCertificate(stored.certificate);
      if (certificate.kind !== "finalize" || !(await facts.checks.holds(certificate))) no("block_invalid", "its finalization does not hold");
      const transactions = await openBlock(held, null, facts.checks);
      if ("ok" in transactions) return no(transactions.code, transactions.message);
      const executed = executor.execute(held, transactions);
      if ("ok" in executed) return no(executed.code, executed.message);
      executor.commit(held.ref.id);
      if (at === facts.lastHeight) facts = epochFacts(executor.final, chainId, rules.epochBlocks, null)!;
      count += transactions.length;
    }
    return { height: height(folder.blocks.height), id: executor.finalFacts.id, stateRoot: executor.final.stateRoot, transactions: count };
  } finally {
    await folder.close();
  }
}
