/** `godwit audit`: folds the blocks of a chain by itself and compares what was paid with rate × seconds. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { type Command, CliError, OPTIONS_API } from "../command.ts";
import { chooseApi } from "../keys.ts";

const AUDIT = join(import.meta.dirname, "..", "..", "audit.ts");

export const audit: Command = {
  name: "audit",
  summary: "Fold every block and check that what was paid is rate × seconds",
  usage: [""],
  options: OPTIONS_API,
  arguments: [0, 0],
  async run(input, shell) {
    const url = await chooseApi(shell, input.text("api"));
    // A process of its own: the audit shares no code with the ledger, and none with this command line.
    const child = spawn(process.execPath, [AUDIT, "--api", url, ...(input.json ? ["--json"] : [])], { stdio: ["ignore", "pipe", "pipe"], signal: shell.signal });
    child.stdout.pipe(shell.stdout, { end: false });
    child.stderr.pipe(shell.stderr, { end: false });
    return new Promise((resolve, reject) => {
      child.once("error", (error) => reject(new CliError("audit_failed", `Cannot run the audit: ${error.message}`, {}, error)));
      child.once("close", (code) => resolve(code ?? 1));
    });
  },
};
