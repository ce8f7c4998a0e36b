/** Bytes of WebAssembly, one after the other. Everything it reads is a stranger's: what does not fit throws `BinaryError`. */

export class BinaryError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "BinaryError";
  }
}

const text = new TextDecoder("utf-8", { fatal: true });

export class Reader {
  readonly bytes: Uint8Array;
  at: number;
  readonly end: number;

  constructor(bytes: Uint8Array, at = 0, end: number = bytes.length) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  get isAtEnd(): boolean {
    return this.at >= this.end;
  }

  byte(): number {
    if (this.at >= this.end) throw new BinaryError(`Ends at byte ${this.at} in the middle of something`);
    return this.bytes[this.at++]!;
  }

  /** An unsigned LEB128 of 32 bits. */
  u32(): number {
    let value = 0;
    for (let factor = 1, i = 0; i < 5; i++, factor *= 128) {
      const byte = this.byte();
      value += (byte & 127) * factor;
      if (byte < 128) {
        if (value > 0xffff_ffff) break;
        return value;
      }
    }
    throw new BinaryError(`The number at byte ${this.at} has more than 32 bits`);
  }

  /** Past a LEB128 of any width. */
  skipNumber(): void {
    while (this.byte() >= 128);
  }

  take(length: number): Uint8Array {
    if (length > this.end - this.at) throw new BinaryError(`Ends at byte ${this.end}, ${length} bytes were to come at ${this.at}`);
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  name(): string {
    const bytes = this.take(this.u32());
    try {
      return text.decode(bytes);
    } catch {
      throw new BinaryError(`The name before byte ${this.at} is not UTF-8`);
    }
  }

  /** A count, and so many of them. */
  each<T>(read: (index: number) => T): T[] {
    const count = this.u32();
    if (count > this.end - this.at) throw new BinaryError(`${count} items cannot follow at byte ${this.at}`);
    return Array.from({ length: count }, (_, index) => read(index));
  }
}
