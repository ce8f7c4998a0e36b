/**
 * One AssemblyScript module while it is written: what it imports, the raw functions it declares, the conversions it needs (each
 * once), its body. Nothing in it depends on the order in which a Map was filled by chance: the same WIT gives the same text.
 */
import { alignTo, type Signature } from "./layout.ts";
import { camel, fileName } from "./names.ts";
import { ROOT, type Docs, type Interface, type Resource, type Type, type World } from "./model.ts";

export type Direction = "import" | "export";

/** Where the module of each interface is, and how modules name each other. */
export class Bindings {
  readonly world: World;
  readonly #runtime: string | null;
  readonly #paths = new Map<string, string>();
  /** Numbers of items of tuples that the runtime does not have. */
  readonly wideTuples: Set<number> = new Set();

  constructor(world: World, runtimeModule: string | null) {
    this.world = world;
    this.#runtime = runtimeModule;
    for (const direction of ["import", "export"] as const) {
      const taken = new Set<string>();
      for (const id of (direction === "import" ? world.imports : world.exports).keys()) {
        const name = fileName(id, taken);
        taken.add(name);
        this.#paths.set(`${direction} ${id}`, `${direction}s/${name}`);
      }
    }
    this.#paths.set(`import ${ROOT}`, "imports/root");
  }

  /** Which side of an interface a name means: its own when it is exported and we look from an export, else the host's. */
  sideOf(owner: Interface, from: Direction): Direction {
    return from === "export" && this.world.exports.get(owner.id) === owner ? "export" : "import";
  }

  pathOf(owner: Interface, side: Direction): string {
    const path = this.#paths.get(`${side} ${owner.id}`);
    if (path === undefined) throw new Error(`There is no ${side} module for ${owner.id}`);
    return path;
  }

  specifier(path: string, from: string): string {
    if (path === "canonical" && this.#runtime !== null) return this.#runtime;
    return `${from.includes("/") ? "../" : "./"}${path}`;
  }
}

export class ModuleWriter {
  readonly bindings: Bindings;
  readonly path: string;
  /** From where its names are seen. */
  direction: Direction;
  /** Text of the module's own items, in order. */
  readonly body: string[] = [];
  readonly #aliases = new Map<string, string>();
  readonly #externals = new Map<string, { name: string; text: string }>();
  readonly #conversions = new Map<string, string>();
  readonly #conversionTexts: string[] = [];
  #returnBytes = 0;

  constructor(bindings: Bindings, path: string, direction: Direction) {
    this.bindings = bindings;
    this.path = path;
    this.direction = direction;
  }

  /** The prefix for names of another module, with its dot; empty for our own. */
  from(path: string): string {
    if (path === this.path) return "";
    const alias = `_${camel(path.replaceAll("/", "-").replaceAll("_", "-"))}`;
    this.#aliases.set(path, alias);
    return `${alias}.`;
  }

  /** The runtime's prefix. */
  get abi(): string {
    this.#aliases.set("canonical", "_abi");
    return "_abi.";
  }

  isExported(resource: Resource): boolean {
    return this.bindings.sideOf(resource.owner, this.direction) === "export";
  }

  /** The prefix of the module that has an interface's definitions. */
  owner(owner: Interface): string {
    return this.from(this.bindings.pathOf(owner, this.bindings.sideOf(owner, this.direction)));
  }

  /** Declares a function of the host and gives its name here. */
  external(module: string, name: string, signature: Signature): string {
    const key = `${module}#${name}`;
    const known = this.#externals.get(key);
    if (known !== undefined) return known.name;
    const local = `_i${this.#externals.size}`;
    const parameters = signature.parameters.map((type, i) => `p${i}: ${type}`).join(", ");
    const text = `// @ts-ignore: decorator\n@external(${JSON.stringify(module)}, ${JSON.stringify(name)})\ndeclare function ${local}(${parameters}): ${signature.results[0] ?? "void"};`;
    this.#externals.set(key, { name: local, text });
    return local;
  }

  /** A conversion of values of a type, written by `write` for the first who asks. */
  conversion(what: string, type: Type, write: (name: string) => string): string {
    const key = `${what} ${type.id} ${this.direction}`;
    const known = this.#conversions.get(key);
    if (known !== undefined) return known;
    const name = `_${what}${this.#conversions.size}`;
    this.#conversions.set(key, name);
    this.#conversionTexts.push(write(name));
    return name;
  }

  /** The name of the static block for results of up to `bytes`. */
  returnArea(bytes: number): string {
    this.#returnBytes = Math.max(this.#returnBytes, bytes);
    return "_area";
  }

  text(heading: string): string {
    const imports = [...this.#aliases].map(([path, alias]) => `import * as ${alias} from ${JSON.stringify(this.bindings.specifier(path, this.path))};`);
    const area = this.#returnBytes === 0 ? [] : [`/** Where results that do not fit one register go. */\nconst _area: usize = memory.data(${alignTo(this.#returnBytes, 8)}, 8);`];
    const parts = [
      `/** ${inComment(heading)} */`, imports.join("\n"), ...[...this.#externals.values()].map(({ text }) => text), ...area, ...this.body, ...this.#conversionTexts,
    ];
    return `${parts.filter((part) => part !== "").join("\n\n")}\n`;
  }
}

/** A doc comment, with its end, or nothing. */
export function docComment(docs: Docs, indent = ""): string {
  const lines = docs.text === "" ? [] : inComment(docs.text).split("\n");
  if (docs.deprecated !== null) lines.push(`@deprecated since ${inComment(docs.deprecated)}`);
  if (lines.length === 0) return "";
  if (lines.length === 1) return `${indent}/** ${lines[0]} */\n`;
  return `${indent}/**\n${lines.map((line) => `${indent} * ${line}`.trimEnd()).join("\n")}\n${indent} */\n`;
}

/** Text that cannot end the comment it stands in. */
const inComment = (text: string): string => text.replaceAll("*/", "*\u2215").replaceAll("\r", "");

export function indented(lines: readonly string[], indent = "  "): string {
  return lines.map((line) => (line === "" ? line : indent + line.replaceAll("\n", `\n${indent}`))).join("\n");
}
