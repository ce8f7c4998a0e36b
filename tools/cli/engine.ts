/** Which engine a command runs a component on: the one that was asked for, else wasmtime, else V8 where its native parts are not built. */
import { type Engine, type EngineName, ENGINE_NAMES, openEngine } from "#sandbox/engines/engine.ts";
import { isNativeBuilt } from "#sandbox/native.ts";
import { type Input, type Options, type Shell, UsageError } from "./command.ts";
import { warn } from "./table.ts";

export const OPTIONS_ENGINE: Options = {
  engine: { type: "string", value: "NAME", summary: "wasmtime, as machines have it, or v8, which needs no Rust (the first that is there)" },
};

export async function chooseEngine(input: Input, shell: Shell): Promise<Engine> {
  const wanted = input.text("engine");
  if (wanted !== undefined) {
    if (!isEngineName(wanted)) throw new UsageError(`--engine must be ${ENGINE_NAMES.join(" or ")}, not "${wanted}"`);
    return openEngine(wanted);
  }
  if (isNativeBuilt()) return openEngine("wasmtime");
  warn(shell, "the native engine is not built (npm start builds it, with Rust from https://rustup.rs): running on v8, which counts no fuel");
  return openEngine("v8");
}

const isEngineName = (text: string): text is EngineName => (ENGINE_NAMES as readonly string[]).includes(text);
