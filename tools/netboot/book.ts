/**
 * What the boot server knows of joins and must not forget when it is restarted: tokens that are out (their hashes), who has shown one, who is registered. One file for
 * each chain and operator, written whole; what is read is checked field by field.
 *
 * Rules: whoever changes a map waits for `save` before anybody is told; a registration is in the book before its transaction is sent, so that a server that ends in
 * between knows which key to retire when the machine comes with another.
 */
import { mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import type { Hex } from "#chain/types.ts";
import { type Mac, parseMac } from "#os/boot/addresses.ts";
import { writeWhole } from "#os/keys.ts";
import { CliError } from "../cli/command.ts";

export type Token = { readonly mac: Mac; readonly untilMs: number };
/** `isSure`: the transaction is final. */
export type Registration = { readonly key: Hex; readonly isSure: boolean };
const FORMAT = "godwit-joins-1";
const HASH = /^[0-9a-f]{64}$/;

export class JoinBook {
  /** By their hash. */
  readonly tokens: Map<string, Token> = new Map();
  /** Who has shown a good token, by its key. */
  readonly admitted: Map<Hex, Mac> = new Map();
  readonly registered: Map<Mac, Registration> = new Map();
  readonly #file: string | null;
  #writing: Promise<void> = Promise.resolve();
  #queued: Promise<void> | null = null;

  /** Null: nothing is kept. */
  constructor(file: string | null = null) {
    this.#file = file;
  }

  static async open(file: string): Promise<JoinBook> {
    const book = new JoinBook(file);
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw new CliError("joins_unknown", `Cannot read who has joined in ${file}: ${error.message}`);
      return null;
    });
    if (text !== null && !book.#take(text)) throw new CliError("joins_invalid", `Cannot use ${file}: it does not hold who has joined; move it away, and machines register anew`);
    return book;
  }

  /** Resolves when what the maps hold now is on disk; who comes while one is written shares the next. */
  save(): Promise<void> {
    const file = this.#file;
    if (file === null) return Promise.resolve();
    this.#queued ??= this.#writing.catch(() => {}).then(() => {
      this.#queued = null;
      return writeWhole(file, new TextEncoder().encode(this.#text()));
    });
    this.#writing = this.#queued;
    return this.#queued;
  }

  #text(): string {
    return `${JSON.stringify({ format: FORMAT, tokens: [...this.tokens].map(([hash, one]) => ({ hash, ...one })), admitted: [...this.admitted].map(([key, mac]) => ({ key, mac })), registered: [...this.registered].map(([mac, one]) => ({ mac, ...one })) }, null, 1)}\n`;
  }

  #take(text: string): boolean {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      return false;
    }
    const fields = rowOf(value);
    const [tokens, admitted, registered] = [fields?.["tokens"], fields?.["admitted"], fields?.["registered"]];
    if (fields?.["format"] !== FORMAT || !Array.isArray(tokens) || !Array.isArray(admitted) || !Array.isArray(registered)) return false;
    const isTaken = (row: Record<string, unknown> | null, mac: Mac | null): boolean => {
      if (row === null || mac === null) return false;
      const { hash, untilMs, key, isSure } = row;
      if (typeof hash === "string" && HASH.test(hash) && typeof untilMs === "number") this.tokens.set(hash, { mac, untilMs });
      else if (typeof key === "string" && HASH.test(key) && isSure === undefined) this.admitted.set(key as Hex, mac);
      else if (typeof key === "string" && HASH.test(key) && typeof isSure === "boolean") this.registered.set(mac, { key: key as Hex, isSure });
      else return false;
      return true;
    };
    return [...tokens, ...admitted, ...registered].every((one: unknown) => {
      const row = rowOf(one);
      const mac = row?.["mac"];
      return isTaken(row, typeof mac === "string" ? parseMac(mac) : null);
    });
  }
}

const rowOf = (value: unknown): Record<string, unknown> | null => (typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : null);
