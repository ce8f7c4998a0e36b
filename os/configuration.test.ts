import assert from "node:assert/strict";
import test from "node:test";
import { type Cbor, encode } from "#chain/codec/cbor.ts";
import { address } from "#chain/types.ts";
import { LIMITS_MAX, LIMITS_SETTABLE } from "#sandbox/limits.ts";
import { SETTINGS_DEFAULT, type Settings, encodeConfiguration, parseConfiguration, settingsFor } from "./configuration.ts";

const OWNER = address(new Uint8Array(20).fill(1));
const FULL: Settings = {
  environment: { B: "2", A: "1", a: "3" }, limits: { wallTimeMsMax: 5_000, fuelPerCallMax: 1_000_000_000_000_000 }, reuse: true, healthPath: null,
  outgoing: [{ scheme: "https", host: "b.example", port: 443 }, { scheme: "http", host: "[::1]", port: 8080 }],
};
const bytesOf = (settings: Settings): Uint8Array => encodeConfiguration(OWNER, settings) ?? assert.fail("nothing to write");

test("a configuration comes back as it was written, whatever the order it was written in", () => {
  const { owner, ...settings } = parseConfiguration(bytesOf(FULL));
  assert.deepEqual(owner, OWNER);
  assert.deepEqual(settings, { ...FULL, outgoing: FULL.outgoing.toReversed() });
  const turned = { ...FULL, environment: { a: "3", A: "1", B: "2" }, limits: { fuelPerCallMax: 1_000_000_000_000_000, wallTimeMsMax: 5_000 }, outgoing: [...FULL.outgoing.toReversed(), FULL.outgoing[0]!] };
  assert.deepEqual(bytesOf(turned), bytesOf(FULL), "one configuration has one digest");
  assert.equal(encodeConfiguration(OWNER, SETTINGS_DEFAULT), null, "defaults need no configuration");
});

test("every limit that can be set travels, to its maximum and not beyond", () => {
  const most = Object.fromEntries(LIMITS_SETTABLE.map((name) => [name, LIMITS_MAX[name]]));
  assert.deepEqual(parseConfiguration(bytesOf({ ...SETTINGS_DEFAULT, limits: most })).limits, most);
  for (const name of LIMITS_SETTABLE) {
    assert.throws(() => parseConfiguration(bytesOf({ ...SETTINGS_DEFAULT, limits: { [name]: LIMITS_MAX[name] + 1 } })), { code: "configuration_invalid" }, name);
  }
});

test("a configuration of another account is refused", () => {
  assert.throws(() => settingsFor(bytesOf(FULL), new Uint8Array(20).fill(2)), { code: "configuration_foreign" });
  assert.equal(settingsFor(bytesOf(FULL), OWNER).reuse, true);
});

test("what is no configuration is refused with one code", () => {
  const table: readonly [string, Cbor][] = [
    ["the format before this one", [OWNER, [["A", "1"]]]], ["another version", [1, OWNER, [], [], [], 0]], ["a version that is text", ["2", OWNER, [], [], [], 0]], ["a short owner", [2, OWNER.slice(1), [], [], [], 0]],
    ["variables in disorder", [2, OWNER, [["B", "1"], ["A", "1"]], [], [], 0]], ["a variable twice", [2, OWNER, [["A", "1"], ["A", "2"]], [], [], 0]], ["no variable's name", [2, OWNER, [["A=B", "1"]], [], [], 0]],
    ["memory, which the ledger has", [2, OWNER, [], [["memoryBytesMax", 1]], [], 0]], ["a limit twice", [2, OWNER, [], [["wallTimeMsMax", 1], ["wallTimeMsMax", 1]], [], 0]],
    ["a limit beyond 2^53", [2, OWNER, [], [["fuelPerCallMax", 2n ** 63n]], [], 0]], ["a limit of a prototype", [2, OWNER, [], [["constructor", 1]], [], 0]],
    ["a place that is not canonical", [2, OWNER, [], [], ["https://a.b"], 0]], ["a place twice", [2, OWNER, [], [], ["https://a.b:443", "https://a.b:443"], 0]], ["a place with a path", [2, OWNER, [], [], ["https://a.b:443/x"], 0]],
    ["reuse that is neither", [2, OWNER, [], [], [], 2]],
  ];
  for (const [what, value] of table) assert.throws(() => parseConfiguration(encode(value)), { code: "configuration_invalid" }, what);
  assert.throws(() => parseConfiguration(new Uint8Array(65 * 1024)), { code: "configuration_invalid" });
});
