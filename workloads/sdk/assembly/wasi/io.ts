/** wasi:io/streams and wasi:io/error: byte streams as owned handles. A handle has to be dropped, children before parents. */
import { RETURN_AREA, addressOf, liftBytes } from "../abi";

// @ts-ignore: decorator
@external("wasi:io/streams@0.2.12", "[method]output-stream.blocking-write-and-flush")
declare function outputStreamBlockingWriteAndFlush(self: i32, pointer: usize, length: usize, result: usize): void;
// @ts-ignore: decorator
@external("wasi:io/streams@0.2.12", "[resource-drop]output-stream")
declare function outputStreamDrop(handle: i32): void;
// @ts-ignore: decorator
@external("wasi:io/streams@0.2.12", "[method]input-stream.blocking-read")
declare function inputStreamBlockingRead(self: i32, length: u64, result: usize): void;
// @ts-ignore: decorator
@external("wasi:io/streams@0.2.12", "[resource-drop]input-stream")
declare function inputStreamDrop(handle: i32): void;
// @ts-ignore: decorator
@external("wasi:io/error@0.2.12", "[resource-drop]error")
declare function errorDrop(handle: i32): void;

/** The most that one blocking-write-and-flush may carry, by its contract in wasi:io. */
export const WRITE_BYTES_MAX: usize = 4096;

/** True when the result area holds an error; frees the error that a failed operation carries. */
function streamFailed(): bool {
  if (!load<u8>(RETURN_AREA)) return false;
  const lastOperationFailed = load<u8>(RETURN_AREA, 4) == 0;
  if (lastOperationFailed) errorDrop(load<i32>(RETURN_AREA, 8));
  return true;
}

/** own<output-stream> */
export class OutputStream {
  constructor(private handle: i32) {}

  /** Writes `length` bytes from `offset` on; false when the reader has gone. */
  write(bytes: ArrayBuffer, offset: i32, length: i32): bool {
    let pointer = addressOf(bytes) + <usize>offset;
    let left = <usize>length;
    while (left) {
      const count = min<usize>(left, WRITE_BYTES_MAX);
      outputStreamBlockingWriteAndFlush(this.handle, pointer, count, RETURN_AREA);
      if (streamFailed()) return false;
      pointer += count;
      left -= count;
    }
    return true;
  }

  drop(): void {
    if (this.handle < 0) return;
    outputStreamDrop(this.handle);
    this.handle = -1;
  }
}

/** own<input-stream> */
export class InputStream {
  constructor(private handle: i32) {}

  /** Waits for at least one byte and returns at most `bytesMax`; null at the end. */
  read(bytesMax: u64): ArrayBuffer | null {
    inputStreamBlockingRead(this.handle, bytesMax, RETURN_AREA);
    if (streamFailed()) return null;
    return liftBytes(load<usize>(RETURN_AREA, 4), load<usize>(RETURN_AREA, 8));
  }

  drop(): void {
    if (this.handle < 0) return;
    inputStreamDrop(this.handle);
    this.handle = -1;
  }
}
