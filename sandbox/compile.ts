/** Components to machine code, in a process of their own; the results in a cache that nobody can forge. */
export type CompileOptions = {
  /** sha256 of the component in hex; computed when left out, checked when given (code digest_mismatch). */
  readonly digest?: string;
  readonly cacheDirectory?: string;
  readonly signal?: AbortSignal;
};
/** Names an entry of the cache. `digest` is the component's sha256 in hex. */
export type Compiled = { readonly digest: string; readonly path: string; readonly cached: boolean };

/** Throws digest_mismatch, compile_failed (with the compiler's reason), compile_limit (time or memory), aborted. */
export async function compile(component: Uint8Array, options: CompileOptions = {}): Promise<Compiled> {
  throw new Error(`not yet ${component.length} ${options.digest}`);
}
