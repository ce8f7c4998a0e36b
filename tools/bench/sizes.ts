/**
 * How large hello over HTTP is in each language, and how long `godwit build` of it takes: cold (a process of its own) and warm (the same
 * again after an edit; for ours in the same thread, as `godwit dev` does). The other languages are built by their own toolchains in
 * their usual form, one after the other; where one cannot be had it is said. CPU time is beside, as others stretch the wall's.
 *
 *   npm run bench:sizes [-- --short]     JSON on stdout; short: without the other languages
 */
import { spawnSync } from "node:child_process";
import { appendFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Language, withToolchain } from "#tests/guests/languages.ts";
import { buildProject } from "#workloads/sdk/build.ts";
import { computer, median, report } from "./report.ts";

const ROOT = join(import.meta.dirname, "..", "..");
/** What is edited for the second build. */
const LANGUAGES: readonly (readonly [Language, string])[] = [["rust", "src/lib.rs"], ["javascript", "hello.js"], ["python", "app.py"]];
const COMMENT: Readonly<Record<string, string>> = { rust: "//", javascript: "//", python: "#" };
const OTHERS_ROUNDS = 3;
const HELLO = 'import { Request, Response } from "godwit/http";\n\nexport function handle(request: Request): Response {\n  return Response.text("Hello, world!\\n");\n}\n';

const { values } = parseArgs({ options: { short: { type: "boolean", default: false } } });
const quiet = await computer();
const rounds = values.short ? 3 : 7;
const folder = mkdtempSync(join(tmpdir(), "godwit-sizes-"));
try {
  mkdirSync(join(folder, "hello", "assembly"), { recursive: true });
  writeFileSync(join(folder, "hello", "godwit.toml"), 'name = "hello"\nkind = "service"\n');
  writeFileSync(join(folder, "hello", "assembly", "index.ts"), HELLO);
  cpSync(join(ROOT, "workloads", "templates", "api"), join(folder, "api"), { recursive: true });

  const cold = Array.from({ length: rounds }, () => timedSync(() => godwit("build", join(folder, "hello"), "-o", join(folder, "hello.wasm"), "--json")));
  const hello = await buildProject(join(folder, "hello"));
  const warm: Took[] = [];
  for (let round = 0; round < rounds; round++) {
    appendFileSync(join(folder, "hello", "assembly", "index.ts"), `// ${round}\n`);
    warm.push(await timed(() => buildProject(join(folder, "hello"))));
  }
  const others = [];
  for (const [language, source] of values.short ? [] : LANGUAGES) {
    const built = await withToolchain(language, (project) => buildOther(language, project, source));
    others.push({ language, ...built, ...("bytes" in built && { ratio: Math.round(built.bytes / hello.component.length) }) });
  }
  const api = await buildProject(join(folder, "api"));
  report("sizes", { computer: quiet, hello: { language: "assemblyscript", bytes: hello.component.length }, apiTemplate: { bytes: api.component.length }, others, build: { cold: summary(cold), warm: summary(warm) } }, false);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

type Took = { readonly wallMs: number; readonly cpuMs: number };

/** Every round starts from the sources alone; the second build of it after an edit. */
async function buildOther(language: Language, project: string, source: string): Promise<{ bytes: number; build: object }> {
  const [cold, warm]: [Took[], Took[]] = [[], []];
  let bytes = 0;
  for (let round = 0; round < OTHERS_ROUNDS; round++) {
    const copy = `${project}-${round}`;
    cpSync(project, copy, { recursive: true });
    try {
      cold.push(timedSync(() => godwit("build", copy, "-o", join(copy, "built.wasm"), "--json")));
      appendFileSync(join(copy, source), `\n${COMMENT[language]} ${round}\n`);
      warm.push(timedSync(() => (bytes = (JSON.parse(godwit("build", copy, "-o", join(copy, "built.wasm"), "--json")) as { bytes: number }).bytes)));
    } finally {
      rmSync(copy, { recursive: true, force: true });
    }
  }
  return { bytes, build: { cold: summary(cold), warm: summary(warm) } };
}

function godwit(...args: readonly string[]): string {
  const ran = spawnSync(join(ROOT, "tools", "godwit"), args, { encoding: "utf8" });
  if (ran.status !== 0) throw new Error(`godwit ${args.join(" ")} failed: ${ran.stderr}`);
  return ran.stdout;
}

function timedSync(run: () => unknown): Took {
  const startedMs = performance.now();
  const before = childrenCpuMs();
  run();
  return { wallMs: Math.round(performance.now() - startedMs), cpuMs: Math.round(childrenCpuMs() - before) };
}

async function timed(run: () => Promise<unknown>): Promise<Took> {
  const startedMs = performance.now();
  const before = process.cpuUsage();
  await run();
  const { user, system } = process.cpuUsage(before);
  return { wallMs: Math.round(performance.now() - startedMs), cpuMs: Math.round((user + system) / 1000) };
}

/** Of processes that have ended, in ticks of 10 ms. */
function childrenCpuMs(): number {
  const fields = readFileSync("/proc/self/stat", "utf8").split(") ")[1]!.split(" ");
  return (Number(fields[13]) + Number(fields[14])) * 10;
}

function summary(took: readonly Took[]): object {
  return { wallMs: median(took.map(({ wallMs }) => wallMs)), cpuMs: median(took.map(({ cpuMs }) => cpuMs)), raw: took };
}
