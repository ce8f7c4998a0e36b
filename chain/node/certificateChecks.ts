/**
 * Checks certificates once: the same one comes from every peer, in proposals and in the next block's body. What held is
 * remembered by the hash of all its bytes, signatures too; what did not hold is not, so that nobody can fill the memory with it.
 */
import { type CheckSignature, type ValidatorSet, checkSignatureAsync, verifyCertificateAsync } from "#chain/codec/certificate.ts";
import { type Certificate, encodeCertificate } from "#chain/codec/schema.ts";
import { sha256 } from "#chain/crypto.ts";
import { type Hex, hex } from "#chain/types.ts";
import { CERTIFICATES_REMEMBERED_MAX, CERTIFICATE_CHECKS_AT_ONCE } from "./limits.ts";

export class CertificateChecks {
  readonly #validators: ValidatorSet;
  readonly #check: CheckSignature;
  readonly #held = new Set<Hex>();

  constructor(validators: ValidatorSet, check: CheckSignature = checkSignatureAsync) {
    this.#validators = validators;
    this.#check = check;
  }

  async holds(certificate: Certificate): Promise<boolean> {
    const key = hex(sha256(encodeCertificate(certificate)));
    if (this.#held.has(key)) return true;
    const holds = (await verifyCertificateAsync(this.#validators, certificate, CERTIFICATE_CHECKS_AT_ONCE, this.#check)).ok;
    if (holds) this.#trust(key);
    return holds;
  }

  #trust(key: Hex): void {
    this.#held.add(key);
    if (this.#held.size > CERTIFICATES_REMEMBERED_MAX) this.#held.delete(this.#held.values().next().value!);
  }
}
