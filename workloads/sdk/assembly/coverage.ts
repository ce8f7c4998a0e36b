/** For `godwit test --coverage` only: tells the first time that a line of the author's is reached. A program that is deployed has none of it. */
import { writeError } from "./runtime";

let seen = new StaticArray<bool>(0);
const GROWTH = 256;

/** `line` is a number of the build's table of lines; written at once, so that a trap loses nothing. */
// @ts-ignore: the decorator makes it known in every module.
@global
export function __godwit_line(line: f64): void {
  const index = <i32>line;
  if (index >= seen.length) {
    const more = new StaticArray<bool>(index + GROWTH);
    for (let i = 0; i < seen.length; i++) unchecked((more[i] = seen[i]));
    seen = more;
  }
  if (seen[index]) return;
  seen[index] = true;
  writeError("godwit:line " + index.toString());
}
