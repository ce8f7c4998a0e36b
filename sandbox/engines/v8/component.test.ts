/** What the parser and the patch make of bytes that nobody meant: a refusal with a reason, or a plan; never another error. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { guest } from "#tests/guests/build.ts";
import { parseComponent, UnsupportedError } from "./component.ts";
import { patchModule, REFUSED } from "./patch.ts";
import { BinaryError } from "./reader.ts";

const PAGE_BYTES = 65_536;

/** Throws only what is neither a plan nor a refusal. */
function isRefused(bytes: Uint8Array): boolean {
  try {
    parseComponent(bytes);
    return false;
  } catch (error) {
    if (error instanceof BinaryError || error instanceof UnsupportedError) return true;
    throw error;
  }
}

test("a component that is cut anywhere or has a byte changed is a plan or a refusal", async () => {
  const whole = await guest("tally");
  const modules = parseComponent(whole).modules.reduce((sum, { length }) => sum + length, 0);
  // The types and wiring around the modules; the modules are V8's to judge.
  const around = whole.length - modules;
  let refused = 0;
  for (let i = 0; i < 3_000; i++) {
    const at = whole.length - 1 - (i % (around - 8));
    const changed = whole.slice();
    changed[at] = (changed[at]! + 1 + (i >> 4)) & 255;
    if (isRefused(changed)) refused += 1;
    if (i % 10 === 0 && isRefused(whole.subarray(0, at))) refused += 1;
  }
  assert.ok(refused > 500, `${refused} refusals`);
});

/** (module (memory 1) (func (export "grow") (param i32) (result i32) local.get 0 memory.grow)) */
const GROWS = Uint8Array.of(
  0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 6, 1, 0x60, 1, 0x7f, 1, 0x7f, 3, 2, 1, 0, 5, 3, 1, 0, 1, 7, 8, 1, 4, 0x67, 0x72, 0x6f, 0x77, 0, 0, 10, 8, 1, 6, 0, 0x20, 0, 0x40, 0, 0x0b,
);

test("a patched memory grows up to its limit, and says when it was to grow further", () => {
  const { bytes, anchors } = patchModule(GROWS, { memoryBytesMax: 3 * PAGE_BYTES, tableElementsMax: 10 }, "m0");
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), {});
  const grow = exports["grow"] as (pages: number) => number;
  const flag = exports[REFUSED] as WebAssembly.Global;
  assert.deepEqual([grow(1), grow(1), flag.value], [1, 2, 0]);
  assert.deepEqual([grow(1), flag.value], [-1, 1]);
  // The body's first instruction is where it was, counted from the start of the original.
  const body = GROWS.indexOf(0x20);
  const [patched, original] = anchors.findLast(([, from]) => from <= body)!;
  assert.equal(bytes[patched + body - original], 0x20);
});

test("a memory that begins above its limit keeps what it begins with, and does not grow", () => {
  const { bytes } = patchModule(GROWS, { memoryBytesMax: 0, tableElementsMax: 10 }, "m0");
  const grow = new WebAssembly.Instance(new WebAssembly.Module(bytes), {}).exports["grow"] as (pages: number) => number;
  assert.equal(grow(1), -1);
});
