/**
 * Join tokens: each is for one hardware address, good once, for ten minutes (design §6). Only their hashes are kept, in memory: a token
 * that was lost with the server is asked for anew by the next boot.
 */
import { createHash, randomBytes } from "node:crypto";
import type { Mac } from "#os/boot/addresses.ts";
import { MACHINES_MAX, TOKENS_OF_ONE_MAX, TOKEN_MS } from "./limits.ts";

const TOKEN_BYTES = 24;

export type TokenVerdict = "good" | "unknown" | "over" | "wrong_machine";

export class JoinTokens {
  readonly #tokens = new Map<string, { readonly mac: Mac; readonly untilMs: number }>();

  make(mac: Mac, nowMs: number): string {
    for (const [hash, { untilMs }] of this.#tokens) if (untilMs <= nowMs) this.#tokens.delete(hash);
    const own = [...this.#tokens].filter(([, token]) => token.mac === mac).map(([hash]) => hash);
    for (const hash of own.slice(0, Math.max(0, own.length - TOKENS_OF_ONE_MAX + 1))) this.#tokens.delete(hash);
    const [oldest] = this.#tokens.keys();
    if (oldest !== undefined && this.#tokens.size >= MACHINES_MAX) this.#tokens.delete(oldest);
    const token = randomBytes(TOKEN_BYTES).toString("base64url");
    this.#tokens.set(hashOf(token), { mac, untilMs: nowMs + TOKEN_MS });
    return token;
  }

  /** Good: it is used up now. A token shown by the wrong machine is used up too: somebody has read it. */
  spend(token: string, mac: Mac, nowMs: number): TokenVerdict {
    const hash = hashOf(token);
    const found = this.#tokens.get(hash);
    if (found === undefined) return "unknown";
    this.#tokens.delete(hash);
    if (found.mac !== mac) return "wrong_machine";
    return found.untilMs > nowMs ? "good" : "over";
  }
}

const hashOf = (token: string): string => createHash("sha256").update(token).digest("hex");
