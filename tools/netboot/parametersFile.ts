/**
 * The operator's file of machines, read again when it has changed: naming a machine that waits is writing it there. Whoever asks looks at the file, at most
 * once a second. A file that is wrong then is told, once, and the last good one counts.
 */
import { readFileSync, statSync } from "node:fs";
import type { Mac } from "#os/boot/addresses.ts";
import { CliError } from "../cli/command.ts";
import { NO_PARAMETERS, type Parameters, parseParameters } from "./parameters.ts";

/** Each packet asks. */
const LOOK_MS = 1_000;

export type OpenParameters = { readonly current: () => Parameters; /** Looks at the file in any case. */ readonly isNamed: (mac: Mac) => Promise<boolean> };

export async function openParameters(file: string | null, serverWords: string, onLine: (line: string) => void, nowMs: () => number = () => performance.now()): Promise<OpenParameters> {
  if (file === null) return { current: () => NO_PARAMETERS, isNamed: async () => false };
  const read = (): { readonly parameters: Parameters; readonly changedMs: number } => {
    try {
      const { mtimeMs } = statSync(file);
      return { parameters: parseParameters(readFileSync(file, "utf8"), serverWords), changedMs: mtimeMs };
    } catch (error) {
      if (error instanceof CliError) throw error;
      throw new CliError("parameters_unknown", `Cannot read the machines' parameters in ${file}: ${error instanceof Error ? error.message : String(error)}`, {}, error);
    }
  };
  let known = read();
  let lookedMs = nowMs();
  let said = "";
  const look = (): void => {
    lookedMs = nowMs();
    try {
      if (statSync(file, { throwIfNoEntry: false })?.mtimeMs !== known.changedMs) known = read();
      said = "";
    } catch (error) {
      const line = `${error instanceof Error ? error.message : String(error)}; what it said before counts`;
      if (line !== said) onLine(line);
      said = line;
    }
  };
  return {
    current: () => {
      if (nowMs() - lookedMs >= LOOK_MS) look();
      return known.parameters;
    },
    isNamed: async (mac) => {
      look();
      return known.parameters.machines.has(mac);
    },
  };
}
