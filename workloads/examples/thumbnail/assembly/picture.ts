// Pictures of three bytes a pixel, and how to make one smaller.

/** 4096 × 4096: a larger one does not fit the memory of the manifest. */
const PIXELS_MAX: i64 = 4096 * 4096;

export class Picture {
  constructor(readonly width: i32, readonly height: i32, readonly pixels: Uint8Array) {}
}

/** Null when it is none. */
export function readPicture(bytes: Uint8Array): Picture | null {
  const head = new Head(bytes);
  if (bytes.length < 3 || bytes[0] != 0x50 || bytes[1] != 0x36) return null;
  head.at = 2;
  const width = head.number();
  const height = head.number();
  const depth = head.number();
  const start = head.at + 1; // One white space ends the head.
  const count = <i64>width * <i64>height;
  if (width < 1 || height < 1 || depth != 255 || count > PIXELS_MAX || <i64>bytes.length < <i64>start + count * 3) return null;
  return new Picture(width, height, bytes.subarray(start, start + <i32>count * 3));
}

/** Numbers in decimal, with white space and comments between them. */
class Head {
  at: i32 = 0;

  constructor(private bytes: Uint8Array) {}

  /** −1 when there is none. */
  number(): i32 {
    while (this.isSpace() || this.byte() == 0x23) {
      if (this.byte() == 0x23) while (this.at < this.bytes.length && this.byte() != 0x0a) this.at++;
      else this.at++;
    }
    let value: i64 = -1;
    while (this.byte() >= 0x30 && this.byte() <= 0x39 && value < 1_000_000) {
      value = max<i64>(value, 0) * 10 + this.byte() - 0x30;
      this.at++;
    }
    return <i32>value;
  }

  private isSpace(): bool {
    const byte = this.byte();
    return byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09;
  }

  private byte(): i32 {
    return this.at < this.bytes.length ? this.bytes[this.at] : -1;
  }
}

/** Every pixel of the result is the mean of its rectangle in `from`. */
export function scale(from: Picture, width: i32, height: i32): Picture {
  const pixels = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const top = y * from.height / height;
    const bottom = max(top + 1, (y + 1) * from.height / height);
    for (let x = 0; x < width; x++) {
      const left = x * from.width / width;
      const right = max(left + 1, (x + 1) * from.width / width);
      meanInto(from, left, top, right, bottom, pixels, (y * width + x) * 3);
    }
  }
  return new Picture(width, height, pixels);
}

function meanInto(from: Picture, left: i32, top: i32, right: i32, bottom: i32, pixels: Uint8Array, at: i32): void {
  let red: u64 = 0, green: u64 = 0, blue: u64 = 0;
  for (let y = top; y < bottom; y++) {
    for (let i = (y * from.width + left) * 3, end = (y * from.width + right) * 3; i < end; i += 3) {
      red += from.pixels[i];
      green += from.pixels[i + 1];
      blue += from.pixels[i + 2];
    }
  }
  const count = <u64>(right - left) * <u64>(bottom - top);
  pixels[at] = <u8>((red + count / 2) / count);
  pixels[at + 1] = <u8>((green + count / 2) / count);
  pixels[at + 2] = <u8>((blue + count / 2) / count);
}
