/**
 * The parser's hands: look at tokens, take them, say what was expected when they are not it.
 */
import type { Name, Version } from "./syntax.ts";
import { DEPTH_MAX, MEMBERS_MAX } from "./limits.ts";
import { tokens, type Token } from "./lexer.ts";
import { WitError, type Place, type SourceFile } from "./wit-error.ts";

/** Words in lower case or in upper case, joined by dashes. */
const KEBAB = /^(?:[a-z][a-z0-9]*|[A-Z][A-Z0-9]*)(?:-(?:[a-z0-9]+|[A-Z0-9]+))*$/;
const VERSION = /^(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?$/;
/** What a name can be only with a `%` before it. */
const KEYWORDS = new Set([
  "as", "async", "bool", "borrow", "char", "constructor", "enum", "export", "f32", "f64", "flags", "from", "func", "future", "import", "include", "interface", "list", "option", "own",
  "package", "record", "resource", "result", "s16", "s32", "s64", "s8", "static", "stream", "string", "tuple", "type", "u16", "u32", "u64", "u8", "use", "variant", "with", "world",
]);

export class Reader {
  readonly file: SourceFile;
  readonly #tokens: readonly Token[];
  #next = 0;
  #depth = 0;

  constructor(file: SourceFile) {
    this.file = file;
    this.#tokens = tokens(file);
  }

  /** The token `ahead` of the next one. */
  peek(ahead = 0): Token {
    const token = this.#tokens[Math.min(this.#next + ahead, this.#tokens.length - 1)];
    if (token === undefined) throw new Error("There are no tokens, not even an end");
    return token;
  }

  /** Where the next token stands. */
  get at(): Place {
    return { file: this.file, offset: this.peek().offset };
  }

  take(): Token {
    const token = this.peek();
    this.#next++;
    return token;
  }

  isNext(text: string, ahead = 0): boolean {
    const token = this.peek(ahead);
    return token.text === text && token.kind !== "end";
  }

  /** Takes the next token if it is this one. */
  skip(text: string): boolean {
    const found = this.isNext(text);
    if (found) this.#next++;
    return found;
  }

  expect(text: string): void {
    if (!this.skip(text)) throw this.unexpected(`"${text}"`);
  }

  unexpected(expected: string): WitError {
    const { kind, text } = this.peek();
    return new WitError("wit_syntax", this.at, `expected ${expected}, found ${kind === "end" ? "the end of the file" : `"${text}"`}`);
  }

  /** A name that its author chose: kebab case, and no keyword unless written with `%`. */
  name(what: string): Name {
    const { at } = this;
    const token = this.peek();
    if (KEYWORDS.has(token.text)) throw this.unexpected(`${what} (a name that is a keyword needs a %: "%${token.text}")`);
    if (token.kind !== "word") throw this.unexpected(what);
    const text = token.text.replace(/^%/, "");
    if (!KEBAB.test(text)) throw new WitError("wit_name_invalid", at, `"${text}" is not a name in kebab case, such as "input-stream"`);
    this.#next++;
    return { text, at };
  }

  version(): Version {
    const { at } = this;
    const token = this.peek();
    if (token.kind !== "number") throw this.unexpected("a version");
    const [, major, minor, patch, pre] = VERSION.exec(token.text) ?? [];
    if (patch === undefined) throw new WitError("wit_version_invalid", at, `"${token.text}" is not a version, such as 0.2.12`);
    this.#next++;
    return { text: token.text, major: Number(major), minor: Number(minor), patch: Number(patch), pre: pre ?? "" };
  }

  /** What `read` reads until the closing symbol, with commas between; the last may have one. */
  list<T>(close: string, read: () => T): T[] {
    const found: T[] = [];
    while (!this.skip(close)) {
      if (found.length >= MEMBERS_MAX) throw new WitError("wit_too_large", this.at, `there are more than ${MEMBERS_MAX} here`);
      found.push(read());
      if (this.skip(",")) continue;
      if (!this.isNext(close)) throw this.unexpected(`"," or "${close}"`);
    }
    return found;
  }

  /** Runs `read` one level deeper. */
  deeper<T>(read: () => T): T {
    if (++this.#depth > DEPTH_MAX) throw new WitError("wit_too_deep", this.at, `types can be ${DEPTH_MAX} inside each other`);
    const result = read();
    this.#depth--;
    return result;
  }
}
