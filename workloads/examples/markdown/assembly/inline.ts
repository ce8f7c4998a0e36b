// What is in a line: code, images, links, strong, emphasis. Each mark is looked for from the left; one that does not close is text.
import { escapeHtml } from "./render";

/** Marks inside of marks; deeper is text. */
const DEPTH_MAX = 16;

export function inline(text: string, depth: i32 = 0): string {
  if (depth > DEPTH_MAX) return escapeHtml(text);
  let html = "";
  let plain = 0;
  for (let i = 0; i < text.length; ) {
    const rendered = markAt(text, i, depth);
    if (!rendered) {
      i++;
      continue;
    }
    html += escapeHtml(text.substring(plain, i)) + rendered.html;
    i = rendered.end;
    plain = i;
  }
  return html + escapeHtml(text.substring(plain));
}

class Rendered {
  constructor(readonly html: string, readonly end: i32) {}
}

function markAt(text: string, i: i32, depth: i32): Rendered | null {
  const code = text.charCodeAt(i);
  if (code == 0x60) return wrapped(text, i, "`", "code", depth, false);
  if (code == 0x21 && text.charAt(i + 1) == "[") return link(text, i + 1, true, depth);
  if (code == 0x5b) return link(text, i, false, depth);
  if (text.startsWith("**", i)) return wrapped(text, i, "**", "strong", depth, true);
  if (code == 0x2a) return wrapped(text, i, "*", "em", depth, true);
  return null;
}

function wrapped(text: string, i: i32, mark: string, tag: string, depth: i32, isRich: bool): Rendered | null {
  const start = i + mark.length;
  const end = text.indexOf(mark, start);
  if (end <= start || text.charAt(start) == " ") return null;
  const inner = text.substring(start, end);
  return new Rendered("<" + tag + ">" + (isRich ? inline(inner, depth + 1) : escapeHtml(inner)) + "</" + tag + ">", end + mark.length);
}

function link(text: string, open: i32, isImage: bool, depth: i32): Rendered | null {
  const close = text.indexOf("](", open);
  const end = close < 0 ? -1 : text.indexOf(")", close);
  if (end < 0) return null;
  const label = text.substring(open + 1, close);
  const url = text.substring(close + 2, end).trim();
  // A script in a link would run in the reader's page.
  if (!url.startsWith("https://") && !url.startsWith("http://") && !url.startsWith("/") && !url.startsWith("#")) return null;
  const html = isImage ? '<img src="' + escapeHtml(url) + '" alt="' + escapeHtml(label) + '">' : '<a href="' + escapeHtml(url) + '">' + inline(label, depth + 1) + "</a>";
  return new Rendered(html, end + 1);
}
