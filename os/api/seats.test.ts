import assert from "node:assert/strict";
import { test } from "node:test";
import { Seats, clientOf } from "./seats.ts";

test("who has most gives the place that was held longest to whoever has fewer, and who has as many as any is refused", () => {
  const seats = new Seats(4);
  const left: string[] = [];
  const take = (client: string, name: string): (() => void) | null => seats.take(client, () => left.push(name));
  for (const name of ["a1", "a2", "a3"]) take("a", name);
  const back = take("b", "b1");
  assert.equal(take("a", "a4"), null);
  assert.deepEqual(left, []);
  assert(take("c", "c1") !== null);
  assert.deepEqual([left, seats.countOf("a")], [["a1"], 2]);
  back?.();
  back?.();
  assert(take("a", "a5") !== null, "a place that was given back is anybody's");
  assert.equal(take("a", "a6"), null);
  for (const client of ["d", "e"]) assert(take(client, client) !== null);
  assert.deepEqual([left, seats.countOf("a"), seats.countOf("c")], [["a1", "a2", "a3"], 1, 1]);
  assert(take("f", "f") !== null, "with one each, the longest held goes");
  assert.deepEqual(left.at(-1), "c1");
});

test("a client is its IPv4 address, however it is written, or the /64 of its IPv6 address", () => {
  assert.equal(clientOf("::ffff:192.0.2.7"), "192.0.2.7");
  assert.equal(clientOf("2001:db8:1:2:3:4:5:6"), clientOf("2001:db8:1:2::9"));
  assert.notEqual(clientOf("2001:db8:1:2::9"), clientOf("2001:db8:1:3::9"));
  assert.equal(clientOf("fe80::1%eth0"), clientOf("fe80::2%eth0"));
  assert.equal(clientOf("::1"), "0:0:0:0");
  assert.equal(clientOf("2001:db8::1"), "2001:db8:0:0");
});
