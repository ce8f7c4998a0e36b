/**
 * A configuration: what one deployment has beside what the ledger says, as canonical CBOR:
 * `[2, owner, [[variable, value], …], [[limit, value], …], [place, …], reuse]`, or `[3, …, path]` where its health is checked.
 *
 * and where a task has an input `[4, …, path or "", [argument, …], stdin]`.
 *
 * It is named by its digest in the ledger, and only lease holders get the bytes. The owner is inside, so that nobody can name
 * another account's configuration in a deployment of their own and read it out. Lists are in ascending order, each item once: one
 * configuration has one digest. A limit that is left out has the sandbox's default on the machine that runs it.
 */
import { type Cbor, CodecError, decode, encode } from "#chain/codec/cbor.ts";
import { compareBytes } from "#chain/codec/envelope.ts";
import { bytes, list, text, tuple, u32, u64 } from "#chain/codec/schema.ts";
import { type Address, address } from "#chain/types.ts";
import { LIMITS_MAX, LIMITS_SETTABLE, OUTGOING_MAX, type SettableLimit } from "#sandbox/limits.ts";
import { type OutgoingPlace, outgoingText, parseOutgoing } from "#sandbox/outgoing.ts";
import { AgentError, messageOf } from "./error.ts";
import { CONFIGURATION_BYTES_MAX, CONFIGURATION_ENTRIES_MAX } from "./limits.ts";

export type Settings = {
  readonly environment: Readonly<Record<string, string>>;
  readonly limits: Readonly<Partial<Record<SettableLimit, number>>>;
  /** Where its requests may go. */
  readonly outgoing: readonly OutgoingPlace[];
  /** One instance serves many requests. */
  readonly reuse: boolean;
  /** Where it answers 200 to 399 while it is well; null: nobody asks. */
  readonly healthPath: string | null;
  /** What a task is given; left out: nothing. */
  readonly input?: TaskInput;
};
export type TaskInput = { readonly arguments: readonly string[]; readonly stdin: Uint8Array };
export type Configuration = Settings & { readonly owner: Address };

/** Of a deployment that names no configuration. */
export const SETTINGS_DEFAULT: Settings = { environment: {}, limits: {}, outgoing: [], reuse: false, healthPath: null };

const VERSION = 2;
/** With a path to check. */
const VERSION_CHECKED = 3;
/** With what a task is given. */
const VERSION_TASK = 4;
const ITEMS: ReadonlyMap<number, number> = new Map([[VERSION, 6], [VERSION_CHECKED, 7], [VERSION_TASK, 9]]);
export const HEALTH_PATH: RegExp = /^\/[\x21-\x7e]{0,255}$/;
const NO_INPUT: TaskInput = { arguments: [], stdin: new Uint8Array(0) };
const ARGUMENTS_MAX = 256;
const ARGUMENT_BYTES_MAX = 32 * 1024;
const KEY = /^[A-Za-z_][A-Za-z0-9_]*$/;
const KEY_BYTES_MAX = 128;
const VALUE_BYTES_MAX = 32 * 1024;
const LIMIT_NAME_BYTES_MAX = 32;
/** A scheme, a name of 253 characters and a port. */
const PLACE_BYTES_MAX = 280;

/** null when these are the defaults: such a deployment needs no configuration. */
export function encodeConfiguration(owner: Address, settings: Settings): Uint8Array | null {
  const environment = ascending(Object.entries(settings.environment));
  const limits = ascending(Object.entries(settings.limits)).map(([name, value]): Cbor => [name, BigInt(value)]);
  const places = [...new Set(settings.outgoing.map(outgoingText))].toSorted(byText);
  const { input = NO_INPUT, healthPath } = settings;
  const hasInput = input.arguments.length > 0 || input.stdin.length > 0;
  if (environment.length + limits.length + places.length === 0 && !settings.reuse && healthPath === null && !hasInput) return null;
  const items: Cbor[] = [owner, environment, limits, places, settings.reuse ? 1 : 0];
  if (hasInput) return encode([VERSION_TASK, ...items, healthPath ?? "", [...input.arguments], input.stdin]);
  return encode(healthPath === null ? [VERSION, ...items] : [VERSION_CHECKED, ...items, healthPath]);
}

/** Throws `configuration_invalid`. */
export function parseConfiguration(raw: Uint8Array): Configuration {
  if (raw.length > CONFIGURATION_BYTES_MAX) return no(`it has ${raw.length} bytes and ${CONFIGURATION_BYTES_MAX} is the limit`);
  try {
    const items = list(decode(raw), 9);
    const number = u32(items[0]);
    const count = ITEMS.get(number);
    if (count === undefined) return no(`its version is ${number} and none of ${[...ITEMS.keys()].join(", ")}`);
    const [, owner, environment, limits, places, reuse, path, given, stdin] = tuple(items, count) as [Cbor, Cbor, Cbor, Cbor, Cbor, Cbor, Cbor?, Cbor?, Cbor?];
    const healthPath = path === undefined || (number === VERSION_TASK && path === "") ? null : text(path, 256);
    if (healthPath !== null && !HEALTH_PATH.test(healthPath)) return no(`"${healthPath}" is no path`);
    if (u32(reuse) > 1) return no("reuse is neither 0 nor 1");
    return {
      owner: address(bytes(owner, 20)), environment: environmentOf(environment), limits: limitsOf(limits), outgoing: placesOf(places),
      reuse: u32(reuse) === 1, healthPath,
      ...(number === VERSION_TASK ? { input: { arguments: list(given, ARGUMENTS_MAX).map((item) => text(item, ARGUMENT_BYTES_MAX)), stdin: bytes(stdin) } } : {}),
    };
  } catch (error) {
    if (error instanceof CodecError) return no(messageOf(error));
    throw error;
  }
}

/** The settings of a configuration that a deployment of `owner` names; another's is refused. */
export function settingsFor(raw: Uint8Array, owner: Uint8Array): Settings {
  const { owner: theirs, ...settings } = parseConfiguration(raw);
  if (compareBytes(theirs, owner) !== 0) throw new AgentError("configuration_foreign", "Cannot use the configuration as it belongs to another account");
  return settings;
}

function environmentOf(value: Cbor): Record<string, string> {
  const entries = list(value, CONFIGURATION_ENTRIES_MAX).map((entry): [string, string] => {
    const [name, content] = tuple(entry, 2) as [Cbor, Cbor];
    const key = text(name, KEY_BYTES_MAX);
    return KEY.test(key) ? [key, text(content, VALUE_BYTES_MAX)] : no(`"${key}" is not the name of a variable`);
  });
  refuseDisorder(entries.map(([key]) => key), "variables");
  return Object.fromEntries(entries);
}

function limitsOf(value: Cbor): Settings["limits"] {
  const entries = list(value, LIMITS_SETTABLE.length).map((entry): [SettableLimit, number] => {
    const [key, amount] = tuple(entry, 2) as [Cbor, Cbor];
    const name = text(key, LIMIT_NAME_BYTES_MAX);
    const limit = LIMITS_SETTABLE.find((known) => known === name) ?? no(`"${name}" is no limit that a deployment can set`);
    const units = u64(amount);
    return units <= BigInt(LIMITS_MAX[limit]) ? [limit, Number(units)] : no(`${name} is ${units} and ${LIMITS_MAX[limit]} is the most`);
  });
  refuseDisorder(entries.map(([name]) => name), "limits");
  return Object.fromEntries(entries);
}

function placesOf(value: Cbor): OutgoingPlace[] {
  const texts = list(value, OUTGOING_MAX).map((item) => text(item, PLACE_BYTES_MAX));
  refuseDisorder(texts, "places");
  return texts.map((item) => {
    const place = parseOutgoing(item);
    return place !== null && outgoingText(place) === item ? place : no(`"${item}" is no place that requests can go to`);
  });
}

function refuseDisorder(keys: readonly string[], what: string): void {
  if (keys.some((key, n) => n > 0 && keys[n - 1]! >= key)) no(`its ${what} are not in ascending order, each once`);
}

function no(why: string): never {
  throw new AgentError("configuration_invalid", `Cannot read the configuration as ${why}`);
}

const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const ascending = <T>(entries: [string, T][]): [string, T][] => entries.toSorted(([a], [b]) => byText(a, b));
