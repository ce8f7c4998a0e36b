/**
 * Guests for tests: the examples, programs that misbehave, and components that no machine should take.
 *
 * Each is built once for as long as its sources, the SDK and the compiler stay the same, and kept in the user's cache, so that
 * every test file gets it at once. Building does not need the sandbox.
 */
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { componentEmbed, componentNew } from "@bytecodealliance/jco-transpile/wasm-tools";
import { buildComponent } from "#workloads/sdk/build.ts";
import { type WorkloadKind, witSource } from "#workloads/sdk/worlds.ts";

const ROOT = join(import.meta.dirname, "../..");
const GUESTS = join(ROOT, "tests/guests");
const EXAMPLES = join(ROOT, "workloads/examples");

type Source = { readonly directory: string; readonly entry: string; readonly kind: WorkloadKind };

export type GuestName = "hello" | "tally" | "markdown" | "thumbnail" | "kernels" | "proxy" | "routed" | "rogue" | "fetcher" | "rogueTask" | "deadOnArrival" | "attacks";

const SOURCES: Readonly<Record<GuestName, Source>> = {
  /** workloads/examples/hello: a service. */
  hello: { directory: join(EXAMPLES, "hello"), entry: "assembly/index.ts", kind: "service" },
  /** workloads/examples/tally: a task. */
  tally: { directory: join(EXAMPLES, "tally"), entry: "assembly/index.ts", kind: "task" },
  markdown: { directory: join(EXAMPLES, "markdown"), entry: "assembly/index.ts", kind: "service" },
  thumbnail: { directory: join(EXAMPLES, "thumbnail"), entry: "assembly/index.ts", kind: "task" },
  kernels: { directory: join(EXAMPLES, "kernels"), entry: "assembly/index.ts", kind: "task" },
  proxy: { directory: join(EXAMPLES, "proxy"), entry: "assembly/index.ts", kind: "service" },
  /** A service that uses what the SDK has. */
  routed: { directory: GUESTS, entry: "assembly/routed.ts", kind: "service" },
  /** A service whose paths trap, loop, hog, spam, …: see its source. */
  rogue: { directory: GUESTS, entry: "assembly/rogue.ts", kind: "service" },
  /** A service that sends the request its query describes. */
  fetcher: { directory: GUESTS, entry: "assembly/fetcher.ts", kind: "service" },
  /** A service that spends the host's time and memory, and says of its answers what is not so. */
  attacks: { directory: GUESTS, entry: "assembly/attacks.ts", kind: "service" },
  /** A task whose first argument says what it does. */
  rogueTask: { directory: GUESTS, entry: "assembly/rogueTask.ts", kind: "task" },
  /** A service that traps at instantiation. */
  deadOnArrival: { directory: GUESTS, entry: "assembly/deadOnArrival.ts", kind: "service" },
};

/** The component of a guest. */
export async function guest(name: GuestName): Promise<Uint8Array> {
  const { directory, entry, kind } = SOURCES[name];
  return cached(name, async () => (await buildComponent(directory, entry, kind)).component);
}

/** A component that imports an interface no world of ours has: `example:weather/forecast`. */
export function importUnknown(): Promise<Uint8Array> {
  return cached("importUnknown", () => dummy(`world strange { import example:weather/forecast@1.0.0; include task; }`, `
    package example:weather@1.0.0 { interface forecast { sunny: func(day: string) -> bool; } }`));
}

/** A well-formed component that is neither service nor task. */
export function worldUnknown(): Promise<Uint8Array> {
  return cached("worldUnknown", () => dummy(`world strange { export shout: func(text: string) -> string; }`, ""));
}

/** An empty core module: WebAssembly, but not a component. */
export const coreModule = (): Uint8Array => new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);

/** A component of a world, in which every function is unreachable. */
async function dummy(world: string, packages: string): Promise<Uint8Array> {
  const source = `${await witSource()}\n${packages}`.replace("world task", `${world}\nworld task`);
  return componentNew(await componentEmbed({ dummy: true, witSource: source, world: "strange" }));
}

let keyMade: Promise<string> | null = null;

async function cached(name: string, build: () => Promise<Uint8Array>): Promise<Uint8Array> {
  const folder = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "godwit", "guests", await (keyMade ??= sourcesKey()));
  const file = join(folder, `${name}.wasm`);
  const known = await readFile(file).catch(() => null);
  if (known !== null) return new Uint8Array(known);
  const component = await build();
  await mkdir(folder, { recursive: true });
  // Another test process may build the same: whoever renames last leaves the same bytes.
  const temporary = `${file}.${process.pid}`;
  await writeFile(temporary, component);
  await rename(temporary, file);
  return component;
}

/** A hash over everything that goes into a guest. */
async function sourcesKey(): Promise<string> {
  const hash = createHash("sha256");
  for (const folder of [join(ROOT, "workloads/sdk"), EXAMPLES, GUESTS]) {
    const names = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith(".ts")).sort();
    for (const name of names) hash.update(name).update("\0").update(await readFile(join(folder, name))).update("\0");
  }
  hash.update(await readFile(join(ROOT, "sandbox/wit/worlds.wit")));
  hash.update(await readFile(join(ROOT, "node_modules/assemblyscript/package.json")));
  hash.update(await readFile(join(ROOT, "node_modules/@bytecodealliance/jco-transpile/package.json")));
  return hash.digest("hex").slice(0, 16);
}
