/** `godwit bindgen` as people run it, and its folder with AssemblyScript's own compiler: no part of Godwit is needed after it. */
import assert from "node:assert/strict";
import { mkdir, readFile, readdir, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { componentEmbed, componentNew } from "@bytecodealliance/jco-transpile/wasm-tools";
import { openTerminal } from "../../cli/terminal.ts";
import { instantiate } from "./compile.ts";

const NODE_MODULES = join(import.meta.dirname, "../../../node_modules");
const WIT = `package example:greeter@1.0.0;
interface greetings { /// Says hello.
  greet: func(names: list<string>) -> result<string, u32>; }
world greeter { export greetings; import log: func(line: string); }
world other {}
`;

type Asc = { main(args: string[]): Promise<{ error: Error | null; stderr: { toString(): string } }> };
const ascSpecifier = "assemblyscript/asc";

test("bindgen writes a folder that asc alone makes a component of", async (t) => {
  const terminal = openTerminal(t);
  const { home } = terminal;
  await writeFile(join(home, "greeter.wit"), WIT);
  const written = await terminal.json("bindgen", "greeter.wit", "--world", "greeter", "--out", "assembly/gen");
  assert.deepEqual(written, {
    world: "greeter", directory: join(home, "assembly/gen"), imports: [], exports: ["example:greeter/greetings@1.0.0"],
    files: ["imports/root.ts", "exports/example-greeter-greetings.ts", "world.ts", "stub.ts", "transform.mjs", "world.wit", "canonical.ts"],
  });
  await writeFile(join(home, "assembly/program.ts"), `
    import { log } from "./gen/imports/root";
    import { Result, err, ok } from "./gen/canonical";
    export namespace greetings {
      export function greet(names: Array<string>): Result<string, u32> {
        if (!names.length) return err<string, u32>(404);
        log("greeting " + names.length.toString());
        log("half " + String.fromCharCode(0xd83d) + "!");
        return ok<string, u32>("Hello, " + names.join(" and "));
      }
    }`);
  await symlink(NODE_MODULES, join(home, "node_modules"));
  const asc: Asc = await import(ascSpecifier);
  const { error, stderr } = await asc.main([
    "assembly/gen/world.ts", "--baseDir", home, "--outFile", "core.wasm", "--transform", "./assembly/gen/transform.mjs",
    "--exportStart", "_initialize", "--runtime", "incremental", "--use", "abort=assembly/gen/canonical/abort", "--optimizeLevel", "0",
  ]);
  assert.equal(error, null, stderr.toString());
  const core = new Uint8Array(await readFile(join(home, "core.wasm")));
  const witSource = await readFile(join(home, "assembly/gen/world.wit"), "utf8");
  const component = await componentNew(await componentEmbed({ binary: core, witSource, world: "greeter", stringEncoding: "utf8" }));
  const lines: string[] = [];
  const { exports } = await instantiate(component, { log: { default: (line: string) => lines.push(line) } });
  const { greet } = exports["greetings"] as { greet(names: string[]): string }; // The world says so.
  assert.equal(greet(["Ada", "Ürsula"]), "Hello, Ada and Ürsula");
  assert.deepEqual(lines, ["greeting 2", "half \ufffd!"], "the host would trap on half a surrogate pair");
  assert.throws(() => greet([]), (thrown) => thrown === 404);
});

test("bindgen again writes nothing that has not changed", async (t) => {
  const terminal = openTerminal(t);
  await writeFile(join(terminal.home, "greeter.wit"), WIT);
  const files = async (): Promise<string[]> => {
    const names = (await readdir(join(terminal.home, "gen"), { recursive: true })).sort();
    return Promise.all(names.map(async (name) => `${name} ${(await stat(join(terminal.home, "gen", name))).mtimeMs}`));
  };
  await terminal.json("bindgen", "greeter.wit", "--world", "greeter", "--out", "gen");
  const before = await files();
  await terminal.json("bindgen", "greeter.wit", "--world", "greeter", "--out", "gen");
  assert.deepEqual(await files(), before);
});

test("bindgen in a project uses the SDK's runtime, and the program's own place", async (t) => {
  const terminal = openTerminal(t);
  await mkdir(join(terminal.home, "wit"));
  await writeFile(join(terminal.home, "wit/greeter.wit"), WIT);
  const { files } = await terminal.json("bindgen", "wit", "--world", "greeter", "--out", "gen", "--runtime", "godwit/canonical", "--program", "./mine");
  assert(Array.isArray(files) && !files.includes("canonical.ts"));
  const world = await readFile(join(terminal.home, "gen/world.ts"), "utf8");
  assert.match(world, /from "godwit\/canonical"/);
  assert.match(world, /import \* as _program from "\.\/mine"/);
});

test("bindgen says what is wrong: with the command, with the WIT", async (t) => {
  const terminal = openTerminal(t);
  await writeFile(join(terminal.home, "two.wit"), WIT);
  await writeFile(join(terminal.home, "bad.wit"), "package a:b;\ninterface i {\n  f: func(a: u9);\n}\nworld w { import i; }\n");
  assert.deepEqual(await terminal.errorOf("bindgen", "two.wit", "--out", "gen"), { exit: 1, code: "wit_world_ambiguous" });
  assert.deepEqual(await terminal.errorOf("bindgen", "bad.wit", "--out", "gen"), { exit: 1, code: "wit_type_unknown" });
  assert.deepEqual(await terminal.errorOf("bindgen", "missing.wit", "--out", "gen"), { exit: 1, code: "wit_missing" });
  assert.deepEqual(await terminal.errorOf("bindgen", "two.wit"), { exit: 2, code: "usage" });
  assert.match((await terminal.run("bindgen", "bad.wit", "--out", "gen")).stderr, /^error wit_type_unknown: bad\.wit:3:14: /);
});
