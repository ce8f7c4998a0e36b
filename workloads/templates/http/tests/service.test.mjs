/** The service as its clients see it: built, served by the sandbox, asked over HTTP. Run with `node --test`. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startService } from "./serve.mjs";

let service;
before(async () => { service = await startService(); });
after(() => service?.stop());

test("it greets", async () => {
  const answer = await fetch(service.url);
  assert.equal(answer.status, 200);
  assert.equal(await answer.text(), "Hello, world!\n");
});

test("it greets by name, whatever the name is written in", async () => {
  const answer = await fetch(`${service.url}?name=${encodeURIComponent("Zoë & co")}`);
  assert.equal(await answer.text(), "Hello, Zoë & co!\n");
});

test("it has nothing at other paths", async () => {
  assert.equal((await fetch(`${service.url}other`)).status, 404);
});
