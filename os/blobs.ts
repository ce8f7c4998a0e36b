/**
 * Components and configurations on this machine: bytes named by their sha256, who uploaded them, and what became of them.
 *
 * Rules: nothing is kept that does not hash to its name (checked again on reading, the disk is hostile); an upload that no
 * deployment names counts against its account's quota and expires (the supervisor's plan says when it goes); a component is
 * compiled as soon as it is here, once however many ask, and a refusal by the compiler is remembered with its cause. What touches
 * the file of one digest does so one after the other: two accounts' uploads of it are one file, a drop takes nothing that just came.
 * A file is `<digest>.<account>`: quota and expiry (its time of change) survive a restart without a second file.
 */
import { mkdir, readFile, readdir, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { sha256 } from "#chain/crypto.ts";
import { type Address, type Hex, hex } from "#chain/types.ts";
import type { Compiled } from "#sandbox/sandbox.ts";
import { AgentError, codeOf } from "./error.ts";
import { writeWhole } from "./keys.ts";
import { COMPILES_AT_ONCE_MAX, COMPILE_ACCOUNTS_REMEMBERED_MAX, UPLOAD_ACCOUNT_BYTES_MAX, UPLOAD_BYTES_MAX, UPLOAD_BYTES_MIN, UPLOAD_EXPIRY_MS } from "./limits.ts";
import type { Blob } from "./supervisor/plan.ts";

export type BlobKind = "component" | "configuration";
type Held = { readonly owner: Hex; readonly bytes: number };
type Entry = Held & {
  readonly kind: BlobKind;
  readonly path: string;
  state: Blob["state"];
  cause: string | null;
  expiresAtMs: number;
  compiled: Compiled | null;
  compilation: Promise<Compiled> | null;
};
export type BlobStoreOptions = {
  readonly directory: string;
  /** Compiles in a process of its own into the cache; a refusal has one of COMPILE_REFUSALS as its code. */
  readonly compile: (component: Uint8Array, digest: Hex) => Promise<Compiled>;
  /** Where the compiled code of component D is a file `D-…`: it goes with its component. */
  readonly compiledDirectory?: string;
  /** Digests that a deployment names: they cost no quota. */
  readonly named: () => { has(digest: Hex): boolean };
  readonly now: () => number;
  /** A component was compiled, or refused. */
  readonly onChange: () => void;
};

/** What the compiler says about the component itself; anything else is this machine's trouble and is tried again. */
const COMPILE_REFUSALS: ReadonlySet<string> = new Set([
  "compile_failed", "compile_limit", "not_wasm", "core_module", "component_invalid", "component_too_large", "import_unknown", "world_unknown",
]);
/** A file that is gone, or holds other bytes: to read it again gives nothing else. */
const LOST: ReadonlySet<string> = new Set(["blob_corrupt", "ENOENT"]);
const FOLDERS: Readonly<Record<BlobKind, string>> = { component: "components", configuration: "configurations" };
const COMPILED_NAME = /^([0-9a-f]{64})-/;
const FILE_NAME = /^([0-9a-f]{64})\.([0-9a-f]{40})$/;

export class BlobStore {
  readonly #options: BlobStoreOptions;
  readonly #entries: Map<Hex, Entry> = new Map();
  /** Uploads on their way to the disk; the quota counts them. */
  readonly #arriving: Map<Hex, Held> = new Map();
  readonly #turns: Map<Hex, Promise<void>> = new Map();
  /** Compiles that wait for their turn, and those that have it. */
  readonly #queue: Turn[] = [];
  readonly #compiling: Set<Turn> = new Set();
  /** When each account that waits had its last turn, as a number that rises. */
  readonly #served: Map<Hex, number> = new Map();
  #turnCount = 0;

  private constructor(options: BlobStoreOptions) {
    this.#options = options;
  }

  static async open(options: BlobStoreOptions): Promise<BlobStore> {
    const store = new BlobStore(options);
    for (const kind of ["component", "configuration"] as const) {
      const folder = join(options.directory, FOLDERS[kind]);
      await mkdir(folder, { recursive: true, mode: 0o700 });
      for (const name of await readdir(folder)) {
        const [, digest, owner] = FILE_NAME.exec(name) ?? [];
        const path = join(folder, name);
        // What is not named like a blob is the rest of a write that a crash cut short.
        if (digest === undefined || owner === undefined || store.has(digest as Hex)) {
          await rm(path, { recursive: true, force: true });
          continue;
        }
        const { size, mtimeMs } = await stat(path);
        // A file from the future is of a clock that was wrong.
        store.#entries.set(digest as Hex, newEntry(kind, path, owner as Hex, size, Math.min(mtimeMs, options.now())));
      }
    }
    await store.#removeCompiled((digest) => !store.has(digest));
    return store;
  }

  has(digest: Hex): boolean {
    return this.#entries.has(digest);
  }

  kindOf(digest: Hex): BlobKind | null {
    return this.#entries.get(digest)?.kind ?? null;
  }

  /** What the supervisor's plan sees. */
  observed(): Map<Hex, Blob> {
    const blobs = new Map<Hex, Blob>();
    for (const [digest, { state, cause, expiresAtMs }] of this.#entries) {
      blobs.set(digest, cause === null ? { state, expiresAtMs } : { state, cause, expiresAtMs });
    }
    return blobs;
  }

  /** Throws `upload_quota` when an account, or all together, would hold too much that no deployment names. */
  admit(owner: Address, digest: Hex, bytes: number): void {
    const named = this.#options.named();
    if (this.has(digest) || named.has(digest)) return;
    const account = hex(owner);
    let accountBytes = charged(bytes);
    let allBytes = accountBytes;
    for (const held of [this.#entries, this.#arriving]) {
      for (const [name, upload] of held) {
        if (named.has(name)) continue;
        allBytes += charged(upload.bytes);
        if (upload.owner === account) accountBytes += charged(upload.bytes);
      }
    }
    if (accountBytes > UPLOAD_ACCOUNT_BYTES_MAX) {
      throw new AgentError("upload_quota", `Cannot take ${bytes} bytes as uploads of this account that no deployment names would pass ${UPLOAD_ACCOUNT_BYTES_MAX} bytes`);
    }
    if (allBytes > UPLOAD_BYTES_MAX) {
      throw new AgentError("upload_quota", `Cannot take ${bytes} bytes as uploads that no deployment names would pass ${UPLOAD_BYTES_MAX} bytes on this machine`);
    }
  }

  /** Keeps bytes under their digest and compiles a component in the background. Again = the expiry starts anew. */
  async put(kind: BlobKind, digest: Hex, owner: Address, bytes: Uint8Array): Promise<void> {
    if (hex(sha256(bytes)) !== digest) throw new AgentError("digest_mismatch", `Cannot keep ${kind} ${digest} as its bytes hash to ${hex(sha256(bytes))}`);
    await this.#inTurn(digest, () => this.#keep(kind, digest, owner, bytes));
    // What comes of it is in the entry; the supervisor tries again what was this machine's trouble.
    if (kind === "component") void this.compile(digest).catch(() => {});
    this.#options.onChange();
  }

  async #keep(kind: BlobKind, digest: Hex, owner: Address, bytes: Uint8Array): Promise<void> {
    this.admit(owner, digest, bytes.length);
    const now = this.#options.now();
    let entry = this.#entries.get(digest);
    if (entry === undefined) {
      const path = join(this.#options.directory, FOLDERS[kind], `${digest}.${hex(owner)}`);
      this.#arriving.set(digest, { owner: hex(owner), bytes: bytes.length });
      try {
        await writeWhole(path, bytes);
      } finally {
        this.#arriving.delete(digest);
      }
      entry = newEntry(kind, path, hex(owner), bytes.length, now);
      this.#entries.set(digest, entry);
    } else if (await this.#bytesOf(digest, entry).then(() => true, () => false)) {
      await utimes(entry.path, now / 1000, now / 1000);
    } else {
      await writeWhole(entry.path, bytes);
    }
    entry.expiresAtMs = now + UPLOAD_EXPIRY_MS;
    if (entry.state === "refused") Object.assign(entry, { state: "present", cause: null });
  }

  #inTurn(digest: Hex, work: () => Promise<void>): Promise<void> {
    const turn = (this.#turns.get(digest) ?? Promise.resolve()).then(work);
    const over = turn.catch(() => {}).then(() => {
      if (this.#turns.get(digest) === over) this.#turns.delete(digest);
    });
    this.#turns.set(digest, over);
    return turn;
  }

  async read(digest: Hex): Promise<Uint8Array> {
    const entry = this.#entries.get(digest);
    if (entry === undefined) throw new AgentError("blob_missing", `Cannot read ${digest} as it is not on this machine`);
    try {
      return await this.#bytesOf(digest, entry);
    } catch (error) {
      if (LOST.has(codeOf(error))) await this.#inTurn(digest, () => this.#lose(digest, entry));
      throw error;
    }
  }

  async #bytesOf(digest: Hex, { path }: Entry): Promise<Uint8Array> {
    const bytes = new Uint8Array(await readFile(path));
    if (hex(sha256(bytes)) !== digest) throw new AgentError("blob_corrupt", `Cannot use ${digest} as its file holds other bytes`);
    return bytes;
  }

  /** What the disk lost is not here any more, so that it is fetched from who has it. */
  async #lose(digest: Hex, entry: Entry): Promise<void> {
    const code = await this.#bytesOf(digest, entry).then(() => "", codeOf);
    if (!LOST.has(code) || this.#entries.get(digest) !== entry) return;
    this.#entries.delete(digest);
    await rm(entry.path, { force: true });
    this.#options.onChange();
  }

  /** Resolves when the component is compiled; rejects with the cause when it is refused. */
  compile(digest: Hex): Promise<Compiled> {
    const entry = this.#entries.get(digest);
    if (entry === undefined) return Promise.reject(new AgentError("blob_missing", `Cannot compile ${digest} as it is not on this machine`));
    if (entry.compiled !== null) return Promise.resolve(entry.compiled);
    entry.compilation ??= this.#compile(digest, entry).finally(() => {
      entry.compilation = null;
      this.#options.onChange();
    });
    return entry.compilation;
  }

  /** The cache lost its file, or another engine runs: the next plan compiles it again. */
  forgetCompiled(digest: Hex): void {
    const entry = this.#entries.get(digest);
    if (entry?.state === "compiled") Object.assign(entry, { state: "present", compiled: null });
  }

  /** Gives up an upload that is due; one that came again since the plan was made is not. */
  drop(digest: Hex): Promise<void> {
    return this.#inTurn(digest, async () => {
      const entry = this.#entries.get(digest);
      if (entry === undefined || entry.compilation !== null || entry.expiresAtMs > this.#options.now()) return;
      this.#entries.delete(digest);
      await rm(entry.path, { force: true });
      await this.#removeCompiled((held) => held === digest);
    });
  }

  async #removeCompiled(isGone: (digest: Hex) => boolean): Promise<void> {
    const folder = this.#options.compiledDirectory;
    if (folder === undefined) return;
    for (const name of await readdir(folder).catch((): string[] => [])) {
      const digest = COMPILED_NAME.exec(name)?.[1];
      if (digest !== undefined && isGone(digest as Hex)) await rm(join(folder, name), { force: true });
    }
  }

  async #compile(digest: Hex, entry: Entry): Promise<Compiled> {
    entry.state = "compiling";
    const turn = await this.#turnOf(digest, entry.owner);
    try {
      entry.compiled = await this.#options.compile(await this.read(digest), digest);
      entry.state = "compiled";
      return entry.compiled;
    } catch (error) {
      const refused = COMPILE_REFUSALS.has(codeOf(error));
      Object.assign(entry, refused ? { state: "refused", cause: codeOf(error) } : { state: "present" });
      throw error;
    } finally {
      this.#compiling.delete(turn);
      this.#next();
    }
  }

  /** Waits for one of the few compiler processes; the queue is bounded by the uploads that the quota lets in. */
  #turnOf(digest: Hex, owner: Hex): Promise<Turn> {
    return new Promise((resolve) => {
      const turn: Turn = { digest, owner, begin: () => resolve(turn) };
      this.#queue.push(turn);
      this.#next();
    });
  }

  /** What deployments name has changed: a compile that waits may go first now. */
  look(): void {
    this.#next();
  }

  /** What a deployment names comes first, and one of it always has room; of the rest the account whose last turn is longest ago: nobody's uploads hold up another's. */
  #next(): void {
    while (this.#queue.length > 0 && this.#compiling.size < COMPILES_AT_ONCE_MAX) {
      const named = this.#options.named();
      const others = [...this.#compiling].filter(({ digest }) => !named.has(digest)).length;
      const lastTurn = ({ owner }: Turn): number => this.#served.get(owner) ?? -1;
      const turn = this.#queue.find(({ digest }) => named.has(digest))
        ?? (others < COMPILES_AT_ONCE_MAX - 1 ? this.#queue.reduce((first, one) => (lastTurn(one) < lastTurn(first) ? one : first)) : undefined);
      if (turn === undefined) return;
      this.#queue.splice(this.#queue.indexOf(turn), 1);
      this.#compiling.add(turn);
      if (this.#served.size >= COMPILE_ACCOUNTS_REMEMBERED_MAX) this.#served.clear();
      if (!named.has(turn.digest)) this.#served.set(turn.owner, (this.#turnCount += 1));
      turn.begin();
    }
  }
}

type Turn = { readonly digest: Hex; readonly owner: Hex; readonly begin: () => void };

const charged = (bytes: number): number => Math.max(bytes, UPLOAD_BYTES_MIN);

const newEntry = (kind: BlobKind, path: string, owner: Hex, bytes: number, changedMs: number): Entry => ({
  kind, path, owner, bytes, state: kind === "configuration" ? "compiled" : "present", cause: null,
  expiresAtMs: Math.floor(changedMs) + UPLOAD_EXPIRY_MS, compiled: null, compilation: null,
});
