import assert from "node:assert/strict";
import test from "node:test";
import { createPeerDial, ElsewhereKept } from "./elsewhere.ts";
import { HOP_ADDRESSES_TRIED_MAX, HOP_DIALS_MAX, HOP_DIALS_PER_PEER_MAX, PLACES_PER_MESSAGE_MAX } from "./limits.ts";

const ENDPOINT = { address: "192.0.2.1", port: 1 };

test("a machine that does not answer has its share of the dials and leaves the rest to others", async () => {
  const open: (() => void)[] = [];
  const dial = createPeerDial({ dial: () => new Promise((resolve) => open.push(() => resolve({ fd: -1, code: "connection_timeout" }))) }, () => [ENDPOINT]);
  const silent = Array.from({ length: HOP_DIALS_PER_PEER_MAX }, () => dial("silent", 1_000));
  assert.equal((await dial("silent", 1_000)).code, "too_many");
  const others = Array.from({ length: HOP_DIALS_MAX - HOP_DIALS_PER_PEER_MAX }, (_, n) => dial(`other ${n % 4}`, 1_000));
  assert.equal(open.length, HOP_DIALS_MAX, "each of the others is dialled");
  assert.equal((await dial("one more", 1_000)).code, "too_many");
  for (const end of open.splice(0)) end();
  const ended = await Promise.all([...silent, ...others]);
  assert.ok(ended.every(({ code }) => code === "unreachable"));
  const again = dial("silent", 1_000);
  assert.equal(open.length, 1, "its places are free again");
  open[0]?.();
  await again;
});

test("a machine is dialled where it is said to listen, one address after the other, so many and no longer; a stranger nowhere", async () => {
  const dialled: string[] = [];
  const endpoints = Array.from({ length: HOP_ADDRESSES_TRIED_MAX + 2 }, (_, n) => ({ address: `192.0.2.${n}`, port: n }));
  let well = -1;
  const dial = createPeerDial(
    { dial: async (address) => (dialled.push(address), dialled.length - 1 === well ? { fd: 9, code: "" } : { fd: -1, code: "connection_refused" }) },
    (peer) => (peer === "a" ? endpoints : []),
  );
  assert.deepEqual(await dial("a", 1_000), { fd: -1, code: "unreachable" });
  assert.deepEqual(dialled, endpoints.slice(0, HOP_ADDRESSES_TRIED_MAX).map(({ address }) => address));
  dialled.length = 0;
  well = 1;
  assert.deepEqual(await dial("a", 1_000), { fd: 9, code: "" });
  assert.equal(dialled.length, 2);
  assert.deepEqual(await dial("a", 0), { fd: -1, code: "unreachable" });
  assert.deepEqual(await dial("b", 1_000), { fd: -1, code: "denied" });
  assert.equal(dialled.length, 2);
});

test("the next process is told all that the one before was, and what was taken back is not in it", () => {
  const kept = new ElsewhereKept();
  assert.deepEqual(kept.all(), []);
  kept.identify(new Uint8Array(32).fill(1));
  kept.peers([{ id: "a", key: "00" }, { id: "b", key: "01" }], []);
  kept.peers([{ id: "b", key: "02" }], ["a"]);
  const hosts = Array.from({ length: PLACES_PER_MESSAGE_MAX + 1 }, (_, n) => `h${n}`);
  const told = kept.places(hosts.map((host) => ({ hosts: [host], diverts: false, parts: [] })), ["gone"]);
  assert.deepEqual(told.map((message) => message.type === "elsewhere" && [message.set.length, message.remove]), [[PLACES_PER_MESSAGE_MAX, ["gone"]], [1, []]]);
  kept.places([], ["h0"]);
  const [identity, peers, ...places] = kept.all();
  assert.deepEqual(identity, { type: "identity", call: 0, seed: "01".repeat(32) });
  assert.deepEqual(peers, { type: "peers", call: 0, set: [{ id: "b", key: "02" }], remove: [] });
  assert.deepEqual(places.flatMap((message) => (message.type === "elsewhere" ? message.set.flatMap((one) => one.hosts) : [])), hosts.slice(1));
});
