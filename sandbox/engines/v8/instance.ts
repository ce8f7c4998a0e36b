/** One instance of a component: the plan carried out, with a host of its own behind its imports. Made for one call and then gone. */
import { compileLowering, type CoreFunction as Callable, resourceKey } from "./abi.ts";
import { Frame, Handles } from "./frame.ts";
import { REFUSED } from "./patch.ts";
import { HostTrap } from "./trap.ts";
import type { CoreInstance, CoreSort, Options, Plan } from "./types.ts";

/** Functions of the host by `interface#name`; the first argument is the host of the instance that calls. */
export type HostFunctions<H> = Readonly<Record<string, (host: H, ...values: never[]) => unknown>>;

type Binder<H> = (frame: Frame, host: H) => Callable;
type Exports = WebAssembly.Exports;

export class Template<H> {
  readonly #plan: Plan;
  readonly #modules: readonly WebAssembly.Module[];
  readonly #binders: readonly (Binder<H> | null)[];
  readonly #handlesMax: number;

  constructor(plan: Plan, modules: readonly WebAssembly.Module[], functions: HostFunctions<H>, handlesMax: number) {
    this.#plan = plan;
    this.#modules = modules;
    this.#handlesMax = handlesMax;
    this.#binders = plan.functions.map((func): Binder<H> | null => {
      if (func.kind === "alias") return null;
      if (func.kind === "drop") {
        const key = resourceKey(func.resource);
        return (frame) => (index) => {
          frame.handles.take(Number(index) >>> 0, key);
          return undefined;
        };
      }
      const key = `${func.interface}#${func.name}`;
      const call = functions[key] as ((host: H, ...values: unknown[]) => unknown) | undefined;
      // What is linked but empty: nobody can call it with a handle that does not exist.
      if (call === undefined) return () => () => { throw new HostTrap(`${key} is not there on this engine`); };
      const lowering = compileLowering(func.type, func.options.encoding);
      return (frame, host) => lowering((...values) => call(host, ...values), frame);
    });
  }

  /** Start functions and initialisers run here. `onMade` sees each core instance, also those before a trap. */
  instantiate(host: H, onMade: (exports: Exports) => void = () => {}): Instance {
    return new Instance(this.#plan, this.#handlesMax, (instance) => this.#makeAll(instance, host, onMade));
  }

  #makeAll(instance: Instance, host: H, onMade: (exports: Exports) => void): void {
    for (const made of this.#plan.instances) {
      const exports = made.kind === "instantiate" ? this.#instantiated(made, instance) : this.#bundled(made, instance, host);
      instance.made.push(exports);
      if (made.kind === "instantiate") onMade(exports);
    }
  }

  #instantiated({ module, imports }: Extract<CoreInstance, { kind: "instantiate" }>, instance: Instance): Exports {
    const given = Object.fromEntries(imports.map(([name, index]) => [name, instance.made[index]!]));
    return new WebAssembly.Instance(this.#modules[module]!, given).exports;
  }

  #bundled({ exports }: Extract<CoreInstance, { kind: "bundle" }>, instance: Instance, host: H): Exports {
    return Object.fromEntries(exports.map(([name, sort, index]) => [name, this.#core(sort, index, instance, host)]));
  }

  #core(sort: CoreSort, index: number, instance: Instance, host: H): WebAssembly.ExportValue {
    if (sort !== "func") return instance.alias(sort, index);
    const func = this.#plan.functions[index]!;
    if (func.kind === "alias") return instance.made[func.instance]![func.name]!;
    const frame = func.kind === "lower" ? instance.frame(func.options) : instance.bare;
    return this.#binders[index]!(frame, host);
  }
}

export class Instance {
  readonly made: Exports[] = [];
  /** For functions that need no memory. */
  readonly bare: Frame;
  readonly #plan: Plan;
  readonly #handles: Handles;
  readonly #frames = new Map<string, Frame>();

  constructor(plan: Plan, handlesMax: number, make: (instance: Instance) => void) {
    this.#plan = plan;
    this.#handles = new Handles(handlesMax);
    this.bare = new Frame(this.#handles);
    make(this);
  }

  frame({ memory, realloc }: Options): Frame {
    const key = `${memory} ${realloc}`;
    let frame = this.#frames.get(key);
    if (frame === undefined) {
      frame = new Frame(this.#handles);
      if (memory >= 0) frame.memory = this.alias("memory", memory) as WebAssembly.Memory;
      if (realloc >= 0) frame.realloc = this.#function(realloc) as unknown as Frame["realloc"];
      this.#frames.set(key, frame);
    }
    return frame;
  }

  alias(sort: Exclude<CoreSort, "func">, index: number): WebAssembly.ExportValue {
    const { instance, name } = (sort === "memory" ? this.#plan.memories : sort === "table" ? this.#plan.tables : this.#plan.globals)[index]!;
    return this.made[instance]![name]!;
  }

  #function(index: number): (...flat: (number | bigint)[]) => number | undefined {
    const func = this.#plan.functions[index]!;
    if (func.kind !== "alias") throw new HostTrap("A function of the host where one of the guest's should be");
    return this.made[func.instance]![func.name] as (...flat: (number | bigint)[]) => number | undefined;
  }

  /** An own handle for an argument of an export. */
  give(object: object, resource: string): number {
    return this.#handles.add(object, resource);
  }

  /** Calls an export whose parameters are handles and whose result is one core value or none. */
  call(name: string, ...flat: number[]): number | undefined {
    const lifted = this.#plan.lifted.get(name);
    if (lifted === undefined) throw new HostTrap(`The component does not export ${name}`);
    const result = this.#function(lifted.coreFunction)(...flat);
    if (lifted.options.postReturn >= 0) this.#function(lifted.options.postReturn)(...(result === undefined ? [] : [result]));
    return result;
  }
}

/** Whether a memory of these exports was to grow and could not. */
export const wasRefused = (exports: Exports): boolean => exports[REFUSED] instanceof WebAssembly.Global && exports[REFUSED].value === 1;
export const memoryBytes = (exports: Exports): number => Object.values(exports).reduce((sum, value) => sum + (value instanceof WebAssembly.Memory ? value.buffer.byteLength : 0), 0);
