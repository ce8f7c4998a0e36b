/**
 * A machine's files and the state of its chain at its boot server (vaultFormat.ts): taken back before the agent starts, left there when they change.
 *
 * What is there already is not sent twice, nor fetched when the folder has it. A server without a vault, or one that does not know this machine (yet), is asked again; the
 * machine is of use without.
 */
import { mkdir, readFile, readdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { sha256Hex } from "#chain/crypto.ts";
import type { KeptSnapshot } from "#chain/node/keptSnapshot.ts";
import { hex } from "#chain/types.ts";
import { codeOf, messageOf } from "../error.ts";
import { type KeyPair, writeWhole } from "../keys.ts";
import { SNAPSHOTS_FOLDER, VAULT_DIGEST_HEADER, VAULT_FILES_MAX, VAULT_INDEX_BYTES_MAX, VAULT_OBJECT_BYTES_MAX, VAULT_PATH, VAULT_SIGNATURE_HEADER, type VaultFile, type VaultIndex, encodeIndex, isVaultPath, openFile, openIndex, putSignature, sealFile, vaultKey } from "./vaultFormat.ts";

const FOLDERS = ["components", "configurations"] as const;
/** So often a newer snapshot is left: a site that was dark as a whole has lost no more than that, and what its validators' disks have not. */
const SNAPSHOT_MS = 600_000;
/** A boot server on the same wire: 64 MiB at 1 MB a second. */
const TRANSFER_MS_MAX = 70_000;
/** The machine waits for no more: what is not back by then comes from other machines. */
const RESTORE_MS_MAX = 60_000;
/** The machine is about to go, and has more to do. */
const LAST_LOOK_MS_MAX = 8_000;
/** A deployment is a few files; what was deployed longer ago than this is kept. */
const LOOK_MS = 30_000;

export type VaultOptions = { readonly bootServer: string; readonly machine: KeyPair; readonly directory: string; readonly onLine: (line: string) => void; readonly lookMs?: number };
/** The chain's state as it is now; null: there is none to keep. */
export type TakeSnapshot = () => Promise<KeptSnapshot | null>;

const urlOf = ({ bootServer, machine }: VaultOptions, name: string): string => `${bootServer}${VAULT_PATH}${hex(machine.publicKey)}/${name}`;

/** The index, or null where the server has none of this machine. Throws when it does not answer. */
async function fetchIndex(options: VaultOptions, signal: AbortSignal): Promise<VaultIndex | null> {
  const bytes = await fetchBytes(urlOf(options, "index"), VAULT_INDEX_BYTES_MAX, signal);
  return bytes === null ? null : openIndex(bytes, options.machine.seed);
}

/** Says in one line what has come back. */
export async function restoreFromVault(options: VaultOptions): Promise<string> {
  const signal = AbortSignal.timeout(RESTORE_MS_MAX);
  const index = await fetchIndex(options, signal);
  if (index === null) return "the boot server keeps nothing of this machine";
  const key = vaultKey(options.machine.seed);
  let [restored, lost] = [0, 0];
  for (const { path, sha256 } of index.files) {
    const file = join(options.directory, path);
    // The state of a chain is good for a beginning, and no more: after a crash of the agent its own is newer.
    const instead = isSnapshot(path) ? join(options.directory, "chain", "blocks") : file;
    if (await stat(instead).then(() => true, () => false)) continue;
    const sealed = await fetchBytes(urlOf(options, `object/${sha256}`), VAULT_OBJECT_BYTES_MAX, signal).catch(() => null);
    const content = sealed !== null && sha256Hex(sealed) === sha256 ? openFile(key, path, sealed) : null;
    // Whoever needs it fetches it from another machine.
    if (content === null) {
      lost += 1;
      continue;
    }
    await mkdir(dirname(file), { recursive: true });
    await writeWhole(file, content);
    restored += 1;
  }
  return `${restored} files are back${lost === 0 ? "" : `, ${lost} are not as they were left`}`;
}

/** Looks at the folders now and then; `stop` after a last look. */
export class VaultKeeper {
  readonly #options: VaultOptions;
  #known: VaultIndex | null = null;
  /** Sent, whether or not an index names it yet: a round that broke off is not begun anew. */
  readonly #sent = new Map<string, VaultFile>();
  #isKnown = false;
  /** The server lacks what it said that it has: all is sent once more. */
  #isLacking = false;
  #timer: NodeJS.Timeout | undefined;
  #work: Promise<void> = Promise.resolve();
  #isStopped = false;
  #said = "";
  #takeSnapshot: TakeSnapshot | null = null;
  #snapshotMs = Number.NEGATIVE_INFINITY;
  /** Taken, and not at the server yet. */
  #snapshot: KeptSnapshot | null = null;

  constructor(options: VaultOptions) {
    this.#options = options;
    this.#later();
  }

  /** From now on the state of the chain is left there, too. */
  keepSnapshots(take: TakeSnapshot): void {
    this.#takeSnapshot = take;
  }

  /** Resolves when the server has what the folders have, or has refused it. */
  look(): Promise<void> {
    this.#work = this.#work.then(() => this.#look()).catch((error: unknown) => {
      this.#isKnown = false;
      this.#say(`the boot server keeps nothing of this machine now: ${messageOf(error)}`);
    });
    return this.#work;
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    await Promise.race([this.look(), new Promise((resolve) => setTimeout(resolve, LAST_LOOK_MS_MAX).unref())]);
  }

  #later(): void {
    this.#timer = setTimeout(() => void this.look().then(() => { if (!this.#isStopped) this.#later(); }), this.#options.lookMs ?? LOOK_MS);
    this.#timer.unref();
  }

  async #look(): Promise<void> {
    const { machine, directory } = this.#options;
    if (!this.#isKnown) [this.#known, this.#isKnown] = [await fetchIndex(this.#options, AbortSignal.timeout(TRANSFER_MS_MAX)), true];
    const before = new Map(this.#isLacking ? [] : this.#known?.files.map((file) => [file.path, file]));
    const found = [...(await this.#snapshotPath()), ...(await filesIn(directory))];
    if (!this.#isLacking && found.length === before.size && found.every((path) => before.has(path))) return;
    const key = vaultKey(machine.seed);
    const files: VaultFile[] = [];
    for (const path of found.slice(0, VAULT_FILES_MAX)) files.push(before.get(path) ?? this.#sent.get(path) ?? (await this.#leave(key, path)));
    const index: VaultIndex = { count: (this.#known?.count ?? 0) + 1, files };
    const bytes = encodeIndex(machine.seed, index);
    await put(urlOf(this.#options, "index"), bytes, putSignature(machine.seed, "index", bytes)).catch((error: unknown) => {
      if (error instanceof RefusedPut && error.status === CONFLICT) {
        this.#isLacking = true;
        this.#snapshotMs = Number.NEGATIVE_INFINITY;
        this.#sent.clear();
      }
      throw error;
    });
    this.#isLacking = false;
    this.#snapshot = null;
    this.#known = index;
    this.#sent.clear();
    this.#say(`the boot server keeps ${files.length} files of this machine`);
  }

  /** That of the newest one; of the one that the server has, where this machine has none (yet). */
  async #snapshotPath(): Promise<string[]> {
    const isTime = this.#isStopped || performance.now() - this.#snapshotMs >= SNAPSHOT_MS;
    if (this.#takeSnapshot !== null && isTime) {
      this.#snapshotMs = performance.now();
      this.#snapshot = (await this.#takeSnapshot()) ?? this.#snapshot;
    }
    if (this.#snapshot !== null) return [snapshotPath(this.#snapshot.height)];
    return this.#isLacking ? [] : (this.#known?.files ?? []).map(({ path }) => path).filter(isSnapshot);
  }

  async #leave(key: Uint8Array, path: string): Promise<VaultFile> {
    const sealed = sealFile(key, path, this.#snapshot !== null && path === snapshotPath(this.#snapshot.height) ? this.#snapshot.bytes : await readFile(join(this.#options.directory, path)));
    const signed = putSignature(this.#options.machine.seed, "object", sealed);
    const { sha256 } = signed;
    await put(urlOf(this.#options, `object/${sha256}`), sealed, signed);
    const left: VaultFile = { path, sha256, bytes: sealed.length };
    this.#sent.set(path, left);
    return left;
  }

  #say(line: string): void {
    if (line !== this.#said) this.#options.onLine(line);
    this.#said = line;
  }
}

const snapshotPath = (height: number): string => `${SNAPSHOTS_FOLDER}/${height}`;
const isSnapshot = (path: string): boolean => path.startsWith(`${SNAPSHOTS_FOLDER}/`);

async function filesIn(directory: string): Promise<string[]> {
  const lists = await Promise.all(FOLDERS.map((folder) => readdir(join(directory, folder)).then((names) => names.map((name) => `${folder}/${name}`), (error: unknown) => {
    if (codeOf(error) !== "ENOENT") throw error;
    return [];
  })));
  return lists.flat().filter(isVaultPath).toSorted();
}

async function put(url: string, body: Uint8Array, { sha256, signature }: ReturnType<typeof putSignature>): Promise<void> {
  const headers = { [VAULT_DIGEST_HEADER]: sha256, [VAULT_SIGNATURE_HEADER]: signature };
  const response = await fetch(url, { method: "PUT", body: new Uint8Array(body), redirect: "error", signal: AbortSignal.timeout(TRANSFER_MS_MAX), headers });
  await response.body?.cancel();
  if (!response.ok) throw new RefusedPut(response.status);
}

/** An index that does not count on, or names what is not there. */
const CONFLICT = 409;
class RefusedPut extends Error {
  readonly status: number;
  constructor(status: number) {
    super(`it answers ${status}`);
    this.status = status;
  }
}

/** Null: there is no such thing. */
async function fetchBytes(url: string, bytesMax: number, signal: AbortSignal): Promise<Uint8Array | null> {
  const response = await fetch(url, { redirect: "error", signal });
  if (response.status === 404) return null;
  if (!response.ok) throw new Error(`it answers ${response.status}`);
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of response.body ?? []) {
    length += part.length;
    if (length > bytesMax) throw new Error(`it sends more than ${bytesMax} bytes`);
    parts.push(part);
  }
  return new Uint8Array(Buffer.concat(parts));
}
