/** The part of V8's WebAssembly interface that the engine uses: TypeScript has it only among the declarations of browsers. */

declare namespace WebAssembly {
  type ExportValue = ((...values: (number | bigint)[]) => number | bigint | undefined) | Memory | Table | Global;
  type Exports = Readonly<Record<string, ExportValue>>;
  class Module {
    constructor(bytes: Uint8Array<ArrayBuffer>);
    private readonly module: true;
  }
  class Instance {
    constructor(module: Module, imports: Readonly<Record<string, Exports>>);
    readonly exports: Exports;
  }
  class Memory {
    private readonly memory: true;
    readonly buffer: ArrayBuffer;
  }
  class Table {
    private readonly table: true;
  }
  class Global {
    private readonly global: true;
    readonly value: number | bigint;
  }
  class RuntimeError extends Error {}
  function compile(bytes: Uint8Array<ArrayBuffer>): Promise<Module>;
}
