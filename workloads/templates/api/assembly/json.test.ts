// Tests of functions, each in a sandbox of its own. Run with `godwit test`.
import { expect, test } from "godwit/test";
import { JsonObject, jsonList, parseJson } from "./json";

test("an object is written with its text escaped", () => {
  expect(new JsonObject().text("say", 'a "b"\n').toString()).toBe('{"say":"a \\"b\\"\\u000a"}');
});

test("a list is written in order", () => {
  expect(jsonList(["1", "2"])).toBe("[1,2]");
});

test("what is no JSON is null", () => {
  expect(parseJson("{") == null).toBeTrue();
  expect(parseJson('{"a":1}') == null).toBeFalse();
});
