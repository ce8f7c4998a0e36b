/**
 * The one error of the chain shell. `code` is permanent and is what callers and tests look at; the message is for people:
 * what was tried, on what, and why not. A refused transaction carries the refusal's own code.
 */
export class NodeError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: { cause: unknown }) {
    super(message, options);
    this.name = "NodeError";
    this.code = code;
  }
}
