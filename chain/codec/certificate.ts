/**
 * Who signed: votes, proposals and certificates made and checked against a validator set. Node and light client share it.
 *
 * A certificate holds when its epoch is the set's, its bitmap names a quorum of the set's weight (`quorum.ts`), and every
 * signature named, not only a quorum of them, is by `verifyStrict` a signature of the vote that it stands for.
 * The set itself is pinned by `validatorsHash` in every header.
 */

import { VALIDATORS_MAX } from "../constants.ts";
import { hashWithDomain, sign, verify, verifyAsync } from "../crypto.ts";
import * as types from "../types.ts";
import type { ChainId, Digest, Epoch, PublicKey, Refusal, Signature } from "../types.ts";
import { encode } from "./cbor.ts";
import { quorumOf, signersOf, weightOf, weightSumOf } from "./quorum.ts";
import { encodeVote } from "./schema.ts";
import type { Certificate, SignedVote, Vote } from "./schema.ts";

export type Validator = { readonly publicKey: PublicKey; readonly weight: number };

/** The validators of one epoch of one chain, in the order of their indices. */
export type ValidatorSet = {
  readonly chainId: ChainId;
  readonly epoch: Epoch;
  readonly validators: readonly Validator[];
  readonly weights: readonly number[];
  readonly weightSum: number;
  readonly quorum: number;
};

export function validatorSet(chainId: ChainId, epoch: Epoch, validators: readonly Validator[]): ValidatorSet {
  const weights = validators.map((v) => v.weight);
  const weightSum = weightSumOf(weights);
  return { chainId, epoch, validators, weights, weightSum, quorum: quorumOf(weightSum) };
}

/** What headers carry of a set. */
export function validatorsHash(validators: readonly Validator[]): Digest {
  return hashWithDomain("validators", encode(validators.map((v) => [v.publicKey, v.weight])));
}

export function signVote(seed: Uint8Array, vote: Vote, validator: number): SignedVote {
  return { ...vote, validator, signature: sign(seed, "vote", encodeVote(vote)) };
}

/** One signature to check, as data. */
export type SignatureCheck = {
  readonly validator: number; readonly signature: Uint8Array; readonly message: Uint8Array; readonly publicKey: PublicKey;
};

/** What to check of a vote; null when it is for another chain or epoch, or by nobody. */
export function voteCheck(set: ValidatorSet, vote: SignedVote): SignatureCheck | null {
  const validator = voterOf(set, vote);
  if (validator === null) return null;
  return { validator: vote.validator, signature: vote.signature, message: encodeVote(vote), publicKey: validator.publicKey };
}

export function verifyVote(set: ValidatorSet, vote: SignedVote): boolean {
  const check = voteCheck(set, vote);
  return check !== null && holds(check);
}

/** The same answer, worked out in libuv's pool. */
export function verifyVoteAsync(set: ValidatorSet, vote: SignedVote): Promise<boolean> {
  const check = voteCheck(set, vote);
  return check === null ? Promise.resolve(false) : checkSignatureAsync(check);
}

const holds = (check: SignatureCheck): boolean => verify("vote", check.signature, check.message, check.publicKey);
export const checkSignatureAsync: CheckSignature = (check) => verifyAsync("vote", check.signature, check.message, check.publicKey);

function voterOf(set: ValidatorSet, vote: SignedVote): Validator | null {
  const sameChain = vote.epoch === set.epoch && types.hex(vote.chainId) === types.hex(set.chainId);
  return sameChain ? (set.validators[vote.validator] ?? null) : null;
}

/** A leader signs the id of its block. */
export const signProposal = (seed: Uint8Array, id: Digest): Signature => sign(seed, "proposal", id);

export function verifyProposal(set: ValidatorSet, proposer: number, id: Digest, signature: Signature): boolean {
  const validator = set.validators[proposer];
  return validator !== undefined && verify("proposal", signature, id, validator.publicKey);
}

/** Whether it says so; whether it holds is another question. */
export const finalizes = ({ kind, id: of }: Certificate, id: Digest): boolean => kind === "finalize" && of !== null && types.hex(of) === types.hex(id);

export type CertificateVerdict =
  | { readonly ok: true; readonly weight: number; readonly signers: readonly number[]; readonly checks: readonly SignatureCheck[] }
  | Refusal;

export function verifyCertificate(set: ValidatorSet, certificate: Certificate): CertificateVerdict {
  const verdict = weigh(set, certificate);
  if (!verdict.ok) return verdict;
  const wrong = verdict.checks.find((check) => !holds(check));
  return wrong === undefined ? verdict : forged(wrong);
}

export type CheckSignature = (check: SignatureCheck) => Promise<boolean>;

/** The same verdict; signatures are checked in libuv's pool, `atOnce` side by side, and none after a batch with a wrong one. */
export function verifyCertificateAsync(set: ValidatorSet, certificate: Certificate, atOnce: number, check: CheckSignature = checkSignatureAsync): Promise<CertificateVerdict> {
  const verdict = weigh(set, certificate);
  if (!verdict.ok) return Promise.resolve(verdict);
  const from = (start: number): Promise<CertificateVerdict> => {
    const some = verdict.checks.slice(start, start + atOnce);
    if (some.length === 0) return Promise.resolve(verdict);
    return Promise.all(some.map(check)).then((results) => {
      const wrong = some[results.indexOf(false)];
      return wrong === undefined ? from(start + atOnce) : forged(wrong);
    });
  };
  return from(0);
}

/** Everything but the signatures: cheap, and it bounds how many of them there are to check. They are in `checks`. */
function weigh(set: ValidatorSet, certificate: Certificate): CertificateVerdict {
  const name = `Cannot take the ${certificate.kind} certificate of view ${certificate.view}`;
  if (certificate.epoch !== set.epoch) {
    return types.refuse("certificate_epoch", `${name} as its epoch is ${certificate.epoch}, not ${set.epoch}`);
  }
  const signers = signersOf(certificate.bitmap, set.validators.length);
  if (signers === null) return types.refuse("certificate_bitmap", `${name} as its bitmap does not fit ${set.validators.length} validators`);
  if (certificate.signatures.length !== 64 * signers.length) {
    return types.refuse("certificate_signatures", `${name} as ${signers.length} signers have ${certificate.signatures.length} bytes of signatures`);
  }
  const weight = weightOf(signers, set.weights);
  if (weight < set.quorum) return types.refuse("certificate_weight", `${name} as a weight of ${weight} is less than ${set.quorum}`);
  const { kind, epoch, view, id } = certificate;
  const message = encodeVote({ kind, chainId: set.chainId, epoch, view, id });
  const checks = signers.map((validator, at): SignatureCheck => ({
    validator, message, publicKey: set.validators[validator]!.publicKey, signature: certificate.signatures.subarray(64 * at, 64 * at + 64),
  }));
  return { ok: true, weight, signers, checks };
}

const forged = ({ validator }: SignatureCheck): Refusal =>
  types.refuse("certificate_signature", `Cannot take a certificate as the signature of validator ${validator} does not verify`);

/** Longest certificate there is, in bytes: what a buffer for one must hold. */
export const CERTIFICATE_BYTES_MAX: number = 128 + VALIDATORS_MAX * 64 + VALIDATORS_MAX / 8;
