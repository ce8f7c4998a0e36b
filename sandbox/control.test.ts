import assert from "node:assert/strict";
import test from "node:test";
import { encodeMessage, parseFromRunner, MessageReader, type ToRunner } from "./control.ts";
import { INGRESS_DEFAULT } from "./limits.ts";

const messages: ToRunner[] = [
  { type: "usage", call: 1 },
  { type: "unload", call: 2, id: "zwölf 🐦" },
  { type: "start", call: 3, ingress: INGRESS_DEFAULT },
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

test("what a runner says is taken only as what it may say", () => {
  const line = { id: "a", requestId: "00ff", stream: "stdout", timeMs: 1, line: "text" };
  const usage = { requests: 1, errors: 0, fuel: 2, cpuNs: 3, memoryBytes: 4, memoryBytesPeak: 5, running: 0, waiting: 0, logLinesDropped: 0 };
  assert.deepEqual(parseFromRunner({ type: "logs", lines: [{ ...line, more: 1 }] }), { type: "logs", lines: [line] });
  assert.deepEqual(parseFromRunner({ type: "usage", call: 1, usage: { a: usage } }), { type: "usage", call: 1, usage: { a: usage } });
  assert.deepEqual(parseFromRunner({ type: "done", call: 1 }), { type: "done", call: 1 });
  const strange: unknown[] = [
    null, 1, [], {}, { type: "start", call: 1, ingress: INGRESS_DEFAULT }, { type: "done", call: "1" }, { type: "done" },
    { type: "failed", call: 1, code: "../x", message: "" }, { type: "failed", call: 1, code: "load_failed", message: {} },
    { type: "usage", call: 1, usage: null }, { type: "usage", call: 1, usage: { a: { ...usage, fuel: "9" } } }, { type: "usage", call: 1, usage: { a: { ...usage, errors: -1 } } },
    { type: "logs", lines: {} }, { type: "logs", lines: [null] }, { type: "logs", lines: [{ ...line, id: 1 }] },
    { type: "logs", lines: [{ ...line, requestId: "a\nb" }] }, { type: "logs", lines: [{ ...line, stream: "other" }] }, { type: "logs", lines: [{ ...line, timeMs: null }] },
  ];
  for (const message of strange) assert.throws(() => parseFromRunner(message), RangeError, JSON.stringify(message));
});
