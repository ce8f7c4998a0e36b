/** The words of a line in lower case. Letters of every script belong to a word; ASCII signs and digits part them, but ' and - inside do not. */
export function wordsOf(line: string): string[] {
  const words: string[] = [];
  const text = line.toLowerCase();
  let start = -1;
  for (let i = 0; i <= text.length; i++) {
    const inside = i < text.length && (isLetter(text.charCodeAt(i)) || (start >= 0 && isJoint(text.charCodeAt(i)) && i + 1 < text.length && isLetter(text.charCodeAt(i + 1))));
    if (inside && start < 0) start = i;
    if (!inside && start >= 0) {
      words.push(text.substring(start, i));
      start = -1;
    }
  }
  return words;
}

function isLetter(code: i32): bool {
  return code >= 0x80 ? code != 0xa0 && (code < 0x2000 || code > 0x206f) : code >= 0x61 && code <= 0x7a;
}

function isJoint(code: i32): bool {
  return code == 0x27 || code == 0x2d;
}
