// JSON, strictly by RFC 8259: text to a tree of values, and values to text. AssemblyScript has no objects of unknown shape, so a
// value is one class that knows its kind.

/** Deeper than this is an attack, not a document. */
const DEPTH_MAX = 32;

export enum Kind { Null, Bool, Number, Text, List, Object }

export class Json {
  bool: bool = false;
  number: f64 = 0;
  text: string = "";
  list: Json[] = [];
  members: Map<string, Json> = new Map<string, Json>();

  constructor(public kind: Kind) {}

  /** A member of an object; null when it is missing, or this is none. */
  get(key: string): Json | null {
    return this.members.has(key) ? this.members.get(key) : null;
  }

  /** A member that is text; empty when there is none. */
  textOf(key: string): string {
    const member = this.get(key);
    return member ? member.text : "";
  }
}

/** Null when `text` is not one JSON value. */
export function parseJson(text: string): Json | null {
  const parser = new Parser(text);
  const value = parser.value(0);
  return parser.isGood() && parser.isAtEnd() ? value : null;
}

class Parser {
  private at: i32 = 0;
  private bad: bool = false;

  constructor(private source: string) {}

  isGood(): bool {
    return !this.bad;
  }

  isAtEnd(): bool {
    this.space();
    return this.at == this.source.length;
  }

  value(depth: i32): Json {
    this.space();
    const code = this.peek();
    if (depth > DEPTH_MAX) return this.fail();
    if (code == 0x7b) return this.object(depth);
    if (code == 0x5b) return this.list(depth);
    if (code == 0x22) {
      const value = new Json(Kind.Text);
      value.text = this.string();
      return value;
    }
    if (this.take("null")) return new Json(Kind.Null);
    if (this.take("true") || this.take("false")) {
      const value = new Json(Kind.Bool);
      value.bool = this.source.charCodeAt(this.at - 2) == 0x75; // The u of true.
      return value;
    }
    return this.number();
  }

  private object(depth: i32): Json {
    const value = new Json(Kind.Object);
    this.at++;
    this.space();
    if (this.take("}")) return value;
    while (!this.bad) {
      this.space();
      const key = this.peek() == 0x22 ? this.string() : this.fail().text;
      this.space();
      if (!this.take(":")) this.fail();
      value.members.set(key, this.value(depth + 1));
      this.space();
      if (this.take("}")) break;
      if (!this.take(",")) this.fail();
    }
    return value;
  }

  private list(depth: i32): Json {
    const value = new Json(Kind.List);
    this.at++;
    this.space();
    if (this.take("]")) return value;
    while (!this.bad) {
      value.list.push(this.value(depth + 1));
      this.space();
      if (this.take("]")) break;
      if (!this.take(",")) this.fail();
    }
    return value;
  }

  private string(): string {
    let text = "";
    let start = ++this.at;
    for (let code = this.peek(); code != 0x22; code = this.peek()) {
      if (code < 0x20) return this.fail().text; // Also the end, which is -1.
      if (code == 0x5c) {
        text += this.source.substring(start, this.at++) + this.escape();
        start = this.at + 1;
      }
      this.at++;
    }
    return text + this.source.substring(start, this.at++);
  }

  private escape(): string {
    const code = this.peek();
    if (code == 0x75) {
      let unit: i32 = 0;
      for (let i = 0; i < 4; i++) {
        this.at++;
        const digit = this.peek();
        const value = isDigit(digit) ? digit - 0x30 : (digit | 0x20) - 0x57;
        if (value < (isDigit(digit) ? 0 : 10) || value > 15) return this.fail().text;
        unit = unit * 16 + value;
      }
      return String.fromCharCode(unit);
    }
    const index = "\"\\/bfnrt".indexOf(String.fromCharCode(code));
    return code < 0 || index < 0 ? this.fail().text : "\"\\/\b\f\n\r\t".charAt(index);
  }

  private number(): Json {
    const start = this.at;
    this.take("-");
    if (!this.take("0") && !this.digits()) return this.fail();
    if (this.take(".") && !this.digits()) return this.fail();
    if (this.take("e") || this.take("E")) {
      if (!this.take("+")) this.take("-");
      if (!this.digits()) return this.fail();
    }
    const value = new Json(Kind.Number);
    value.number = parseFloat(this.source.substring(start, this.at));
    return value;
  }

  private digits(): bool {
    const start = this.at;
    while (isDigit(this.peek())) this.at++;
    return this.at > start;
  }

  private take(word: string): bool {
    if (this.source.substring(this.at, this.at + word.length) != word) return false;
    this.at += word.length;
    return true;
  }

  private peek(): i32 {
    return this.at < this.source.length ? this.source.charCodeAt(this.at) : -1;
  }

  private space(): void {
    for (let code = this.peek(); code == 0x20 || code == 0x0a || code == 0x0d || code == 0x09; code = this.peek()) this.at++;
  }

  private fail(): Json {
    this.bad = true;
    this.at = this.source.length;
    return new Json(Kind.Null);
  }
}

function isDigit(code: i32): bool {
  return code >= 0x30 && code <= 0x39;
}

/** Writes an object, member by member. */
export class JsonObject {
  private members: string[] = [];

  text(key: string, value: string): JsonObject {
    return this.raw(key, jsonText(value));
  }

  integer(key: string, value: i64): JsonObject {
    return this.raw(key, value.toString());
  }

  /** `json` is JSON already. */
  raw(key: string, json: string): JsonObject {
    this.members.push(jsonText(key) + ":" + json);
    return this;
  }

  toString(): string {
    return "{" + this.members.join(",") + "}";
  }
}

/** A list of what is JSON already. */
export function jsonList(items: string[]): string {
  return "[" + items.join(",") + "]";
}

function jsonText(text: string): string {
  let json = '"';
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code == 0x22 || code == 0x5c) json += "\\" + text.charAt(i);
    else if (code < 0x20) json += "\\u00" + (code < 0x10 ? "0" : "") + code.toString(16);
    else json += text.charAt(i);
  }
  return json + '"';
}
