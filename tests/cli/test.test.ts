/** `godwit test`, as an author uses it: tests of functions and of the component, what fails and why, and exit codes. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { needs } from "#tests/require.ts";
import { openTerminal, type Terminal } from "./terminal.ts";

const SERVICE = `import { variableOr } from "godwit/env";
import { Request, Response, Router, serve } from "godwit/http";
const app = new Router();
app.get("/", (request: Request): Response => { console.log("asked"); return Response.text(variableOr("GREETING", "Hello")); });
serve(app);
`;
const UNIT = `import { expect, test } from "godwit/test";
let counter = 0;
test("each test has a sandbox of its own", () => { counter++; expect(counter).toBe(1); });
test("and so has this", () => { counter++; expect(counter).toBe(1); expect([1, 2]).toEqual([1, 2]); expect("abc").toContain("b"); expect(0.1 + 0.2).toBeCloseTo(0.3); expect(1).not.toBe(2); expect<string | null>(null).toBeNull(); });
`;
const WRONG = `import { expect, test } from "godwit/test";
function broken(list: i32[]): i32 { return list[3]; }
test("a wrong sum", () => {
  expect([1, 2]).toEqual([1, 3]);
});
test("a trap", () => {
  broken([]);
});
`;
/** Its first line is 1; what is marked is run by no test. */
const PARTS = `export function kind(n: i32): string {
  if (n < 0)
    return "less"; // not run
  else if (n == 0)
    return "none";
  switch (n) {
    case 1: {
      return "one";
    }
    case 2:
      return "two"; // not run
  }
  let sum = 0;
  for (let i = 0; i < n; i++)
    sum += i;
  return sum.toString();
}
export class Box<T> {
  constructor(private value: T) {
    assert(true);
  }
  get(): T {
    return this.value;
  }
  never(): void {
    console.log("never"); // not run
  }
}
export function ends(): void {
  const list: i32[] = [];
  list[1]++;
  console.log("past it"); // not run
}
`;
const PARTS_TEST = `import { expect, test } from "godwit/test";
import { Box, ends, kind } from "./parts";
test("kinds", () => {
  expect(kind(0) + kind(1) + kind(4)).toBe("noneone6");
  expect(new Box<i32>(3).get()).toBe(3);
});
test("a trap", () => ends());
`;
const COMPONENT = `import assert from "node:assert/strict";
import { test } from "node:test";
import { openService } from "godwit/testing";
test("it greets as its environment says", async () => {
  await using service = await openService({ environment: { GREETING: "Hei" } });
  const answer = await service.fetch("/");
  assert.equal(await answer.text(), "Hei");
  assert.equal((await service.logLine("asked")).stream, "stdout");
});
test("it has nothing elsewhere", async () => {
  await using service = await openService();
  assert.equal((await service.fetch("/elsewhere")).status, 404);
});
`;

function project(t: TestContext, files: Readonly<Record<string, string>>): { terminal: Terminal; folder: string } {
  const terminal = openTerminal(t);
  const folder = join(terminal.home, "shop");
  for (const part of ["assembly", "tests"]) mkdirSync(join(folder, part), { recursive: true });
  writeFileSync(join(folder, "godwit.toml"), 'name = "shop"\nkind = "service"\n');
  for (const [name, text] of Object.entries({ "assembly/index.ts": SERVICE, ...files })) writeFileSync(join(folder, name), text);
  return { terminal, folder };
}

test("tests of functions and of the component pass, each in a fresh sandbox", async (t) => {
  if (!needs(t, "cargo")) return;
  const { terminal, folder } = project(t, { "assembly/unit.test.ts": UNIT, "tests/service.test.mjs": COMPONENT });
  const { code, stdout, stderr } = await terminal.run("test", folder);
  assert.equal(code, 0, stdout + stderr);
  assert.match(stdout, /^✔ each test has a sandbox of its own \(\d+ ms\)\n✔ and so has this \(\d+ ms\)\n2 passed, 0 failed$/m);
  assert.match(stdout, /pass 2/);
});

test("what fails says what was expected and where, and the exit code is 1", async (t) => {
  if (!needs(t, "cargo")) return;
  const { terminal, folder } = project(t, { "assembly/wrong.test.ts": WRONG, "assembly/unit.test.ts": UNIT });
  const { code, stdout } = await terminal.run("test", folder);
  assert.equal(code, 1);
  assert.match(stdout, /^✖ a wrong sum\n {4}expected \[1, 2\] to equal \[1, 3\]\n {4}at the test \(assembly\/wrong\.test\.ts:4:3\)$/m);
  assert.match(stdout, /^✖ a trap\n {4}abort: Index out of range at ~lib\/array\.ts:\d+:\d+\n {4}at .*assembly\/wrong\.test\.ts:[27]:/m);
  assert.match(stdout, /^2 passed, 2 failed$/m);
  const only = await terminal.run("test", folder, "--only", "wrong sum", "--json");
  const events = only.stdout.trim().split("\n").map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual([only.code, events.map(({ event }) => event), events[0]?.["name"], events[1]?.["functions"]], [1, ["test", "end"], "a wrong sum", { passed: 0, failed: 1 }]);
});

test("--coverage says which lines of the functions no test has run, of functions and of the component, also before a trap, in both engines", async (t) => {
  if (!needs(t, "cargo")) return;
  const service = SERVICE.replace('console.log("asked");', '\n  if (request.query("x") !== null)\n    console.log("not run");\n  console.log("asked");\n ');
  const { terminal, folder } = project(t, { "assembly/index.ts": service, "assembly/parts.ts": PARTS, "assembly/parts.test.ts": PARTS_TEST, "tests/service.test.mjs": COMPONENT.replace('assert.equal((await', 'assert(service.logs.every(({ line }) => line === "asked"));\n  assert.equal((await') });
  const missed = PARTS.split("\n").flatMap((line, i) => (line.endsWith("// not run") ? [i + 1] : []));
  for (const engine of ["wasmtime", "v8"]) {
    const { code, stdout } = await terminal.run("test", folder, "--coverage", "--json", "--engine", engine);
    const events = stdout.trim().split("\n").map((line) => JSON.parse(line) as Record<string, any>);
    assert.deepEqual([code, events.at(-1)?.["functions"], events.at(-1)?.["components"]], [1, { passed: 1, failed: 1 }, { files: 1, failed: false }], stdout);
    assert.match(String(events[1]?.["message"]), /^abort: Index out of range/);
    const coverage = events.find(({ event }) => event === "coverage");
    assert.deepEqual(coverage?.["files"], [{ file: "assembly/index.ts", lines: 4, covered: 3, missed: [6] }, { file: "assembly/parts.ts", lines: 18, covered: 14, missed }]);
  }
  const { stdout } = await terminal.run("test", folder, "--coverage", "--only", "kinds");
  assert.match(stdout, /^FILE +LINES +RUN +NOT RUN\n(?:.*\n)*assembly\/parts\.ts +18 +66 % +3, 11, 26, 30-32$/m);
});

test("a component's test that fails fails the run; v8 needs no native parts for tests of functions", async (t) => {
  if (!needs(t, "cargo")) return;
  const { terminal, folder } = project(t, { "assembly/unit.test.ts": UNIT, "tests/service.test.mjs": COMPONENT.replace('"Hei");', '"Hallo");') });
  const { code, stdout } = await terminal.run("test", folder, "--engine", "v8");
  assert.equal(code, 1);
  assert.match(stdout, /^2 passed, 0 failed$/m);
  assert.match(stdout, /fail 1/);
});

test("a component's test makes up its world: who answers its requests, its clock, its chance, its environment", async (t) => {
  if (!needs(t, "cargo")) return;
  const { terminal, folder } = project(t, {
    "godwit.toml": 'name = "shop"\nkind = "service"\noutgoing = ["https://api.example"]\n',
    "assembly/index.ts": `import { FetchOptions, Request, Response, Router, fetch, serve } from "godwit/http";
import { nowMs } from "godwit/clock";
import { uuid } from "godwit/random";
const app = new Router();
app.get("/now", (request: Request): Response => Response.text(nowMs().toString() + " " + uuid()));
app.get("/ask", (request: Request): Response => {
  const url = request.query("url");
  const answer = fetch(url === null ? "" : url, new FetchOptions("POST").text("question"));
  return Response.text(answer.status.toString() + " " + answer.error + answer.text());
});
serve(app);
`,
    "tests/world.test.ts": `import assert from "node:assert/strict";
import { test } from "node:test";
import { openService } from "godwit/testing";
const ask = async (service: { fetch(path: string): Promise<Response> }, path: string): Promise<string> => (await service.fetch(path)).text();
test("mocked", async () => {
  const seen: string[] = [];
  await using service = await openService({ clockMs: 1_700_000_000_123, randomSeed: 7, respond: (request) => {
    seen.push(request.method + " " + request.url + " " + new TextDecoder().decode(request.body));
    if (request.url.endsWith("/down")) throw new Error("down");
    return new Response("answer", { status: 201 });
  } });
  const [first, second] = [await ask(service, "/now"), await ask(service, "/now")];
  assert.equal(first, second);
  assert.match(first, /^1700000000123 [0-9a-f]{8}-/);
  assert.equal(await ask(service, "/ask?url=https://api.example/items?x=1"), "201 answer");
  assert.equal(await ask(service, "/ask?url=https://api.example/down"), "0 connection-refused");
  assert.equal(await ask(service, "/ask?url=https://other.example/"), "0 HTTP-request-denied");
  assert.deepEqual(seen, ["POST https://api.example/items?x=1 question", "POST https://api.example/down question"]);
});
`,
  });
  const { code, stdout, stderr } = await terminal.run("test", folder);
  assert.equal(code, 0, stdout + stderr);
  assert.match(stdout, /pass 1/);
});

test("what cannot begin is refused with a code", async (t) => {
  const { terminal, folder } = project(t, {});
  assert.deepEqual(await terminal.errorOf("test", folder), { exit: 1, code: "tests_missing" });
  writeFileSync(join(folder, "assembly/typo.test.ts"), "nonsense(;\n");
  assert.deepEqual(await terminal.errorOf("test", folder), { exit: 1, code: "compile_error" });
});
