/**
 * Join tokens: each is for one hardware address, good once, for ten minutes (design §6). Only their hashes are kept
 * (book.ts).
 */
import { createHash, randomBytes } from "node:crypto";
import type { Mac } from "#os/boot/addresses.ts";
import { JoinBook } from "./book.ts";
import { MACHINES_MAX, TOKENS_OF_ONE_MAX, TOKEN_MS } from "./limits.ts";

const TOKEN_BYTES = 24;

export type TokenVerdict = "good" | "unknown" | "over" | "wrong_machine";

export class JoinTokens {
  readonly #book: JoinBook;

  constructor(book: JoinBook = new JoinBook()) {
    this.#book = book;
  }

  /** One that outlives this process. */
  async make(mac: Mac, nowMs: number): Promise<string> {
    const token = this.#make(mac, nowMs);
    await this.#book.save();
    return token;
  }

  #make(mac: Mac, nowMs: number): string {
    for (const [hash, { untilMs }] of this.#book.tokens) if (untilMs <= nowMs) this.#book.tokens.delete(hash);
    const own = [...this.#book.tokens].filter(([, token]) => token.mac === mac).map(([hash]) => hash);
    for (const hash of own.slice(0, Math.max(0, own.length - TOKENS_OF_ONE_MAX + 1))) this.#book.tokens.delete(hash);
    const [oldest] = this.#book.tokens.keys();
    if (oldest !== undefined && this.#book.tokens.size >= MACHINES_MAX) this.#book.tokens.delete(oldest);
    const token = randomBytes(TOKEN_BYTES).toString("base64url");
    this.#book.tokens.set(hashOf(token), { mac, untilMs: nowMs + TOKEN_MS });
    return token;
  }

  /** Good: it is used up now, for good when the book is saved. A token shown by the wrong machine is used up too: somebody has read it. */
  spend(token: string, mac: Mac, nowMs: number): TokenVerdict {
    const hash = hashOf(token);
    const found = this.#book.tokens.get(hash);
    if (found === undefined) return "unknown";
    this.#book.tokens.delete(hash);
    if (found.mac !== mac) return "wrong_machine";
    return found.untilMs > nowMs ? "good" : "over";
  }
}

const hashOf = (token: string): string => createHash("sha256").update(token).digest("hex");
