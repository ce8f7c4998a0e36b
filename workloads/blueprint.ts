/**
 * A godwit.toml that describes an app: several workloads, who needs whom, shared settings and environments. From text to a checked
 * blueprint, or to every mistake at once with its place.
 *
 * Pure. A workload's project has its own manifest; here is only what differs from it. What is more particular wins: manifest, `[shared]`,
 * the workload, `[env.NAME]`. No two deployments of any two environments have one name: one account holds them all.
 */
import { FIELDS, type Field, type Manifest, type ManifestError, type ManifestErrorCode, type Table, isTable, isVariableName, nearest, own, readToml, shown } from "./manifest.ts";
import { type Place, locate } from "./tomlPlaces.ts";

type Settings = { readonly replicas: number | null; readonly depositAmount: bigint | null; readonly environment: Readonly<Record<string, string>> };
type Workload = Settings & { readonly name: string; readonly path: string; readonly needs: readonly string[] };
type Environment = Settings & { readonly name: string; readonly suffix: string };
export type Blueprint = {
  readonly name: string;
  readonly shared: Settings["environment"];
  /** In the order of their names. */
  readonly workloads: readonly Workload[];
  readonly environments: readonly Environment[];
};
/** One deployment of an app: what its project's manifest says, save these. */
export type Member = Settings & {
  /** The deployment's; in an environment with its suffix. */
  readonly name: string;
  /** The project's folder, or a component file, from the app's folder. */
  readonly path: string;
  /** Names of deployments. */
  readonly needs: readonly string[];
};
/** An app in one environment. A wave needs only what is in those before it; in a wave nobody needs another. */
export type App = { readonly name: string; readonly environment: string | null; readonly waves: readonly (readonly Member[])[] };
export type BlueprintParsed = { readonly ok: true; readonly blueprint: Blueprint } | { readonly ok: false; readonly errors: readonly ManifestError[] };

/** As many are built, planned and watched by one command. */
const WORKLOADS_MAX = 64;
const ENVIRONMENTS_MAX = 16;

const needs: Field<readonly string[]> = {
  expected: 'a list of workloads of this file, such as ["store"]',
  read(value) {
    if (!Array.isArray(value)) return { code: "type_wrong" };
    const names = value.filter((item) => typeof item === "string");
    return names.length === value.length ? { value: [...new Set(names)].toSorted() } : { code: "needs_invalid" };
  },
};
const suffix: Field<string> = {
  expected: 'a hyphen, then a to z, 0 to 9 and hyphens, such as "-staging"',
  read: (value) => (typeof value !== "string" ? { code: "type_wrong" } : /^-[a-z0-9-]*[a-z0-9]$/.test(value) ? { value } : { code: "name_invalid" }),
};

/** Null: this describes no app, but a workload (manifest.ts), or is no TOML at all. */
export function parseBlueprint(text: string, fileName: string): BlueprintParsed | null {
  const read = readToml(text, fileName);
  if ("error" in read || (own(read.root, "app") === undefined && own(read.root, "workloads") === undefined)) return null;
  const reader = new Reader(fileName, locate(text));
  const blueprint = readBlueprint(reader, read.root);
  if (reader.errors.length === 0) checkNeeds(reader, blueprint);
  if (reader.errors.length === 0) checkNames(reader, blueprint);
  return reader.errors.length === 0 ? { ok: true, blueprint } : { ok: false, errors: reader.errors.toSorted((a, b) => a.line - b.line || a.column - b.column) };
}

function readBlueprint(reader: Reader, root: Table): Blueprint {
  reader.only(root, "", ["app", "workloads", "shared", "env"]);
  const app = reader.table(root, "app", "app");
  reader.only(app, "app", ["name"]);
  if (own(app, "name") === undefined) reader.refuse("app.name", "key_missing", FIELDS.name.expected, '"app.name" is missing');
  const shared = reader.table(root, "shared", "shared");
  reader.only(shared, "shared", ["environment"]);
  const listed = reader.table(root, "workloads", "workloads");
  const count = Object.keys(listed).length;
  if (count === 0) reader.refuse("workloads", "app_empty", "a table [workloads.NAME] for each workload", "the app has no workload");
  if (count > WORKLOADS_MAX) reader.refuse("workloads", "value_out_of_range", `at most ${WORKLOADS_MAX} workloads`, `the app has ${count} workloads`);
  const environments = reader.table(root, "env", "env");
  if (Object.keys(environments).length > ENVIRONMENTS_MAX) reader.refuse("env", "value_out_of_range", `at most ${ENVIRONMENTS_MAX} environments`, "the app has more environments");
  return {
    name: reader.optional(app, "name", "app.name", FIELDS.name, ""),
    shared: environmentOf(reader, shared, "shared"),
    workloads: Object.keys(listed).toSorted().map((key) => readWorkload(reader, listed, key)),
    environments: Object.keys(environments).toSorted().map((key) => readEnvironment(reader, environments, key)),
  };
}

function readWorkload(reader: Reader, listed: Table, key: string): Workload {
  const at = `workloads.${key}`;
  reader.name(key, at);
  const value = own(listed, key);
  const table = typeof value === "string" ? { path: value } : reader.table(listed, key, at);
  reader.only(table, at, ["path", "needs", "replicas", "deposit", "environment"]);
  return { name: key, path: reader.optional(table, "path", `${at}.path`, FIELDS.path, key), needs: reader.optional(table, "needs", `${at}.needs`, needs, []), ...settingsOf(reader, table, at) };
}

function readEnvironment(reader: Reader, environments: Table, key: string): Environment {
  const at = `env.${key}`;
  reader.name(key, at);
  const table = reader.table(environments, key, at);
  reader.only(table, at, ["suffix", "replicas", "deposit", "environment"]);
  return { name: key, suffix: reader.optional(table, "suffix", `${at}.suffix`, suffix, `-${key}`), ...settingsOf(reader, table, at) };
}

const settingsOf = (reader: Reader, table: Table, at: string): Settings => ({
  replicas: reader.optional(table, "replicas", `${at}.replicas`, FIELDS.replicas, null),
  depositAmount: reader.optional(table, "deposit", `${at}.deposit`, FIELDS.tokens, null),
  environment: environmentOf(reader, table, at),
});

function environmentOf(reader: Reader, table: Table, at: string): Settings["environment"] {
  const variables = reader.table(table, "environment", `${at}.environment`);
  return Object.fromEntries(Object.keys(variables).toSorted().map((key) => {
    const path = `${at}.environment.${key}`;
    if (!isVariableName(key)) reader.refuse(path, "variable_invalid", FIELDS.variable.expected, `"${key}" cannot be the name of a variable`);
    return [key, reader.optional(variables, key, path, FIELDS.variable, "")];
  }));
}

function checkNeeds(reader: Reader, { workloads }: Blueprint): void {
  const names = workloads.map(({ name }) => name);
  for (const { name, needs: wanted } of workloads) {
    for (const need of wanted.filter((one) => !names.includes(one))) {
      const near = nearest(need, names.map((one) => [one, one]));
      reader.refuse(`workloads.${name}.needs`, "need_unknown", `one of ${names.join(", ")}`, `"${name}" needs "${need}", which is no workload of this app${near === null ? "" : `; did you mean "${near}"?`}`);
    }
  }
  if (reader.errors.length > 0) return;
  const left = new Map(workloads.map((workload) => [workload.name, workload]));
  for (const name of wavesOf(workloads).flat()) left.delete(name);
  const [first] = left.keys();
  if (first === undefined) return;
  // Whoever is left needs one that is left: walking along comes round.
  const walked: string[] = [];
  for (let at: string = first; ; at = left.get(at)!.needs.find((need) => left.has(need))!) {
    const start = walked.indexOf(at);
    walked.push(at);
    if (start < 0) continue;
    return reader.refuse(`workloads.${at}.needs`, "need_circular", "an order in which each comes after what it needs", `nobody can be first: ${walked.slice(start).join(" needs ")}`);
  }
}

function checkNames(reader: Reader, { workloads, environments }: Blueprint): void {
  const taken = new Map(workloads.map(({ name }) => [name, `workloads.${name}`]));
  for (const { name: environment, suffix: end } of environments) {
    for (const { name } of workloads) {
      const deployed = name + end;
      const other = taken.get(deployed);
      const at = `env.${environment}.suffix`;
      if (!("value" in FIELDS.name.read(deployed))) reader.refuse(at, "name_invalid", FIELDS.name.expected, `"${deployed}" cannot be a name`);
      else if (other !== undefined) reader.refuse(at, "name_taken", "a suffix that gives every deployment a name of its own", `"${deployed}" is the name of [${other}] already`);
      else taken.set(deployed, `env.${environment}`);
    }
  }
}

/** Names in waves; those in a circle, and those that need one of them, are in none. */
function wavesOf(workloads: readonly Workload[]): string[][] {
  const waves: string[][] = [];
  const done = new Set<string>();
  for (;;) {
    const wave = workloads.filter(({ name, needs: wanted }) => !done.has(name) && wanted.every((need) => done.has(need))).map(({ name }) => name);
    if (wave.length === 0) return waves;
    waves.push(wave);
    for (const name of wave) done.add(name);
  }
}

/** The app in one of its environments, or in none; null when there is no such environment. */
export function appOf(blueprint: Blueprint, name: string | null): App | null {
  const environment = blueprint.environments.find((one) => one.name === name) ?? null;
  if (name !== null && environment === null) return null;
  const end = environment?.suffix ?? "";
  const member = (workload: Workload): Member => ({
    name: workload.name + end, path: workload.path, needs: workload.needs.map((need) => need + end),
    replicas: environment?.replicas ?? workload.replicas, depositAmount: environment?.depositAmount ?? workload.depositAmount,
    environment: { ...blueprint.shared, ...workload.environment, ...environment?.environment },
  });
  const waves = wavesOf(blueprint.workloads).map((wave) => blueprint.workloads.filter((workload) => wave.includes(workload.name)).map(member));
  return { name: blueprint.name + end, environment: name, waves };
}

/** What is deployed of a project as a member of an app. */
export const settle = <T extends Pick<Manifest, "name" | "replicas" | "depositAmount" | "environment">>(manifest: T, { name, replicas, depositAmount, environment }: Member): T => ({
  ...manifest, name, replicas: replicas ?? manifest.replicas, depositAmount: depositAmount ?? manifest.depositAmount, environment: { ...manifest.environment, ...environment },
});

/** Takes values out of tables and notes what is wrong with them. */
class Reader {
  readonly errors: ManifestError[] = [];
  readonly #file: string;
  readonly #places: ReadonlyMap<string, Place>;

  constructor(file: string, places: ReadonlyMap<string, Place>) {
    this.#file = file;
    this.#places = places;
  }

  optional<T, U = T>(table: Table, key: string, path: string, field: Field<T>, otherwise: U): T | U {
    const value = own(table, key);
    if (value === undefined) return otherwise;
    const reading = field.read(value);
    if ("value" in reading) return reading.value;
    this.refuse(path, reading.code, field.expected, `"${path}" is ${shown(value)}`);
    return otherwise;
  }

  /** Empty when it is missing. */
  table(parent: Table, key: string, path: string): Table {
    const value = own(parent, key);
    if (value === undefined || isTable(value)) return value ?? {};
    this.refuse(path, "type_wrong", `a table: [${path}]`, `"${path}" is ${shown(value)}`);
    return {};
  }

  name(key: string, path: string): void {
    const reading = FIELDS.name.read(key);
    if ("code" in reading) this.refuse(path, reading.code, FIELDS.name.expected, `"${key}" cannot be a name`, "key");
  }

  only(table: Table, path: string, keys: readonly string[]): void {
    for (const key of Object.keys(table).filter((one) => !keys.includes(one))) {
      const whole = path === "" ? key : `${path}.${key}`;
      const near = nearest(key, keys.map((one) => [one, one]));
      this.refuse(whole, "key_unknown", `one of ${keys.join(", ")}`, `there is no "${whole}" in an app${near === null ? "" : `; did you mean "${near}"?`}`, "key");
    }
  }

  refuse(path: string, code: ManifestErrorCode, expected: string, message: string, at: "key" | "value" = "value"): void {
    let known = path;
    while (!this.#places.has(known) && known.includes(".")) known = known.slice(0, known.lastIndexOf("."));
    const place = this.#places.get(known);
    const column = place === undefined ? 1 : at === "key" ? place.keyColumn : place.valueColumn;
    this.errors.push({ file: this.#file, line: place?.line ?? 1, column, code, expected, message: `${message}; expected ${expected}` });
  }
}
