/**
 * godwit.toml: from text to a checked plan, or to every mistake at once with its place.
 *
 * Pure. A manifest is a tenant's input: nothing in it is believed before its reader says so, what no reader knows is refused
 * (a misspelt limit that is silently ignored costs money), and amounts are decimal strings that become base units exactly.
 * README.md beside this file has the table of fields.
 */
import { parse, TomlDate, TomlError, type TomlValue } from "smol-toml";
import {
  CONCURRENCY_DEFAULT, CONCURRENCY_MAX, ENVIRONMENT_BYTES_MAX, LIMITS_DEFAULT, LIMITS_MAX, LIMITS_TASK_DEFAULT, OUTGOING_MAX, type SettableLimit,
} from "#sandbox/limits.ts";
import { type OutgoingPlace, outgoingText, parseOutgoing } from "#sandbox/outgoing.ts";
import { U64_MAX } from "#chain/types.ts";
import { locate, type Place } from "./tomlPlaces.ts";

export type Manifest = {
  /** A DNS label: the first part of the deployment's host. */
  readonly name: string;
  readonly kind: "service" | "task";
  /** The AssemblyScript module, a path from the project's folder. */
  readonly entry: string;
  /** Folder whose files become part of the component; null: none. */
  readonly assets: string | null;
  /** Of another language: the component that its toolchain writes, or a WASI 0.1 program; `entry` is then not used. */
  readonly component: string | null;
  /** The command that writes `component`, run in the project's folder; empty: it is there already. */
  readonly build: readonly string[];
  readonly memoryMib: number;
  readonly cpuMillis: number;
  /** Requests that one replica runs at a time. */
  readonly concurrency: number;
  readonly replicas: number;
  /** The ledger says how many there are, by their load (chain/ledger/scaling.ts); null: always `replicas`. */
  readonly scale: Scale | null;
  /** Shared: a runner with other tenants; process: one of its own. */
  readonly isolation: "shared" | "process";
  /** One instance serves many requests, one after the other: faster, and what a request leaves behind the next one sees. */
  readonly reuse: boolean;
  /** Where its requests may go; nowhere else. In ascending order, each once. */
  readonly outgoing: readonly OutgoingPlace[];
  /** Those of `[limits]`; what is not there has the sandbox's default. */
  readonly limits: Readonly<Partial<Record<SettableLimit, number>>>;
  /** Base units that go into the escrow at deploy. */
  readonly depositAmount: bigint;
  /** Base units a second that one replica may cost at most; 0 is any price. */
  readonly rateMax: bigint;
  readonly environment: Readonly<Record<string, string>>;
  /** Where it answers 200 to 399 while it is well; null: nobody asks. */
  readonly healthPath: string | null;
  /** How a new version takes the place of the one that serves. */
  readonly rollout: { readonly weight: number; readonly healthySeconds: number; readonly deadlineSeconds: number; readonly failuresMax: number };
  /** What a task is given, and how often it may fail: after each failure it waits twice as long. */
  readonly task: { readonly arguments: readonly string[]; readonly stdin: string; readonly attempts: number; readonly backOffSeconds: number };
  /** Where it may run; an empty list allows all. */
  readonly placement: { readonly regions: readonly string[]; readonly operators: readonly string[]; readonly labels: readonly string[] };
};

export type Scale = {
  /** 0: one replica, on standby when it has nothing to do. */
  readonly min: number;
  readonly max: number;
  readonly metric: "cpu" | "concurrency" | "requests";
  /** How much of it one replica should have at most: thousandths of its CPU, requests at a time, requests a second. */
  readonly target: number;
  /** Base units a second that all replicas together may cost; 0 is no ceiling. */
  readonly rateMax: bigint;
};

export type ManifestErrorCode =
  | "manifest_too_large" | "toml_syntax" | "key_unknown" | "key_missing" | "type_wrong" | "value_out_of_range" | "choice_unknown"
  | "name_invalid" | "entry_invalid" | "assets_invalid" | "component_invalid" | "build_invalid" | "amount_invalid" | "variable_invalid" | "environment_too_large" | "outgoing_invalid" | "path_invalid" | "placement_invalid" | "scale_invalid" | "secrets_refused"
  // Of an app (blueprint.ts).
  | "needs_invalid" | "need_unknown" | "need_circular" | "name_taken" | "app_empty";

export type ManifestError = {
  readonly file: string;
  /** From 1; the line of the key or the value that is wrong. */
  readonly line: number;
  readonly column: number;
  readonly code: ManifestErrorCode;
  /** What would be right here. */
  readonly expected: string;
  readonly message: string;
};

export type Parsed = { readonly ok: true; readonly manifest: Manifest } | { readonly ok: false; readonly errors: readonly ManifestError[] };

const MANIFEST_CHARACTERS_MAX = 128 * 1024;
const MIB = 1024 * 1024;
const CPU_MILLIS_DEFAULT = 100;
const BUILD_WORDS_MAX = 64;
/** 64 cores: more than one machine gives to one replica. */
const CPU_MILLIS_MAX = 64_000;
/** As the chain has it: the leases of one deployment are placed in one block. */
const REPLICAS_MAX = 256;
/** RFC 1035: a label has at most 63 characters. */
const NAME_LENGTH_MAX = 63;
const UNITS_PER_TOKEN = 1_000_000_000n;
const TOKEN_DECIMALS = 9;
const SECONDS_PER_HOUR = 3_600n;
const DEPOSIT_DEFAULT: bigint = UNITS_PER_TOKEN;

type Reading<T> = { readonly value: T } | { readonly code: ManifestErrorCode };
export type Field<T> = { readonly expected: string; readonly read: (value: TomlValue) => Reading<T> };
export type Table = { readonly [key: string]: TomlValue };

const name: Field<string> = {
  expected: `a DNS label: a to z, 0 to 9 and inner hyphens, at most ${NAME_LENGTH_MAX} characters`,
  read: (value) => ofText(value, (text) => text.length <= NAME_LENGTH_MAX && /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(text), "name_invalid"),
};

const entry: Field<string> = {
  expected: 'the path of a .ts file inside the project, such as "assembly/index.ts"',
  read: (value) => ofText(value, (text) => /^(?:[\w@-][\w.@-]*\/)*[\w@-][\w.@-]*\.ts$/.test(text) && !text.includes(".."), "entry_invalid"),
};

const assets: Field<string> = {
  expected: 'the path of a folder inside the project, such as "site"',
  read: (value) => ofText(value, (text) => /^(?:[\w@-][\w.@-]*\/)*[\w@-][\w.@-]*$/.test(text) && !text.includes(".."), "assets_invalid"),
};

const PATH_SEGMENT = String.raw`[\w@-][\w.@-]*`;
const component: Field<string> = {
  expected: 'the path of a .wasm file inside the project, such as "target/wasm32-wasip2/release/hello.wasm"',
  read: (value) => ofText(value, (text) => new RegExp(`^(?:${PATH_SEGMENT}/)*${PATH_SEGMENT}\\.wasm$`).test(text) && !text.includes(".."), "component_invalid"),
};

/** A program and its arguments: no shell reads it. */
const build: Field<readonly string[]> = {
  expected: `a list of at most ${BUILD_WORDS_MAX} words, a program and its arguments, such as ["cargo", "build", "--release"]`,
  read(value) {
    if (!Array.isArray(value)) return { code: "type_wrong" };
    const words = value.filter((word) => typeof word === "string");
    const isGood = words.length === value.length && words.length > 0 && words.length <= BUILD_WORDS_MAX && words[0] !== "" && !words.some((word) => word.includes("\0"));
    return isGood ? { value: words } : { code: "build_invalid" };
  },
};

const memoryMib: Field<number> = whole(1, LIMITS_MAX.memoryBytesMax / MIB, "MiB");
const cpuMillis: Field<number> = whole(1, CPU_MILLIS_MAX, "thousandths of a core");
const concurrency: Field<number> = whole(1, CONCURRENCY_MAX, "requests at a time");
const replicas: Field<number> = whole(1, REPLICAS_MAX, "replicas");
const kind: Field<Manifest["kind"]> = choice("service", "task");
const isolation: Field<Manifest["isolation"]> = choice("shared", "process");

const reuse: Field<boolean> = {
  expected: "true or false",
  read: (value) => (typeof value === "boolean" ? { value } : { code: "type_wrong" }),
};
const outgoing: Field<readonly OutgoingPlace[]> = {
  expected: `a list of at most ${OUTGOING_MAX} places, each a scheme, a host and if need be a port, such as "https://api.example.com"`,
  read(value) {
    if (!Array.isArray(value)) return { code: "type_wrong" };
    const places = new Map<string, OutgoingPlace>();
    for (const item of value) {
      if (typeof item !== "string") return { code: "type_wrong" };
      const place = parseOutgoing(item);
      if (place === null) return { code: "outgoing_invalid" };
      places.set(outgoingText(place), place);
    }
    if (places.size > OUTGOING_MAX) return { code: "value_out_of_range" };
    return { value: [...places].toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([, place]) => place) };
  },
};

const tokens: Field<bigint> = {
  expected: `an amount of tokens in quotes, with at most ${TOKEN_DECIMALS} decimals, such as "2.5"`,
  read(value) {
    if (typeof value !== "string") return { code: "type_wrong" };
    const units = parseTokens(value);
    return units === null ? { code: "amount_invalid" } : { value: units };
  },
};

const variable: Field<string> = {
  expected: "text without the character 0, under a name of letters, digits and _",
  read: (value) => ofText(value, (text) => !text.includes("\0"), "variable_invalid"),
};

const KIB = 1024;
/** The keys of `[limits]`: which limit each sets, and how many of the limit's units one of the key's is. */
const LIMIT_KEYS: Readonly<Record<string, { readonly limit: SettableLimit; readonly units: number; readonly unit: string; readonly least: number }>> = {
  fuel_per_call: { limit: "fuelPerCallMax", units: 1, unit: "units of fuel", least: 1 },
  cpu_time_ms: { limit: "cpuTimeMsMax", units: 1, unit: "ms", least: 1 },
  wall_time_ms: { limit: "wallTimeMsMax", units: 1, unit: "ms", least: 1 },
  table_elements: { limit: "tableElementsMax", units: 1, unit: "elements", least: 0 },
  instances: { limit: "instancesMax", units: 1, unit: "core instances", least: 1 },
  resource_handles: { limit: "resourceHandlesMax", units: 1, unit: "handles", least: 1 },
  header_count: { limit: "headerCountMax", units: 1, unit: "headers", least: 1 },
  header_kib: { limit: "headerBytesMax", units: KIB, unit: "KiB", least: 1 },
  request_body_kib: { limit: "requestBodyBytesMax", units: KIB, unit: "KiB", least: 0 },
  response_body_kib: { limit: "responseBodyBytesMax", units: KIB, unit: "KiB", least: 0 },
  outgoing_connections: { limit: "outgoingConnectionsMax", units: 1, unit: "connections", least: 0 },
  outgoing_request_kib: { limit: "outgoingRequestBytesMax", units: KIB, unit: "KiB", least: 0 },
  outgoing_response_kib: { limit: "outgoingResponseBytesMax", units: KIB, unit: "KiB", least: 0 },
  outgoing_time_ms: { limit: "outgoingTimeMsMax", units: 1, unit: "ms", least: 1 },
  log_kib_per_second: { limit: "logBytesPerSecondMax", units: KIB, unit: "KiB a second", least: 1 },
  queue_length: { limit: "queueLengthMax", units: 1, unit: "requests that wait", least: 0 },
  queue_wait_ms: { limit: "queueWaitMsMax", units: 1, unit: "ms", least: 0 },
};

const healthPath: Field<string> = {
  expected: 'a path such as "/healthz"',
  read: (value) => ofText(value, (text) => /^\/[\x21-\x7e]{0,255}$/.test(text), "path_invalid"),
};
const weight: Field<number> = whole(0, 1000, "thousandths of the requests");
const WORDS_MAX = 16;
const words = (valid: RegExp, what: string): Field<readonly string[]> => ({
  expected: `a list of at most ${WORDS_MAX} ${what}`,
  read(value) {
    if (!Array.isArray(value)) return { code: "type_wrong" };
    const found = value.filter((word) => typeof word === "string");
    return found.length === value.length && found.length <= WORDS_MAX && found.every((word) => valid.test(word)) ? { value: [...new Set(found)].toSorted() } : { code: "placement_invalid" };
  },
});
const placeWords: Field<readonly string[]> = words(/^[a-z0-9][a-z0-9.-]{0,31}$/, "words of a to z, 0 to 9, dots and hyphens");
const operatorNames: Field<readonly string[]> = words(/^gw1[02-9ac-hj-np-z]{38}$/, "addresses of accounts, gw1…");
/** As the chain has them: ledger/limits.ts. */
const TASK_ATTEMPTS_MAX = 100;
const TASK_BACK_OFF_SECONDS_MAX = 3_600;
/** With the environment within what one configuration may have. */
const TASK_INPUT_CHARACTERS_MAX = 32 * 1024;
const ARGUMENTS_MAX = 256;
const taskArguments: Field<readonly string[]> = {
  expected: `a list of at most ${ARGUMENTS_MAX} texts without the character 0, ${TASK_INPUT_CHARACTERS_MAX} characters together`,
  read(value) {
    if (!Array.isArray(value)) return { code: "type_wrong" };
    const found = value.filter((item) => typeof item === "string");
    if (found.length < value.length) return { code: "type_wrong" };
    const isGood = found.length <= ARGUMENTS_MAX && found.every((item) => !item.includes("\0")) && found.reduce((sum, { length }) => sum + length, 0) <= TASK_INPUT_CHARACTERS_MAX;
    return isGood ? { value: found } : { code: "value_out_of_range" };
  },
};
const taskStdin: Field<string> = { expected: `text of at most ${TASK_INPUT_CHARACTERS_MAX} characters`, read: (value) => ofText(value, ({ length }) => length <= TASK_INPUT_CHARACTERS_MAX, "value_out_of_range") };
const TASK_DEFAULT: Manifest["task"] = { arguments: [], stdin: "", attempts: 1, backOffSeconds: 10 };
const ROLLOUT_DEFAULT: Manifest["rollout"] = { weight: 1000, healthySeconds: 10, deadlineSeconds: 300, failuresMax: 2 };

/** Every table and its keys, for the check that nothing is misspelt. */
const KEYS: Readonly<Record<string, readonly string[]>> = {
  "": ["name", "kind", "entry", "assets", "component", "build", "outgoing", "resources", "limits", "budget", "environment", "health", "rollout", "task", "placement", "scale"],
  resources: ["memory_mib", "cpu_millis", "concurrency", "replicas", "isolation", "reuse"],
  limits: Object.keys(LIMIT_KEYS),
  budget: ["deposit", "rate_max_per_hour"],
  health: ["path"],
  rollout: ["weight", "healthy_seconds", "deadline_seconds", "failures"],
  task: ["arguments", "stdin", "attempts", "back_off_seconds"],
  placement: ["regions", "operators", "labels"],
  scale: ["min", "max", "cpu_percent", "concurrency", "requests_per_second", "rate_max_per_hour"],
};

/** Fields that a blueprint has too. */
export const FIELDS: {
  readonly name: Field<string>; readonly path: Field<string>; readonly replicas: Field<number>; readonly tokens: Field<bigint>; readonly variable: Field<string>;
} = { name, path: assets, replicas, tokens, variable };

export const isVariableName = (key: string): boolean => /^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(key);

/** The tables of a manifest, with nothing of them checked. */
export function readToml(text: string, fileName: string): { readonly root: Table } | { readonly error: ManifestError } {
  if (text.length > MANIFEST_CHARACTERS_MAX) {
    const expected = `at most ${MANIFEST_CHARACTERS_MAX} characters`;
    return { error: { file: fileName, line: 1, column: 1, code: "manifest_too_large", expected, message: `the manifest has ${text.length} characters; expected ${expected}` } };
  }
  try {
    return { root: parse(text, { integersAsBigInt: true, unsafeKeyBehaviour: "throw" }) };
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const reason = (error.message.split("\n")[0] ?? "").replace(/^Invalid TOML document: /, "");
    return { error: { file: fileName, line: error.line, column: error.column, code: "toml_syntax", expected: "TOML 1.0", message: `this is not TOML: ${reason}` } };
  }
}

/** Parses and checks a manifest. `fileName` is only what errors call the file. */
export function parseManifest(text: string, fileName: string): Parsed {
  const read = readToml(text, fileName);
  if ("error" in read) return { ok: false, errors: [read.error] };
  const { root } = read;
  const reader = new Reader(root, fileName, locate(text));
  const manifest = readFields(reader);
  return reader.errors.length > 0 ? { ok: false, errors: reader.inOrder() } : { ok: true, manifest };
}

/** "2.5" → 2500000000n; null when it is not an exact amount of base units that fits a u64. */
export function parseTokens(text: string): bigint | null {
  const [, whole, decimals = ""] = /^(\d{1,20})(?:\.(\d+))?$/.exec(text) ?? [];
  if (whole === undefined || decimals.length > TOKEN_DECIMALS) return null;
  const units = BigInt(whole) * UNITS_PER_TOKEN + BigInt(decimals.padEnd(TOKEN_DECIMALS, "0"));
  return units <= U64_MAX ? units : null;
}

function readFields(reader: Reader): Manifest {
  reader.refuseUnknown();
  const wanted = reader.required("name", name, "");
  const componentRead = reader.optional("component", component, null);
  if (componentRead !== null && reader.has("entry")) reader.refuse("entry", "component_invalid", "either entry (AssemblyScript) or component (any other language)", "a project has one program");
  if (componentRead === null && reader.has("build")) reader.refuse("build", "build_invalid", "component beside build: the file that the command writes", "what this command writes has no name");
  const kindRead = reader.required("kind", kind, "service");
  const memoryDefault = (kindRead === "task" ? LIMITS_TASK_DEFAULT : LIMITS_DEFAULT).memoryBytesMax / MIB;
  const rateMaxPerHour = reader.optional("budget.rate_max_per_hour", tokens, 0n);
  // Rounded down: a price that fits the manifest never exceeds what its author wrote.
  const rateMax = rateMaxPerHour / SECONDS_PER_HOUR;
  if (rateMaxPerHour > 0n && rateMax === 0n) {
    reader.refuse("budget.rate_max_per_hour", "value_out_of_range", 'at least "0.0000036", one unit a second, or "0" for any price', "this is less than the smallest price there is");
  }
  const scale = scaleOf(reader, kindRead);
  return {
    name: wanted,
    kind: kindRead,
    entry: reader.optional("entry", entry, "assembly/index.ts"),
    assets: reader.optional<string | null>("assets", assets, null),
    component: componentRead,
    build: reader.optional("build", build, []),
    memoryMib: reader.optional("resources.memory_mib", memoryMib, memoryDefault),
    cpuMillis: reader.optional("resources.cpu_millis", cpuMillis, CPU_MILLIS_DEFAULT),
    concurrency: reader.optional("resources.concurrency", concurrency, CONCURRENCY_DEFAULT),
    replicas: scale === null ? reader.optional("resources.replicas", replicas, 1) : Math.max(1, scale.min),
    scale,
    isolation: reader.optional("resources.isolation", isolation, "shared"),
    reuse: reader.optional("resources.reuse", reuse, false),
    outgoing: reader.optional("outgoing", outgoing, []),
    limits: reader.limits(),
    depositAmount: reader.optional("budget.deposit", tokens, DEPOSIT_DEFAULT),
    rateMax,
    environment: reader.environment(),
    healthPath: reader.optional<string, string | null>("health.path", healthPath, null),
    rollout: rolloutOf(reader),
    task: taskOf(reader, kindRead),
    placement: {
      regions: reader.optional("placement.regions", placeWords, []), operators: reader.optional("placement.operators", operatorNames, []), labels: reader.optional("placement.labels", placeWords, []),
    },
  };
}

function taskOf(reader: Reader, kindRead: Manifest["kind"]): Manifest["task"] {
  if (kindRead !== "task" && reader.has("task")) reader.refuse("task", "choice_unknown", 'kind = "task"', "a service has no [task]");
  return {
    arguments: reader.optional("task.arguments", taskArguments, TASK_DEFAULT.arguments),
    stdin: reader.optional("task.stdin", taskStdin, TASK_DEFAULT.stdin),
    attempts: reader.optional("task.attempts", whole(1, TASK_ATTEMPTS_MAX, "runs that may fail"), TASK_DEFAULT.attempts),
    backOffSeconds: reader.optional("task.back_off_seconds", whole(1, TASK_BACK_OFF_SECONDS_MAX, "seconds"), TASK_DEFAULT.backOffSeconds),
  };
}

function rolloutOf(reader: Reader): Manifest["rollout"] {
  const rule = {
    weight: reader.optional("rollout.weight", weight, ROLLOUT_DEFAULT.weight),
    healthySeconds: reader.optional("rollout.healthy_seconds", whole(0, 3_600, "seconds"), ROLLOUT_DEFAULT.healthySeconds),
    deadlineSeconds: reader.optional("rollout.deadline_seconds", whole(1, 86_400, "seconds"), ROLLOUT_DEFAULT.deadlineSeconds),
    failuresMax: reader.optional("rollout.failures", whole(0, 1_000, "failures"), ROLLOUT_DEFAULT.failuresMax),
  };
  if (rule.deadlineSeconds <= rule.healthySeconds) reader.refuse("rollout.deadline_seconds", "value_out_of_range", "more than healthy_seconds", "a new version cannot be healthy for longer than it has");
  return rule;
}

/** The table's keys that say by what, and what one of a key's units is in the rule's. */
const SCALE_KEYS: Readonly<Record<string, { readonly metric: Scale["metric"]; readonly units: number; readonly field: Field<number> }>> = {
  cpu_percent: { metric: "cpu", units: 10, field: whole(1, 100, "per cent of its CPU") },
  concurrency: { metric: "concurrency", units: 1, field: concurrency },
  requests_per_second: { metric: "requests", units: 1, field: whole(1, 1_000_000, "requests a second") },
};

function scaleOf(reader: Reader, of: Manifest["kind"]): Scale | null {
  if (!reader.has("scale")) return null;
  if (of === "task") reader.refuse("scale", "scale_invalid", "no [scale]", "a task runs once");
  if (reader.has("resources.replicas")) reader.refuse("resources.replicas", "scale_invalid", "either resources.replicas or [scale]", "[scale] says how many replicas there are");
  const given = Object.keys(SCALE_KEYS).filter((key) => reader.has(`scale.${key}`));
  if (given.length !== 1) reader.refuse("scale", "scale_invalid", `one of ${Object.keys(SCALE_KEYS).join(", ")}`, `[scale] has ${given.length} of them`);
  const key = given[0] ?? "requests_per_second";
  const { metric, units, field } = SCALE_KEYS[key] as (typeof SCALE_KEYS)[string];
  const min = reader.optional("scale.min", whole(0, REPLICAS_MAX, "replicas"), 1);
  const max = reader.required("scale.max", replicas, REPLICAS_MAX);
  if (min > max) reader.refuse("scale.min", "value_out_of_range", "at most max", "there cannot be more than the most");
  const rateMaxPerHour = reader.optional("scale.rate_max_per_hour", tokens, 0n);
  const rateMax = rateMaxPerHour / SECONDS_PER_HOUR;
  if (rateMaxPerHour > 0n && rateMax === 0n) reader.refuse("scale.rate_max_per_hour", "value_out_of_range", 'at least "0.0000036", one unit a second, or "0" for no ceiling', "this is less than the smallest price there is");
  return { min, max, metric, target: reader.optional(`scale.${key}`, field, 1) * units, rateMax };
}

/** Takes values out of the document and notes what is wrong with them. */
class Reader {
  readonly errors: ManifestError[] = [];
  readonly #root: Table;
  readonly #file: string;
  readonly #places: ReadonlyMap<string, Place>;
  readonly #refusedTables = new Set<string>();

  constructor(root: Table, file: string, places: ReadonlyMap<string, Place>) {
    this.#root = root;
    this.#file = file;
    this.#places = places;
  }

  required<T>(path: string, field: Field<T>, otherwise: T): T {
    if (this.#value(path) === undefined) this.refuse(path, "key_missing", field.expected, `"${path}" is missing`);
    return this.optional(path, field, otherwise);
  }

  has(path: string): boolean {
    return this.#value(path) !== undefined;
  }

  optional<T, U = T>(path: string, field: Field<T>, otherwise: U): T | U {
    const value = this.#value(path);
    if (value === undefined) return otherwise;
    const reading = field.read(value);
    if ("value" in reading) return reading.value;
    this.refuse(path, reading.code, field.expected, `"${path}" is ${shown(value)}`);
    return otherwise;
  }

  limits(): Manifest["limits"] {
    const given: [SettableLimit, number][] = [];
    for (const [key, { limit, units, unit, least }] of Object.entries(LIMIT_KEYS)) {
      const value = this.optional(`limits.${key}`, whole(least, LIMITS_MAX[limit] / units, unit), null);
      if (value !== null) given.push([limit, value * units]);
    }
    return Object.fromEntries(given);
  }

  environment(): Record<string, string> {
    const table = this.#table("environment");
    const found: [string, string][] = [];
    let characters = 0;
    for (const key of Object.keys(table).sort()) {
      const path = `environment.${key}`;
      if (!isVariableName(key)) this.refuse(path, "variable_invalid", variable.expected, `"${key}" cannot be the name of a variable`);
      const value = this.optional(path, variable, "");
      characters += key.length + value.length;
      found.push([key, value]);
    }
    // Three bytes of UTF-8 for a character at most: whatever passes here fits the sandbox's limit in bytes.
    if (characters * 3 > ENVIRONMENT_BYTES_MAX) {
      this.refuse("environment", "environment_too_large", `names and values of at most ${Math.floor(ENVIRONMENT_BYTES_MAX / 3)} characters together`, `the environment has ${characters} characters`);
    }
    return Object.fromEntries(found);
  }

  refuseUnknown(): void {
    if (this.#root["secrets"] !== undefined) {
      this.refuse("secrets", "secrets_refused", "no secrets: an operator can read what runs on their machine", "secrets cannot be sealed to a machine yet");
    }
    for (const [table, keys] of Object.entries(KEYS)) {
      for (const key of Object.keys(table === "" ? this.#root : this.#table(table))) {
        if (keys.includes(key) || (table === "" && key === "secrets")) continue;
        const path = table === "" ? key : `${table}.${key}`;
        const near = nearest(key, Object.entries(KEYS).flatMap(([other, names]) => names.map((n) => [n, other === "" ? n : `${other}.${n}`] as const)));
        this.refuse(path, "key_unknown", `one of ${keys.join(", ")}`, `there is no "${path}"${near === null ? "" : `; did you mean "${near}"?`}`, "key");
      }
    }
  }

  refuse(path: string, code: ManifestErrorCode, expected: string, message: string, at: "key" | "value" = "value"): void {
    const place = this.#places.get(path) ?? this.#places.get(path.split(".")[0] ?? "");
    const column = place === undefined ? 1 : at === "key" ? place.keyColumn : place.valueColumn;
    this.errors.push({ file: this.#file, line: place?.line ?? 1, column, code, expected, message: `${message}; expected ${expected}` });
  }

  inOrder(): readonly ManifestError[] {
    return this.errors.toSorted((a, b) => a.line - b.line || a.column - b.column);
  }

  #value(path: string): TomlValue | undefined {
    const [first = "", second] = path.split(".");
    return second === undefined ? own(this.#root, first) : own(this.#table(first), second);
  }

  /** A table of the document; empty, and refused once, when something else has its name. */
  #table(key: string): Table {
    const value = own(this.#root, key);
    if (value === undefined || isTable(value)) return value ?? {};
    if (!this.#refusedTables.has(key)) this.refuse(key, "type_wrong", `a table: [${key}]`, `"${key}" is ${shown(value)}`);
    this.#refusedTables.add(key);
    return {};
  }
}

export const own = (table: Table, key: string): TomlValue | undefined => (Object.hasOwn(table, key) ? table[key] : undefined);

export const isTable = (value: TomlValue): value is Extract<TomlValue, Table> =>
  typeof value === "object" && !Array.isArray(value) && !(value instanceof TomlDate);

function ofText(value: TomlValue, valid: (text: string) => boolean, code: ManifestErrorCode): Reading<string> {
  if (typeof value !== "string") return { code: "type_wrong" };
  return valid(value) ? { value } : { code };
}

function whole(least: number, most: number, unit: string): Field<number> {
  return {
    expected: `a whole number of ${unit} from ${least} to ${most}`,
    read(value) {
      if (typeof value !== "bigint") return { code: "type_wrong" };
      return value >= BigInt(least) && value <= BigInt(most) ? { value: Number(value) } : { code: "value_out_of_range" };
    },
  };
}

function choice<T extends string>(...words: readonly T[]): Field<T> {
  return {
    expected: words.map((word) => `"${word}"`).join(" or "),
    read(value) {
      if (typeof value !== "string") return { code: "type_wrong" };
      const word = words.find((candidate) => candidate === value);
      return word === undefined ? { code: "choice_unknown" } : { value: word };
    },
  };
}

export function shown(value: TomlValue): string {
  if (typeof value === "string") return JSON.stringify(value.length > 80 ? `${value.slice(0, 77)}…` : value);
  if (typeof value === "bigint" || typeof value === "boolean" || typeof value === "number") return String(value);
  return Array.isArray(value) ? "a list" : isTable(value) ? "a table" : "a date";
}

/** The key that was probably meant: at most two letters away, or of that name in another table. */
export function nearest(key: string, known: readonly (readonly [name: string, path: string])[]): string | null {
  let best: string | null = null;
  let bestDistance = 3;
  for (const [candidate, path] of known) {
    const distance = editDistance(key.toLowerCase().replaceAll("-", "_"), candidate);
    if (distance < bestDistance && distance < candidate.length) [best, bestDistance] = [path, distance];
  }
  return best;
}

/** Levenshtein's distance, up to keys of 32 characters; longer ones are far from everything. */
function editDistance(a: string, b: string): number {
  if (a.length > 32) return a.length;
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
