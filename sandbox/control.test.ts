import assert from "node:assert/strict";
import test from "node:test";
import { encodeMessage, MessageReader, type ToRunner } from "./control.ts";

const messages: ToRunner[] = [
  { type: "usage", call: 1 },
  { type: "unload", call: 2, id: "zwölf 🐦" },
  { type: "start", call: 3 },
];
const stream = Buffer.concat(messages.map(encodeMessage));

test("messages come out as they went in, however the stream is cut", () => {
  for (const size of [1, 2, 3, 4, 5, 7, 64, stream.length]) {
    const reader = new MessageReader(1024);
    const out: unknown[] = [];
    for (let index = 0; index < stream.length; index += size) out.push(...reader.push(stream.subarray(index, index + size)));
    assert.deepEqual(out, messages, `pieces of ${size}`);
  }
});

test("a message over the maximum is refused before its bytes have come", () => {
  const reader = new MessageReader(100);
  assert.throws(() => reader.push(Uint8Array.of(0, 0, 0, 101)), RangeError);
  assert.throws(() => new MessageReader(100).push(Uint8Array.of(0xff, 0xff, 0xff, 0xff)), RangeError);
});

test("what is not JSON is refused", () => {
  assert.throws(() => new MessageReader(100).push(Uint8Array.of(0, 0, 0, 1, 0x7b)), SyntaxError);
});
