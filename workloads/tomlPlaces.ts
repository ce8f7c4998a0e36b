/**
 * Where keys stand in a TOML text, for error messages; smol-toml gives values without places.
 *
 * Pure. Keys of inline tables are not found, and have the place of their table: a place is a help for the eye, never part of a
 * decision.
 */
export type Place = { readonly line: number; readonly keyColumn: number; readonly valueColumn: number };

const KEY = String.raw`(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')`;
const HEADER = new RegExp(String.raw`^(\s*\[{1,2}\s*)(${KEY}(?:\s*\.\s*${KEY})*)\s*\]`);
const PAIR = new RegExp(String.raw`^(\s*)(${KEY}(?:\s*\.\s*${KEY})*)(\s*=\s*)`);

/** Path (`resources.memory_mib`) → place of its first appearance; lines and columns count from 1. */
export function locate(text: string): ReadonlyMap<string, Place> {
  const places = new Map<string, Place>();
  const note = (path: string, place: Place): void => {
    if (!places.has(path)) places.set(path, place);
  };
  let table = "";
  let quotes: string | null = null;
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (quotes !== null) {
      if (line.includes(quotes)) quotes = null;
      continue;
    }
    const header = HEADER.exec(line);
    if (header !== null) {
      table = path(header[2] ?? "");
      const column = (header[1] ?? "").length + 1;
      note(table, { line: index + 1, keyColumn: column, valueColumn: column });
      continue;
    }
    const pair = PAIR.exec(line);
    if (pair === null) continue;
    const keyColumn = (pair[1] ?? "").length + 1;
    const key = path(pair[2] ?? "");
    note(table === "" ? key : `${table}.${key}`, { line: index + 1, keyColumn, valueColumn: pair[0].length + 1 });
    quotes = openQuotes(line.slice(pair[0].length));
  }
  return places;
}

/** The quotes of a multi-line string that this line opens and does not close. */
function openQuotes(value: string): string | null {
  for (const quotes of ['"""', "'''"]) {
    if (value.startsWith(quotes) && !value.slice(quotes.length).includes(quotes)) return quotes;
  }
  return null;
}

/** Quoted and spaced parts of a dotted key as one plain path. */
function path(key: string): string {
  const parts = key.match(new RegExp(KEY, "g")) ?? [];
  return parts.map((part) => (/^["']/.test(part) ? part.slice(1, -1) : part)).join(".");
}
