/** Blueprints: what is read, what is refused with its place, and in which order an app comes up. */
import assert from "node:assert/strict";
import test from "node:test";
import { type Blueprint, appOf, parseBlueprint, settle } from "./blueprint.ts";
import { parseManifest } from "./manifest.ts";

const SHOP = `[app]
name = "shop"

[shared.environment]
REGION = "north"
LEVEL = "info"

[workloads]
store = "parts/store"

[workloads.cart]
needs = ["store"]
replicas = 2
environment = { LEVEL = "debug" }

[workloads.search]
path = "parts/search.wasm"
needs = ["store"]
deposit = "0.5"

[workloads.front]
needs = ["search", "cart", "cart"]

[env.staging]
replicas = 1
deposit = "0.1"
[env.staging.environment]
REGION = "test"

[env.next]
suffix = "-v2"
`;

function parsed(text: string): Blueprint {
  const found = parseBlueprint(text, "godwit.toml");
  if (found?.ok !== true) assert.fail(JSON.stringify(found?.errors));
  return found.blueprint;
}
function mistakes(text: string): [line: number, column: number, code: string][] {
  const found = parseBlueprint(text, "godwit.toml");
  assert(found?.ok === false, "it was taken");
  return found.errors.map(({ line, column, code }) => [line, column, code]);
}
const app = (workloads: string): string => `[app]\nname = "shop"\n${workloads}`;

test("an app comes up in waves: each after what it needs, and together with whom it does not wait for", () => {
  const { waves, name } = appOf(parsed(SHOP), null) ?? assert.fail();
  assert.equal(name, "shop");
  assert.deepEqual(waves.map((wave) => wave.map((member) => member.name)), [["store"], ["cart", "search"], ["front"]]);
  assert.deepEqual(waves.flat().map(({ path, needs }) => [path, needs]), [["parts/store", []], ["cart", ["store"]], ["parts/search.wasm", ["store"]], ["front", ["cart", "search"]]]);
});

test("shared settings hold for all, a workload's own go before them, and those of the environment before both", () => {
  const blueprint = parsed(SHOP);
  const rows = (environment: string | null): unknown[] => (appOf(blueprint, environment) ?? assert.fail()).waves.flat().map((member) => [member.name, member.replicas, member.depositAmount, member.environment]);
  assert.deepEqual(rows(null).slice(1, 3), [["cart", 2, null, { REGION: "north", LEVEL: "debug" }], ["search", null, 500_000_000n, { REGION: "north", LEVEL: "info" }]]);
  assert.deepEqual(rows("staging").slice(1, 3), [["cart-staging", 1, 100_000_000n, { REGION: "test", LEVEL: "debug" }], ["search-staging", 1, 100_000_000n, { REGION: "test", LEVEL: "info" }]]);
  const next = appOf(blueprint, "next") ?? assert.fail();
  assert.deepEqual(next.waves.at(-1)?.map(({ name, needs }) => [name, needs]), [["front-v2", ["cart-v2", "search-v2"]]]);
  assert.equal(appOf(blueprint, "production"), null);
});

test("a member's settings go before its project's manifest, and the rest of that stays", () => {
  const manifest = parseManifest('name = "any"\nkind = "service"\n[resources]\nreplicas = 3\nmemory_mib = 32\n[environment]\nLEVEL = "warn"\nOWN = "1"\n', "godwit.toml");
  assert(manifest.ok);
  const [store, cart] = (appOf(parsed(SHOP), null) ?? assert.fail()).waves.flat();
  const settled = settle(manifest.manifest, cart ?? assert.fail());
  assert.deepEqual([settled.name, settled.replicas, settled.memoryMib, settled.environment], ["cart", 2, 32, { LEVEL: "debug", OWN: "1", REGION: "north" }]);
  assert.equal(settle(manifest.manifest, store ?? assert.fail()).replicas, 3);
});

test("an unknown need, a circle and a name that is taken are refused with line and column", () => {
  assert.deepEqual(mistakes(app('[workloads.cart]\nneeds = ["stor"]\n[workloads.store]\n')), [[4, 9, "need_unknown"]]);
  assert.deepEqual(mistakes(app('[workloads.a]\nneeds = ["b"]\n[workloads.b]\nneeds = ["c"]\n[workloads.c]\nneeds = ["b"]\n')), [[6, 9, "need_circular"]]);
  assert.deepEqual(mistakes(app('[workloads.a]\nneeds = ["a"]\n')), [[4, 9, "need_circular"]]);
  assert.deepEqual(mistakes(app('[workloads]\ncart = "cart"\ncart-staging = "other"\n[env.staging]\nreplicas = 1\n')), [[6, 2, "name_taken"]]);
  assert.deepEqual(mistakes(app('[workloads]\ncart = "cart"\n[env.one]\nsuffix = "-x"\n[env.two]\nsuffix = "-x"\n')), [[8, 10, "name_taken"]]);
  assert.deepEqual(mistakes(app(`[workloads]\n${"a".repeat(60)} = "cart"\n[env.staging]\n`)), [[5, 2, "name_invalid"]]);
});

test("every mistake is told at once, each with its place", () => {
  assert.deepEqual(mistakes(`[app]
nam = "shop"
[workloads.Cart]
path = "../cart"
needs = "store"
replicas = 0
[workloads.store]
neds = []
deposit = 2
environment = { 9A = "x" }
[env.staging]
suffix = "staging"
[other]
`), [[1, 2, "key_missing"], [2, 1, "key_unknown"], [3, 2, "name_invalid"], [4, 8, "assets_invalid"], [5, 9, "type_wrong"], [6, 12, "value_out_of_range"], [8, 1, "key_unknown"], [9, 11, "type_wrong"],
    [10, 15, "variable_invalid"], [12, 10, "name_invalid"], [13, 2, "key_unknown"]]);
  assert.deepEqual(mistakes('[app]\nname = "shop"\n'), [[1, 1, "app_empty"]]);
  assert.deepEqual(mistakes('app = "shop"\nworkloads = []\n').map(([, , code]) => code).slice(0, 1), ["type_wrong"]);
});

test("a workload's manifest is no blueprint", () => {
  assert.equal(parseBlueprint('name = "plain"\nkind = "service"\n', "godwit.toml"), null);
  assert.equal(parseBlueprint("name = ", "godwit.toml"), null);
});
