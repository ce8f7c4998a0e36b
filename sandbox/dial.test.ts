import assert from "node:assert/strict";
import { networkInterfaces } from "node:os";
import test from "node:test";
import { createDial, type Dial, type OutgoingOptions } from "./dial.ts";
import { OUTGOING_DIALS_MAX } from "./limits.ts";
import type { OutgoingPlace } from "./outgoing.ts";

const API: OutgoingPlace = { scheme: "https", host: "api.example", port: 443 };
const wanted = (changes: object = {}): { scheme: string; host: string; port: number; timeoutMs: number } => ({ scheme: "https", host: "api.example", port: 443, timeoutMs: 1_000, ...changes });

/** A dial over no sockets: what was connected to, and how it went by address. */
function dialling(options: OutgoingOptions, outcomes: Readonly<Record<string, string>> = {}): { dial: Dial; connected: string[] } {
  const connected: string[] = [];
  const dial = createDial(async (address, port) => {
    connected.push(`${address} ${port}`);
    const code = outcomes[address] ?? "";
    return { fd: code === "" ? 7 : -1, code };
  }, options);
  return { dial, connected };
}
const names = (addresses: readonly string[]) => ({ resolve: async (): Promise<readonly string[]> => addresses });

test("denied unless the list has scheme, host and port", async () => {
  const { dial, connected } = dialling(names(["1.1.1.1"]));
  assert.deepEqual(await dial("a", [API], wanted()), { fd: 7, code: "" });
  assert.deepEqual(await dial("a", [API], wanted({ host: "API.example" })), { fd: 7, code: "" });
  for (const other of [{ scheme: "http" }, { port: 8443 }, { host: "other.example" }, { host: "api.example." }, { host: "x.api.example" }, { host: "api.example@evil.example" }, { scheme: "ftp" }, { port: 0 }, { port: 70_000 }, { port: 443.5 }, { host: "" }]) {
    assert.equal((await dial("a", [API], wanted(other))).code, "denied", JSON.stringify(other));
  }
  assert.equal((await dial("a", [], wanted())).code, "denied");
  assert.equal(connected.length, 2);
});

test("a name is resolved once and exactly that address is used: a second, other answer is never asked for", async () => {
  const answers = [["1.1.1.1"], ["127.0.0.1"]];
  let asked = 0;
  const { dial, connected } = dialling({ resolve: async () => answers[asked++] ?? [] });
  assert.equal((await dial("a", [API], wanted())).code, "");
  assert.deepEqual([asked, connected], [1, ["1.1.1.1 443"]]);
  assert.equal((await dial("a", [API], wanted())).code, "address_forbidden");
  assert.deepEqual([asked, connected.length], [2, 1]);
});

test("a name that points to what must not be reached is refused, and what is public beside it is used", async () => {
  for (const address of ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "fd00::1", "garbage"]) {
    const { dial, connected } = dialling(names([address]));
    assert.equal((await dial("a", [API], wanted())).code, "address_forbidden", address);
    assert.deepEqual(connected, []);
  }
  const { dial, connected } = dialling(names(["10.0.0.1", "1.1.1.1"]));
  assert.equal((await dial("a", [API], wanted())).code, "");
  assert.deepEqual(connected, ["1.1.1.1 443"]);
});

test("an address that a manifest names is refused as any other", async () => {
  for (const host of ["127.0.0.1", "10.0.0.1", "[::1]", "[::ffff:a00:1]"]) {
    const { dial, connected } = dialling({});
    const place: OutgoingPlace = { scheme: "http", host, port: 80 };
    assert.equal((await dial("a", [place], wanted({ scheme: "http", host, port: 80 }))).code, "address_forbidden", host);
    assert.deepEqual(connected, []);
  }
});

test("the grid's own addresses, and this machine's, are refused", async () => {
  const own = dialling({ ...names(["198.41.0.4"]), ownAddresses: () => ["::ffff:198.41.0.4"] });
  assert.equal((await own.dial("a", [API], wanted())).code, "address_forbidden");
  for (const { address } of Object.values(networkInterfaces()).flat().filter((one) => one !== undefined)) {
    const here = dialling(names([address]));
    assert.equal((await here.dial("a", [API], wanted())).code, "address_forbidden", address);
  }
});

test("the next address is tried when one does not answer, three at most", async () => {
  const addresses = ["1.0.0.1", "1.0.0.2", "1.0.0.3", "1.0.0.4"];
  const second = dialling(names(addresses), { "1.0.0.1": "connection_refused" });
  assert.equal((await second.dial("a", [API], wanted())).fd, 7);
  const all = dialling(names(addresses), Object.fromEntries(addresses.map((address) => [address, "connection_refused"])));
  assert.equal((await all.dial("a", [API], wanted())).code, "connection_refused");
  assert.equal(all.connected.length, 3);
});

test("a name that does not exist, or takes too long, says so", async () => {
  assert.equal((await dialling(names([])).dial("a", [API], wanted())).code, "name_unknown");
  assert.equal((await dialling({ resolve: () => Promise.reject(new Error("no server")) }).dial("a", [API], wanted())).code, "name_unknown");
  assert.equal((await dialling({ resolve: () => new Promise(() => {}) }).dial("a", [API], wanted({ timeoutMs: 20 }))).code, "name_timeout");
});

test("dials of one deployment at once are bounded, and others' are not in their way", async () => {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => (open = resolve));
  const { dial } = dialling({ resolve: () => opened.then(() => ["1.1.1.1"]) });
  const under = Array.from({ length: OUTGOING_DIALS_MAX }, () => dial("a", [API], wanted({ timeoutMs: 5_000 })));
  assert.equal((await dial("a", [API], wanted())).code, "too_many");
  const other = dial("b", [API], wanted({ timeoutMs: 5_000 }));
  open();
  assert.ok((await Promise.all(under)).every(({ code }) => code === ""));
  assert.equal((await other).code, "");
  assert.equal((await dial("a", [API], wanted())).code, "");
});

test("what tests loosen is said on stderr", async (t) => {
  const said = t.mock.method(console, "error", () => {});
  const { dial } = dialling({ ...names(["127.0.0.1"]), test: { addresses: ["127.0.0.1"] } });
  assert.match(String(said.mock.calls[0]?.arguments[0]), /FOR TESTS ONLY.*127\.0\.0\.1/);
  assert.equal((await dial("a", [API], wanted())).code, "");
  createDial(async () => ({ fd: -1, code: "" }), {});
  assert.equal(said.mock.callCount(), 1);
});
