/**
 * What the shell knows of one epoch: its validators as the final state of the block before it has them, this node's place among
 * them, and which certificates were found to hold.
 */
import { type ValidatorSet, validatorSet, validatorsHash } from "#chain/codec/certificate.ts";
import { encode } from "#chain/codec/cbor.ts";
import { lastHeightOf } from "#chain/codec/epoch.ts";
import { hashWithDomain } from "#chain/crypto.ts";
import type { LedgerView } from "#chain/ledger/view.ts";
import { type ChainId, type Digest, type Epoch, type Height, type PublicKey, epoch, hex } from "#chain/types.ts";
import { CertificateChecks } from "./certificateChecks.ts";

export type EpochFacts = {
  readonly epoch: Epoch;
  readonly lastHeight: Height;
  readonly set: ValidatorSet;
  readonly validatorsHash: Digest;
  readonly checks: CertificateChecks;
  /** Index of this node's key; null when it is none of theirs. */
  readonly validator: number | null;
  readonly leaderSeed: Digest;
};

/** Of the epoch that a child of the state belongs to, or of the one after; null when the state does not know that one. */
export function epochFacts(view: LedgerView, chainId: ChainId, epochBlocks: number, key: PublicKey | null, of: number = view.epoch): EpochFacts | null {
  const members = view.validatorsOf(of);
  if (members === null) return null;
  const validators = members.map((one) => ({ publicKey: one.key, weight: one.weight }));
  const set = validatorSet(chainId, epoch(of), validators);
  const index = key === null ? -1 : validators.findIndex(({ publicKey }) => hex(publicKey) === hex(key));
  return {
    epoch: epoch(of), lastHeight: lastHeightOf(of, epochBlocks), set, validatorsHash: validatorsHash(validators), checks: new CertificateChecks(set),
    validator: index < 0 ? null : index, leaderSeed: hashWithDomain("leaders", encode([chainId, of])),
  };
}
