/** wasi:io for V8: streams, errors and the one place where a guest waits. */
import { err, type Host, ok, type Err, type Ok, type Source } from "./host.ts";
import type { HostFunctions } from "./instance.ts";
import { HostTrap } from "./trap.ts";

export class Pollable {
  readonly isReady: () => boolean;
  /** When it becomes ready by itself, by performance.now. */
  readonly atMs: number;
  constructor(isReady: () => boolean, atMs: number = Infinity) {
    this.isReady = isReady;
    this.atMs = atMs;
  }
  static at(atMs: number): Pollable {
    return new Pollable(() => performance.now() >= atMs, atMs);
  }
  static ready(): Pollable {
    return new Pollable(() => true);
  }
}

export type InputStream = { readonly source: Pick<Source, "isReady" | "read"> & { readonly error?: string | null } };
export type OutputStream = {
  /** Bytes that may be written now. */
  room(): number;
  write(bytes: Uint8Array): StreamFailure | undefined;
};
export type StreamFailure = { readonly tag: "closed" } | { readonly tag: "last-operation-failed"; readonly value: IoError };
export class IoError {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** The contract of blocking-write-and-flush, and as much as one call is let write at all. */
const BLOCKING_WRITE_BYTES_MAX = 4096;
const READ_BYTES_MAX = 64 * 1024;
const POLLABLES_MAX = 4096;

type Read = Ok<Uint8Array> | Err<StreamFailure>;
type Written = Ok<undefined> | Err<StreamFailure>;
const CLOSED: Err<StreamFailure> = err({ tag: "closed" });

function read(host: Host, { source }: InputStream, length: bigint, wait: boolean): Read {
  if (wait) host.waitUntil(() => source.isReady());
  else host.waitUntil(() => true);
  source.isReady();
  const bytes = source.read(Number(length < BigInt(READ_BYTES_MAX) ? length : BigInt(READ_BYTES_MAX)));
  if (bytes !== null) return ok(bytes);
  const error = source.error;
  return error === null || error === undefined ? CLOSED : err({ tag: "last-operation-failed", value: new IoError(error) });
}

function skip(host: Host, stream: InputStream, length: bigint, wait: boolean): Ok<bigint> | Err<StreamFailure> {
  const skipped = read(host, stream, length, wait);
  return skipped.tag === "ok" ? ok(BigInt(skipped.value.length)) : skipped;
}

function write(stream: OutputStream, bytes: Uint8Array, mode: "checked" | "blocking"): Written {
  if (mode === "checked" && bytes.length > stream.room()) throw new HostTrap("write beyond what check-write permitted");
  if (mode === "blocking" && bytes.length > BLOCKING_WRITE_BYTES_MAX) throw new HostTrap(`blocking-write-and-flush takes ${BLOCKING_WRITE_BYTES_MAX} bytes at most`);
  const failure = stream.write(bytes);
  return failure === undefined ? ok(undefined) : err(failure);
}

function splice(host: Host, to: OutputStream, from: InputStream, length: bigint, wait: boolean): Ok<bigint> | Err<StreamFailure> {
  const room = BigInt(to.room());
  const bytes = read(host, from, length < room ? length : room, wait);
  if (bytes.tag === "error") return bytes;
  const failure = to.write(bytes.value);
  return failure === undefined ? ok(BigInt(bytes.value.length)) : err(failure);
}

function zeroes(length: bigint, max: number): Uint8Array {
  if (length > BigInt(max)) throw new HostTrap(`${length} zeroes at once`);
  return new Uint8Array(Number(length));
}

function poll(host: Host, pollables: readonly Pollable[]): number[] {
  if (pollables.length === 0 || pollables.length > POLLABLES_MAX) throw new HostTrap(`poll of ${pollables.length} pollables`);
  const ready = (): number[] => pollables.flatMap((pollable, index) => (pollable.isReady() ? [index] : []));
  let found: number[] = [];
  host.waitUntil(() => (found = ready()).length > 0, () => Math.min(...pollables.map(({ atMs }) => atMs)));
  return found;
}

export const IO: HostFunctions<Host> = {
  "wasi:io/error#[method]error.to-debug-string": (_, error: IoError) => error.text,
  "wasi:io/poll#[method]pollable.ready": (host, pollable: Pollable) => {
    host.waitUntil(() => true);
    return pollable.isReady();
  },
  "wasi:io/poll#[method]pollable.block": (host, pollable: Pollable) => void poll(host, [pollable]),
  "wasi:io/poll#poll": (host, pollables: Pollable[]) => poll(host, pollables),
  "wasi:io/streams#[method]input-stream.read": (host, stream: InputStream, length: bigint) => read(host, stream, length, false),
  "wasi:io/streams#[method]input-stream.blocking-read": (host, stream: InputStream, length: bigint) => read(host, stream, length, true),
  "wasi:io/streams#[method]input-stream.skip": (host, stream: InputStream, length: bigint) => skip(host, stream, length, false),
  "wasi:io/streams#[method]input-stream.blocking-skip": (host, stream: InputStream, length: bigint) => skip(host, stream, length, true),
  "wasi:io/streams#[method]input-stream.subscribe": (_, { source }: InputStream) => new Pollable(() => source.isReady()),
  "wasi:io/streams#[method]output-stream.check-write": (_, stream: OutputStream) => ok(BigInt(stream.room())),
  "wasi:io/streams#[method]output-stream.write": (_, stream: OutputStream, bytes: Uint8Array) => write(stream, bytes, "checked"),
  "wasi:io/streams#[method]output-stream.blocking-write-and-flush": (_, stream: OutputStream, bytes: Uint8Array) => write(stream, bytes, "blocking"),
  "wasi:io/streams#[method]output-stream.flush": () => ok(undefined),
  "wasi:io/streams#[method]output-stream.blocking-flush": () => ok(undefined),
  "wasi:io/streams#[method]output-stream.subscribe": (_, stream: OutputStream) => new Pollable(() => stream.room() > 0),
  "wasi:io/streams#[method]output-stream.write-zeroes": (_, stream: OutputStream, length: bigint) => write(stream, zeroes(length, stream.room()), "checked"),
  "wasi:io/streams#[method]output-stream.blocking-write-zeroes-and-flush": (_, stream: OutputStream, length: bigint) => write(stream, zeroes(length, BLOCKING_WRITE_BYTES_MAX), "blocking"),
  "wasi:io/streams#[method]output-stream.splice": (host, to: OutputStream, from: InputStream, length: bigint) => splice(host, to, from, length, false),
  "wasi:io/streams#[method]output-stream.blocking-splice": (host, to: OutputStream, from: InputStream, length: bigint) => splice(host, to, from, length, true),
};
