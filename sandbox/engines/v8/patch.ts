/**
 * A core module with our limits in it: V8 has no limiter, so the module itself says how far its memory and tables may grow.
 *
 * The maximum of each memory and table becomes at most what the limits allow, and every `memory.grow` becomes a call of a function
 * that we add, which grows and, where that failed, sets an exported flag: a guest that traps afterwards ran into its memory
 * limit. Added functions and globals stand last in their index spaces, so that no index of the module changes.
 */
import { BinaryError, Reader } from "./reader.ts";

export type CoreLimits = { readonly memoryBytesMax: number; readonly tableElementsMax: number };
/** The name of the flag among the module's exports. */
export const REFUSED = "godwit:memory-refused";

const PAGE_BYTES = 65_536;
const HEADER_BYTES = 8;
const SECTION = { type: 1, import: 2, function: 3, table: 4, memory: 5, global: 6, export: 7, code: 10 } as const;
/** Sections in the order in which a module has them: 12 (data count) and 13 (tags) stand where the format wants them. */
const ORDER = [1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11];
const GROW = 0x40;
const CALL = 0x10;

/** `parts` instead of a body that was put together of them. */
type Section = { readonly id: number; body: Uint8Array; parts?: readonly Uint8Array[] };

/** From here on, a byte of the patched module is so far into the component. Ascending. */
export type Anchor = readonly [patched: number, original: number];
export type Patched = { readonly bytes: Uint8Array<ArrayBuffer>; readonly anchors: readonly Anchor[] };

/** `bytes` is a part of the component's, which is where offsets are counted from. `name` is what V8 calls the module in a trace. */
export function patchModule(bytes: Uint8Array, limits: CoreLimits, name: string): Patched {
  const sections = sectionsOf(bytes);
  const find = (id: number): Section | undefined => sections.find((section) => section.id === id);
  capAll(find(SECTION.memory), Math.floor(limits.memoryBytesMax / PAGE_BYTES), readMemory);
  capAll(find(SECTION.table), limits.tableElementsMax, readTable);
  const imports = countImports(find(SECTION.import));
  const code = find(SECTION.code);
  const types = find(SECTION.type);
  const functions = find(SECTION.function);
  if (code !== undefined && types !== undefined && functions !== undefined && (find(SECTION.memory) !== undefined || imports.memories > 0)) {
    const growIndex = imports.functions + new Reader(functions.body).u32();
    const bodies = rewriteGrow(code.body, growIndex);
    if (bodies !== null) {
      const globals = find(SECTION.global);
      const flagIndex = imports.globals + (globals === undefined ? 0 : new Reader(globals.body).u32());
      const typeIndex = new Reader(types.body).u32();
      types.body = appended(types.body, [0x60, 1, 0x7f, 1, 0x7f]);
      functions.body = appended(functions.body, number(typeIndex));
      const [, ...rest] = bodies;
      code.parts = [Uint8Array.from(number(new Reader(code.body).u32() + 1)), ...rest, Uint8Array.from(growBody(flagIndex))];
      replace(sections, SECTION.global, appended(globals?.body ?? Uint8Array.of(0), [0x7f, 1, 0x41, 0, 0x0b]));
      replace(sections, SECTION.export, appended(find(SECTION.export)?.body ?? Uint8Array.of(0), [...text(REFUSED), 3, ...number(flagIndex)]));
    }
  }
  sections.push({ id: 0, body: namesWith(sections, name) });
  const parts = [bytes.subarray(0, HEADER_BYTES), ...sections.flatMap(({ id, body, parts = [body] }) => [Uint8Array.from([id, ...number(lengthOf(parts))]), ...parts])];
  return { bytes: joined(parts), anchors: anchorsOf(parts, bytes) };
}

/** What was taken over as it was lies in the component's own buffer. */
function anchorsOf(parts: readonly Uint8Array[], { buffer }: Uint8Array): Anchor[] {
  const anchors: Anchor[] = [];
  let at = 0;
  for (const part of parts) {
    if (part.buffer === buffer && part.length > 0) anchors.push([at, part.byteOffset]);
    at += part.length;
  }
  return anchors;
}

/** The module's section of names, taken out of `sections`, with another name for the module itself. */
function namesWith(sections: Section[], name: string): Uint8Array {
  const parts: Uint8Array[] = [Uint8Array.from(text("name")), Uint8Array.from([0, ...number(text(name).length), ...text(name)])];
  for (let i = sections.length - 1; i >= 0; i--) {
    const section = sections[i]!;
    if (section.id !== 0) continue;
    const reader = new Reader(section.body);
    if (reader.name() !== "name") continue;
    sections.splice(i, 1);
    while (!reader.isAtEnd) {
      const begin = reader.at;
      const id = reader.byte();
      reader.take(reader.u32());
      if (id !== 0) parts.push(section.body.subarray(begin, reader.at));
    }
  }
  return joined(parts);
}

function sectionsOf(bytes: Uint8Array): Section[] {
  const file = new Reader(bytes, HEADER_BYTES);
  const sections: Section[] = [];
  while (!file.isAtEnd) sections.push({ id: file.byte(), body: file.take(file.u32()) });
  return sections;
}

/** In place, or where the format wants a section that was not there. */
function replace(sections: Section[], id: number, body: Uint8Array): void {
  const there = sections.find((section) => section.id === id);
  if (there !== undefined) {
    there.body = body;
    return;
  }
  const after = new Set(ORDER.slice(ORDER.indexOf(id) + 1));
  const at = sections.findIndex((section) => after.has(section.id));
  sections.splice(at < 0 ? sections.length : at, 0, { id, body });
}

type Limited = { readonly head: Uint8Array; readonly min: number; readonly max: number | null };

function capAll(section: Section | undefined, most: number, read: (reader: Reader) => Limited): void {
  if (section === undefined) return;
  const reader = new Reader(section.body);
  const entries = reader.each(() => read(reader)).map(({ head, min, max }) => [...head, 1, ...number(min), ...number(Math.max(min, Math.min(max ?? most, most)))]);
  section.body = Uint8Array.from([...number(entries.length), ...entries.flat()]);
}

function readLimits(reader: Reader, head: Uint8Array): Limited {
  const flags = reader.byte();
  if (flags > 1) throw new BinaryError("A memory or table is shared or has 64 bits");
  return { head, min: reader.u32(), max: flags === 1 ? reader.u32() : null };
}
const readMemory = (reader: Reader): Limited => readLimits(reader, new Uint8Array());
function readTable(reader: Reader): Limited {
  const begin = reader.at;
  if (reader.byte() === 0x40) throw new BinaryError("A table has an initial value");
  return readLimits(reader, reader.bytes.subarray(begin, reader.at));
}

/** Least pages of the module's own memory, 0 without one. */
export function memoryBytesMin(bytes: Uint8Array): number {
  const section = sectionsOf(bytes).find(({ id }) => id === SECTION.memory);
  if (section === undefined) return 0;
  const reader = new Reader(section.body);
  return reader.each(() => readMemory(reader).min).reduce((sum, pages) => sum + pages * PAGE_BYTES, 0);
}

function countImports(section: Section | undefined): { functions: number; globals: number; memories: number } {
  const counts = { functions: 0, globals: 0, memories: 0 };
  if (section === undefined) return counts;
  const reader = new Reader(section.body);
  reader.each(() => {
    reader.name();
    reader.name();
    const kind = reader.byte();
    if (kind === 0) {
      reader.u32();
      counts.functions += 1;
    } else if (kind === 1) {
      readTable(reader);
    } else if (kind === 2) {
      readMemory(reader);
      counts.memories += 1;
    } else if (kind === 3) {
      reader.take(2);
      counts.globals += 1;
    } else {
      throw new BinaryError(`An import of kind ${kind}`);
    }
  });
  return counts;
}

/** The parts of the code section (its count is the first) with every memory.grow as a call, or null when there is none. */
function rewriteGrow(body: Uint8Array, growIndex: number): Uint8Array[] | null {
  const call = Uint8Array.from([CALL, ...number(growIndex)]);
  const reader = new Reader(body);
  const count = reader.u32();
  const parts: Uint8Array[] = [Uint8Array.from(number(count))];
  let kept = reader.at;
  let found = false;
  for (let i = 0; i < count; i++) {
    const begin = reader.at;
    const length = reader.u32();
    const bodyAt = reader.at;
    const grows = growsOf(new Reader(body, bodyAt, bodyAt + length));
    reader.take(length);
    if (grows.length === 0) continue;
    found = true;
    parts.push(body.subarray(kept, begin), Uint8Array.from(number(length + grows.length * (call.length - 2))));
    let at = bodyAt;
    for (const grow of grows) {
      parts.push(body.subarray(at, grow), call);
      at = grow + 2;
    }
    parts.push(body.subarray(at, reader.at));
    kept = reader.at;
  }
  parts.push(body.subarray(kept));
  return found ? parts : null;
}

/** Where in one function memory.grow stands. */
function growsOf(reader: Reader): number[] {
  const found: number[] = [];
  for (let groups = reader.u32(); groups > 0; groups--) {
    reader.u32();
    valueType(reader);
  }
  while (!reader.isAtEnd) {
    const begin = reader.at;
    const code = reader.byte();
    if (code === GROW && reader.bytes[reader.at] === 0) found.push(begin);
    immediates(reader, code);
  }
  return found;
}

const isTypedReference = (code: number | undefined): boolean => code === 0x63 || code === 0x64;
function valueType(reader: Reader): void {
  if (isTypedReference(reader.byte())) reader.skipNumber();
}

function times(count: number, step: () => void): void {
  for (let i = 0; i < count; i++) step();
}

/** Past what follows an instruction's code. */
function immediates(reader: Reader, code: number): void {
  const skip = (): void => reader.skipNumber();
  const memoryArgument = (): void => {
    if (reader.u32() & 64) skip();
    skip();
  };
  if (code >= 0x45 && code <= 0xc4) return;
  if (code >= 0x20 && code <= 0x26) return skip();
  if (code >= 0x28 && code <= 0x3e) return memoryArgument();
  switch (code) {
    case 0x00: case 0x01: case 0x05: case 0x0a: case 0x0b: case 0x0f: case 0x19: case 0x1a: case 0x1b: case 0xd1: return;
    case 0x02: case 0x03: case 0x04: case 0x06: return isTypedReference(reader.bytes[reader.at]) ? valueType(reader) : skip();
    case 0x07: case 0x08: case 0x09: case 0x0c: case 0x0d: case 0x10: case 0x12: case 0x18: case 0x3f: case GROW: case 0x41: case 0x42: case 0xd0: case 0xd2: return skip();
    case 0x0e: return times(reader.u32() + 1, skip);
    case 0x11: case 0x13: return times(2, skip);
    case 0x1c: return times(reader.u32(), () => valueType(reader));
    case 0x1f: {
      skip();
      return times(reader.u32(), () => times(reader.byte() < 2 ? 2 : 1, skip));
    }
    case 0x43: return void reader.take(4);
    case 0x44: return void reader.take(8);
    case 0xfc: {
      const sub = reader.u32();
      return times(sub < 8 ? 0 : sub === 8 || sub === 10 || sub === 12 || sub === 14 ? 2 : 1, skip);
    }
    case 0xfd: return vectorImmediates(reader, reader.u32(), memoryArgument);
    default: throw new BinaryError(`Instruction 0x${code.toString(16)} is not known`);
  }
}

function vectorImmediates(reader: Reader, sub: number, memoryArgument: () => void): void {
  if (sub <= 11 || sub === 92 || sub === 93) memoryArgument();
  else if (sub === 12 || sub === 13) reader.take(16);
  else if (sub >= 21 && sub <= 34) reader.take(1);
  else if (sub >= 84 && sub <= 91) {
    memoryArgument();
    reader.take(1);
  }
}

/** (func (param i32) (result i32) (local i32): grow; where that gave -1, set the flag) with its length. */
function growBody(flagIndex: number): number[] {
  const body = [1, 1, 0x7f, 0x20, 0, GROW, 0, 0x22, 1, 0x41, 0x7f, 0x46, 0x04, 0x40, 0x41, 1, 0x24, ...number(flagIndex), 0x0b, 0x20, 1, 0x0b];
  return [...number(body.length), ...body];
}

/** A section that is a count and items, with one more. */
function appended(body: Uint8Array, item: readonly number[]): Uint8Array {
  const reader = new Reader(body);
  const count = reader.u32();
  return joined([Uint8Array.from(number(count + 1)), body.subarray(reader.at), Uint8Array.from(item)]);
}

function number(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest % 128) | 128);
  }
}

function text(value: string): number[] {
  const bytes = new TextEncoder().encode(value);
  return [...number(bytes.length), ...bytes];
}

const lengthOf = (parts: readonly Uint8Array[]): number => parts.reduce((sum, part) => sum + part.length, 0);

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(lengthOf(parts));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
