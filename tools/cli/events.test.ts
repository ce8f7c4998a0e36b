import assert from "node:assert/strict";
import { PassThrough, Readable } from "node:stream";
import test from "node:test";
import { serverSentEvents } from "./events.ts";

const read = async (body: Readable, silenceMs = 1_000): Promise<string[]> => {
  const found: string[] = [];
  for await (const { event, data } of serverSentEvents(body, { silenceMs })) found.push(`${event}=${data}`);
  return found;
};
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test("events are the same however the bytes are cut", async () => {
  const stream = bytes(': hello\n\nid: 1\nevent: line\ndata: {"a":"grün"}\n\ndata:x\ndata: y\n\r\nevent: end\r\ndata: {}\r\n\r\n');
  const expected = ['line={"a":"grün"}', "message=x\ny", "end={}"];
  for (let size = 1; size <= stream.length; size++) {
    const pieces = Array.from({ length: Math.ceil(stream.length / size) }, (_, i) => stream.subarray(i * size, (i + 1) * size));
    assert.deepEqual(await read(Readable.from(pieces)), expected, `pieces of ${size}`);
  }
});

test("an event that the stream does not finish is not given", async () => {
  assert.deepEqual(await read(Readable.from([bytes("data: 1\n\ndata: 2\n")])), ["message=1"]);
});

test("an endless line is refused, and silence ends the stream", async () => {
  const endless = Readable.from((function* () { for (let i = 0; i < 20; i++) yield bytes("data: ".padEnd(64 * 1024, "x")); })());
  await assert.rejects(read(endless), { code: "answer_malformed" });
  await assert.rejects(read(new PassThrough(), 20), { code: "api_silent" });
});
