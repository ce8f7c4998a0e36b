/**
 * Takes from Node what no machine asks for: the words of 800 languages and the tables of old character sets that ICU brings, and the compiler that takes types out of
 * TypeScript, as the image has JavaScript. It is a third of what Node weighs in an image.
 *
 * Nothing moves: what goes is overwritten, compresses to nothing and is never read. ICU takes an item that does not begin as one for a language that it does not have, and
 * falls back to English. A Node that is built otherwise is an error of the build, and not found out on a machine.
 */
import { ImageError } from "./errors.ts";

/** A common data file of ICU begins with these, after the length of its header. */
const ICU_MAGIC = [0xda, 0x27];
const ICU_FORMAT = "CmnD";
const ICU_FORMAT_AT = 12;
const ITEMS_MIN = 1_000;
const ITEMS_MAX = 20_000;
const NAME_LENGTH_MAX = 128;
/** Two letters or three, and what may follow: `de`, `sr_Latn_RS`. English stays, and the list of what there is. */
const LANGUAGE = /^(?!en[._]|res_index)[a-z]{2,3}(?:_\w+)*\.res$/;
/** Character sets other than Unicode's, words by dictionary, names of characters, alphabets into one another. */
const OTHER = /\.cnv$|\.dict$|^unames\.icu$|^any\.res$/;
const TRANSLITERATION = "translit";
/** How amaro begins, which takes the types out. */
const TYPE_STRIPPER = 'var bytes = Buffer2.from("';
const TYPE_STRIPPER_BYTES_MIN = 1_000_000;

export function trimNode(file: Uint8Array): Uint8Array {
  const trimmed = Buffer.from(file);
  trimIcu(trimmed);
  trimTypeStripper(trimmed);
  return trimmed;
}

function trimIcu(file: Buffer): void {
  const headerAt = findIcu(file);
  const tableAt = headerAt + file.readUInt16LE(headerAt);
  const count = file.readUInt32LE(tableAt);
  if (count < ITEMS_MIN || count > ITEMS_MAX) throw unknown(`its ICU has ${count} items`);
  const items = Array.from({ length: count }, (_, index) => ({ name: textAt(file, tableAt + file.readUInt32LE(tableAt + 4 + 8 * index)), at: tableAt + file.readUInt32LE(tableAt + 8 + 8 * index) }));
  for (const [index, { name, at }] of items.entries()) {
    const next = items[index + 1];
    // Where the last one ends is not in the table.
    if (next === undefined || !isNotAskedFor(name)) continue;
    if (next.at < at || next.at > file.length) throw unknown(`its ICU has ${name} at ${at}, and the next item at ${next.at}`);
    file.fill(0, at, next.at);
  }
}

/** A name is `icudt78l/zone/de.res`. */
function isNotAskedFor(name: string): boolean {
  const parts = name.split("/");
  const last = parts.at(-1) ?? "";
  return LANGUAGE.test(last) || OTHER.test(last) || parts.at(-2) === TRANSLITERATION;
}

function findIcu(file: Buffer): number {
  for (let at = file.indexOf(ICU_FORMAT); at >= 0; at = file.indexOf(ICU_FORMAT, at + 1)) {
    const headerAt = at - ICU_FORMAT_AT;
    if (headerAt >= 0 && ICU_MAGIC.every((byte, index) => file[headerAt + 2 + index] === byte)) return headerAt;
  }
  throw unknown("it has no ICU");
}

function textAt(file: Buffer, at: number): string {
  const end = file.indexOf(0, at);
  if (end < at || end - at > NAME_LENGTH_MAX) throw unknown(`its ICU has no name at ${at}`);
  return file.toString("latin1", at, end);
}

/** Text that stands for bytes; it stays text. */
function trimTypeStripper(file: Buffer): void {
  const at = file.indexOf(TYPE_STRIPPER) + TYPE_STRIPPER.length;
  const end = file.indexOf('"', at);
  if (at < TYPE_STRIPPER.length || end - at < TYPE_STRIPPER_BYTES_MIN) throw unknown("it has nothing that takes types out");
  file.fill("A", at, end);
}

const unknown = (why: string): ImageError => new ImageError("node_unknown", `Cannot make Node smaller: ${why}. It is another build than the one this was written for`);
