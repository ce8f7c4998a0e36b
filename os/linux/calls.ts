/**
 * The system calls that Node lacks, through `node:ffi`: one table of signatures, and the error they throw.
 *
 * Only this folder imports `node:ffi`, and only the machine image and the netboot server import this folder: the binding is
 * experimental, so every signature stands here once, and `checkCalls` proves at boot that this libc and this Node agree with it.
 * Rules: 64-bit integers are bigint; memory is a Uint8Array that lives as long as the call; errno is read before anything else runs.
 */
import ffi from "node:ffi";

const SIGNATURES = {
  mount: { arguments: ["string", "string", "string", "uint64", "string"], return: "int32" },
  umount2: { arguments: ["string", "int32"], return: "int32" },
  socket: { arguments: ["int32", "int32", "int32"], return: "int32" },
  setsockopt: { arguments: ["int32", "int32", "int32", "buffer", "uint32"], return: "int32" },
  bind: { arguments: ["int32", "buffer", "uint32"], return: "int32" },
  send: { arguments: ["int32", "buffer", "uint64", "int32"], return: "int64" },
  sendto: { arguments: ["int32", "buffer", "uint64", "int32", "buffer", "uint32"], return: "int64" },
  recv: { arguments: ["int32", "buffer", "uint64", "int32"], return: "int64" },
  clock_settime: { arguments: ["int32", "buffer"], return: "int32" },
  clock_gettime: { arguments: ["int32", "buffer"], return: "int32" },
  syscall: { arguments: ["int64", "int64", "int64", "int64", "int64", "int64", "int64"], return: "int64" },
  getpid: { arguments: [], return: "int32" },
  __errno_location: { arguments: [], return: "pointer" },
  strerror: { arguments: ["int32"], return: "pointer" },
} as const;
type Calls = ReturnType<typeof ffi.dlopen<typeof SIGNATURES>>["functions"];

/** What the kernel answered: `code` is `ENODEV`, `EPERM`, …, as Node's own errors have it. */
export class SystemCallError extends Error {
  readonly code: string;
  readonly errno: number;
  constructor(what: string, errno: number, text: string) {
    super(`Cannot ${what}: ${text}`);
    this.name = "SystemCallError";
    this.errno = errno;
    this.code = NAMES[errno] ?? `errno_${errno}`;
  }
}
/** The ones that code of ours asks for; all others are told by number and text. */
const NAMES: Readonly<Record<number, string>> = {
  1: "EPERM", 2: "ENOENT", 4: "EINTR", 10: "ECHILD", 11: "EAGAIN", 12: "ENOMEM", 13: "EACCES", 16: "EBUSY", 17: "EEXIST", 19: "ENODEV", 22: "EINVAL", 28: "ENOSPC", 38: "ENOSYS",
  95: "EOPNOTSUPP", 98: "EADDRINUSE", 99: "EADDRNOTAVAIL", 100: "ENETDOWN", 101: "ENETUNREACH", 105: "ENOBUFS", 110: "ETIMEDOUT",
};

let loaded: Calls | null = null;

/** Loaded at the first use: who imports this file on a laptop for its types pays nothing. */
export function calls(): Calls {
  loaded ??= ffi.dlopen("libc.so.6", SIGNATURES).functions;
  return loaded;
}

/** The result of a call as a number; throws when it is negative. `what` is a verb with its object: "mount proc on /proc". */
export function checked(what: string, result: number | bigint): number {
  if (result >= 0) return Number(result);
  const errno = lastErrno();
  throw systemCallError(what, errno);
}

export function systemCallError(what: string, errno: number): SystemCallError {
  return new SystemCallError(what, errno, ffi.toString(calls().strerror(errno)) ?? `errno ${errno}`);
}

/** Right after the call, on the same thread. */
export function lastErrno(): number {
  return ffi.getInt32(calls().__errno_location(), 0);
}

/** The address of bytes, for the calls that take it as a number; the caller keeps them alive. */
export function addressOfBytes(bytes: Uint8Array): bigint {
  return ffi.getRawPointer(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
}

/** Calls whose answers are known before: a table that no longer fits this libc is found at boot and not in an emergency. */
export function checkCalls(): void {
  const libc = calls();
  const time = new Uint8Array(16);
  const answers: readonly (readonly [string, boolean])[] = [
    ["getpid", libc.getpid() === process.pid],
    ["socket with a family that does not exist", libc.socket(-1, 0, 0) === -1 && lastErrno() === 97],
    ["clock_gettime", libc.clock_gettime(0, time) === 0 && Math.abs(Number(new DataView(time.buffer).getBigInt64(0, true)) - Date.now() / 1000) < 2],
    ["syscall getpid", libc.syscall(39n, 0n, 0n, 0n, 0n, 0n, 0n) === BigInt(process.pid)],
  ];
  const wrong = answers.filter(([, holds]) => !holds).map(([name]) => name);
  if (wrong.length > 0) throw new SystemCallError(`use the system's C library: unexpected answer to ${wrong.join(", ")}`, 38, "the table of signatures does not fit it");
}
