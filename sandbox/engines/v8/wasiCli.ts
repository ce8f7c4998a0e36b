/**
 * wasi:cli, clocks, random, and what is linked with nothing behind it: filesystem without a folder, sockets that are refused.
 */
import { webcrypto } from "node:crypto";
import { err, type Host } from "./host.ts";
import type { HostFunctions } from "./instance.ts";
import { SeededRandom } from "./mock.ts";
import { Exit, HostTrap } from "./trap.ts";
import { type OutputStream, Pollable } from "./wasiIo.ts";

/** As the wasmtime engine has it: one call gives so many random bytes. */
const RANDOM_BYTES_MAX = 64 * 1024;
const NS_PER_MS = 1_000_000;
const MS_PER_SECOND = 1000;
const NS_PER_MS_BIG = 1_000_000n;
const EXIT_FAILED = 1;

const seeded = new WeakMap<Host, SeededRandom>();

function randomBytes(host: Host, length: bigint): Uint8Array {
  if (length > BigInt(RANDOM_BYTES_MAX)) throw new HostTrap(`${length} random bytes at once, at most ${RANDOM_BYTES_MAX}`);
  const seed = host.setting.mock?.randomSeed;
  if (seed === undefined) return webcrypto.getRandomValues(new Uint8Array(Number(length)));
  let random = seeded.get(host);
  if (random === undefined) seeded.set(host, (random = new SeededRandom(seed)));
  return random.bytes(Number(length));
}
const randomNumber = (host: Host): bigint => new DataView(randomBytes(host, 8n).buffer).getBigUint64(0);

function now({ setting }: Host): { seconds: bigint; nanoseconds: number } {
  const ms = setting.mock?.clockMs ?? performance.timeOrigin + performance.now();
  const wholeMs = Math.floor(ms);
  return { seconds: BigInt(Math.floor(wholeMs / MS_PER_SECOND)), nanoseconds: (wholeMs % MS_PER_SECOND) * NS_PER_MS + Math.floor((ms - wholeMs) * NS_PER_MS) };
}

function after(nanoseconds: bigint): Pollable {
  return Pollable.at(performance.now() + Number(nanoseconds / NS_PER_MS_BIG) + Number(nanoseconds % NS_PER_MS_BIG) / NS_PER_MS);
}

const outputs = new WeakMap<Host, Map<1 | 2, OutputStream>>();
/** A new handle each time, of the same stream. */
function output(host: Host, stream: 1 | 2): OutputStream {
  let made = outputs.get(host);
  if (made === undefined) outputs.set(host, (made = new Map()));
  let found = made.get(stream);
  if (found === undefined) {
    found = { room: () => host.room, write(bytes) {
      host.write(stream, bytes);
      return undefined;
    } };
    made.set(stream, found);
  }
  return found;
}

const exit = (code: number) => (): never => {
  throw new Exit(code);
};
const refused = (): unknown => err("access-denied");

export const CLI: HostFunctions<Host> = {
  "wasi:cli/environment#get-environment": ({ setting }) => setting.environment,
  "wasi:cli/environment#get-arguments": ({ setting }) => setting.arguments,
  "wasi:cli/environment#initial-cwd": () => undefined,
  "wasi:cli/exit#exit": (_, status: { tag: "ok" | "error" }) => exit(status.tag === "ok" ? 0 : EXIT_FAILED)(),
  "wasi:cli/exit#exit-with-code": (_, code: number) => exit(code)(),
  // A service has no stdin: its request's body comes with the request.
  "wasi:cli/stdin#get-stdin": (host) => ({ source: host.request === null ? host.source : EMPTY }),
  "wasi:cli/stdout#get-stdout": (host) => output(host, 1),
  "wasi:cli/stderr#get-stderr": (host) => output(host, 2),
  "wasi:cli/terminal-stdin#get-terminal-stdin": () => undefined,
  "wasi:cli/terminal-stdout#get-terminal-stdout": () => undefined,
  "wasi:cli/terminal-stderr#get-terminal-stderr": () => undefined,
  "wasi:clocks/monotonic-clock#now": () => process.hrtime.bigint(),
  "wasi:clocks/monotonic-clock#resolution": () => 1n,
  "wasi:clocks/monotonic-clock#subscribe-duration": (_, duration: bigint) => after(duration),
  "wasi:clocks/monotonic-clock#subscribe-instant": (_, instant: bigint) => {
    const left = instant - process.hrtime.bigint();
    return after(left > 0n ? left : 0n);
  },
  "wasi:clocks/wall-clock#now": now,
  "wasi:clocks/wall-clock#resolution": () => ({ seconds: 0n, nanoseconds: 1000 }),
  "wasi:random/random#get-random-bytes": (host, length: bigint) => randomBytes(host, length),
  "wasi:random/random#get-random-u64": randomNumber,
  "wasi:random/insecure#get-insecure-random-bytes": (host, length: bigint) => randomBytes(host, length),
  "wasi:random/insecure#get-insecure-random-u64": randomNumber,
  "wasi:random/insecure-seed#insecure-seed": (host) => [randomNumber(host), randomNumber(host)],
  "wasi:random/insecure-seed#get-insecure-seed": (host) => [randomNumber(host), randomNumber(host)],
  "wasi:filesystem/preopens#get-directories": () => [],
  "wasi:filesystem/types#filesystem-error-code": () => undefined,
  "wasi:sockets/instance-network#instance-network": () => ({}),
  "wasi:sockets/network#network-error-code": () => undefined,
  "wasi:sockets/tcp-create-socket#create-tcp-socket": refused,
  "wasi:sockets/udp-create-socket#create-udp-socket": refused,
  "wasi:sockets/ip-name-lookup#resolve-addresses": refused,
};

const EMPTY = { isReady: () => true, read: () => null };
