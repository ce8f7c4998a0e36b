/** A task run to its end with what it wrote as text: for tests of functions and of components alike. */
import type { Engine } from "#sandbox/engines/engine.ts";
import type { TaskOptions } from "#sandbox/sandbox.ts";

export type Captured = {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  /** `code: message` when it did not end by itself. */
  readonly trap: string | null;
  readonly wallMs: number;
};

export async function runCaptured(engine: Engine, component: Uint8Array, options: Omit<TaskOptions, "stdout" | "stderr">): Promise<Captured> {
  const texts = { stdout: "", stderr: "" };
  const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
  const take = (stream: "stdout" | "stderr") => (chunk: Uint8Array): void => {
    texts[stream] += decoders[stream].decode(chunk, { stream: true });
  };
  const { exitCode, trap, wallMs } = await engine.runTask(component, { ...options, stdout: take("stdout"), stderr: take("stderr") });
  return { exitCode, ...texts, trap: trap === undefined ? null : `${trap.code}: ${trap.message}`, wallMs };
}
