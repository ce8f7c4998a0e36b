/** What the pages of errors say of a trap: limits by their setting, places with their lines, and nothing of it as markup. */
import assert from "node:assert/strict";
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import type { LogLine, LogStream } from "#sandbox/sandbox.ts";
import { buildPage, trapPage } from "./pages.ts";

const folder = mkdtempSync(join(tmpdir(), "godwit-pages-"));
mkdirSync(join(folder, "assembly"));
writeFileSync(join(folder, "assembly", "index.ts"), Array.from({ length: 20 }, (_, i) => `line ${i + 1} <i>;`).join("\n"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

const lines = (stream: LogStream, text: string): LogLine[] => text.split("\n").map((line) => ({ id: "dev", requestId: "r", stream, timeMs: 0, line }));
const textOf = (html: string): string => html.replace(/^[\s\S]*<body>/, "").replaceAll(/<[^>]*>/g, "").replaceAll("&lt;", "<").replaceAll("&gt;", ">");
const page = async (...of: LogLine[][]): Promise<string> => trapPage(folder, "GET /<b>", "r", of.flat(), "/reload");

test("a limit is told by the setting that it comes from, with the author's own line under those of the library", async () => {
  const text = textOf(await page(lines("system", "memory_limit: error while executing at wasm backtrace:\n    at __alloc (~lib/rt/tlsf.ts:573:10)\n    at grow (assembly/index.ts:9:3)\n\nCaused by:\n    wasm trap: wasm `unreachable` instruction executed")));
  assert.match(text, /^memory_limit · GET \/<b>It used all the memory that it may have \(\[resources\] memory_mib\)\nassembly\/index\.ts:9:3\n 5  line 5 <i>;\n/);
  assert.match(text, / 9 {2}line 9 <i>;\n {6}\^10 {2}line 10/);
});

test("a function that calls itself is one line, and what has no frames has its cause", async () => {
  const deep = "    at deep (assembly/index.ts:2:1)\n".repeat(40);
  assert.match(textOf(await page(lines("system", `trap: error\n${deep}Caused by:\n    wasm trap: call stack exhausted`))), /call stack exhausted\nassembly\/index\.ts:2:1\n[^]*Frames\ndeep 40 × assembly\/index\.ts:2:1\n/);
  assert.match(textOf(await page(lines("system", "no_answer"))), /^no_answer · GET \/<b>It ended without an answer\n/);
});

test("no file outside of the project is shown, and no text becomes markup", async () => {
  for (const file of ["../assembly/index.ts", "/etc/hostname", "assembly/../../x.ts", "assembly/none.ts"]) assert.doesNotMatch(await page(lines("system", `trap: x\n    at f (${file}:1:1)`)), /<pre class="code">/, file);
  const html = await page(lines("stderr", "abort: <script>alert(1)</script> at assembly/index.ts:1:1"), lines("system", "trap: x"));
  assert(html.includes("&lt;script&gt;alert(1)&lt;/script&gt;") && !html.includes("<script>alert"));
  const failed = await buildPage(folder, { code: "build_failed", message: "cargo said <b>no</b>", diagnostics: [] }, "/reload");
  assert(failed.includes("cargo said &lt;b&gt;no&lt;/b&gt;"));
});
