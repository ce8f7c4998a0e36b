/**
 * The operator's file of machines, read again when it has changed: naming a machine that waits to join is writing it there. A file that is wrong then is told
 * and the last good one counts.
 */
import { readFile, stat } from "node:fs/promises";
import type { Mac } from "#os/boot/addresses.ts";
import { CliError } from "../cli/command.ts";
import { NO_PARAMETERS, type Parameters, parseParameters } from "./parameters.ts";

export type OpenParameters = { readonly current: () => Parameters; /** Looks at the file first. */ readonly isNamed: (mac: Mac) => Promise<boolean> };

export async function openParameters(file: string | null, serverWords: string, onLine: (line: string) => void): Promise<OpenParameters> {
  if (file === null) return { current: () => NO_PARAMETERS, isNamed: async () => false };
  const read = async (): Promise<{ parameters: Parameters; changedMs: number }> => {
    const { mtimeMs } = await stat(file).catch(unreadable(file));
    return { parameters: parseParameters(await readFile(file, "utf8").catch(unreadable(file)), serverWords), changedMs: mtimeMs };
  };
  let known = await read();
  return {
    current: () => known.parameters,
    isNamed: async (mac) => {
      try {
        if ((await stat(file)).mtimeMs !== known.changedMs) known = await read();
      } catch (error) {
        onLine(`${error instanceof Error ? error.message : String(error)}; what it said before counts`);
      }
      return known.parameters.machines.has(mac);
    },
  };
}

const unreadable = (file: string) => (error: unknown): never => {
  throw new CliError("parameters_unknown", `Cannot read the machines' parameters in ${file}: ${error instanceof Error ? error.message : String(error)}`, {}, error);
};
