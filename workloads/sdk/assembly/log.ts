/**
 * `godwit/log`: lines with a level and fields, in logfmt: people read it, and every collector of logs does.
 *
 *     import { info } from "godwit/log";
 *     info("sold", [["item", "tea"], ["count", "2"]]);     // level=info msg=sold item=tea count=2
 *
 * Debug and info go to stdout, warn and error to stderr; both are lines of the deployment's log. `console.log` writes text as it is.
 */
import { writeError, writeLine } from "./runtime";

/** Pairs of a name and a value. */
export type Fields = string[][];

/** What only a search for a fault needs, to stdout. */
export function debug(message: string, fields: Fields = []): void {
  writeLine(line("debug", message, fields));
}

/** What went as it should, to stdout. */
export function info(message: string, fields: Fields = []): void {
  writeLine(line("info", message, fields));
}

/** What may become a fault, to stderr. */
export function warn(message: string, fields: Fields = []): void {
  writeError(line("warn", message, fields));
}

/** What failed, to stderr. */
export function error(message: string, fields: Fields = []): void {
  writeError(line("error", message, fields));
}

function line(level: string, message: string, fields: Fields): string {
  let text = "level=" + level + " msg=" + quoted(message);
  for (let i = 0; i < fields.length; i++) text += " " + fields[i][0] + "=" + quoted(fields[i][1]);
  return text;
}

/** In quotes when it has to be; always one line. */
function quoted(value: string): string {
  let plain = value.length > 0;
  for (let i = 0; i < value.length && plain; i++) {
    const code = value.charCodeAt(i);
    plain = code > 0x20 && code != 0x22 && code != 0x3d && code != 0x5c && code != 0x7f;
  }
  if (plain) return value;
  let text = '"';
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i);
    if (code == 0x22 || code == 0x5c) text += "\\" + String.fromCharCode(code);
    else if (code == 0x0a) text += "\\n";
    else if (code == 0x0d) text += "\\r";
    else if (code == 0x09) text += "\\t";
    else text += String.fromCharCode(code);
  }
  return text + '"';
}
