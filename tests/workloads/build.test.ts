/** The build pipeline: the same bytes from the same sources, and mistakes told where they are. */
import assert from "node:assert/strict";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { buildComponent, BuildError, buildProject, buildTests } from "#workloads/sdk/build.ts";
import type { WorkloadKind } from "#workloads/sdk/worlds.ts";

const EXAMPLES = join(import.meta.dirname, "../../workloads/examples");
const SERVICE = 'name = "a"\nkind = "service"\n';
const TASK = 'name = "a"\nkind = "task"\n';
const HTTP = 'import { Request, Response } from "godwit/http";\n';

let folder = "";
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "godwit-build-"));
});
after(() => rm(folder, { recursive: true }));

let projects = 0;
/** A project folder with these files. */
async function project(files: Readonly<Record<string, string>>): Promise<string> {
  const directory = join(folder, `p${projects++}`);
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(directory, name)), { recursive: true });
    await writeFile(join(directory, name), text);
  }
  return directory;
}

async function refusal(files: Readonly<Record<string, string>>): Promise<{ code: string; places: string[]; message: string }> {
  const directory = await project(files);
  const error = await buildProject(directory, { optimise: false }).then(() => assert.fail("it was built"), (reason: unknown) => reason);
  assert(error instanceof BuildError, String(error));
  return { code: error.code, places: error.diagnostics.map(({ file, line, column }) => `${file}:${line}:${column}`), message: error.message };
}

test("buildProject() gives the same bytes again, after other builds and from another folder", async (t) => {
  const hello = join(EXAMPLES, "hello");
  const first = await buildProject(hello);
  const quick = await buildProject(hello, { optimise: false });
  const other = await buildProject(join(EXAMPLES, "tally"), { optimise: false });
  const again = await buildProject(hello);
  const copy = join(folder, "elsewhere", "hello");
  await cp(hello, copy, { recursive: true });
  const moved = await buildProject(copy, { optimise: false });
  assert.equal(again.digest, first.digest);
  assert.deepEqual(again.component, first.component);
  assert.equal(moved.digest, quick.digest);
  assert.notEqual(other.digest, quick.digest);
  assert.match(first.digest, /^[0-9a-f]{64}$/);
  assert.deepEqual(Array.from(first.component.subarray(0, 8)), [0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0]); // A component, not a core module.
  t.diagnostic(`optimised: ${first.component.length} bytes; first build ${first.elapsedMs} ms, warm ${again.elapsedMs} ms`);
  t.diagnostic(`not optimised: ${quick.component.length} bytes, warm ${moved.elapsedMs} ms`);
});

test("the programs of the SDK's guide compile as they stand there", async () => {
  const guide = await readFile(join(import.meta.dirname, "../../workloads/sdk/README.md"), "utf8");
  const programs = [...guide.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, text]) => text ?? "");
  assert.equal(programs.length, 5);
  for (const text of programs) {
    if (text.includes("godwit/test")) {
      await buildTests(await project({ "assembly/a.test.ts": text }), ["assembly/a.test.ts"]);
      continue;
    }
    const directory = await project({ "godwit.toml": text.includes("main(") ? TASK : SERVICE, "assembly/index.ts": text });
    await buildProject(directory, { optimise: false });
  }
});

test("two builds at once do not disturb each other", async () => {
  const [hello, tally, alone] = await Promise.all(["hello", "tally", "hello"].map((name) => buildProject(join(EXAMPLES, name), { optimise: false })));
  assert.equal(hello?.digest, alone?.digest);
  assert.equal(tally?.manifest.kind, "task");
});

test("a module of one's own, a library from node_modules and an asconfig.json that would change the build", async () => {
  const files = {
    "godwit.toml": TASK,
    "assembly/index.ts": 'import { twice } from "./deep/twice";\nimport { thrice } from "threefold";\nexport function main(args: string[]): i32 { return twice(args.length) + thrice(0); }\n',
    "assembly/deep/twice.ts": "export function twice(n: i32): i32 { return n * 2; }\n",
    "node_modules/threefold/index.ts": "export function thrice(n: i32): i32 { return n * 3; }\n",
  };
  const plain = await buildProject(await project(files), { optimise: false });
  const configured = await buildProject(await project({ ...files, "asconfig.json": '{ "options": { "runtime": "stub" } }' }), { optimise: false });
  assert.equal(configured.digest, plain.digest);
});

const REFUSED: readonly [what: string, files: Readonly<Record<string, string>>, code: string, places: string[]][] = [
  ["a folder without a manifest", { "assembly/index.ts": "" }, "manifest_missing", []],
  ["a manifest with a mistake", { "godwit.toml": `${SERVICE}replicas = 2\n` }, "manifest_invalid", ["godwit.toml:3:1"]],
  ["an entry that is not there", { "godwit.toml": SERVICE }, "entry_missing", ["assembly/index.ts:0:0"]],
  ["a service without handle()", { "godwit.toml": SERVICE, "assembly/index.ts": `${HTTP}export function hand(request: Request): Response { return Response.empty(204); }\n` }, "entry_export", ["assembly/index.ts:1:1"]],
  ["a handle() that returns text", { "godwit.toml": SERVICE, "assembly/index.ts": `${HTTP}export function handle(request: Request): string { return ""; }\n` }, "entry_export", ["assembly/index.ts:1:1"]],
  ["a task without main()", { "godwit.toml": TASK, "assembly/index.ts": "export function start(): void {}\n" }, "entry_export", ["assembly/index.ts:1:1"]],
  ["a type error", { "godwit.toml": TASK, "assembly/index.ts": "export function main(args: string[]): i32 {\n  return args;\n}\n" }, "compile_error", ["assembly/index.ts:2:10"]],
  ["a syntax error", { "godwit.toml": TASK, "assembly/index.ts": "export function main(args: string[]): i32 {\n  return 1 +;\n}\n" }, "compile_error", ["assembly/index.ts:2:13"]],
  ["two errors in two files", { "godwit.toml": TASK, "assembly/index.ts": 'import { a } from "./a";\nexport function main(args: string[]): i32 {\n  return a() + b();\n}\n', "assembly/a.ts": "export function a(): i32 {\n  // ä 👋\n  return nothing;\n}\n" }, "compile_error", ["assembly/a.ts:3:10", "assembly/index.ts:3:16"]],
  ["a module that is not there", { "godwit.toml": TASK, "assembly/index.ts": 'import { a } from "./missing";\nexport function main(args: string[]): i32 { return a(); }\n' }, "compile_error", ["assembly/index.ts:1:19"]],
  ["an import that the world does not have", { "godwit.toml": TASK, "assembly/index.ts": '// ä\n@external("env", "launch")\ndeclare function launch(): i32;\nexport function main(args: string[]): i32 { return launch(); }\n' }, "import_unknown", ["assembly/index.ts:2:18"]],
  ["an import without a module", { "godwit.toml": TASK, "assembly/index.ts": "declare function launch(): i32;\nexport function main(args: string[]): i32 { return launch(); }\n" }, "import_unknown", ["assembly/index.ts:1:9"]],
  ["a socket, which WASI has but a workload does not", { "godwit.toml": TASK, "assembly/index.ts": '@external("wasi:sockets/instance-network@0.2.12", "instance-network")\ndeclare function network(): i32;\nexport function main(args: string[]): i32 { return network(); }\n' }, "import_unknown", ["assembly/index.ts:1:51"]],
];

for (const [what, files, code, places] of REFUSED) {
  test(`buildProject() refuses ${what}, with its place`, async () => {
    const found = await refusal(files);
    assert.deepEqual({ code: found.code, places: found.places.sort() }, { code, places });
    for (const place of places) if (!place.endsWith(":0:0")) assert(found.message.includes(place), found.message);
  });
}

test("a crash of the compiler is told, and the next build has a new one", async () => {
  const directory = await project({ "godwit.toml": TASK, "assembly/index.ts": "export function main(args: string[]): i32 { return 0; }\n" });
  await assert.rejects(buildComponent(directory, "assembly/index.ts", "nonsense" as WorkloadKind), { code: "build_crashed" });
  assert((await buildProject(directory, { optimise: false })).component.length > 0);
});
