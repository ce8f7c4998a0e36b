/** Errors of the sandbox. `code` is stable and for programs; `message` says what was tried, on what, and why not. */

export type SandboxErrorCode =
  // The component is not one that can run here.
  | "not_wasm"
  | "core_module"
  | "component_invalid"
  | "component_too_large"
  | "import_unknown"
  | "world_unknown"
  | "digest_mismatch"
  | "component_unsupported"
  | "compile_failed"
  | "compile_limit"
  | "compile_interrupted"
  // What was asked of the sandbox cannot be done.
  | "aborted"
  | "task_forbidden"
  | "limit_invalid"
  | "host_in_use"
  | "load_failed"
  | "isolation_full"
  | "artefact_corrupt"
  | "port_in_use"
  | "address_unavailable"
  | "listen_failed"
  // The sandbox itself is missing or broken.
  | "native_missing"
  | "runner_failed"
  | "runner_busy"
  | "runner_stopped";

export class SandboxError extends Error {
  readonly code: SandboxErrorCode;
  constructor(code: SandboxErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "SandboxError";
    this.code = code;
  }
}
