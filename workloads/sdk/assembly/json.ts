/**
 * `godwit/json`: JSON bodies with json-as.
 *
 *     import { json, jsonOf } from "godwit/json";
 *
 *     @json class Order { item: string = ""; count: i32 = 0; }
 *
 *     const order = jsonOf<Order>(request.text());
 *     if (!order) return Response.text("not JSON\n", 400);
 *     return json<Order>(order);
 *
 * json-as ends the program at text that is no JSON; `jsonOf` looks first (RFC 8259), since AssemblyScript cannot catch. A member of
 * another type than the class says is still the program's end: where clients are strangers, say what they may send.
 */
import { JSON } from "json-as";
import { Response } from "./http/response";

export { JSON } from "json-as";

/** Deeper than this is an attack, not a document. */
const DEPTH_MAX = 64;

/** What `text` says; null when it is not one JSON value. */
export function jsonOf<T>(text: string): T | null {
  return isJson(text) ? JSON.parse<T>(text) : null;
}

/** A response with `value` as JSON. */
export function json<T>(value: T, status: i32 = 200): Response {
  return Response.json(JSON.stringify<T>(value), status);
}

/** Whether `text` is one JSON value, no deeper than 64 lists and objects. */
export function isJson(text: string): bool {
  const scanner = new Scanner(text);
  return scanner.value(0) && scanner.isAtEnd();
}

class Scanner {
  private at: i32 = 0;

  constructor(private text: string) {}

  isAtEnd(): bool {
    this.space();
    return this.at == this.text.length;
  }

  value(depth: i32): bool {
    if (depth > DEPTH_MAX) return false;
    this.space();
    const code = this.code();
    if (code == 0x7b) return this.members(depth, 0x7d, true);
    if (code == 0x5b) return this.members(depth, 0x5d, false);
    if (code == 0x22) return this.string();
    return this.word("true") || this.word("false") || this.word("null") || this.number();
  }

  private members(depth: i32, close: i32, isObject: bool): bool {
    this.at++;
    this.space();
    if (this.take(close)) return true;
    do {
      if (isObject) {
        this.space();
        if (this.code() != 0x22 || !this.string()) return false;
        this.space();
        if (!this.take(0x3a)) return false;
      }
      if (!this.value(depth + 1)) return false;
      this.space();
    } while (this.take(0x2c));
    return this.take(close);
  }

  private string(): bool {
    this.at++;
    while (this.at < this.text.length) {
      const code = this.code();
      this.at++;
      if (code == 0x22) return true;
      if (code < 0x20) return false;
      if (code == 0x5c && !this.escape()) return false;
    }
    return false;
  }

  private escape(): bool {
    const code = this.code();
    this.at++;
    if (code != 0x75) return '"\\/bfnrt'.indexOf(String.fromCharCode(code)) >= 0;
    for (let i = 0; i < 4; i++, this.at++) {
      const digit = this.code() | 0x20;
      if (!((digit >= 0x30 && digit <= 0x39) || (digit >= 0x61 && digit <= 0x66))) return false;
    }
    return true;
  }

  private number(): bool {
    this.take(0x2d);
    if (!this.take(0x30) && !this.digits()) return false;
    if (this.take(0x2e) && !this.digits()) return false;
    if (this.take(0x65) || this.take(0x45)) {
      if (!this.take(0x2b)) this.take(0x2d);
      return this.digits();
    }
    return true;
  }

  private digits(): bool {
    const start = this.at;
    while (this.code() >= 0x30 && this.code() <= 0x39) this.at++;
    return this.at > start;
  }

  private word(word: string): bool {
    if (!this.text.startsWith(word, this.at)) return false;
    this.at += word.length;
    return true;
  }

  private take(code: i32): bool {
    if (this.code() != code) return false;
    this.at++;
    return true;
  }

  private space(): void {
    for (let code = this.code(); code == 0x20 || code == 0x09 || code == 0x0a || code == 0x0d; code = this.code()) this.at++;
  }

  private code(): i32 {
    return this.at < this.text.length ? this.text.charCodeAt(this.at) : -1;
  }
}
