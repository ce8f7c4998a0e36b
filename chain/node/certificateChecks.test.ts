import assert from "node:assert/strict";
import { test } from "node:test";
import { type Validator, signVote, validatorSet, verifyCertificate, checkSignatureAsync } from "#chain/codec/certificate.ts";
import { bitmapOf } from "#chain/codec/quorum.ts";
import type { Certificate } from "#chain/codec/schema.ts";
import { publicKeyOf, sha256 } from "#chain/crypto.ts";
import { chainId, digest, epoch, view } from "#chain/types.ts";
import { CertificateChecks } from "./certificateChecks.ts";
import { CERTIFICATE_CHECKS_AT_ONCE } from "./limits.ts";

const COUNT = 40;
const CHAIN = chainId(new Uint8Array(8).fill(3));
const seeds = Array.from({ length: COUNT }, (_, index) => sha256(Uint8Array.of(index)));
const SET = validatorSet(CHAIN, epoch(0), seeds.map((seed): Validator => ({ publicKey: publicKeyOf(seed), weight: 1 })));
const all = seeds.map((_, index) => index);

function certificateBy(signers: readonly number[]): Certificate {
  const vote = { kind: "notarize", epoch: epoch(0), view: view(7), id: digest(sha256(Uint8Array.of(99))) } as const;
  const signatures = Buffer.concat(signers.map((index) => signVote(seeds[index]!, { ...vote, chainId: CHAIN }, index).signature));
  return { ...vote, bitmap: bitmapOf(signers, COUNT), signatures: new Uint8Array(signatures) };
}
function forgedAt(certificate: Certificate, ...places: readonly number[]): Certificate {
  const signatures = certificate.signatures.slice();
  for (const place of places) signatures[64 * place + 9]! ^= 1;
  return { ...certificate, signatures };
}
/** Checks that count what they verify. */
function counting(): { checks: CertificateChecks; verified: () => number } {
  let count = 0;
  const checks = new CertificateChecks(SET, (check) => {
    count++;
    return checkSignatureAsync(check);
  });
  return { checks, verified: () => count };
}

test("a certificate holds exactly when verifyCertificate says so", async () => {
  const good = certificateBy(all);
  const quorum = certificateBy(all.slice(0, 27));
  const cases: [string, Certificate, boolean][] = [
    ["signed by all", good, true],
    ["signed by a quorum", quorum, true],
    ["one signer less", certificateBy(all.slice(0, 26)), false],
    ["another epoch", { ...good, epoch: epoch(1) }, false],
    ["another view", { ...good, view: view(8) }, false],
    ["another kind", { ...good, kind: "finalize" }, false],
    ["a bitmap that is too long", { ...good, bitmap: new Uint8Array(6).fill(255) }, false],
    ["a signature too few", { ...good, signatures: good.signatures.subarray(64) }, false],
    ["a signature too many", { ...quorum, signatures: good.signatures }, false],
    ...[0, 7, 8, 20, 39].map((at): [string, Certificate, boolean] => [`signature ${at} forged`, forgedAt(good, at), false]),
  ];
  for (const [name, certificate, holds] of cases) {
    assert.equal(verifyCertificate(SET, certificate).ok, holds, name);
    assert.equal(await new CertificateChecks(SET).holds(certificate), holds, name);
  }
});

test("checking stops where a signature fails, and what held is not checked again", async () => {
  const good = certificateBy(all);
  for (const at of [0, 13, 39]) {
    const { checks, verified } = counting();
    assert.equal(await checks.holds(forgedAt(good, ...new Set([at, 39]))), false);
    assert.equal(verified(), Math.ceil((at + 1) / CERTIFICATE_CHECKS_AT_ONCE) * CERTIFICATE_CHECKS_AT_ONCE, `at ${at}`);
  }
  const { checks, verified } = counting();
  for (let time = 0; time < 3; time++) assert.equal(await checks.holds(good), true);
  assert.equal(verified(), COUNT);
  assert.equal(await checks.holds(forgedAt(good, 0)), false, "that one held says nothing of another's signatures");
});
