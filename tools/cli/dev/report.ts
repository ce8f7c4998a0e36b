/** What `godwit dev` says: sentences for people, with --json one event a line, which has everything that the sentence is made of. */
import type { LogLine } from "#sandbox/sandbox.ts";
import type { Build, Diagnostic } from "#workloads/sdk/build.ts";
import type { Output, Shell } from "../command.ts";
import { jsonText, paint, plain, warn } from "../table.ts";
import type { Change } from "./watch.ts";

export type Failure = { readonly code: string; readonly message: string; readonly diagnostics: readonly Diagnostic[]; readonly url?: string };

export class Report {
  readonly #shell: Shell;
  readonly #json: boolean;
  /** A chunk may end inside a character. */
  readonly #decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };

  constructor(shell: Shell, json: boolean) {
    this.#shell = shell;
    this.#json = json;
  }

  building(project: string, command: readonly string[] | null): void {
    if (!this.#json) this.#say(this.#shell.stderr, command === null ? `building ${plain(project)}, not optimised (godwit build and deploy optimise)` : `building ${plain(project)}${command.length > 0 ? ` by ${plain(command.join(" "))}` : ""}`);
  }

  warnings(build: Build): void {
    for (const warning of build.warnings) warn(this.#shell, `${warning.file}:${warning.line}:${warning.column}: ${warning.message}`);
  }

  /** The first version serves. */
  serving(url: string, port: number, build: Build): void {
    const facts = { url, port, name: build.manifest.name, digest: `sha256:${build.digest}`, bytes: build.component.length, warnings: build.warnings };
    this.#event("serving", facts, `serving ${build.manifest.name} at ${url}; builds again at each save, Ctrl-C ends`);
  }

  served(change: Change, build: Build, loadMs: number): void {
    const sinceSaveMs = sinceMs(change);
    const facts = { files: change.files, digest: `sha256:${build.digest}`, bytes: build.component.length, warnings: build.warnings, buildMs: build.elapsedMs, loadMs: Math.round(loadMs), sinceSaveMs };
    this.#event("served", facts, `${this.#paint("green", "served")} ${namesOf(change)}, ${sinceSaveMs} ms after it was saved`);
  }

  unchanged(change: Change): void {
    this.#event("unchanged", { files: change.files, sinceSaveMs: sinceMs(change) }, `saved ${namesOf(change)}: the same program`);
  }

  failed(failure: Failure, isServing: boolean, what: string): void {
    if (this.#json) return this.#event("failed", { ...failure, isServing }, "");
    this.#say(this.#shell.stderr, `${paint(this.#shell, this.#shell.stderr, "red", "error")} ${failure.code}: ${plainLines(failure.message)}`);
    this.#say(this.#shell.stderr, what);
  }

  log(line: LogLine): void {
    const { requestId, stream } = line;
    if (this.#json) return this.#event("log", line, "");
    // A backtrace has empty lines between its parts.
    if (stream === "system" && line.line.trim() === "") return;
    const output = stream === "stdout" ? this.#shell.stdout : this.#shell.stderr;
    const own = output.isTTY === true ? plain(line.line) : line.line;
    const text = stream === "system" ? paint(this.#shell, output, "red", own) : own;
    this.#say(output, requestId === "" ? text : `${paint(this.#shell, output, "dim", requestId)} ${text}`);
  }

  /** What a task writes goes through as it is, and waits for a slow reader. */
  output(stream: "stdout" | "stderr", bytes: Uint8Array): void | Promise<void> {
    if (this.#json) return this.#event("output", { stream, text: this.#decoders[stream].decode(bytes, { stream: true }) }, "");
    const output = this.#shell[stream];
    if (!output.write(bytes)) return new Promise((resolve) => output.once("drain", resolve));
  }

  ended(name: string, exitCode: number, wallMs: number, trap: { readonly code: string; readonly message: string } | undefined): void {
    const how = trap === undefined ? `ended with ${exitCode}` : `was ended: ${paint(this.#shell, this.#shell.stderr, "red", trap.code)}: ${plainLines(trap.message)}`;
    this.#event("ended", { exitCode, wallMs: Math.round(wallMs), ...(trap === undefined ? {} : { trap }) }, `${name} ${how} after ${Math.round(wallMs)} ms; runs again at each save, Ctrl-C ends`, this.#shell.stderr);
  }

  remark(text: string): void {
    warn(this.#shell, text);
  }

  #event(event: string, facts: object, sentence: string, output: Output = this.#shell.stdout): void {
    if (this.#json) this.#say(this.#shell.stdout, jsonText({ event, ...facts }));
    else this.#say(output, sentence);
  }

  #say(output: Output, text: string): void {
    output.write(`${text}\n`);
  }

  #paint(style: "green", text: string): string {
    return paint(this.#shell, this.#shell.stdout, style, text);
  }
}

const plainLines = (text: string): string => text.split("\n").map(plain).join("\n");

const sinceMs = (change: Change): number => Math.round(performance.now() - change.savedMs);

const namesOf = ({ files }: Change): string => (files.length === 1 ? plain(files[0] ?? "") : `${files.length} files`);
