/**
 * A world with everything in it: what it includes, under the names it gives; what its interfaces use, which is imported too
 * unless the world exports it.
 */
import { DEPTH_MAX, MEMBERS_MAX } from "./limits.ts";
import { ROOT, Types, type Func, type Interface, type World } from "./model.ts";
import { Packages, interfaceId, packageText, type Features, type Found, type WitSources } from "./packages.ts";
import { Scope, docsOf, type Surroundings } from "./resolve-types.ts";
import type { Attributes, FunctionItem, InterfaceItem, Name, Path, WorldItem, WorldMember } from "./syntax.ts";
import { WitError, type Place } from "./wit-error.ts";

const NO_ATTRIBUTES: Attributes = { docs: "", gates: [] };

/** Resolves one world of the main package: `name`, or `namespace:package/name@version`; the only one when none is named. */
export function resolveWorld(sources: WitSources, worldName: string | undefined, features: Features = []): World {
  const packages = new Packages(sources, features);
  return new WorldResolver(packages).resolve(findWorld(packages, worldName));
}

function findWorld(packages: Packages, worldName: string | undefined): Found<WorldItem> {
  const worlds = [...packages.main.items.values()].flatMap((found) => (found.item.kind === "world" ? [{ ...found, item: found.item }] : []));
  const first = worlds[0] ?? [...packages.main.items.values()][0];
  const at: Place = first?.item.name.at ?? { file: { name: "WIT", text: "" }, offset: 0 };
  const listed = worlds.map(({ item }) => item.name.text).join(", ");
  if (worldName === undefined) {
    const [only] = worlds;
    if (only === undefined) throw new WitError("wit_world_unknown", at, `package ${packageText(packages.main.name)} has no world`);
    if (worlds.length > 1) throw new WitError("wit_world_ambiguous", at, `package ${packageText(packages.main.name)} has several worlds, name one: ${listed}`);
    return only;
  }
  const [, namespace, name, item, version] = /^([\w-]+):([\w-]+)\/([\w-]+)(?:@(.+))?$/.exec(worldName) ?? [];
  if (namespace === undefined || name === undefined || item === undefined) {
    const found = worlds.find((world) => world.item.name.text === worldName);
    if (found === undefined) throw new WitError("wit_world_unknown", at, `package ${packageText(packages.main.name)} has no world "${worldName}"${listed === "" ? "" : `, only ${listed}`}`);
    return found;
  }
  const [major = 0, minor = 0, patch = 0] = (version ?? "").split(/[.+-]/).map(Number);
  const wanted = version === undefined ? null : { text: version, major, minor, patch, pre: /-(.+)/.exec(version)?.[1] ?? "" };
  const [chunk] = [...packages.main.items.values()].map((found) => found.chunk);
  const path: Path = { package: { namespace, name, version: wanted }, name: { text: item, at } };
  return packages.find("world", path, { chunk: chunk ?? { name: null, at, docs: "", items: [] }, package: packages.main });
}

class WorldResolver {
  readonly #packages: Packages;
  readonly #types = new Types();
  readonly #scopes = new Map<string, Scope>();
  /** Interfaces that are being resolved: one that comes again uses itself. */
  readonly #open = new Set<string>();
  readonly #imports = new Map<string, Interface>();
  readonly #exports = new Map<string, Interface>();
  readonly #root: Interface = { id: ROOT, docs: { text: "", deprecated: null }, definitions: [], uses: [], functions: [] };
  readonly #exportedFunctions: Func[] = [];
  /** Plain names taken, by direction. */
  readonly #names = new Set<string>();
  readonly #included: Found<WorldItem>[] = [];
  #includes = 0;

  constructor(packages: Packages) {
    this.#packages = packages;
  }

  resolve(found: Found<WorldItem>): World {
    this.#world(found, new Map());
    // Only now is it known which of them the world exports itself.
    for (const exported of this.#exports.values()) this.#importUsed(exported);
    return {
      name: found.item.name.text, docs: docsOf(found.item.attributes), imports: this.#imports, exports: this.#exports,
      root: this.#root, exportedFunctions: this.#exportedFunctions, substitutes: this.#packages.substitutes,
    };
  }

  #world(found: Found<WorldItem>, renames: ReadonlyMap<string, Name>): void {
    if (this.#included.some(({ item }) => item === found.item)) throw new WitError("wit_include_cycle", found.item.name.at, `world "${found.item.name.text}" includes itself`);
    if (this.#included.length > DEPTH_MAX || ++this.#includes > MEMBERS_MAX) throw new WitError("wit_too_large", found.item.name.at, "there are too many includes here");
    this.#included.push(found);
    const types = found.item.items.filter((item) => !isMember(item));
    const scope = new Scope(ROOT, NO_ATTRIBUTES, types, this.#around(found));
    const { definitions, uses } = scope.resolveAll();
    for (const { from } of uses) this.#import(from);
    for (const definition of definitions) this.#claim("import", { text: definition.name, at: definition.at });
    this.#root.definitions.push(...definitions);
    this.#root.uses.push(...uses.filter((use) => !this.#root.uses.some(({ name }) => name === use.name)));
    const paths = new Set<string>();
    for (const item of found.item.items) {
      if (isMember(item) && this.#packages.isOpen(item.attributes.gates, found.package)) this.#member(item, found, scope, renames, paths);
    }
    this.#included.pop();
  }

  #member(member: WorldMember, found: Found<WorldItem>, scope: Scope, renames: ReadonlyMap<string, Name>, paths: Set<string>): void {
    if (member.kind === "include") {
      this.#include(member, found);
      return;
    }
    const { what } = member;
    if ("package" in what) {
      const scoped = this.#scope(this.#packages.find("interface", what, found), what.name.at);
      const key = `${member.kind} ${scoped.interface.id}`;
      if (paths.has(key)) throw new WitError("wit_name_duplicate", what.name.at, `world "${found.item.name.text}" ${member.kind}s ${scoped.interface.id} twice`);
      paths.add(key);
      if (member.kind === "import") this.#import(scoped.interface);
      else this.#exports.set(scoped.interface.id, scoped.interface);
      return;
    }
    const name = renames.get(what.name.text) ?? what.name;
    this.#claim(member.kind, name);
    if (what.kind === "function") this.#function(member.kind, { ...what, name, attributes: member.attributes }, scope);
    else this.#inline(member.kind, { ...what, name, attributes: member.attributes }, found);
  }

  #function(direction: "import" | "export", item: FunctionItem, scope: Scope): void {
    const func = scope.function(item);
    if (direction === "import") this.#root.functions.push(func);
    else this.#exportedFunctions.push(func);
  }

  #inline(direction: "import" | "export", item: InterfaceItem, found: Found<WorldItem>): void {
    const resolved = new Scope(item.name.text, item.attributes, item.items, this.#around(found)).resolveAll();
    if (direction === "import") this.#import(resolved);
    else this.#exports.set(resolved.id, resolved);
  }

  #include(member: Extract<WorldMember, { kind: "include" }>, from: Found<WorldItem>): void {
    const found = this.#packages.find("world", member.path, from);
    const renames = new Map<string, Name>();
    for (const { name, as } of member.renames) {
      if (!this.#plainNames(found).has(name.text)) throw new WitError("wit_name_unknown", name.at, `world "${found.item.name.text}" has no plain name "${name.text}"`);
      if (renames.has(name.text)) throw new WitError("wit_name_duplicate", name.at, `"${name.text}" is renamed twice`);
      renames.set(name.text, as);
    }
    this.#world(found, renames);
  }

  /** What `with` can rename: functions and interfaces written inside the world. */
  #plainNames({ item: world }: Found<WorldItem>): Set<string> {
    return new Set(world.items.flatMap((item) => ((item.kind === "import" || item.kind === "export") && !("package" in item.what) ? [item.what.name.text] : [])));
  }

  #claim(direction: "import" | "export", { text, at }: Name): void {
    const key = `${direction} ${text.toLowerCase()}`;
    if (this.#names.has(key)) throw new WitError("wit_name_duplicate", at, `the world ${direction}s "${text}" twice`);
    this.#names.add(key);
  }

  /** An interface comes after those it uses. */
  #import(wanted: Interface): void {
    if (this.#imports.has(wanted.id)) return;
    for (const { from } of wanted.uses) this.#import(from);
    this.#imports.set(wanted.id, wanted);
  }

  #importUsed(exported: Interface): void {
    for (const { from } of exported.uses) if (!this.#exports.has(from.id)) this.#import(from);
  }

  #scope(found: Found<InterfaceItem>, at: Place): Scope {
    const id = interfaceId(found.package.name, found.item.name.text);
    const known = this.#scopes.get(id);
    if (known !== undefined) return known;
    if (this.#open.has(id)) throw new WitError("wit_use_cycle", at, `interface ${id} uses itself`);
    if (this.#open.size >= DEPTH_MAX) throw new WitError("wit_too_deep", at, `interfaces can use each other ${DEPTH_MAX} deep`);
    this.#open.add(id);
    const scope = new Scope(id, found.item.attributes, found.item.items, this.#around(found));
    scope.resolveAll();
    this.#open.delete(id);
    this.#scopes.set(id, scope);
    return scope;
  }

  #around(found: Found<InterfaceItem | WorldItem>): Surroundings {
    return {
      types: this.#types,
      isOpen: ({ gates }) => this.#packages.isOpen(gates, found.package),
      scopeOf: (path) => this.#scope(this.#packages.find("interface", path, found), path.name.at),
    };
  }
}

function isMember(item: WorldItem["items"][number]): item is WorldMember {
  return item.kind === "import" || item.kind === "export" || item.kind === "include";
}
