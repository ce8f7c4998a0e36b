/** `godwit simulate`: consensus in simulated worlds, from the sources that this command line was started from. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { type Command, CliError } from "../command.ts";

const SIMULATE = join(import.meta.dirname, "..", "..", "simulate.ts");

export const simulate: Command = {
  name: "simulate",
  summary: "Run consensus in simulated worlds: bad networks, disks and clocks, and liars",
  usage: ["[--seeds A..B] [--scenario NAME] [--trace FILE]", "--validators N [--seconds N] [--delta-ms N] [--network-ms A..B]"],
  options: {
    seeds: { type: "string", value: "A..B", summary: "which worlds of each scenario (1..20)" },
    scenario: { type: "string", value: "NAME", summary: "only this one" },
    trace: { type: "string", value: "FILE", summary: "what the honest nodes of the last world did, for tools/trace.ts" },
    validators: { type: "string", value: "N", summary: "so many in a calm network instead: finality, bytes and CPU" },
    seconds: { type: "string", value: "N", summary: "of simulated time (10)" },
    "delta-ms": { type: "string", value: "N", summary: "the delay they believe the network to keep (100)" },
    "network-ms": { type: "string", value: "A..B", summary: "the delay it has (5..105)" },
  },
  arguments: [0, 0],
  details: "A seed is one world: it fails again, and is printed with what went wrong and the commit. Exit code 1 when one fails.",
  async run(input, shell) {
    const names = ["seeds", "scenario", "trace", "validators", "seconds", "delta-ms", "network-ms"] as const;
    const given = names.flatMap((name) => {
      const value = input.text(name);
      return value === undefined ? [] : [`--${name}`, value];
    });
    const child = spawn(process.execPath, [SIMULATE, ...given, ...(input.json ? ["--json"] : [])], { stdio: ["ignore", "pipe", "pipe"], signal: shell.signal, cwd: shell.currentDirectory });
    child.stdout.setEncoding("utf8").on("data", (text: string) => void shell.stdout.write(text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => void shell.stderr.write(text));
    return new Promise((resolve, reject) => {
      child.once("error", (error) => reject(new CliError("simulate_failed", `Cannot run the simulator: ${error.message}`, {}, error)));
      child.once("close", (code) => resolve(code ?? 1));
    });
  },
};
