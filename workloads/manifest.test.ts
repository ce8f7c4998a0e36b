import assert from "node:assert/strict";
import { test } from "node:test";
import { LIMITS_MAX, LIMITS_SETTABLE } from "#sandbox/limits.ts";
import { type ManifestError, parseManifest, parseTokens } from "./manifest.ts";
import { locate } from "./tomlPlaces.ts";

const SERVICE = 'name = "hello"\nkind = "service"\n';

/** Errors as `code line:column`. */
function refusals(text: string): string[] {
  const parsed = parseManifest(text, "godwit.toml");
  return parsed.ok ? [] : parsed.errors.map(({ code, line, column }) => `${code} ${line}:${column}`);
}

function firstError(text: string): ManifestError {
  const parsed = parseManifest(text, "godwit.toml");
  assert(!parsed.ok && parsed.errors[0] !== undefined);
  return parsed.errors[0];
}

test("parseManifest() fills in every default of a service", () => {
  assert.deepEqual(parseManifest(SERVICE, "godwit.toml"), {
    ok: true,
    manifest: {
      name: "hello", kind: "service", entry: "assembly/index.ts", assets: null, component: null, build: [], memoryMib: 64, cpuMillis: 100, concurrency: 16, replicas: 1,
      isolation: "shared", reuse: false, outgoing: [], limits: {}, depositAmount: 1_000_000_000n, rateMax: 0n, environment: {},
      healthPath: null, rollout: { weight: 1000, healthySeconds: 10, deadlineSeconds: 300, failuresMax: 2 }, task: { arguments: [], stdin: "", attempts: 1, backOffSeconds: 10 }, placement: { regions: [], operators: [], labels: [] }, scale: null,
    },
  });
});

test("parseManifest() reads where a program of another language is, and what builds it", () => {
  const parsed = parseManifest(`${SERVICE}component = "target/hello.wasm"\nbuild = ["cargo", "build", "--release"]`, "godwit.toml");
  assert(parsed.ok);
  assert.deepEqual([parsed.manifest.component, parsed.manifest.build], ["target/hello.wasm", ["cargo", "build", "--release"]]);
});

test("parseManifest() gives a task more memory by default, as it serves one caller", () => {
  const parsed = parseManifest('name = "t"\nkind = "task"', "godwit.toml");
  assert(parsed.ok);
  assert.equal(parsed.manifest.memoryMib, 256);
});

test("parseManifest() reads every field", () => {
  const parsed = parseManifest(`
    # A comment
    name = "api-2"
    kind = "service"
    entry = "source/main.ts"
    outgoing = ["https://api.example.com", "http://10.0.0.1:8080", "HTTPS://API.example.com:443/"]
    [resources]
    memory_mib = 1_024
    cpu_millis = 2_500
    concurrency = 1000
    replicas = 256
    isolation = "process"
    reuse = true
    [limits]
    fuel_per_call = 1_000_000
    request_body_kib = 2_048
    [budget]
    deposit = "0.000000001"
    rate_max_per_hour = "0.018"
    [health]
    path = "/healthz"

    [rollout]
    weight = 100
    healthy_seconds = 30
    deadline_seconds = 600
    failures = 1

    [placement]
    regions = ["eu"]
    labels = ["ssd", "gpu", "ssd"]

    [environment]
    B = "two"
    A = """
one = 1"""
  `, "godwit.toml");
  assert.deepEqual(parsed, {
    ok: true,
    manifest: {
      name: "api-2", kind: "service", entry: "source/main.ts", assets: null, component: null, build: [], memoryMib: 1024, cpuMillis: 2500, concurrency: 1000, replicas: 256,
      isolation: "process", reuse: true,
      outgoing: [{ scheme: "http", host: "10.0.0.1", port: 8080 }, { scheme: "https", host: "api.example.com", port: 443 }],
      limits: { fuelPerCallMax: 1_000_000, requestBodyBytesMax: 2_097_152 }, depositAmount: 1n, rateMax: 5_000n, environment: { A: "one = 1", B: "two" },
      healthPath: "/healthz", rollout: { weight: 100, healthySeconds: 30, deadlineSeconds: 600, failuresMax: 1 }, task: { arguments: [], stdin: "", attempts: 1, backOffSeconds: 10 }, placement: { regions: ["eu"], operators: [], labels: ["gpu", "ssd"] }, scale: null,
    },
  });
});

test("parseManifest() reads what a task is given, and how often it may fail", () => {
  const read = parseManifest('name = "job"\nkind = "task"\n[task]\narguments = ["-n", ""]\nstdin = "one\\n"\nattempts = 100\nback_off_seconds = 3600\n', "godwit.toml");
  assert.deepEqual(read.ok && read.manifest.task, { arguments: ["-n", ""], stdin: "one\n", attempts: 100, backOffSeconds: 3_600 });
});

const REFUSED: readonly [what: string, text: string, expected: string[]][] = [
  ["text that is not TOML", `${SERVICE}entry = \n`, ["toml_syntax 3:9"]],
  ["a key given twice", `${SERVICE}name = "again"\n`, ["toml_syntax 3:1"]],
  ["a key of a prototype", `${SERVICE}__proto__ = 1\n`, ["toml_syntax 3:1"]],
  ["an empty file", "", ["key_missing 1:1", "key_missing 1:1"]],
  ["a missing kind", 'name = "hello"\n', ["key_missing 1:1"]],
  ["a misspelt key", `${SERVICE}[resources]\nmemory_mb = 64\n`, ["key_unknown 4:1"]],
  ["a key of another table", `${SERVICE}replicas = 2\n`, ["key_unknown 3:1"]],
  ["an unknown table", `${SERVICE}[volumes]\nsize = 1\n`, ["key_unknown 3:2"]],
  ["a component outside of the project", `${SERVICE}component = "../x.wasm"`, ["component_invalid 3:13"]],
  ["a component and an entry", `${SERVICE}component = "x.wasm"\nentry = "a.ts"`, ["component_invalid 4:9"]],
  ["a build without a component", `${SERVICE}build = ["make"]`, ["build_invalid 3:9"]],
  ["a build that is text", `${SERVICE}component = "x.wasm"\nbuild = "make"`, ["type_wrong 4:9"]],
  ["a build of numbers", `${SERVICE}component = "x.wasm"\nbuild = [1]`, ["build_invalid 4:9"]],
  ["a table where text is due", `${SERVICE}[entry]\na = 1\n`, ["type_wrong 3:2"]],
  ["text where a table is due", `${SERVICE}resources = "many"\n`, ["type_wrong 3:13"]],
  ["a service with a [task]", `${SERVICE}[task]\nattempts = 2\n`, ["choice_unknown 3:2"]],
  ["a task that is never tried", 'name = "job"\nkind = "task"\n[task]\nattempts = 0\nback_off_seconds = 3601\n', ["value_out_of_range 4:12", "value_out_of_range 5:20"]],
  ["arguments that are no texts", 'name = "job"\nkind = "task"\n[task]\narguments = [1]\n', ["type_wrong 4:13"]],
  ["arguments beyond a configuration", `name = "job"\nkind = "task"\n[task]\narguments = ["${"x".repeat(33_000)}"]\n`, ["value_out_of_range 4:13"]],
  ["a list of tables", `${SERVICE}[[resources]]\n`, ["type_wrong 3:3"]],
  ["a number in quotes", `${SERVICE}[resources]\nreplicas = "2"\n`, ["type_wrong 4:12"]],
  ["half a replica", `${SERVICE}[resources]\nreplicas = 1.5\n`, ["type_wrong 4:12"]],
  ["no replicas", `${SERVICE}[resources]\nreplicas = 0\n`, ["value_out_of_range 4:12"]],
  ["more memory than a sandbox gives", `${SERVICE}[resources]\nmemory_mib = 1025\n`, ["value_out_of_range 4:14"]],
  ["a number beyond 2^53", `${SERVICE}[resources]\ncpu_millis = 9007199254740993\n`, ["value_out_of_range 4:14"]],
  ["a kind that does not exist", 'name = "a"\nkind = "actor"\n', ["choice_unknown 2:8"]],
  ["an isolation that does not exist", `${SERVICE}[resources]\nisolation = "vm"\n`, ["choice_unknown 4:13"]],
  ["reuse that is no yes or no", `${SERVICE}[resources]\nreuse = "yes"\n`, ["type_wrong 4:9"]],
  ["a place that is no list", `${SERVICE}outgoing = "https://a.b"\n`, ["type_wrong 3:12"]],
  ["a place with a path", `${SERVICE}outgoing = ["https://a.b/c"]\n`, ["outgoing_invalid 3:12"]],
  ["a place that is a number", `${SERVICE}outgoing = [1]\n`, ["type_wrong 3:12"]],
  ["too many places", `${SERVICE}outgoing = [${Array.from({ length: 33 }, (_, n) => `"http://a${n}"`).join(", ")}]\n`, ["value_out_of_range 3:12"]],
  ["a limit that does not exist", `${SERVICE}[limits]\nfuel = 1\n`, ["key_unknown 4:1"]],
  ["a limit in the wrong unit", `${SERVICE}[limits]\nwall_time_s = 1\n`, ["key_unknown 4:1"]],
  ["a limit as text", `${SERVICE}[limits]\nheader_kib = "16 KiB"\n`, ["type_wrong 4:14"]],
  ["a time limit of nothing", `${SERVICE}[limits]\nwall_time_ms = 0\n`, ["value_out_of_range 4:16"]],
  ["a name with capitals", 'name = "Hello"\nkind = "task"\n', ["name_invalid 1:8"]],
  ["a name with a hyphen at its end", 'name = "hello-"\nkind = "task"\n', ["name_invalid 1:8"]],
  ["a name of 64 characters", `name = "${"a".repeat(64)}"\nkind = "task"\n`, ["name_invalid 1:8"]],
  ["an entry outside the project", `${SERVICE}entry = "../index.ts"\n`, ["entry_invalid 3:9"]],
  ["an absolute entry", `${SERVICE}entry = "/etc/index.ts"\n`, ["entry_invalid 3:9"]],
  ["an entry that is not TypeScript", `${SERVICE}entry = "main.rs"\n`, ["entry_invalid 3:9"]],
  ["money as a float", `${SERVICE}[budget]\ndeposit = 2.5\n`, ["type_wrong 4:11"]],
  ["money with ten decimals", `${SERVICE}[budget]\ndeposit = "1.0000000001"\n`, ["amount_invalid 4:11"]],
  ["negative money", `${SERVICE}[budget]\ndeposit = "-1"\n`, ["amount_invalid 4:11"]],
  ["more money than fits a u64", `${SERVICE}[budget]\ndeposit = "18446744073.709551616"\n`, ["amount_invalid 4:11"]],
  ["a rate below one unit a second", `${SERVICE}[budget]\nrate_max_per_hour = "0.0000035"\n`, ["value_out_of_range 4:21"]],
  ["a health path that is none", `${SERVICE}[health]\npath = "healthz"\n`, ["path_invalid 4:8"]],
  ["two metrics to scale by", `${SERVICE}[scale]\nmax = 3\ncpu_percent = 80\nconcurrency = 4\n`, ["scale_invalid 3:2"]],
  ["no metric to scale by, and no most", `${SERVICE}[scale]\nmin = 0\n`, ["scale_invalid 3:2", "key_missing 3:2"]],
  ["replicas beside a scale", `${SERVICE}[resources]\nreplicas = 2\n[scale]\nmax = 3\ncpu_percent = 80\n`, ["scale_invalid 4:12"]],
  ["more at least than at most", `${SERVICE}[scale]\nmin = 4\nmax = 3\ncpu_percent = 101\n`, ["value_out_of_range 4:7", "value_out_of_range 6:15"]],
  ["a deadline before the health", `${SERVICE}[rollout]\ndeadline_seconds = 5\n`, ["value_out_of_range 4:20"]],
  ["an operator that is no address", `${SERVICE}[placement]\noperators = ["me"]\n`, ["placement_invalid 4:13"]],
  ["a variable with a hyphen", `${SERVICE}[environment]\nA-B = "1"\n`, ["variable_invalid 4:7"]],
  ["a variable that is a number", `${SERVICE}[environment]\nPORT = 80\n`, ["type_wrong 4:8"]],
  ["a variable with a zero character", `${SERVICE}[environment]\nA = "\\u0000"\n`, ["variable_invalid 4:5"]],
  ["an environment that is too large", `${SERVICE}[environment]\nA = "${"x".repeat(30_000)}"\n`, ["environment_too_large 3:2"]],
  ["secrets", `${SERVICE}[secrets]\nTOKEN = "x"\n`, ["secrets_refused 3:2"]],
  ["a manifest without end", `# ${"x".repeat(200_000)}`, ["manifest_too_large 1:1"]],
  ["three mistakes at once, in the order of their lines", 'kind = "actor"\nname = "A"\n[resources]\nreplica = 2\n', ["choice_unknown 1:8", "name_invalid 2:8", "key_unknown 4:1"]],
];

for (const [what, text, expected] of REFUSED) {
  test(`parseManifest() refuses ${what}`, () => assert.deepEqual(refusals(text), expected));
}

test("each limit can be set up to its maximum, and not beyond", () => {
  const most: Readonly<Record<string, number>> = {
    fuel_per_call: 1e15, cpu_time_ms: 600_000, wall_time_ms: 600_000, table_elements: 20_000, instances: 16, resource_handles: 4_096, header_count: 256, header_kib: 64,
    outgoing_connections: 256, outgoing_request_kib: 65_536, outgoing_response_kib: 262_144, outgoing_time_ms: 600_000, request_body_kib: 65_536, response_body_kib: 262_144, log_kib_per_second: 4_096, queue_length: 1_024, queue_wait_ms: 30_000,
  };
  const text = (more: number): string => `${SERVICE}[limits]\n${Object.entries(most).map(([key, value]) => `${key} = ${BigInt(value) + BigInt(more)}`).join("\n")}`;
  const parsed = parseManifest(text(0), "godwit.toml");
  assert(parsed.ok);
  assert.deepEqual(parsed.manifest.limits, Object.fromEntries(LIMITS_SETTABLE.map((name) => [name, LIMITS_MAX[name]])));
  assert.deepEqual(refusals(text(1)).map((refusal) => refusal.split(" ")[0]), LIMITS_SETTABLE.map(() => "value_out_of_range"));
});

test("an error says what was expected, and which key was meant", () => {
  assert.match(firstError(`${SERVICE}[resources]\nmemory_mb = 64\n`).message, /did you mean "resources.memory_mib"\?/);
  assert.match(firstError(`${SERVICE}replicas = 2\n`).message, /did you mean "resources.replicas"\?/);
  assert.doesNotMatch(firstError(`${SERVICE}colour = 2\n`).message, /did you mean/);
  assert.match(firstError(`${SERVICE}[resources]\nreplicas = 0\n`).expected, /from 1 to 256/);
});

test("parseTokens() is exact to the last base unit", () => {
  const table: readonly [string, bigint | null][] = [
    ["0", 0n], ["1", 1_000_000_000n], ["2.5", 2_500_000_000n], ["0.1", 100_000_000n], ["0.000000001", 1n],
    ["18446744073.709551615", 0xffff_ffff_ffff_ffffn], ["18446744073.709551616", null],
    ["", null], [".5", null], ["1.", null], ["1e9", null], ["+1", null], ["1,5", null], [" 1", null], ["1.0000000000", null], ["9".repeat(40), null],
  ];
  for (const [text, units] of table) assert.equal(parseTokens(text), units, text);
});

test("locate() finds keys under tables, quoted, dotted and with Windows line ends", () => {
  const places = locate('a = 1\r\n[ b ]\r\n  "c" = 2\r\nd.e = 3\r\n[f."g"]\r\nh = 4');
  assert.deepEqual([...places].map(([path, { line, keyColumn, valueColumn }]) => `${path} ${line}:${keyColumn}:${valueColumn}`), [
    "a 1:1:5", "b 2:3:3", "b.c 3:3:9", "b.d.e 4:1:7", "f.g 5:2:2", "f.g.h 6:1:5",
  ]);
});

test("locate() is not misled by what stands inside a string of several lines", () => {
  const places = locate('a = """\nb = 1\n[c]\n"""\nd = """one line"""\ne = 2\n');
  assert.deepEqual([...places.keys()], ["a", "d", "e"]);
});

test("[scale] says how many replicas there may be, by what, and what they may cost together; the least is what a deploy begins with", () => {
  const read = (rule: string): unknown => {
    const parsed = parseManifest(`name = "web"\nkind = "service"\n[scale]\n${rule}`, "godwit.toml");
    return parsed.ok ? [parsed.manifest.replicas, parsed.manifest.scale] : parsed.errors;
  };
  assert.deepEqual(read('min = 0\nmax = 5\nrequests_per_second = 100\nrate_max_per_hour = "0.0036"\n'), [1, { min: 0, max: 5, metric: "requests", target: 100, rateMax: 1_000n }]);
  assert.deepEqual(read("min = 2\nmax = 5\ncpu_percent = 80\n"), [2, { min: 2, max: 5, metric: "cpu", target: 800, rateMax: 0n }]);
  assert.deepEqual(read("max = 1\nconcurrency = 16\n"), [1, { min: 1, max: 1, metric: "concurrency", target: 16, rateMax: 0n }]);
});
