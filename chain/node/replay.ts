/**
 * Executes a stored chain again from genesis, trusting nothing but the genesis file: ids, links, certificates, signatures,
 * money time and every state root. What an operator runs on a folder, and what tests compare a restarted node with.
 */
import { type Validator, validatorSet, validatorsHash } from "#chain/codec/certificate.ts";
import { chainIdOf, decodeGenesis } from "#chain/codec/genesis.ts";
import { decodeCertificate } from "#chain/codec/schema.ts";
import { PRESETS } from "#chain/constants.ts";
import { type Digest, type Height, epoch, height, hex } from "#chain/types.ts";
import { openBlock, refusalOfHeader } from "./blockCheck.ts";
import { CertificateChecks } from "./certificateChecks.ts";
import { findGenesis, openDataFolder } from "./dataFolder.ts";
import { NodeError } from "./errors.ts";
import { Executor } from "./executor.ts";
import { heldFromBytes } from "./heldBlocks.ts";

export async function replay(path: string): Promise<{ height: Height; id: Digest; stateRoot: Digest; transactions: number }> {
  const { directory, genesis: genesisBytes } = await findGenesis(path);
  const genesis = decodeGenesis(genesisBytes);
  const chainId = chainIdOf(genesisBytes);
  const validators: readonly Validator[] = genesis.validators;
  const rules = { ...PRESETS[genesis.parameters], deltaMs: genesis.deltaMs };
  const facts = { chainId, epoch: 0, validatorsHash: validatorsHash(validators), rules };
  const checks = new CertificateChecks(validatorSet(chainId, epoch(0), validators));
  const executor = new Executor(genesisBytes, () => undefined);
  const folder = await openDataFolder(directory, genesisBytes, chainId, null);
  try {
    let count = 0;
    for (let at = 1; at <= folder.blocks.height; at++) {
      const no = (code: string, why: string): never => { throw new NodeError(code, `Cannot replay block ${at} of ${directory}: ${why}`); };
      const stored = folder.blocks.read(at)!;
      const held = heldFromBytes(stored.bytes);
      if (hex(held.ref.id) !== hex(stored.id)) no("block_invalid", "its id is not the hash of its header");
      const wrong = refusalOfHeader(held, executor.finalFacts, facts);
      if (wrong) no(wrong.code, wrong.message);
      const certificate = decodeCertificate(stored.certificate);
      if (certificate.kind !== "finalize" || !(await checks.holds(certificate))) no("block_invalid", "its finalization does not hold");
      const transactions = await openBlock(held, null, checks);
      if ("ok" in transactions) return no(transactions.code, transactions.message);
      const executed = executor.execute(held, transactions);
      if ("ok" in executed) return no(executed.code, executed.message);
      executor.commit(held.ref.id);
      count += transactions.length;
    }
    return { height: height(folder.blocks.height), id: executor.finalFacts.id, stateRoot: executor.final.stateRoot, transactions: count };
  } finally {
    await folder.close();
  }
}
