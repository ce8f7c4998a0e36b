/**
 * Checks certificates once: the same one comes from every peer, in proposals and in the next block's body. What held is
 * remembered by the hash of all its bytes, signatures too; what did not hold is not, so that nobody can fill the memory with it.
 *
 * Signatures are checked a few at a time, and none after one that does not verify. Otherwise the verdict is that of
 * `verifyCertificate`.
 */
import { type ValidatorSet, verifyVoteAsync } from "#chain/codec/certificate.ts";
import { signersOf, weightOf } from "#chain/codec/quorum.ts";
import { type Certificate, encodeCertificate } from "#chain/codec/schema.ts";
import { sha256 } from "#chain/crypto.ts";
import { type Hex, hex, signature } from "#chain/types.ts";
import { CERTIFICATES_REMEMBERED_MAX, CERTIFICATE_CHECKS_AT_ONCE } from "./limits.ts";

const SIGNATURE_BYTES = 64;

export class CertificateChecks {
  readonly #validators: ValidatorSet;
  readonly #verify: typeof verifyVoteAsync;
  readonly #held = new Set<Hex>();

  constructor(validators: ValidatorSet, verify: typeof verifyVoteAsync = verifyVoteAsync) {
    this.#validators = validators;
    this.#verify = verify;
  }

  async holds(certificate: Certificate): Promise<boolean> {
    const key = hex(sha256(encodeCertificate(certificate)));
    if (this.#held.has(key)) return true;
    const holds = await this.#isSigned(certificate);
    if (holds) this.#trust(key);
    return holds;
  }

  async #isSigned({ kind, epoch, view, id, bitmap, signatures }: Certificate): Promise<boolean> {
    const { chainId, validators, weights, quorum, epoch: own } = this.#validators;
    const signers = signersOf(bitmap, validators.length);
    if (signers === null || epoch !== own || signatures.length !== SIGNATURE_BYTES * signers.length || weightOf(signers, weights) < quorum) return false;
    for (let from = 0; from < signers.length; from += CERTIFICATE_CHECKS_AT_ONCE) {
      const some = signers.slice(from, from + CERTIFICATE_CHECKS_AT_ONCE).map((validator, index) => {
        const at = SIGNATURE_BYTES * (from + index);
        return this.#verify(this.#validators, { kind, chainId, epoch, view, id, validator, signature: signature(signatures.subarray(at, at + SIGNATURE_BYTES)) });
      });
      if ((await Promise.all(some)).includes(false)) return false;
    }
    return true;
  }

  #trust(key: Hex): void {
    this.#held.add(key);
    if (this.#held.size > CERTIFICATES_REMEMBERED_MAX) this.#held.delete(this.#held.values().next().value!);
  }
}
