/**
 * From an offset in a component to the line that its author wrote.
 *
 * The compiler tells both once: the names of functions in a section of the module, the lines in a source map. Neither goes into the
 * component, which would grow by a third; they lie beside it, and whoever built it can read its traps. Offsets count from the start
 * of the component, as wasmtime counts them. What cannot be parsed gives no symbols, never an error: a trap is told all the same.
 */
import { SourceMap, type SourceMapPayload } from "node:module";

export type Symbols = {
  /** What to take from an offset in the component to have one in the module that the compiler wrote. */
  readonly moduleOffset: number;
  /** First byte of each function's body, ascending, and its name: `assembly/index/handle`. */
  readonly functions: readonly (readonly [offset: number, name: string])[];
  readonly map: SourceMapPayload;
};

const SECTION_CUSTOM = 0;
const SECTION_IMPORT = 2;
const SECTION_CODE = 10;
const COMPONENT_CORE_MODULE = 1;
const NAMES_OF_FUNCTIONS = 1;
const KIND_FUNCTION = 0;
const LIBRARY = "~lib/";
const HEADER_BYTES = 8;
/** What is ours at the ends of each trace, and says nothing to the author. */
const HIDDEN = /^(?:__godwit_entry\/|~lib\/godwit\/runtime\/)/;

type Section = { readonly id: number; readonly start: number; readonly end: number };

/** The module as it goes into the component, and what was taken out of it. */
export function splitSymbols(core: Uint8Array, map: string): { core: Uint8Array; symbolsFor(component: Uint8Array): Symbols | null } {
  const sections = sectionsOf(core, HEADER_BYTES, core.length);
  const functions = functionsOf(core, sections);
  return {
    core: withoutNames(core),
    symbolsFor(component) {
      const code = sections.find(({ id }) => id === SECTION_CODE);
      const placed = codeOffset(component);
      if (code === undefined || placed === null) return null;
      return { moduleOffset: placed - code.start, functions, map: mapOf(map) };
    },
  };
}

/** A module or a component without its custom sections: names and what made it, which nothing that runs it reads. */
export function withoutNames(binary: Uint8Array): Uint8Array {
  const kept = sectionsOf(binary, HEADER_BYTES, binary.length).filter(({ id }) => id !== SECTION_CUSTOM);
  const lean = new Uint8Array(HEADER_BYTES + kept.reduce((sum, { start, end }) => sum + end - start, 0));
  lean.set(binary.subarray(0, HEADER_BYTES));
  let at = HEADER_BYTES;
  for (const { start, end } of kept) {
    lean.set(binary.subarray(start, end), at);
    at += end - start;
  }
  return lean;
}

/**
 * Turns every frame of a backtrace in a text into `at function (file:line:column)`, and leaves the rest as it is. The map is read once, here.
 * Without symbols every text is left as it is.
 */
export function sourceLines(symbols: Symbols | null): (text: string) => string {
  if (symbols === null) return (text) => text;
  const map = new SourceMap(symbols.map);
  return (text) => {
    const lines: string[] = [];
    for (const line of text.split("\n")) {
      const [, indent = "", digits] = /^(\s*)\d+:\s+0x([0-9a-f]{1,8}) - /.exec(line) ?? [];
      const frame = digits === undefined ? null : frameText(map, symbols, Number.parseInt(digits, 16) - symbols.moduleOffset);
      if (frame !== "") lines.push(frame === null ? line : `${indent}at ${frame}`);
    }
    return lines.join("\n");
  };
}

/** Empty for a frame of ours, null for an offset outside of the author's module. */
function frameText(map: SourceMap, { functions }: Symbols, offset: number): string | null {
  const found = functions.findLast(([start]) => start <= offset);
  if (found === undefined) return null;
  const [start, name] = found;
  if (HIDDEN.test(name)) return "";
  return `${shortName(name)}${placeText(map, name, start, offset)}`;
}

/**
 * Where the author wrote it. An instruction that the optimiser made has no line of its own, and one that it put into the author's
 * function out of the library has the library's: the author's line before it in the function has the call.
 */
function placeText(map: SourceMap, name: string, start: number, offset: number): string {
  const isLibrary = (path: string): boolean => path.startsWith(LIBRARY);
  let inner = "";
  for (let at = offset; at >= start; ) {
    const entry = map.findEntry(0, at);
    if (!("generatedColumn" in entry) || entry.generatedColumn > at) break;
    const { originalSource: source, originalLine, originalColumn } = entry;
    if (source !== undefined) {
      const place = `${source}:${originalLine + 1}:${originalColumn + 1}`;
      if (isLibrary(source) === isLibrary(name)) return ` (${place}${inner && ", in "}${inner})`;
      inner ||= place;
    }
    at = entry.generatedColumn - 1;
  }
  return inner && ` (${inner})`;
}

/** `~lib/map/Map<~lib/string/String,i32>#get` is `Map<~lib/string/String,i32>#get`: the place says where it is. */
const shortName = (name: string): string => name.replace(/^(?:[\w~.@-]+\/)+/, "");

/** A source map without the sources: the author has them, and the library's are ours. */
function mapOf(text: string): SourceMapPayload {
  const { sourcesContent: _, ...map } = JSON.parse(text) as SourceMapPayload;
  return { ...map, sourcesContent: [] };
}

/** Where the code section of the author's module begins in the component: it is the first module there. */
function codeOffset(component: Uint8Array): number | null {
  const module = sectionsOf(component, HEADER_BYTES, component.length).find(({ id }) => id === COMPONENT_CORE_MODULE);
  if (module === undefined) return null;
  const inner = new Reader(component, module.start + 1);
  inner.u32();
  return sectionsOf(component, inner.at + HEADER_BYTES, module.end).find(({ id }) => id === SECTION_CODE)?.start ?? null;
}

function functionsOf(core: Uint8Array, sections: readonly Section[]): [number, string][] {
  const names = namesOf(core, sections);
  const first = importedFunctions(core, sections);
  const code = sections.find(({ id }) => id === SECTION_CODE);
  if (code === undefined) return [];
  const reader = contents(core, code);
  const found: [number, string][] = [];
  const count = reader.u32();
  for (let index = 0; index < count; index++) {
    const size = reader.u32();
    found.push([reader.at, names.get(first + index) ?? `function ${first + index}`]);
    reader.at += size;
  }
  return found;
}

function namesOf(core: Uint8Array, sections: readonly Section[]): Map<number, string> {
  const names = new Map<number, string>();
  for (const section of sections) {
    if (section.id !== SECTION_CUSTOM) continue;
    const reader = contents(core, section);
    if (reader.text() !== "name") continue;
    while (reader.at < section.end) {
      const id = reader.byte();
      const end = reader.u32() + reader.at;
      const count = id === NAMES_OF_FUNCTIONS ? reader.u32() : 0;
      for (let i = 0; i < count; i++) {
        const index = reader.u32();
        names.set(index, reader.text());
      }
      reader.at = end;
    }
  }
  return names;
}

/** Imports take the first indices. AssemblyScript imports functions only, so a module with others has no names by index. */
function importedFunctions(core: Uint8Array, sections: readonly Section[]): number {
  const section = sections.find(({ id }) => id === SECTION_IMPORT);
  if (section === undefined) return 0;
  const reader = contents(core, section);
  const count = reader.u32();
  for (let i = 0; i < count; i++) {
    reader.text();
    reader.text();
    if (reader.byte() !== KIND_FUNCTION) return count;
    reader.u32();
  }
  return count;
}

function sectionsOf(bytes: Uint8Array, from: number, to: number): Section[] {
  const sections: Section[] = [];
  const reader = new Reader(bytes, from);
  while (reader.at < to) {
    const start = reader.at;
    const id = reader.byte();
    reader.at = reader.u32() + reader.at;
    sections.push({ id, start, end: reader.at });
  }
  return sections;
}

function contents(bytes: Uint8Array, { start }: Section): Reader {
  const reader = new Reader(bytes, start + 1);
  reader.u32();
  return reader;
}

/** Reads what our own compiler wrote. */
class Reader {
  readonly #bytes: Uint8Array;
  at: number;

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.at = at;
  }

  byte(): number {
    return this.#bytes[this.at++] ?? 0;
  }

  /** LEB128. */
  u32(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
  }

  text(): string {
    const length = this.u32();
    this.at += length;
    return new TextDecoder().decode(this.#bytes.subarray(this.at - length, this.at));
  }
}
