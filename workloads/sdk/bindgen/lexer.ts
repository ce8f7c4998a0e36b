/**
 * WIT text → tokens with their places; doc comments (`///` and the starred block) ride on the token they precede.
 *
 * Grammar: the component model's WIT.md. Control characters and those that change the direction of text are refused, as there:
 * a reader must see what the parser sees.
 */
import { NAME_LENGTH_MAX } from "./limits.ts";
import { WitError, type SourceFile } from "./wit-error.ts";

/** word: a name or keyword, `%` kept; number: an integer or a version; end: after the last. */
export type TokenKind = "word" | "number" | "symbol" | "end";
export type Token = { readonly kind: TokenKind; readonly text: string; readonly offset: number; readonly docs: string };

const SPACE = /[ \t\r\n]+/y;
const WORD = /%?[A-Za-z][A-Za-z0-9-]*/y;
const NUMBER = /\d+(?:\.\d+)*(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?/y;
const SYMBOL = /->|[{}()<>,;:=.@/*_]/y;
/** C0 but tab, newline, return; DEL and C1; direction overrides and isolates; format characters that Unicode deprecates. */
const FORBIDDEN: readonly (readonly [from: number, to: number])[] = [
  [0x00, 0x08], [0x0b, 0x0c], [0x0e, 0x1f], [0x7f, 0x9f], [0x0149, 0x0149], [0x0673, 0x0673], [0x0f77, 0x0f77], [0x0f79, 0x0f79], [0x17a3, 0x17a4], [0x17b4, 0x17b5], [0x202a, 0x202e], [0x2066, 0x206f],
];

const isForbidden = (unit: number): boolean => (unit < 0x20 || unit > 0x7e) && FORBIDDEN.some(([from, to]) => unit >= from && unit <= to);

export function tokens(file: SourceFile): Token[] {
  const { text } = file;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (isForbidden(unit)) throw new WitError("wit_character", { file, offset: i }, `the character U+${unit.toString(16).padStart(4, "0")} is not allowed in WIT`);
  }
  const found: Token[] = [];
  let docs: string[] = [];
  let offset = text.startsWith("\ufeff") ? 1 : 0;
  const match = (pattern: RegExp): string | null => {
    pattern.lastIndex = offset;
    return pattern.exec(text)?.[0] ?? null;
  };
  const push = (kind: TokenKind, spelled: string): void => {
    found.push({ kind, text: spelled, offset, docs: docs.join("\n") });
    docs = [];
    offset += spelled.length;
  };
  while (offset < text.length) {
    const space = match(SPACE);
    if (space !== null) {
      offset += space.length;
      continue;
    }
    if (text.startsWith("//", offset) || text.startsWith("/*", offset)) {
      const comment = text[offset + 1] === "/" ? lineComment(text, offset) : blockComment(file, offset);
      const doc = docText(comment);
      if (doc !== null) docs.push(doc);
      offset += comment.length;
      continue;
    }
    const word = match(WORD);
    const number = word === null ? match(NUMBER) : null;
    const symbol = word === null && number === null ? match(SYMBOL) : null;
    if (word !== null && word.length > NAME_LENGTH_MAX) throw new WitError("wit_too_large", { file, offset }, `a name has at most ${NAME_LENGTH_MAX} characters`);
    if (word !== null) push("word", word);
    else if (number !== null) push("number", number);
    else if (symbol !== null) push("symbol", symbol);
    else throw new WitError("wit_character", { file, offset }, `the character ${JSON.stringify(String.fromCodePoint(text.codePointAt(offset) ?? 0))} is not part of WIT`);
  }
  push("end", "");
  return found;
}

function lineComment(text: string, offset: number): string {
  const end = text.indexOf("\n", offset);
  return text.slice(offset, end < 0 ? text.length : end);
}

/** Block comments nest. */
function blockComment(file: SourceFile, offset: number): string {
  const edges = /\/\*|\*\//g;
  edges.lastIndex = offset;
  let depth = 0;
  for (let edge = edges.exec(file.text); edge !== null; edge = edges.exec(file.text)) {
    depth += edge[0] === "/*" ? 1 : -1;
    if (depth === 0) return file.text.slice(offset, edges.lastIndex);
  }
  throw new WitError("wit_syntax", { file, offset }, "this comment has no end");
}

/** The text of a doc comment; null for any other. */
function docText(comment: string): string | null {
  if (/^\/\/\/(?!\/)/.test(comment)) return comment.slice(3).replace(/^ /, "").trimEnd();
  if (!/^\/\*\*(?![*/])/.test(comment)) return null;
  const lines = comment.slice(3, -2).split("\n").map((line) => line.replace(/^\s*\* ?/, "").trimEnd());
  return lines.join("\n").trim();
}
