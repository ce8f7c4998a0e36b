/** Gives this process the native check of signatures, if the computer has it and it answers rightly; what it does not change is which ones hold. */
import { useNativeVerification, verifiesNatively } from "#chain/crypto.ts";
import { loadVerification } from "#sandbox/verification.ts";
import type { Finding } from "#sandbox/doctor.ts";
import { codeOf, messageOf } from "./error.ts";

/** Why it is OpenSSL that checks, as it was said. */
let fallback: string | null = null;

/** At the start of whatever checks many. GODWIT_SIGNATURES=openssl: whoever wants to compare, or trusts nothing else. */
export function verifyNatively(warn: (line: string) => void): void {
  if (verifiesNatively()) return;
  fallback = whyNot();
  if (fallback !== null) warn(fallback);
}
export const signaturesCheckedBy = (): "native" | "openssl" => (verifiesNatively() ? "native" : "openssl");

/** For whoever asks the doctor. It costs nothing but time, so it is no wall that is missing. */
export const signaturesFinding = (): Finding => ({
  name: "signatures", holds: true, value: signaturesCheckedBy(), meaning: fallback ?? "of transactions and votes are checked by the native part, in a fifth of OpenSSL's time",
});

function whyNot(): string | null {
  if (process.env["GODWIT_SIGNATURES"] === "openssl") return "Signatures are checked by OpenSSL, as GODWIT_SIGNATURES says";
  try {
    const native = loadVerification();
    if (native === null) return "Signatures are checked by OpenSSL, five times as slowly: the native parts are not built (native_missing)";
    return useNativeVerification(native) ? null : "Signatures are checked by OpenSSL: the native part errs about known ones (verification_wrong)";
  } catch (error) {
    return `Signatures are checked by OpenSSL: the native part does not load (${codeOf(error)}): ${messageOf(error)}`;
  }
}
