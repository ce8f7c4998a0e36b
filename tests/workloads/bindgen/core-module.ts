/** The function imports and exports of a core WebAssembly module with their types: WebAssembly's own JavaScript API has no types. */
import type { CoreType, Signature } from "#workloads/sdk/bindgen/layout.ts";

export type CoreFunctions = {
  /** By `module#name`. */
  readonly imports: Map<string, Signature>;
  readonly exports: Map<string, Signature>;
};

const CORE_TYPES: Readonly<Record<number, CoreType>> = { 0x7f: "i32", 0x7e: "i64", 0x7d: "f32", 0x7c: "f64" };

export function coreFunctions(binary: Uint8Array): CoreFunctions {
  const reader = new ByteReader(binary);
  reader.skip(8);
  const types: Signature[] = [];
  const functions: number[] = [];
  const imports = new Map<string, Signature>();
  const exports = new Map<string, Signature>();
  const typeAt = (index: number): Signature => types[index] ?? { parameters: [], results: [] };
  while (!reader.isAtEnd) {
    const section = reader.byte();
    const end = reader.number() + reader.offset;
    if (section === 1) {
      for (let left = reader.number(); left > 0; left--) {
        reader.skip(1);
        types.push({ parameters: reader.coreTypes(), results: reader.coreTypes() });
      }
    } else if (section === 2) {
      for (let left = reader.number(); left > 0; left--) {
        const [module, name] = [reader.text(), reader.text()];
        if (reader.byte() !== 0) throw new Error(`${module}#${name} is imported and no function`);
        const type = reader.number();
        functions.push(type);
        imports.set(`${module}#${name}`, typeAt(type));
      }
    } else if (section === 3) {
      for (let left = reader.number(); left > 0; left--) functions.push(reader.number());
    } else if (section === 7) {
      for (let left = reader.number(); left > 0; left--) {
        const name = reader.text();
        const isFunction = reader.byte() === 0;
        const index = reader.number();
        if (isFunction) exports.set(name, typeAt(functions[index] ?? -1));
      }
    }
    reader.offset = end;
  }
  return { imports, exports };
}

class ByteReader {
  offset = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.offset >= this.#bytes.length;
  }

  skip(count: number): void {
    this.offset += count;
  }

  byte(): number {
    return this.#bytes[this.offset++] ?? 0;
  }

  /** LEB128. */
  number(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  }

  text(): string {
    const length = this.number();
    this.offset += length;
    return new TextDecoder().decode(this.#bytes.subarray(this.offset - length, this.offset));
  }

  coreTypes(): CoreType[] {
    return Array.from({ length: this.number() }, () => CORE_TYPES[this.byte()] ?? "i32");
  }
}
