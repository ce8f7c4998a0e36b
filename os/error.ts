/** Why the agent could not do something: a permanent `code` for programs, a sentence for people (what was tried, on what, why not). */
export class AgentError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AgentError";
    this.code = code;
  }
}

/** The stable code of anything thrown: ours, the sandbox's, the chain's, the system's. */
export function codeOf(error: unknown): string {
  if (typeof error === "object" && error !== null && "code" in error && typeof error.code === "string") return error.code;
  return "internal";
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
