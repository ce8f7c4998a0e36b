/** The service as its clients see it: built, served by the sandbox, asked over HTTP. Run with `godwit test`. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openService } from "godwit/testing";

let service;
before(async () => { service = await openService(); });
after(() => service?.close());

test("it greets", async () => {
  const answer = await service.fetch("/");
  assert.equal(answer.status, 200);
  assert.equal(await answer.text(), "Hello, world!\n");
});

test("it greets by name, whatever the name is written in", async () => {
  const answer = await service.fetch(`/?name=${encodeURIComponent("Zoë & co")}`);
  assert.equal(await answer.text(), "Hello, Zoë & co!\n");
});

test("it has nothing at other paths", async () => {
  assert.equal((await service.fetch("/other")).status, 404);
});
