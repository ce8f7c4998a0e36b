/**
 * Tells when the sources of a project were saved.
 *
 * One watch for each folder and none for a file: an editor that writes a new file and renames it over the old one, and a checkout
 * that replaces a folder, are seen like any other save. What an editor leaves beside (`.swp`, `~`, dotted names) is no source.
 * Saves that come together are one change: it is told when nothing more has come for a moment. What a project imports from outside
 * its folder or from node_modules is not watched.
 *
 * Of a program of another language every file is a source, save where toolchains write: the component, folders of build products,
 * what is dotted. What a build wrote elsewhere is a change only as long as its bytes are others, so that no build runs for its own output.
 */
import { createHash } from "node:crypto";
import { type FSWatcher, lstatSync, readFileSync, readdirSync, watch } from "node:fs";
import { join, relative, sep } from "node:path";
import { CliError } from "../command.ts";
import { MANIFEST_FILE } from "../component.ts";
import { pause } from "../pause.ts";

/** An editor that empties a file and then fills it is done within this. */
const QUIET_MS = 20;
/** A program that writes without an end is not waited for. */
const QUIET_WAIT_MS_MAX = 500;
/** Each takes one of the user's inotify watches. */
const FOLDERS_MAX = 1_000;
const FOLDERS_IGNORED = ["node_modules"];
/** Where cargo, npm, Python, zig and cmake put what they make; `bin` and `pkg` are sources of Rust and Go. */
const FOLDERS_OF_PRODUCTS = new Set(["target", "build", "dist", "out", "obj", "venv", "__pycache__", "zig-out"]);
const FILES_OF_PRODUCTS = /\.(?:wasm|o|a|so|pyc|d|tmp)$|~$/;
/** A larger file is told by its time. */
const HASHED_BYTES_MAX = 8 * 1024 * 1024;
/** In place of digests, which are hex. */
const THERE = "there";
const GONE = "gone";

export type Change = {
  /** When the first of it was seen, by performance.now(). */
  readonly savedMs: number;
  /** Paths from the project's folder, in order. */
  readonly files: readonly string[];
};
export type SourceWatch = {
  /** Waits for the next change; null when the signal ends the wait. Throws watch_failed when a new folder cannot be watched. */
  next(signal: AbortSignal): Promise<Change | null>;
  close(): void;
};

export type WatchOptions = {
  /** A folder of the project in which every file counts. */
  readonly assets?: string | null;
  /** The program is of another language, and a command writes this component. */
  readonly component?: string | null;
};

/** Begins to watch; what is saved from now on is a change, also while nobody waits. Throws watch_failed. */
export function watchSources(project: string, options: WatchOptions = {}): SourceWatch {
  return new FolderWatch(project, options);
}

class FolderWatch implements SourceWatch {
  readonly #project: string;
  readonly #assets: string | null;
  readonly #component: string | null;
  /** By path, of programs of other languages: a digest of what was there at the last change; what has none is not there. */
  readonly #contents = new Map<string, string>();
  readonly #watchers = new Map<string, FSWatcher>();
  #files = new Set<string>();
  #firstMs = 0;
  #lastMs = 0;
  #failure: unknown;
  #wake: () => void = () => {};

  constructor(project: string, { assets = null, component = null }: WatchOptions) {
    this.#project = project;
    this.#assets = assets === null ? null : join(project, assets);
    this.#component = component === null ? null : join(project, component);
    try {
      this.#add(project, false);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  async next(signal: AbortSignal): Promise<Change | null> {
    if (this.#files.size === 0 && this.#failure === undefined && !signal.aborted) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      signal.addEventListener("abort", this.#wake);
      await promise;
      signal.removeEventListener("abort", this.#wake);
    }
    for (;;) {
      if (signal.aborted) return null;
      if (this.#failure !== undefined) throw this.#failure;
      const nowMs = performance.now();
      const untilQuietMs = Math.min(this.#lastMs + QUIET_MS, this.#firstMs + QUIET_WAIT_MS_MAX) - nowMs;
      if (untilQuietMs <= 0) break;
      await pause(Math.ceil(untilQuietMs), signal);
    }
    const files = [...this.#files].toSorted();
    this.#files = new Set();
    return { savedMs: this.#firstMs, files };
  }

  close(): void {
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  /** Watches a folder and those in it. In one that has just appeared, what is there already was saved too. */
  #add(folder: string, isNew: boolean): void {
    if (this.#watchers.size >= FOLDERS_MAX) throw new CliError("watch_failed", `Cannot watch ${this.#project}: it has more than ${FOLDERS_MAX} folders`);
    try {
      const watcher = watch(folder, (_, name) => {
        try {
          if (name !== null) this.#seen(folder, name);
        } catch (error) {
          this.#failure = error;
          this.#wake();
        }
      });
      // A folder that goes away is seen by the one that it was in.
      watcher.on("error", () => watcher.close());
      this.#watchers.set(folder, watcher);
      for (const entry of readdirSync(folder, { withFileTypes: true })) {
        if (entry.isDirectory() && !this.#isIgnored(entry.name)) this.#add(join(folder, entry.name), isNew);
        else if (isNew && this.#isSource(folder, entry.name)) this.#changed(join(folder, entry.name));
        else if (!isNew && this.#component !== null) this.#contents.set(join(folder, entry.name), THERE);
      }
    } catch (error) {
      // One that has gone again is no longer the project's; the project's own folder has to be there.
      if (folder === this.#project || !isGone(error)) throw failure(folder, error);
    }
  }

  #seen(folder: string, name: string): void {
    const path = join(folder, name);
    if (this.#isSource(folder, name)) this.#changed(path);
    if (this.#isIgnored(name)) return;
    const isFolder = lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
    const wasFolder = this.#watchers.has(path);
    if (!isFolder && !wasFolder) return;
    // Another folder may have its name by now.
    if (wasFolder) this.#forget(path);
    if (isFolder) this.#add(path, true);
    else this.#changed(path);
  }

  #isSource(folder: string, name: string): boolean {
    const isAsset = this.#assets !== null && (folder === this.#assets || folder.startsWith(this.#assets + sep));
    if (isAsset) return !isHidden(name) && !name.endsWith("~");
    if (this.#component === null) return (name.endsWith(".ts") && !name.startsWith(".")) || name === MANIFEST_FILE;
    return !this.#isIgnored(name) && !FILES_OF_PRODUCTS.test(name) && join(folder, name) !== this.#component && this.#isOther(join(folder, name));
  }

  /** Of a folder's name, and for programs of other languages of a file's. */
  #isIgnored(name: string): boolean {
    return isHidden(name) || (this.#component !== null && FOLDERS_OF_PRODUCTS.has(name));
  }

  /** A file whose bytes are those that it had is no change. */
  #isOther(path: string): boolean {
    const content = contentOf(path);
    if (content === "folder" || (this.#contents.get(path) ?? GONE) === content) return false;
    this.#contents.set(path, content);
    return true;
  }

  #forget(folder: string): void {
    for (const [path, watcher] of this.#watchers) {
      if (path !== folder && !path.startsWith(folder + sep)) continue;
      watcher.close();
      this.#watchers.delete(path);
    }
  }

  #changed(path: string): void {
    this.#lastMs = performance.now();
    if (this.#files.size === 0) this.#firstMs = this.#lastMs;
    this.#files.add(relative(this.#project, path));
    this.#wake();
  }
}

const isHidden = (name: string): boolean => name.startsWith(".") || FOLDERS_IGNORED.includes(name);

function contentOf(path: string): string {
  try {
    const stats = lstatSync(path);
    if (stats.isDirectory()) return "folder";
    const { size, mtimeMs } = stats;
    return size > HASHED_BYTES_MAX ? `${size} ${mtimeMs}` : createHash("sha256").update(readFileSync(path)).digest("hex");
  } catch {
    return GONE;
  }
}

const isGone = (error: unknown): boolean => error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");

const failure = (folder: string, error: unknown): CliError =>
  error instanceof CliError ? error : new CliError("watch_failed", `Cannot watch ${folder}: ${error instanceof Error ? error.message : String(error)}`, {}, error);
