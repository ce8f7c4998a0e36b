/**
 * Components written by hand in the text format: what no compiler would make, small enough to be read.
 *
 * `service` is one that exports wasi:http/incoming-handler; its core module may do what it likes with its start function, its
 * initialisers, `cabi_realloc` and post-return. The bombs are components that cost whoever compiles them more than they weigh.
 */
import { parse } from "@bytecodealliance/jco-transpile/wasm-tools";

const WASI = "0.2.12";

export type Service = {
  /** Fields of the core module, beside a memory of 1 page. */
  readonly module?: string;
  /** Body of `handle`, in the core module. */
  readonly handle?: string;
  readonly memory?: string;
  /** Definitions of the component before its core module, such as imports that `with` hands on. */
  readonly imports?: string;
  /** `(with "name" (instance …))` of the module's instantiation. */
  readonly with?: string;
  readonly postReturn?: string;
  /** Definitions after it. */
  readonly more?: string;
};

/** A service. Without a body it returns, and never answers. */
export function service({ module = "", handle = "", memory = '(memory (export "memory") 1)', imports = "", with: handed = "", postReturn, more = "" }: Service): Promise<Uint8Array> {
  const post = postReturn === undefined ? ["", ""] : [`(func (export "post") ${postReturn})`, '(post-return (core func $instance "post"))'];
  return wasm(`(component
    (import "wasi:http/types@${WASI}" (instance $types (export "incoming-request" (type (sub resource))) (export "response-outparam" (type (sub resource)))))
    (alias export $types "incoming-request" (type $request))
    (alias export $types "response-outparam" (type $outparam))
    ${imports}
    (core module $module ${module} ${memory} ${post[0]} (func (export "handle") (param i32 i32) ${handle}))
    (core instance $instance (instantiate $module ${handed}))
    (func $handle (param "request" (own $request)) (param "response-out" (own $outparam)) (canon lift (core func $instance "handle") ${post[1]}))
    (instance $handler (export "handle" (func $handle)))
    (export "wasi:http/incoming-handler@${WASI}" (instance $handler))
    ${more})`);
}

/** Calls a function without end. */
export const endlessCalls: Service = {
  imports: `(import "wasi:clocks/monotonic-clock@${WASI}" (instance $clock (export "now" (func (result u64))))) (core func $now (canon lower (func $clock "now")))`,
  module: '(import "clock" "now" (func $now (result i64)))', with: '(with "clock" (instance (export "now" (func $now))))', handle: "(loop $again (drop (call $now)) (br $again))",
};

/** The host calls the guest's allocator, for its environment, which never comes back. */
export const endlessRealloc: Service = {
  imports: `(import "wasi:cli/environment@${WASI}" (instance $environment (export "get-environment" (func (result (list (tuple string string)))))))
    (core module $allocator (memory (export "memory") 1) (func (export "realloc") (param i32 i32 i32 i32) (result i32) (loop $again (br $again)) unreachable))
    (core instance $heap (instantiate $allocator))
    (core func $get (canon lower (func $environment "get-environment") (memory (core memory $heap "memory")) (realloc (core func $heap "realloc"))))`,
  module: '(import "environment" "get" (func $get (param i32)))', with: '(with "environment" (instance (export "get" (func $get))))', handle: "(call $get (i32.const 0))",
};

/** Some hundred bytes that ask for 10^levels core instances. */
export function instanceBomb(levels: number): Promise<Uint8Array> {
  let text = "(component $c0 (core module $m) (core instance (instantiate $m)))";
  for (let level = 1; level <= levels; level += 1) text += `(component $c${level} ${`(instance (instantiate $c${level - 1}))`.repeat(10)})`;
  return wasm(`(component ${text} (instance (instantiate $c${levels})))`);
}

/** A type of 2^levels fields. */
export function typeBomb(levels: number): Promise<Uint8Array> {
  let text = "(type $t0 (tuple u64 u64))";
  for (let level = 1; level <= levels; level += 1) text += `(type $t${level} (tuple $t${level - 1} $t${level - 1}))`;
  return wasm(`(component ${text} (import "bomb" (func (param "x" $t${levels}))))`);
}

/** Aliases of one export of a nested instance, so many that each is a byte or two of text to the parser. */
export function aliasBomb(count: number): Promise<Uint8Array> {
  return wasm(`(component (import "a" (instance $a (export "f" (func)))) ${'(alias export $a "f" (func))'.repeat(count)})`);
}

/** One function of so many instructions, each of which depends on the one before. */
export function hugeFunction(instructions: number): Promise<Uint8Array> {
  const step = "local.get 0 local.get 1 i64.mul local.get 0 i64.rotl local.get 1 i64.xor local.set 0 local.get 0 i64.popcnt local.get 1 i64.add local.set 1 ";
  return wasm(`(component (core module (func (export "f") (param i64 i64) (result i64) ${step.repeat(Math.ceil(instructions / 14))} local.get 0)))`);
}

/** A function with as many branches as there are places to go: each table names every block. */
export function branchBomb(blocks: number, tables: number): Promise<Uint8Array> {
  const targets = Array.from({ length: blocks }, (_, n) => n).join(" ");
  const body = `${"block ".repeat(blocks)} ${`block local.get 0 br_table ${targets} end `.repeat(tables)} ${"end ".repeat(blocks)}`;
  return wasm(`(component (core module (func (export "f") (param i32) ${body})))`);
}

export function manyFunctions(count: number): Promise<Uint8Array> {
  return wasm(`(component (core module ${"(func (param i32) (result i32) local.get 0 i32.const 7 i32.mul)".repeat(count)}))`);
}

async function wasm(text: string): Promise<Uint8Array> {
  return new Uint8Array(await parse(text));
}
