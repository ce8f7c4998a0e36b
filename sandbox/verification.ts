/**
 * The native part that checks signatures, as a process of the chain is given it (`chain/verification.ts` says what for). A file of its own,
 * 0.5 MB: a validator without a sandbox need not load the addon. Its Rust is in native/verify.
 */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { nativePaths } from "./native.ts";

/** What godwit-verify.node exports. */
export type Verification = {
  holds(prefix: Uint8Array, message: Uint8Array, signature: Uint8Array, key: Uint8Array): boolean;
  holdMany(batch: Uint8Array): Promise<Uint8Array>;
};

/** Null: this computer has none. Throws what the loader throws. */
export function loadVerification(): Verification | null {
  const { verify } = nativePaths();
  return existsSync(verify) ? (createRequire(import.meta.url)(verify) as Verification) : null;
}
