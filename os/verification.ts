/** Gives this process the native check of signatures, if the computer has it and it answers rightly; what it does not change is which ones hold. */
import { useNativeVerification, verifiesNatively } from "#chain/crypto.ts";
import { loadVerification } from "#sandbox/verification.ts";
import { codeOf, messageOf } from "./error.ts";

/** At the start of whatever checks many. GODWIT_SIGNATURES=openssl: whoever wants to compare, or trusts nothing else. */
export function verifyNatively(warn: (line: string) => void): void {
  if (verifiesNatively()) return;
  if (process.env["GODWIT_SIGNATURES"] === "openssl") return warn("Signatures are checked by OpenSSL, as GODWIT_SIGNATURES says");
  try {
    const native = loadVerification();
    if (native === null) return warn("Signatures are checked by OpenSSL, five times as slowly: the native parts are not built (native_missing)");
    if (!useNativeVerification(native)) warn("Signatures are checked by OpenSSL: the native part errs about known ones (verification_wrong)");
  } catch (error) {
    warn(`Signatures are checked by OpenSSL: the native part does not load (${codeOf(error)}): ${messageOf(error)}`);
  }
}
export const signaturesCheckedBy = (): "native" | "openssl" => (verifiesNatively() ? "native" : "openssl");
