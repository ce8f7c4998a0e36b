import assert from "node:assert/strict";
import { test } from "node:test";
import { Recent } from "./recent.ts";

test("what is used stays, what is not used goes, and never more than the limit is kept", () => {
  const recent = new Recent<number>(8);
  recent.set("used", -1);
  for (let name = 0; name < 100; name++) {
    recent.set(`${name}`, name);
    assert.equal(recent.get("used"), -1);
  }
  const kept = Array.from({ length: 100 }, (_, name) => recent.get(`${name}`)).filter((value) => value !== undefined);
  assert.ok(kept.length < 8 && kept.includes(99), kept.join(" "));
  recent.delete("99");
  assert.equal(recent.get("99"), undefined);
});
