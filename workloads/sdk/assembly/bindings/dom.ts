/**
 * Stands in for AssemblyScript's own bindings/dom: its standard library (console, Date, performance, crypto) calls a browser
 * through that file; here the same calls end in WASI. So the whole standard library works, and no `env` import remains.
 */
import { monotonicNs, wallClockMs } from "../godwit/wasi/clocks";
import { randomBytes } from "../godwit/wasi/random";
import { writeError, writeLine } from "../godwit/runtime";

// Made when first used: the compiler runs no top-level code of a file that only the standard library imports.
let timersMade: Map<string, u64> | null = null;

function timers(): Map<string, u64> {
  let map = timersMade;
  if (!map) {
    map = new Map<string, u64>();
    timersMade = map;
  }
  return map;
}

function elapsed(label: string): string {
  const startedNs = timers().has(label) ? timers().get(label) : monotonicNs();
  return label + ": " + (<f64>(monotonicNs() - startedNs) / 1e6).toString() + " ms";
}

export namespace console {
  export function assert(condition: bool, message: string): void {
    if (!condition) writeError("Assertion failed: " + message);
  }
  export function log(text: string): void {
    writeLine(text);
  }
  export function debug(text: string): void {
    writeLine(text);
  }
  export function info(text: string): void {
    writeLine(text);
  }
  export function warn(text: string): void {
    writeError(text);
  }
  export function error(text: string): void {
    writeError(text);
  }
  export function time(label: string): void {
    timers().set(label, monotonicNs());
  }
  export function timeLog(label: string): void {
    writeLine(elapsed(label));
  }
  export function timeEnd(label: string): void {
    writeLine(elapsed(label));
    timers().delete(label);
  }
}

export namespace Date {
  export function now(): f64 {
    return <f64>wallClockMs();
  }
}

export namespace performance {
  export function now(): f64 {
    return <f64>monotonicNs() / 1e6;
  }
}

export namespace crypto {
  export function getRandomValues(array: Uint8Array): void {
    const bytes = randomBytes(array.length);
    memory.copy(array.dataStart, changetype<usize>(bytes), array.length);
  }
}

/** math.ts re-exports it as JSMath, which exists in a browser only. */
export namespace Math {}
