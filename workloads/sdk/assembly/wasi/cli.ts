/** wasi:cli: standard streams, arguments, environment, exit. */
import { RETURN_AREA, liftString, liftStrings, release } from "../abi";
import { InputStream, OutputStream } from "./io";

// @ts-ignore: decorator
@external("wasi:cli/stdin@0.2.12", "get-stdin")
declare function getStdinHandle(): i32;
// @ts-ignore: decorator
@external("wasi:cli/stdout@0.2.12", "get-stdout")
declare function getStdoutHandle(): i32;
// @ts-ignore: decorator
@external("wasi:cli/stderr@0.2.12", "get-stderr")
declare function getStderrHandle(): i32;
// @ts-ignore: decorator
@external("wasi:cli/environment@0.2.12", "get-arguments")
declare function getArgumentsInto(result: usize): void;
// @ts-ignore: decorator
@external("wasi:cli/environment@0.2.12", "get-environment")
declare function getEnvironmentInto(result: usize): void;
// @ts-ignore: decorator
@external("wasi:cli/exit@0.2.12", "exit")
declare function exitWith(isError: i32): void;

export function getStdin(): InputStream {
  return new InputStream(getStdinHandle());
}
export function getStdout(): OutputStream {
  return new OutputStream(getStdoutHandle());
}
export function getStderr(): OutputStream {
  return new OutputStream(getStderrHandle());
}

export function getArguments(): string[] {
  getArgumentsInto(RETURN_AREA);
  return liftStrings(load<usize>(RETURN_AREA), load<usize>(RETURN_AREA, 4));
}

/** list<tuple<string, string>>: the spine has 16 bytes an entry. */
export function getEnvironment(): Map<string, string> {
  getEnvironmentInto(RETURN_AREA);
  const pointer = load<usize>(RETURN_AREA);
  const count = load<usize>(RETURN_AREA, 4);
  const environment = new Map<string, string>();
  for (let i: usize = 0; i < count; i++) {
    const entry = pointer + i * 16;
    const name = liftString(load<usize>(entry), load<usize>(entry, 4));
    const value = liftString(load<usize>(entry, 8), load<usize>(entry, 12));
    environment.set(name, value);
  }
  release(pointer, count);
  return environment;
}

/** Ends the task at once; the host never returns from it. */
export function exit(isError: bool): void {
  exitWith(isError ? 1 : 0);
}
