/**
 * The vault: what machines that keep nothing through a power cut leave here, sealed (os/boot/vaultFormat.ts). A folder for each machine's key, with its index and its objects by
 * hash.
 *
 * Rules: only machines that were registered here leave anything, and each within its quota; an object has the hash that it is named by; an index counts upwards, and what the
 * newest does not name goes with it. Reading is free: nobody but the machine can open what it reads. Who sends, for whom and how much is judged by the head of a request, and no
 * byte of a body is read before that.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readFile, readdir, rename, rm, stat } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { pipeline } from "node:stream";
import { sha256Hex, verify } from "#chain/crypto.ts";
import { type Hex, fromHex, publicKey } from "#chain/types.ts";
import { Seats } from "#os/api/seats.ts";
import { VAULT_DIGEST_HEADER, VAULT_INDEX_BYTES_MAX, VAULT_OBJECT_BYTES_MAX, VAULT_PATH, VAULT_SIGNATURE_HEADER, putMessage, readIndex } from "#os/boot/vaultFormat.ts";
import { writeWhole } from "#os/keys.ts";
import { VAULT_MACHINE_BYTES_MAX, VAULT_PUTS_AT_ONCE_MAX, VAULT_PUTS_OF_ONE_MAX } from "./limits.ts";

export type VaultOptions = { readonly directory: string; readonly isMember: (key: Hex) => boolean; readonly bytesMax?: number };
const NAME = /^([0-9a-f]{64})\/(?:index|object\/([0-9a-f]{64}))$/;
const INDEX = "index";
const PART = ".part";

export class Vault {
  readonly #options: VaultOptions;
  /** Bytes on their way, by machine: the quota counts them. */
  readonly #arriving = new Map<Hex, number>();
  /** Files that are being received: what else has their form is the rest of a server that was ended. */
  readonly #parts = new Set<string>();
  /** Indices of one machine one after the other: the newest counts. */
  readonly #turns = new Map<Hex, Promise<unknown>>();
  /** Under way: none of them gives way. */
  readonly #puts = new Seats(VAULT_PUTS_AT_ONCE_MAX, VAULT_PUTS_OF_ONE_MAX);

  constructor(options: VaultOptions) {
    this.#options = options;
  }

  /** False: it is no question of the vault. */
  async answer(request: IncomingMessage, response: ServerResponse, path: string): Promise<boolean> {
    if (!path.startsWith(VAULT_PATH)) return false;
    const [, key, object] = NAME.exec(path.slice(VAULT_PATH.length)) ?? [];
    const end = (status: number): true => {
      response.writeHead(status, status >= 400 ? { connection: "close" } : {}).end();
      return true;
    };
    if (key === undefined) return end(404);
    const folder = join(this.#options.directory, key);
    const file = join(folder, object ?? INDEX);
    if (request.method === "GET") {
      const found = await stat(file).catch(() => null);
      if (found === null) return end(404);
      response.writeHead(200, { "content-type": "application/octet-stream", "content-length": found.size });
      // Of a client that has gone meanwhile, too, the file is closed.
      pipeline(createReadStream(file), response, () => {});
      return true;
    }
    if (request.method !== "PUT") return end(405);
    if (!this.#options.isMember(key as Hex)) return end(403);
    const head = headOf(request, key as Hex, object ?? null);
    if (typeof head === "number") return end(head);
    const over = this.#puts.take(key, null);
    if (over === null) return end(503);
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      return end(object === undefined ? await this.#putIndex(request, head, key as Hex, folder) : await this.#putObject(request, head, key as Hex, folder));
    } finally {
      over();
    }
  }

  /** What a machine left that is no member any more. */
  async forget(key: Hex): Promise<void> {
    await rm(join(this.#options.directory, key), { recursive: true, force: true });
  }

  async #putObject(request: IncomingMessage, { length, sha256: object }: PutHead, key: Hex, folder: string): Promise<number> {
    const arriving = this.#arriving.get(key) ?? 0;
    if ((await bytesIn(folder)) + arriving + length > (this.#options.bytesMax ?? VAULT_MACHINE_BYTES_MAX)) return 507;
    this.#arriving.set(key, (this.#arriving.get(key) ?? 0) + length);
    const part = join(folder, `${object}.${performance.now()}${PART}`);
    this.#parts.add(part);
    try {
      if (!(await received(request, part, length, object))) return 400;
      await rename(part, join(folder, object));
      return 204;
    } finally {
      this.#arriving.set(key, (this.#arriving.get(key) ?? 0) - length);
      await rm(part, { force: true });
      this.#parts.delete(part);
    }
  }

  async #putIndex(request: IncomingMessage, { length, sha256 }: PutHead, key: Hex, folder: string): Promise<number> {
    const bytes = new Uint8Array(length);
    let have = 0;
    for await (const part of request as AsyncIterable<Uint8Array>) {
      bytes.set(part, have);
      have += part.length;
    }
    if (have !== length || sha256Hex(bytes) !== sha256) return 400;
    const turn = (this.#turns.get(key) ?? Promise.resolve()).catch(() => {}).then(() => this.#takeIndex(bytes, key, folder));
    this.#turns.set(key, turn);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(key) === turn) this.#turns.delete(key);
    }
  }

  async #takeIndex(bytes: Uint8Array, key: Hex, folder: string): Promise<number> {
    const owner = publicKey(fromHex(key));
    const [next, before] = [readIndex(bytes, owner), await readFile(join(folder, INDEX)).then((content) => readIndex(new Uint8Array(content), owner), () => null)];
    if (next === null) return 403;
    if (before !== null && next.count <= before.count) return 409;
    const here = new Set(await readdir(folder));
    if (!next.objects.every((object) => here.has(object))) return 409;
    await writeWhole(join(folder, INDEX), bytes);
    const named: ReadonlySet<string> = new Set([INDEX, ...next.objects]);
    // One that is under way now belongs to the next index.
    for (const name of here) if (!named.has(name) && !this.#parts.has(join(folder, name))) await rm(join(folder, name), { force: true });
    return 204;
  }
}

type PutHead = { readonly length: number; readonly sha256: string };

/** What a request is to bring, when its head is the owner's; else how it is refused. Node takes in no more of a body than its head says. */
function headOf(request: IncomingMessage, key: Hex, object: string | null): PutHead | 403 | 413 {
  const signature = request.headers[VAULT_SIGNATURE_HEADER];
  const sha256 = object ?? request.headers[VAULT_DIGEST_HEADER];
  const [place, bytesMax] = object === null ? (["index", VAULT_INDEX_BYTES_MAX] as const) : (["object", VAULT_OBJECT_BYTES_MAX] as const);
  if (typeof signature !== "string" || !/^[0-9a-f]{128}$/.test(signature) || typeof sha256 !== "string" || !/^[0-9a-f]{64}$/.test(sha256)) return 403;
  if (!verify("vault", fromHex(signature), putMessage(place, sha256), publicKey(fromHex(key)))) return 403;
  // Without a length: a body of chunks, as long as whoever sends it likes.
  const length = Number(request.headers["content-length"] ?? Number.NaN);
  return Number.isSafeInteger(length) && length <= bytesMax ? { length, sha256 } : 413;
}

/** True when the body has this length and hash and is on disk. */
async function received(request: IncomingMessage, path: string, length: number, sha256: string): Promise<boolean> {
  const hash = createHash("sha256");
  let have = 0;
  const file = await open(path, "wx", 0o600);
  try {
    for await (const part of request as AsyncIterable<Uint8Array>) {
      have += part.length;
      if (have > length) return false;
      hash.update(part);
      await file.writeFile(part);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return have === length && hash.digest("hex") === sha256;
}

async function bytesIn(folder: string): Promise<number> {
  const sizes = await Promise.all((await readdir(folder)).map((name) => stat(join(folder, name)).then(({ size }) => size, () => 0)));
  return sizes.reduce((sum, size) => sum + size, 0);
}
