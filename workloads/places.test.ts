import assert from "node:assert/strict";
import { test } from "node:test";
import { locate } from "./places.ts";

test("locate() finds keys under tables, quoted, dotted and with Windows line ends", () => {
  const places = locate('a = 1\r\n[ b ]\r\n  "c" = 2\r\nd.e = 3\r\n[f."g"]\r\nh = 4');
  assert.deepEqual([...places].map(([path, { line, keyColumn, valueColumn }]) => `${path} ${line}:${keyColumn}:${valueColumn}`), [
    "a 1:1:5", "b 2:3:3", "b.c 3:3:9", "b.d.e 4:1:7", "f.g 5:2:2", "f.g.h 6:1:5",
  ]);
});

test("locate() is not misled by what stands inside a string of several lines", () => {
  const places = locate('a = """\nb = 1\n[c]\n"""\nd = """one line"""\ne = 2\n');
  assert.deepEqual([...places.keys()], ["a", "d", "e"]);
});
