// Block by block: a block is one or more lines of a kind, and what is in a line is rendered by inline().
import { inline } from "./inline";

export function render(text: string): string {
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  let html = "";
  for (let i = 0; i < lines.length; ) {
    const line = lines[i];
    const level = headingLevel(line);
    if (!line.trim().length) i++;
    else if (line.startsWith("```")) {
      const end = fenceEnd(lines, i + 1);
      html += "<pre><code>" + escapeHtml(lines.slice(i + 1, end).join("\n")) + "\n</code></pre>\n";
      i = end + 1;
    } else if (level) {
      html += "<h" + level.toString() + ">" + inline(line.substring(level + 1).trim()) + "</h" + level.toString() + ">\n";
      i++;
    } else if (isRule(line)) {
      html += "<hr>\n";
      i++;
    } else if (line.startsWith(">")) {
      const end = runEnd(lines, i, (each: string): bool => each.startsWith(">"));
      html += "<blockquote>\n" + render(lines.slice(i, end).map<string>((each: string): string => each.substring(each.startsWith("> ") ? 2 : 1)).join("\n")) + "</blockquote>\n";
      i = end;
    } else if (itemStart(line)) {
      const end = runEnd(lines, i, (each: string): bool => itemStart(each) > 0);
      const tag = line.charCodeAt(0) >= 0x30 && line.charCodeAt(0) <= 0x39 ? "ol" : "ul";
      html += "<" + tag + ">\n";
      for (; i < end; i++) html += "<li>" + inline(lines[i].substring(itemStart(lines[i])).trim()) + "</li>\n";
      html += "</" + tag + ">\n";
    } else {
      const end = runEnd(lines, i, isText);
      html += "<p>" + inline(lines.slice(i, end).join("\n")) + "</p>\n";
      i = end;
    }
  }
  return html;
}

export function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

/** 1 to 6, 0 when it is no heading. */
function headingLevel(line: string): i32 {
  let level = 0;
  while (level < line.length && line.charCodeAt(level) == 0x23) level++;
  return level <= 6 && level > 0 && level < line.length && line.charAt(level) == " " ? level : 0;
}

/** Where the text of a list's item begins; 0 when it is none. */
function itemStart(line: string): i32 {
  if (line.startsWith("- ") || line.startsWith("* ") || line.startsWith("+ ")) return 2;
  let digits = 0;
  while (digits < line.length && line.charCodeAt(digits) >= 0x30 && line.charCodeAt(digits) <= 0x39) digits++;
  return digits > 0 && digits < 10 && line.substring(digits, digits + 2) == ". " ? digits + 2 : 0;
}

function isRule(line: string): bool {
  const bare = line.replaceAll(" ", "");
  return bare.length >= 3 && (bare == "-".repeat(bare.length) || bare == "*".repeat(bare.length) || bare == "_".repeat(bare.length));
}

function isText(line: string): bool {
  return line.trim().length > 0 && !headingLevel(line) && !itemStart(line) && !line.startsWith(">") && !line.startsWith("```") && !isRule(line);
}

function runEnd(lines: string[], start: i32, belongs: (line: string) => bool): i32 {
  let end = start + 1;
  while (end < lines.length && belongs(lines[end])) end++;
  return end;
}

/** The closing fence; the end of the text when there is none. */
function fenceEnd(lines: string[], start: i32): i32 {
  let end = start;
  while (end < lines.length && !lines[end].startsWith("```")) end++;
  return end;
}
