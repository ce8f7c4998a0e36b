/** What of an instance the canonical ABI needs: memory, allocator and handles. Every pointer is the guest's: out of bounds is a trap. */
import { HostTrap } from "./trap.ts";

/** What of an instance a call needs: the memory and allocator that the function was lowered with, and the handles. */
export class Frame {
  readonly handles: Handles;
  memory: WebAssembly.Memory | undefined;
  realloc: ((old: number, oldBytes: number, align: number, bytes: number) => number) | undefined;
  #bytes: Uint8Array = new Uint8Array();
  #view: DataView = new DataView(this.#bytes.buffer);

  constructor(handles: Handles) {
    this.handles = handles;
  }

  /** A memory that grew has a new buffer, and the old one is empty. */
  get bytes(): Uint8Array {
    if (this.#bytes.length === 0) this.#refresh();
    return this.#bytes;
  }
  get view(): DataView {
    if (this.#bytes.length === 0) this.#refresh();
    return this.#view;
  }
  #refresh(): void {
    if (this.memory === undefined) throw new HostTrap("The function was lowered without a memory");
    this.#bytes = new Uint8Array(this.memory.buffer);
    this.#view = new DataView(this.memory.buffer);
  }

  slice(pointer: number, length: number): Uint8Array {
    const { bytes } = this;
    if (pointer + length > bytes.length) throw new HostTrap("wasm trap: out of bounds memory access");
    return bytes.subarray(pointer, pointer + length);
  }

  allocate(align: number, length: number): number {
    if (this.realloc === undefined) throw new HostTrap("The function was lowered without an allocator");
    const pointer = this.realloc(0, 0, align, length) >>> 0;
    if (pointer % align !== 0 || pointer + length > this.bytes.length) throw new HostTrap("The guest's allocator gave a place that is none");
    return pointer;
  }
}

/** Resources that the host gave out. Index 0 is none. */
export class Handles {
  readonly #entries: ({ readonly object: object; readonly resource: string } | undefined)[] = [undefined];
  readonly #free: number[] = [];
  readonly #max: number;
  constructor(max: number) {
    this.#max = max;
  }

  add(object: object, resource: string): number {
    const index = this.#free.pop() ?? this.#entries.length;
    if (index > this.#max) throw new HostTrap("The instance has more resource handles than it may have");
    this.#entries[index] = { object, resource };
    return index;
  }
  get(index: number, resource: string): object {
    const entry = this.#entries[index];
    if (entry === undefined || entry.resource !== resource) throw new HostTrap(`unknown handle index ${index} of ${resource}`);
    return entry.object;
  }
  take(index: number, resource: string): object {
    const object = this.get(index, resource);
    this.#entries[index] = undefined;
    this.#free.push(index);
    return object;
  }
}
