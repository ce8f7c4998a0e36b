/** Percent-escapes of URLs: queries, parts of a path, cookies. */

/** Decodes a part of a query: `+` is a space, `%xx` a byte of UTF-8; what is not a valid escape stays as it is. */
export function decodeQuery(text: string): string {
  return decoded(text, true);
}

/** Decodes a part of a path, in which `+` is itself. */
export function decodePath(text: string): string {
  return decoded(text, false);
}

/** Letters, digits and `-._~` as they are, every other byte of UTF-8 as `%xx` (RFC 3986, section 2). */
export function encodePart(text: string): string {
  const source = Uint8Array.wrap(String.UTF8.encode(text));
  let escaped = "";
  for (let i = 0; i < source.length; i++) {
    const byte = source[i];
    escaped += isUnreserved(byte) ? String.fromCharCode(byte) : "%" + hexText(byte >> 4) + hexText(byte & 15);
  }
  return escaped;
}

function decoded(text: string, isQuery: bool): string {
  if (text.indexOf("%") < 0 && (!isQuery || text.indexOf("+") < 0)) return text;
  const source = Uint8Array.wrap(String.UTF8.encode(text));
  const target = new Uint8Array(source.length);
  let length = 0;
  for (let i = 0; i < source.length; i++) {
    let byte = source[i];
    if (isQuery && byte == 0x2b) byte = 0x20;
    else if (byte == 0x25 && i + 2 < source.length) {
      const high = hexDigit(source[i + 1]);
      const low = hexDigit(source[i + 2]);
      if (high >= 0 && low >= 0) {
        byte = <u8>((high << 4) | low);
        i += 2;
      }
    }
    target[length++] = byte;
  }
  return String.UTF8.decodeUnsafe(target.dataStart, length);
}

function isUnreserved(byte: u8): bool {
  const lower = byte | 0x20;
  return (byte >= 0x30 && byte <= 0x39) || (lower >= 0x61 && lower <= 0x7a) || byte == 0x2d || byte == 0x2e || byte == 0x5f || byte == 0x7e;
}

function hexText(digit: u8): string {
  return String.fromCharCode(digit < 10 ? 0x30 + digit : 0x37 + digit);
}

function hexDigit(byte: u8): i32 {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x61 + 10 : -1;
}
