/** Programs of the build host, without a shell: output is kept for the error, and nothing of the caller's environment is needed but PATH. */
import { spawn } from "node:child_process";
import { ImageError } from "./errors.ts";

const OUTPUT_CHARACTERS_MAX = 4_000_000;
const TAIL_LINES = 15;

export type RunOptions = { readonly cwd?: string; readonly environment?: Readonly<Record<string, string>>; readonly onLine?: (line: string) => void };

/** Its standard output. */
export function run(command: string, args: readonly string[], { cwd, environment = {}, onLine }: RunOptions = {}): Promise<string> {
  const child = spawn(command, args, { cwd, stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, LC_ALL: "C", TZ: "UTC", ...environment } });
  let stdout = "";
  let all = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    if (stdout.length < OUTPUT_CHARACTERS_MAX) stdout += text;
    all = (all + text).slice(-20_000);
    if (onLine !== undefined) for (const line of text.split("\n")) onLine(line);
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => (all = (all + text).slice(-20_000)));
  return new Promise((resolve, reject) => {
    child.on("error", (cause: NodeJS.ErrnoException) => reject(new ImageError(cause.code === "ENOENT" ? "tool_missing" : "tool_failed", `Cannot run ${command}: ${cause.message}`, { cause })));
    child.on("close", (code, signal) => {
      if (code === 0) return resolve(stdout);
      const tail = all.trim().split("\n").slice(-TAIL_LINES).join("\n");
      reject(new ImageError("tool_failed", `${command} ${args[0] ?? ""} failed (${signal ?? code}):\n${tail}`));
    });
  });
}
