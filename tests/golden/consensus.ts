/** One of each message of consensus, with fixed contents: what the golden bytes are of. */

import { bodyRoot } from "#chain/codec/schema.ts";
import type { Block, BlockBody, BlockHeader, Certificate, ConsensusMessage, Proposal, SignedVote, Vote } from "#chain/codec/schema.ts";
import { chainId, digest, epoch, height, moneySecond, signature, timeMs, view } from "#chain/types.ts";

const filled = (length: number, byte: number): Uint8Array => new Uint8Array(length).fill(byte);

export const HEADER: BlockHeader = {
  chainId: chainId(filled(8, 0xc1)), epoch: epoch(1), view: view(300), height: height(70_000), parentView: view(298),
  parentId: digest(filled(32, 0xa1)), parentBitmap: new Uint8Array([0b0000_0111]), timeMs: timeMs(2n ** 53n + 1n), moneySecond: moneySecond(2n ** 64n - 1n),
  bodyRoot: digest(filled(32, 0xb1)), stateRoot: digest(filled(32, 0xb2)), validatorsHash: digest(filled(32, 0xb3)),
  nextValidatorsHash: digest(filled(32, 0xb4)), proposer: 3,
};

export const VOTE: Vote = { kind: "notarize", chainId: HEADER.chainId, epoch: HEADER.epoch, view: view(300), id: digest(filled(32, 0xa2)) };
export const NULLIFY: Vote = { ...VOTE, kind: "nullify", id: null };
export const SIGNED: SignedVote = { ...VOTE, kind: "finalize", validator: 3, signature: signature(filled(64, 0x51)) };

export const NOTARIZATION: Certificate = {
  kind: "notarize", epoch: epoch(1), view: view(298), id: HEADER.parentId, bitmap: new Uint8Array([0b0000_0111]), signatures: filled(192, 0x52),
};
export const NULLIFICATION: Certificate = { ...NOTARIZATION, kind: "nullify", view: view(299), id: null };

export const BODY: BlockBody = { parentCertificate: NOTARIZATION, transactions: [new Uint8Array([1, 2, 3]), new Uint8Array(0)], evidence: [], suspicions: [] };
export const FIRST_BODY: BlockBody = { parentCertificate: null, transactions: [], evidence: [], suspicions: [] };
export const BLOCK: Block = { header: { ...HEADER, bodyRoot: bodyRoot(BODY) }, body: BODY };
export const PROPOSAL: Proposal = { block: BLOCK, signature: signature(filled(64, 0x53)), justification: [NULLIFICATION] };

export const MESSAGES: readonly ConsensusMessage[] = [
  { kind: "proposal", proposal: PROPOSAL }, { kind: "vote", vote: SIGNED }, { kind: "certificate", certificate: NULLIFICATION },
  { kind: "blockRequest", id: HEADER.parentId }, { kind: "block", block: BLOCK }, { kind: "certificateRequest", certificateKind: "finalize", view: view(7) },
  { kind: "statusRequest", nonce: new Uint8Array(8).fill(0x61) },
  { kind: "status", status: { nonce: new Uint8Array(8).fill(0x61), epoch: epoch(1), view: view(8), admitting: NULLIFICATION, finalization: null } },
];
