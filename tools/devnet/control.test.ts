/** What a devnet takes on its socket. */
import assert from "node:assert/strict";
import test from "node:test";
import { parseRequest, socketPath } from "./control.ts";

test("a request is taken with its names and offset, and both may be left out", () => {
  assert.deepEqual(parseRequest('{"verb":"skew","names":["m1","m2"],"offsetMs":-5000}'), { verb: "skew", names: ["m1", "m2"], offsetMs: -5_000 });
  assert.deepEqual(parseRequest('{"verb":"heal"}'), { verb: "heal", names: [], offsetMs: 0 });
});

test("what is no request is refused: other verbs, other shapes, too much", () => {
  const lines = [
    "", "kill", "null", "[]", '"kill"', "{}", '{"verb":"constructor"}', '{"verb":"kill","names":"m1"}', '{"verb":"kill","names":[1]}', '{"verb":"kill","names":null}',
    JSON.stringify({ verb: "kill", names: Array.from({ length: 65 }, () => "m1") }), JSON.stringify({ verb: "kill", names: ["m".repeat(33)] }),
    '{"verb":"skew","offsetMs":0.5}', '{"verb":"skew","offsetMs":"5"}', '{"verb":"skew","offsetMs":86400001}', '{"verb":"skew","offsetMs":1e999}',
  ];
  for (const line of lines) assert.equal(parseRequest(line), null, line);
});

test("a folder whose socket's path is too long for the kernel is refused with its code", () => {
  assert.throws(() => socketPath(`/${"d".repeat(120)}`), { code: "path_too_long" });
});
