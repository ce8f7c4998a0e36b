/**
 * What the operator says of machines: a TOML file with words for the kernel's command line, for all and by hardware address.
 *
 *     arguments = "godwit.genesis=sha256:… godwit.peer=10.0.0.1:7482"
 *     unknown = "serve"                      # or "ignore": who is not named boots nothing
 *     [machine."52:54:00:12:34:56"]
 *     name = "kitchen"                       # its host name
 *     address = "10.0.0.10"                  # always this one
 *     arguments = "godwit.region=oslo"
 *
 * Checked whole before anything is served: what a machine would refuse on its screen is refused here.
 */
import { parse } from "smol-toml";
import { type Ipv4, type Mac, parseIpv4, parseMac } from "#os/boot/addresses.ts";
import { parseCmdline } from "#os/boot/cmdline.ts";
import { CliError } from "../cli/command.ts";

export type MachineParameters = { readonly name: string | null; readonly address: Ipv4 | null; readonly arguments: string };
export type Parameters = { readonly arguments: string; readonly unknown: "serve" | "ignore"; readonly machines: ReadonlyMap<Mac, MachineParameters> };

export const NO_PARAMETERS: Parameters = { arguments: "", unknown: "serve", machines: new Map() };
/** An iPXE script is one line per word of the kernel; what is longer would be cut without a word. */
const ARGUMENTS_LENGTH_MAX = 1_024;
const KEYS = new Set(["arguments", "unknown", "machine"]);
const MACHINE_KEYS = new Set(["name", "address", "arguments"]);

/** `serverWords`: what the server adds for all; what is right only with it is right. */
export function parseParameters(toml: string, serverWords = ""): Parameters {
  const refuse = (what: string): never => { throw new CliError("parameters_invalid", `Cannot use the machines' parameters: ${what}`); };
  let table: Record<string, unknown>;
  try {
    table = parse(toml);
  } catch (error) {
    return refuse(error instanceof Error ? error.message.split("\n")[0] ?? "" : String(error));
  }
  const textIn = (from: Record<string, unknown>, key: string, where: string): string | null => {
    const value = from[key];
    if (value === undefined) return null;
    return typeof value === "string" ? value : refuse(`${where}${key} must be a text`);
  };
  const known = (from: Record<string, unknown>, keys: ReadonlySet<string>, where: string): void => {
    for (const key of Object.keys(from)) if (!keys.has(key)) refuse(`${where}${key} is not known: there are ${[...keys].join(", ")}`);
  };
  known(table, KEYS, "");
  const common = argumentsIn(textIn(table, "arguments", ""), "arguments", refuse);
  const unknown = textIn(table, "unknown", "") ?? "serve";
  if (unknown !== "serve" && unknown !== "ignore") return refuse(`unknown must be "serve" or "ignore"`);
  const machines = new Map<Mac, MachineParameters>();
  const given = table["machine"] ?? {};
  if (typeof given !== "object" || Array.isArray(given)) return refuse("machine must be tables: [machine.\"52:54:00:12:34:56\"]");
  for (const [name, value] of Object.entries(given)) {
    const where = `machine."${name}".`;
    const mac = parseMac(name) ?? refuse(`"${name}" is not a hardware address`);
    if (machines.has(mac)) refuse(`"${name}" is there twice`);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return refuse(`machine."${name}" must be a table`);
    const row: Record<string, unknown> = { ...value };
    known(row, MACHINE_KEYS, where);
    const text = textIn(row, "address", where);
    const address = text === null ? null : (parseIpv4(text) ?? refuse(`${where}address "${text}" is not one`));
    if (address !== null && [...machines.values()].some((other) => other.address === address)) refuse(`${where}address ${address} is another machine's too`);
    machines.set(mac, { name: textIn(row, "name", where), address, arguments: argumentsIn(textIn(row, "arguments", where), `${where}arguments`, refuse) });
  }
  const parameters: Parameters = { arguments: common, unknown, machines };
  for (const mac of [null, ...machines.keys()]) {
    const result = parseCmdline(`${serverWords} ${wordsFor(parameters, mac, "http://10.0.0.1", null)}`);
    if (!result.ok) refuse(`${mac ?? "all machines"}: ${result.errors.map(({ message }) => message).join("; ")}`);
  }
  return parameters;
}

function argumentsIn(text: string | null, where: string, refuse: (what: string) => never): string {
  const words = (text ?? "").trim();
  // They become a line of a script: nothing in them may begin another, or be expanded by iPXE.
  if (!/^[\x20-\x7e]*$/.test(words) || words.includes("${") || words.length > ARGUMENTS_LENGTH_MAX) refuse(`${where} must be at most ${ARGUMENTS_LENGTH_MAX} printable characters without "\${"`);
  return words;
}

/** The words for one machine: for all, its own, its name, its boot server, its token. */
export function wordsFor({ arguments: common, machines }: Parameters, mac: Mac | null, bootServer: string, token: string | null): string {
  const own = mac === null ? undefined : machines.get(mac);
  return [common, own?.arguments ?? "", own === undefined || own.name === null ? "" : `godwit.hostname=${own.name}`, `godwit.boot=${bootServer}`, token === null ? "" : `godwit.join=${token}`].filter((word) => word !== "").join(" ");
}
