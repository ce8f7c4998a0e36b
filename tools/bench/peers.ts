/**
 * `npm run bench:peers`: installs what the benchmarks compare us with, pinned, into the user's cache. Prints where each is, as JSON.
 *
 * wasmtime's command line is built from source, as `serve` has to be measured on this computer; only what `serve` runs is built
 * (no profiler, debugger, explorer, wast, wizer, Winch or Pulley), which takes minutes instead of twenty. What is there is not
 * built again. A benchmark runs without a peer that is missing, and says so.
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

export type PeerName = "wasmtime" | "jco" | "workerd" | "hyper";
type Peer = { readonly version: string; readonly program: string; readonly install: (directory: string) => void };

const WASMTIME_FEATURES = ["run", "serve", "cranelift", "wasi-http", "component-model", "component-model-async", "pooling-allocator", "parallel-compilation", "threads", "logging", "backtrace"];
const NICE = 19; // Builds of many minutes must not be in anybody's way.
const directory = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "godwit", "peers");

const PEERS: Readonly<Record<PeerName, Peer>> = {
  wasmtime: {
    version: "48.0.8",
    program: "bin/wasmtime",
    install: (root) => {
      const features = ["--no-default-features", "--features", WASMTIME_FEATURES.join(",")];
      run("cargo", ["install", "wasmtime-cli", "--version", PEERS.wasmtime.version, "--locked", ...features, "--root", root], { CARGO_TARGET_DIR: join(directory, "target") });
    },
  },
  jco: { version: "1.35.0", program: "node_modules/@bytecodealliance/jco/dist/jco.js", install: (root) => npm(root, `@bytecodealliance/jco@${PEERS.jco.version}`) },
  workerd: { version: "1.20261117.1", program: "node_modules/.bin/workerd", install: (root) => npm(root, `workerd@${PEERS.workerd.version}`) },
  hyper: {
    version: "1.12.0",
    program: "bare-hyper",
    install: (root) => {
      const manifest = join(import.meta.dirname, "hyper", "Cargo.toml");
      run("cargo", ["build", "--release", "--locked", "--manifest-path", manifest], { CARGO_TARGET_DIR: join(directory, "target") });
      mkdirSync(root, { recursive: true });
      copyFileSync(join(directory, "target", "release", "bare-hyper"), join(root, "bare-hyper"));
    },
  },
};

/** Where a peer's program is, or null when it is not installed. */
export function peerProgram(name: PeerName): string | null {
  const program = join(rootOf(name), PEERS[name].program);
  return existsSync(program) ? program : null;
}

export const peerVersion = (name: PeerName): string => PEERS[name].version;
const rootOf = (name: PeerName): string => join(directory, `${name}-${PEERS[name].version}`);

function npm(root: string, specifier: string): void {
  mkdirSync(root, { recursive: true });
  writeFileSync(join(root, "package.json"), '{ "private": true }\n');
  run("npm", ["install", "--prefix", root, "--no-audit", "--no-fund", "--loglevel=error", specifier], {});
}

function run(command: string, args: readonly string[], environment: Readonly<Record<string, string>>): void {
  const { status, error } = spawnSync("nice", ["-n", String(NICE), command, ...args], { env: { ...process.env, ...environment }, stdio: ["ignore", 2, 2] });
  if (status !== 0) throw new Error(`Cannot install a peer: ${command} ${args.join(" ")} ended with ${error?.message ?? status}`);
}

if (import.meta.main) {
  const wanted = process.argv.slice(2).filter((name): name is PeerName => name in PEERS);
  const names = wanted.length > 0 ? wanted : (Object.keys(PEERS) as PeerName[]);
  const installed: Record<string, { version: string; program: string | null; seconds: number }> = {};
  for (const name of names) {
    const begunMs = performance.now();
    if (peerProgram(name) === null) {
      process.stderr.write(`godwit: installing ${name} ${PEERS[name].version}\n`);
      PEERS[name].install(rootOf(name));
    }
    installed[name] = { version: PEERS[name].version, program: peerProgram(name), seconds: Math.round((performance.now() - begunMs) / 1000) };
  }
  rmSync(join(directory, "target"), { recursive: true, force: true });
  console.log(JSON.stringify({ bench: "peers", features: { wasmtime: WASMTIME_FEATURES }, installed }, null, 2));
}
