/** Why a project does not build: a stable code, and where in the sources it is wrong. */
import type { Diagnostic } from "./compile-worker.ts";

/**
 * Codes: manifest_missing, manifest_invalid, entry_missing, entry_export, compile_error, assets_invalid, import_unknown, component_missing,
 * component_invalid, build_failed (all the author's, most with diagnostics), build_crashed, build_timeout (ours).
 */
export class BuildError extends Error {
  readonly code: string;
  readonly diagnostics: readonly Diagnostic[];

  constructor(code: string, message: string, diagnostics: readonly Diagnostic[] = []) {
    super(message);
    this.name = "BuildError";
    this.code = code;
    this.diagnostics = diagnostics;
  }
}
