/** The API as its clients see it: built, served by the sandbox, asked over HTTP. Run with `godwit test`. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openService } from "godwit/testing";

let service;
before(async () => { service = await openService(); });
after(() => service?.close());

async function ask(path, { body, ...options } = {}) {
  const sent = body === undefined ? {} : { method: "POST", body: typeof body === "string" ? body : JSON.stringify(body), headers: { "content-type": "application/json" } };
  const answer = await service.fetch(path, { ...sent, ...options });
  return { status: answer.status, headers: answer.headers, json: JSON.parse((await answer.text()) || "null") };
}

test("it lists its items, and shows one", async () => {
  const { status, headers, json } = await ask("/items");
  assert.equal(status, 200);
  assert.equal(headers.get("content-type"), "application/json");
  assert.deepEqual(json.items.map(({ id }) => id), ["tea", "pot", "cup"]);
  assert.deepEqual((await ask("/items/cup")).json, { id: "cup", name: "Cup", cents: 690 });
});

test("it adds up an order in whole cents", async () => {
  const { status, json } = await ask("/quote", { body: { lines: [{ item: "tea", count: 2 }, { item: "p\u006ft", count: 1 }], note: [null, true, -1.5e3, "\u00fc\n\"\\"] } });
  assert.equal(status, 200);
  assert.deepEqual(json, { lines: [{ item: "tea", count: 2, cents: 1700 }, { item: "pot", count: 1, cents: 3200 }], totalCents: 4900 });
});

test("what it refuses, it refuses with a status and a code", async () => {
  const rows = [
    ["/nowhere", {}, 404, "not_found"],
    ["/items/milk", {}, 404, "item_unknown"],
    ["/items", { body: {} }, 405, "method_not_allowed"],
    ["/quote", {}, 405, "method_not_allowed"],
    ["/quote", { body: "{}", headers: { "content-type": "text/plain" } }, 415, "media_type"],
    ["/quote", { body: " ".repeat(20_000) }, 413, "body_too_large"],
    ...["", "{", "[1,]", "01", '{"a":1}x', '"\\x"', "nul", "[".repeat(100) + "]".repeat(100)].map((body) => ["/quote", { body }, 400, "json_invalid"]),
    ["/quote", { body: { lines: {} } }, 422, "lines_missing"],
    ["/quote", { body: { lines: [] } }, 422, "lines_invalid"],
    ["/quote", { body: { lines: [{ item: "milk", count: 1 }] } }, 422, "item_unknown"],
    ...[0, 1.5, 1001, "2", null].map((count) => ["/quote", { body: { lines: [{ item: "tea", count }] } }, 422, "count_invalid"]),
  ];
  for (const [path, options, status, code] of rows) {
    const answer = await ask(path, options);
    assert.deepEqual([answer.status, answer.json.code], [status, code], JSON.stringify([path, options]).slice(0, 100));
  }
});
