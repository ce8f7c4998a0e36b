/**
 * How large hello over HTTP is in each language, and how long `godwit build` takes: cold (a process of its own) and warm (the same thread
 * again). The other languages' components are made once by their own toolchains, in the user's cache; where one cannot be had it is said.
 *
 *   npm run bench:sizes [-- --short]     JSON on stdout
 */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Language, languageGuest } from "#tests/guests/languages.ts";
import { buildProject } from "#workloads/sdk/build.ts";
import { computer, median, report } from "./report.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const LANGUAGES: readonly Language[] = ["rust", "javascript", "python"];
const HELLO = 'import { Request, Response } from "godwit/http";\n\nexport function handle(request: Request): Response {\n  return Response.text("Hello, world!\\n");\n}\n';

const { values } = parseArgs({ options: { short: { type: "boolean", default: false } } });
const quiet = computer();
const rounds = values.short ? 3 : 7;
const folder = mkdtempSync(join(tmpdir(), "godwit-sizes-"));
try {
  mkdirSync(join(folder, "hello", "assembly"), { recursive: true });
  writeFileSync(join(folder, "hello", "godwit.toml"), 'name = "hello"\nkind = "service"\n');
  writeFileSync(join(folder, "hello", "assembly", "index.ts"), HELLO);
  cpSync(join(ROOT, "workloads", "templates", "api"), join(folder, "api"), { recursive: true });

  const coldMs = Array.from({ length: rounds }, () => {
    const startedMs = performance.now();
    const built = spawnSync(join(ROOT, "tools", "godwit"), ["build", join(folder, "hello"), "-o", join(folder, "hello.wasm"), "--json"], { encoding: "utf8" });
    if (built.status !== 0) throw new Error(`godwit build failed: ${built.stderr}`);
    return Math.round(performance.now() - startedMs);
  });
  const hello = await buildProject(join(folder, "hello"));
  const warmMs: number[] = [];
  for (let round = 0; round < rounds; round++) warmMs.push((await buildProject(join(folder, "hello"))).elapsedMs);
  const others = values.short ? [] : await Promise.all(LANGUAGES.map(async (language) => {
    const guest = await languageGuest(language);
    return { language, ...("component" in guest ? { bytes: guest.component.length, ratio: Math.round(guest.component.length / hello.component.length) } : guest) };
  }));
  const api = await buildProject(join(folder, "api"));
  report("sizes", {
    computer: quiet, hello: { language: "assemblyscript", bytes: hello.component.length }, apiTemplate: { bytes: api.component.length }, others,
    build: { coldMs: { median: median(coldMs), raw: coldMs }, warmMs: { median: median(warmMs), raw: warmMs } },
  }, false);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
