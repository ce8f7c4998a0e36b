/** The site as a browser gets it: built, served by the sandbox, asked over HTTP. Run with `godwit test`. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { openService } from "godwit/testing";

let service;
before(async () => { service = await openService(); });
after(() => service?.close());

const ask = (path, options) => service.fetch(path, options);
const file = (name) => readFileSync(new URL(`../site/${name}`, import.meta.url));

test("each file comes byte by byte, with its type", async () => {
  for (const [path, name, type] of [["/", "index.html", "text/html; charset=utf-8"], ["/style.css", "style.css", "text/css; charset=utf-8"], ["/icon.svg", "icon.svg", "image/svg+xml"]]) {
    const answer = await ask(path);
    assert.deepEqual([answer.status, answer.headers.get("content-type")], [200, type]);
    assert.deepEqual(Buffer.from(await answer.arrayBuffer()), file(name));
  }
});

test("what a browser has already is not sent again", async () => {
  const etag = (await ask("/style.css")).headers.get("etag");
  const answer = await ask("/style.css", { headers: { "if-none-match": etag } });
  assert.deepEqual([answer.status, await answer.text()], [304, ""]);
  assert.equal((await ask("/style.css", { headers: { "if-none-match": '"another"' } })).status, 200);
});

test("there is a page for what is not there", async () => {
  const answer = await ask("/nowhere");
  assert.deepEqual([answer.status, answer.headers.get("content-type")], [404, "text/html; charset=utf-8"]);
  assert.equal((await ask("/", { method: "POST", body: "x" })).status, 405);
});
