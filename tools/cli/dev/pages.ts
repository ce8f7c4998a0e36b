/**
 * The pages that `godwit dev` shows in a browser: a program that does not build, a request that trapped. Each has the message, the
 * places in the sources with the lines around the first, and loads again by itself when the next version serves.
 *
 * All text in them is the author's or a client's: none of it becomes markup. Nothing is loaded from anywhere.
 */
import { readFile } from "node:fs/promises";
import { join, normalize, sep } from "node:path";
import type { LogLine } from "#sandbox/sandbox.ts";
import type { Failure } from "./report.ts";

type Place = { readonly file: string; readonly line: number; readonly column: number };
type Frame = Place & { readonly name: string };

const LINES_AROUND = 4;
const DIAGNOSTICS_SHOWN_MAX = 20;
const LIBRARY = "~lib/";
/** By the sandbox's code: what a limit says, and where the author may set it. */
const LIMIT_TEXTS: Readonly<Record<string, string>> = {
  memory_limit: "It used all the memory that it may have ([resources] memory_mib)", memory_full: "All instances together used the memory of the replica ([resources] memory_mib)", table_limit: "It has more functions in its tables than it may ([limits] table_elements)",
  fuel_limit: "It computed longer than it may: an endless loop? ([limits] fuel_per_call)", cpu_time_limit: "It computed longer than it may: an endless loop? ([limits] cpu_time_ms)",
  wall_time_limit: "It took longer than it may ([limits] wall_time_ms)", no_answer: "It ended without an answer", answer_too_large: "Its answer is larger than it may be ([limits] response_body_kib)",
};

/** A project of which no version is good yet. */
export async function buildPage(project: string, failure: Failure, reloadPath: string): Promise<string> {
  const shown = failure.diagnostics.slice(0, DIAGNOSTICS_SHOWN_MAX);
  const parts = await Promise.all(shown.map(async (one) => `<section><h2>${escaped(one.message)}</h2>\n<p class="place">${escaped(placeText(one))} <span class="dim">${escaped(one.code)}</span></p>\n${await excerpt(project, one)}</section>`));
  const rest = failure.diagnostics.length - shown.length;
  const body = parts.length === 0 ? `<pre>${escaped(failure.message)}</pre>` : parts.join("\n") + (rest > 0 ? `<p class="dim">and ${rest} more</p>` : "");
  return document("It does not build", failure.code, "It does not build", body, "This page loads again at the next save.", reloadPath);
}

/** A request whose instance the sandbox ended; `lines` is all that was logged of it. */
export async function trapPage(project: string, request: string, id: string, lines: readonly LogLine[], reloadPath: string): Promise<string> {
  const system = lines.filter(({ stream }) => stream === "system").map(({ line }) => line).join("\n").split("\n");
  const written = lines.filter(({ stream }) => stream !== "system").map(({ line }) => line);
  const abort = written.map((line) => /^abort: (.*) at (\S+):(\d+):(\d+)$/.exec(line)).findLast((match) => match !== null);
  const code = /^([a-z_]+)/.exec(system[0] ?? "")?.[1] ?? "trap";
  const cause = system.findLast((line) => line.trim() !== "")?.trim() ?? code;
  const frames = system.map(frameOf).filter((frame) => frame !== null);
  const thrown = abort === undefined || abort === null ? null : { file: abort[2] ?? "", line: Number(abort[3]), column: Number(abort[4]) };
  const first = [...(thrown === null ? [] : [thrown]), ...frames].find(({ file }) => !file.startsWith(LIBRARY));
  const body = [
    ...(first === undefined ? [] : [`<p class="place">${escaped(placeText(first))}</p>`, await excerpt(project, first)]),
    ...(frames.length === 0 ? [] : [`<h2>Frames</h2>\n<ol>${folded(frames).map(({ frame, times }) => `<li${frame.file.startsWith(LIBRARY) ? ' class="dim"' : ""}><b>${escaped(frame.name)}</b> <span>${times > 1 ? `${times} × ` : ""}${escaped(placeText(frame))}</span></li>`).join("\n")}</ol>`]),
    ...(written.length === 0 ? [] : [`<h2>What it wrote</h2>\n<pre>${escaped(written.join("\n"))}</pre>`]),
    `<details><summary>What the sandbox says</summary><pre>${escaped(system.join("\n").trim())}</pre></details>`,
  ].join("\n");
  const message = LIMIT_TEXTS[code] ?? abort?.[1] ?? cause.replace(/^wasm trap: /, "");
  return document(message, `${code} · ${request}`, message === "" ? code : message, body, `Request ${id}. Clients that want no page get a problem document. This page loads again at the next save.`, reloadPath);
}

function frameOf(line: string): Frame | null {
  const [, name, file, digits, column] = /^\s*at (.+?) \((\S+?):(\d+):(\d+)(?:, in [^)]*)?\)$/.exec(line) ?? [];
  return name === undefined || file === undefined ? null : { name, file, line: Number(digits), column: Number(column) };
}

/** One that calls itself at the same place is told once. */
function folded(frames: readonly Frame[]): { frame: Frame; times: number }[] {
  const all: { frame: Frame; times: number }[] = [];
  for (const frame of frames) {
    const last = all.at(-1);
    if (last !== undefined && last.frame.name === frame.name && placeText(last.frame) === placeText(frame)) last.times += 1;
    else all.push({ frame, times: 1 });
  }
  return all;
}

/** The lines around a place; empty where the file is not the project's, or is not there. */
async function excerpt(project: string, { file, line, column }: Place): Promise<string> {
  const inside = normalize(file);
  if (line < 1 || inside.startsWith("..") || inside.startsWith(sep)) return "";
  const text = await readFile(join(project, inside), "utf8").catch(() => null);
  if (text === null) return "";
  const all = text.split("\n");
  const from = Math.max(1, line - LINES_AROUND);
  const width = String(line + LINES_AROUND).length;
  const shown = all.slice(from - 1, line + LINES_AROUND).map((source, i) => {
    const number = String(from + i).padStart(width);
    return from + i === line ? `<mark>${number}  ${escaped(source) || " "}\n${" ".repeat(width + 2)}${escaped(source.slice(0, column - 1)).replace(/[^\t]/g, " ").slice(0, column - 1)}^</mark>` : `<i>${number}</i>  ${escaped(source)}`;
  });
  return `<pre class="code">${shown.join("\n").replace("</mark>\n", "</mark>")}</pre>`;
}

const placeText = ({ file, line, column }: Place): string => (line > 0 ? `${file}:${line}:${column}` : file);

const STYLE = `
:root { color-scheme: light dark; --ink: #1c1b22; --dim: #6c6a78; --paper: #fafafc; --card: #fff; --line: #e2e1ea; --red: #c4253c; --wash: #fdecee; font: 16px/1.5 system-ui, sans-serif }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf1; --dim: #9a98a8; --paper: #16151b; --card: #1f1e26; --line: #33313d; --red: #ff7086; --wash: #3a1c24 } }
* { box-sizing: border-box } body { margin: 0; color: var(--ink); background: var(--paper); border-top: 4px solid var(--red) }
main { max-width: 60rem; margin: 0 auto; padding: 3rem 1.5rem }
h1 { font-size: 1.75rem; line-height: 1.25; margin: .25rem 0 1.5rem; overflow-wrap: anywhere } h2 { font-size: 1rem; margin: 1.75rem 0 .5rem; overflow-wrap: anywhere }
.kicker { margin: 0; color: var(--red); font: 600 .85rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere } .place { margin: 0 0 .5rem; font: .9rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere }
.dim, footer, i { color: var(--dim); font-style: normal } footer { margin-top: 2.5rem; font-size: .85rem }
pre { margin: 0; padding: 1rem; font: .85rem/1.6 ui-monospace, monospace; background: var(--card); border: 1px solid var(--line); border-radius: 8px; white-space: pre-wrap; overflow-wrap: anywhere; tab-size: 2 }
.code { white-space: pre; overflow-x: auto } mark { display: block; margin: 0 -1rem; padding: 0 1rem; color: inherit; background: var(--wash); font-weight: 600 }
ol { margin: 0; padding: 0; list-style: none; background: var(--card); border: 1px solid var(--line); border-radius: 8px } li { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 2rem; padding: .4rem 1rem; font: .85rem/1.6 ui-monospace, monospace; overflow-wrap: anywhere } li + li { border-top: 1px solid var(--line) } li b { font-weight: 600 }
details { margin-top: 1.75rem } summary { cursor: pointer; margin-bottom: .5rem; font-weight: 600 }`;

function document(title: string, kicker: string, heading: string, body: string, footer: string, reloadPath: string): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>${escaped(title)}</title><style>${STYLE}</style></head>
<body><main><p class="kicker">${escaped(kicker)}</p><h1>${escaped(heading)}</h1>
${body}
<footer>${escaped(footer)}</footer></main>
<script>new EventSource(${JSON.stringify(reloadPath)}).onmessage = () => location.reload()</script></body></html>
`;
}

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escaped = (text: string): string => text.replace(/[&<>"']/g, (sign) => ENTITIES[sign] ?? sign);
