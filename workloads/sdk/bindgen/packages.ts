/**
 * Chunks of syntax → packages by name and version, and the paths between them.
 *
 * A path with a version means that version if it is there, else the newest compatible one at hand (0.2.x for 0.2.y, 1.x for
 * 1.y, never an older): wasm-tools matches imports the same way. Without a version it means the only one at hand.
 */
import type { Chunk, Gate, InterfaceItem, PackageName, Path, Version, WorldItem } from "./syntax.ts";
import { parse } from "./parser.ts";
import { WitError, type Place, type SourceFile } from "./wit-error.ts";

/** Files of one folder are one package; `dependencies` has a folder each. */
export type WitSources = { readonly main: readonly SourceFile[]; readonly dependencies: readonly (readonly SourceFile[])[] };

/** An interface or world in the chunk whose `use`s it sees. */
export type Found<Item> = { readonly item: Item; readonly chunk: Chunk; readonly package: Package };

export type Package = {
  readonly name: PackageName;
  readonly items: Map<string, Found<InterfaceItem | WorldItem>>;
};

/** Which `@unstable` features are on. */
export type Features = readonly string[] | "all";

export class Packages {
  readonly main: Package;
  /** Packages that were asked for and not at hand → those taken in their place. */
  readonly substitutes: Map<string, string> = new Map();
  readonly #known = new Map<string, Package>();
  readonly #features: Features;

  constructor(sources: WitSources, features: Features) {
    this.#features = features;
    this.main = this.#folder(sources.main);
    for (const folder of sources.dependencies) this.#folder(folder);
  }

  /** Whether a gated item is there for us. */
  isOpen(gates: readonly Gate[], { name }: Package): boolean {
    const kinds = new Set(gates.map(({ kind }) => kind));
    const [first] = gates;
    if (first !== undefined && kinds.has("since") && kinds.has("unstable")) throw new WitError("wit_gate_invalid", first.at, "an item is either @since or @unstable");
    for (const gate of gates) {
      if (gate.kind === "unstable" && this.#features !== "all" && !this.#features.includes(gate.feature)) return false;
      if (gate.kind === "deprecated" && kinds.size === 1) throw new WitError("wit_gate_invalid", gate.at, "@deprecated needs @since or @unstable beside it");
      if (gate.kind === "since" && name.version !== null && compare(gate.version, name.version) > 0) {
        throw new WitError("wit_gate_invalid", gate.at, `@since ${gate.version.text} is after the package's own version, ${name.version.text}`);
      }
    }
    return true;
  }

  /** What a path inside a chunk means. */
  find<Kind extends "interface" | "world">(kind: Kind, path: Path, from: { chunk: Chunk; package: Package }): Found<Extract<InterfaceItem | WorldItem, { kind: Kind }>> {
    return this.#find(kind, path, from, 0);
  }

  #find<Kind extends "interface" | "world">(kind: Kind, path: Path, from: { chunk: Chunk; package: Package }, steps: number): Found<Extract<InterfaceItem | WorldItem, { kind: Kind }>> {
    const { text, at } = path.name;
    if (path.package === null) {
      const use = from.chunk.items.find((item) => item.kind === "top-use" && item.as.text === text);
      if (use?.kind === "top-use") {
        if (use.path.package === null && use.path.name.text === text || steps > 0 && use.path.package === null) throw new WitError("wit_use_cycle", use.as.at, `"${text}" stands for itself`);
        return this.#find(kind, { package: use.path.package, name: { text: use.path.name.text, at } }, from, steps + 1);
      }
    }
    const where = path.package === null ? from.package : this.#package(path.package, at);
    const found = where.items.get(text);
    if (found === undefined || !isKind(found, kind)) {
      const near = found === undefined ? "" : `, only a ${found.item.kind} of that name`;
      throw new WitError(`wit_${kind}_unknown`, at, `package ${packageText(where.name)} has no ${kind} "${text}"${near}`);
    }
    if (!this.isOpen(found.item.attributes.gates, where)) throw new WitError(`wit_${kind}_unknown`, at, `${kind} "${text}" is unstable: its feature is not on`);
    return found;
  }

  #package(name: PackageName, at: Place): Package {
    const exact = this.#known.get(packageText(name));
    if (exact !== undefined) return exact;
    const same = [...this.#known.values()].filter((known) => known.name.namespace === name.namespace && known.name.name === name.name);
    const { version } = name;
    const fit = same.filter((known) => version === null || (known.name.version !== null && isCompatible(version, known.name.version)));
    const [newest] = fit.toSorted((a, b) => compare(b.name.version, a.name.version));
    if (newest !== undefined && (version !== null || fit.length === 1)) {
      this.substitutes.set(packageText(name), packageText(newest.name));
      return newest;
    }
    const reason = same.length === 0 ? "is not at hand" : `is not at hand, only ${same.map((known) => packageText(known.name)).join(", ")}`;
    throw new WitError("wit_package_unknown", at, `package ${packageText(name)} ${reason}`);
  }

  #folder(files: readonly SourceFile[]): Package {
    const chunks = files.flatMap((file) => parse(file));
    const named = chunks.filter(({ name }, i) => name !== null && isHeader(chunks, i));
    const first = named[0] ?? chunks.find(({ name }) => name !== null);
    const [empty] = chunks;
    if (empty === undefined) throw new WitError("wit_package_missing", { file: { name: "WIT", text: "" }, offset: 0 }, "there is no WIT here");
    if (first === undefined || first.name === null) throw new WitError("wit_package_missing", empty.at, "no file here says which package it is: `package namespace:name;`");
    for (const chunk of named) {
      if (chunk.name !== null && packageText(chunk.name) !== packageText(first.name)) {
        throw new WitError("wit_name_duplicate", chunk.at, `one folder is one package: here ${packageText(chunk.name)}, elsewhere ${packageText(first.name)}`);
      }
    }
    for (const chunk of chunks) this.#add(chunk, chunk.name ?? first.name);
    return this.#open(first.name);
  }

  #open(name: PackageName): Package {
    const key = packageText(name);
    const known = this.#known.get(key) ?? { name, items: new Map() };
    this.#known.set(key, known);
    return known;
  }

  #add(chunk: Chunk, name: PackageName): void {
    const into = this.#open(name);
    const uses = new Set<string>();
    for (const item of chunk.items) {
      if (item.kind === "top-use") {
        if (uses.has(item.as.text)) throw new WitError("wit_name_duplicate", item.as.at, `"${item.as.text}" is there twice`);
        uses.add(item.as.text);
        continue;
      }
      const { text, at } = item.name;
      if (into.items.has(text) || uses.has(text)) throw new WitError("wit_name_duplicate", at, `package ${packageText(name)} has "${text}" twice`);
      into.items.set(text, { item, chunk, package: into });
    }
  }
}

/** A chunk that is a file and not nested in one: the nested ones follow their file. */
function isHeader(chunks: readonly Chunk[], index: number): boolean {
  const chunk = chunks[index];
  const before = chunks[index - 1];
  return chunk !== undefined && (before === undefined || before.at.file !== chunk.at.file);
}

const isKind = <Kind extends "interface" | "world">(found: Found<InterfaceItem | WorldItem>, kind: Kind): found is Found<Extract<InterfaceItem | WorldItem, { kind: Kind }>> => found.item.kind === kind;

export const packageText = ({ namespace, name, version }: PackageName): string => `${namespace}:${name}${version === null ? "" : `@${version.text}`}`;

/** `wasi:io/streams@0.2.12` */
export function interfaceId({ namespace, name, version }: PackageName, item: string): string {
  return `${namespace}:${name}/${item}${version === null ? "" : `@${version.text}`}`;
}

/** Whether what asks for `wanted` can have `given`. */
export function isCompatible(wanted: Version, given: Version): boolean {
  if (wanted.pre !== "" || given.pre !== "") return wanted.text === given.text;
  if (wanted.major !== given.major) return false;
  if (wanted.major > 0) return compare(given, wanted) >= 0;
  if (wanted.minor !== given.minor) return false;
  return wanted.minor > 0 ? given.patch >= wanted.patch : given.patch === wanted.patch;
}

/** Order of versions; none comes first, and a pre-release before its release. */
export function compare(a: Version | null, b: Version | null): number {
  if (a === null || b === null) return Number(a !== null) - Number(b !== null);
  const numbers = a.major - b.major || a.minor - b.minor || a.patch - b.patch;
  if (numbers !== 0 || a.pre === b.pre) return numbers;
  if (a.pre === "" || b.pre === "") return a.pre === "" ? 1 : -1;
  return a.pre < b.pre ? -1 : 1;
}
