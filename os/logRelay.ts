/**
 * The lines that another machine has of a deployment, for a client that asks here.
 *
 *   channel "logs": [1, 0, call, path, authorization, 1 for the newest, after, lines at most]   →   [1, 1, call, [line, …]]   or   [1, 2, call, code]
 *   [1, 3, call, deployment]   →   [1, 4, call, 1 or 0]: whether there are any (who ran what is public)
 *   line = [sequence, timeMs, stream, requestId or "", text]
 *
 * The client signs its request for the machine that has the lines (codec/request.ts), and that machine judges it as if it had come to its own
 * door: who passes it on needs no trust, and can ask for nothing else. A request to follow that was judged good holds for the same peer and the same
 * words while it is asked for again within LOG_GRANT_MS, as a stream that was opened once goes on. What comes back is parsed like any stranger's.
 */
import { setTimeout as pause } from "node:timers/promises";
import { addressOf } from "#chain/codec/address.ts";
import { type Cbor, CodecError, decode, encode } from "#chain/codec/cbor.ts";
import { list, text, tuple, u32, u64, version } from "#chain/codec/schema.ts";
import { WIRE_VERSION } from "#chain/constants.ts";
import { sha256 } from "#chain/crypto.ts";
import type { PeerId, Transport } from "#chain/network/transport.ts";
import { type Address, type Hex, type PublicKey, hex } from "#chain/types.ts";
import { AgentError, codeOf } from "./error.ts";
import {
  LOG_AUTHORIZATION_BYTES_MAX, LOG_CALLS_MAX, LOG_CALL_MS_MAX, LOG_CODE_BYTES_MAX, LOG_GRANTS_MAX, LOG_GRANT_MS, LOG_HOLDERS_ASKED_MAX, LOG_HOLDERS_SOUGHT_MAX, LOG_HOLDER_MS_MAX, LOG_HOLDER_QUESTIONS_MAX, LOG_LINES_MAX,
  LOG_PATH_BYTES_MAX, LOG_POLL_MS, LOG_RELAY_BYTES_MAX, LOG_REQUEST_ID_BYTES_MAX, LOG_SEEK_MS, LOG_SILENCE_MS_MAX, LOG_TEXT_BYTES_MAX,
} from "./limits.ts";
import type { LogLine, LogStore, LogStream } from "./logs.ts";

const STREAMS: readonly LogStream[] = ["stdout", "stderr", "system"];
const KIND = { ask: 0, lines: 1, refused: 2, has: 3, holds: 4 } as const;
const FOLLOWS = /[?&]follow=true(?:&|$)/;

/** What a client sent: the path with its query, and the header. */
export type SignedWords = { readonly path: string; readonly authorization: string };
export type LogRelayOptions = {
  readonly transport: Transport;
  readonly logs: Pick<LogStore, "tail" | "after" | "has">;
  /** Whose log the words ask for, which are signed for this machine by who may; throws a refusal with its code. */
  readonly judge: (words: SignedWords) => Hex;
  /** Of a machine that the ledger knows. */
  readonly keyOf: (machine: Address) => PublicKey | null;
  readonly nowMs?: () => number;
};
/** After a sequence number, or the newest. */
export type LogPart = { readonly after: number; readonly limit: number } | { readonly tail: number };

/** Who has lines, and of whom that is not known although they may. */
export type LogHolders = { readonly machines: readonly Address[]; readonly silent: readonly Address[] };

/** Lines, or whether there are any. */
type Answer = readonly LogLine[] | boolean;

export class LogRelay {
  readonly #options: LogRelayOptions;
  readonly #nowMs: () => number;
  readonly #calls = new Map<number, { readonly peer: PeerId; readonly isWhether: boolean; readonly done: (answer: Answer | AgentError) => void }>();
  /** Of each peer's words that were judged good: whose log, and until when. */
  readonly #granted = new Map<string, { readonly id: Hex; readonly untilMs: number }>();
  readonly #unsubscribe: () => void;
  #count = 0;
  #asking = 0;

  constructor(options: LogRelayOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? ((): number => performance.now());
    this.#unsubscribe = options.transport.onMessage((from, channel, message) => { if (channel === "logs") this.#receive(from, message); });
  }

  stop(): void {
    this.#unsubscribe();
    for (const { done } of this.#calls.values()) done(new AgentError("machine_unreachable", "Cannot wait for lines of another machine any longer: this one stops"));
  }

  /** Throws `machine_unreachable`, or what that machine refused with. */
  async lines(machine: Address, { path, authorization }: SignedWords, part: LogPart): Promise<readonly LogLine[]> {
    const [isTail, after, count] = "tail" in part ? [1, 0, part.tail] : [0, part.after, part.limit];
    const peer = this.#peerOf(machine) ?? (await this.#sought(machine));
    if (peer === undefined) throw new AgentError("machine_unreachable", "Cannot read the lines of that machine here as it is not connected: ask it, or another machine");
    if (this.#calls.size >= LOG_CALLS_MAX) throw new AgentError("busy", `Cannot ask for lines of other machines now: ${LOG_CALLS_MAX} calls are under way`);
    return this.#call(peer, LOG_CALL_MS_MAX, (call) => [WIRE_VERSION, KIND.ask, call, path, authorization, isTail, BigInt(after), count]) as Promise<readonly LogLine[]>;
  }

  /** The machines that say that they have lines of it, of those that are connected and of `likely` ones, which are looked for; and which of these said nothing. */
  async holders(id: Hex, likely: readonly Address[] = []): Promise<LogHolders> {
    const { transport } = this.#options;
    if (this.#asking >= LOG_HOLDER_QUESTIONS_MAX) throw new AgentError("busy", "Cannot look for a log now: others are being looked for");
    this.#asking++;
    const connected = transport.peers().slice(0, LOG_HOLDERS_ASKED_MAX).flatMap((peer) => {
      const machine = machineAt(transport, peer);
      return machine === null ? [] : [{ machine, peer }];
    });
    const isConnected = (machine: Address): boolean => connected.some((one) => hex(one.machine) === hex(machine));
    const sought = likely.filter((machine) => !isConnected(machine)).slice(0, LOG_HOLDERS_SOUGHT_MAX).map((machine) => ({ machine, peer: this.#sought(machine) }));
    const ask = async ({ machine, peer: found }: { readonly machine: Address; readonly peer: PeerId | Promise<PeerId | undefined> }): Promise<{ readonly machine: Address; readonly has: boolean | null }> => {
      const peer = await found;
      const answer = peer === undefined ? null : await this.#call(peer, LOG_HOLDER_MS_MAX, (call) => [WIRE_VERSION, KIND.has, call, id]).catch(() => null);
      return { machine, has: typeof answer === "boolean" ? answer : null };
    };
    const said = await Promise.all([...connected, ...sought].map(ask)).finally(() => this.#asking--);
    const heard = new Set(said.flatMap(({ machine, has }) => (has === null ? [] : [hex(machine)])));
    return { machines: said.flatMap(({ machine, has }) => (has === true ? [machine] : [])), silent: likely.filter((machine) => !heard.has(hex(machine))) };
  }

  #peerOf(machine: Address): PeerId | undefined {
    const { transport } = this.#options;
    return transport.peers().find((one) => hex(machineAt(transport, one) ?? new Uint8Array(0)) === hex(machine));
  }
  /** One that is not connected may be by way of others. */
  async #sought(machine: Address): Promise<PeerId | undefined> {
    const key = this.#options.keyOf(machine);
    if (key === null) return undefined;
    this.#options.transport.seek(key);
    for (const endMs = this.#nowMs() + LOG_SEEK_MS; this.#nowMs() < endMs; await pause(LOG_POLL_MS)) {
      const peer = this.#peerOf(machine);
      if (peer !== undefined) return peer;
    }
    return undefined;
  }

  #call(peer: PeerId, timeoutMs: number, message: (call: number) => readonly Cbor[]): Promise<Answer> {
    const isWhether = message(0)[1] === KIND.has;
    const call = (this.#count = (this.#count + 1) % 2 ** 32);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => done(new AgentError("machine_unreachable", `Cannot read the lines of that machine now: it did not answer within ${timeoutMs} ms`)), timeoutMs);
      const done = (answer: Answer | AgentError): void => {
        clearTimeout(timer);
        this.#calls.delete(call);
        if (answer instanceof AgentError) reject(answer);
        else resolve(answer);
      };
      this.#calls.set(call, { peer, isWhether, done });
      if (!this.#options.transport.send(peer, "logs", encode(message(call)))) done(new AgentError("machine_unreachable", "Cannot ask that machine for lines now: too much waits for it"));
    });
  }

  /** The lines that come after a sequence number, until it is stopped; `lost` when the machine has not answered for LOG_SILENCE_MS_MAX, or refuses. */
  follow(machine: Address, words: SignedWords, from: number, onLine: (line: LogLine) => void, lost: () => void): () => void {
    let after = from;
    let heardMs = this.#nowMs();
    let isOver = false;
    let timer: NodeJS.Timeout | undefined;
    const poll = async (): Promise<void> => {
      try {
        const lines = await this.lines(machine, words, { after, limit: LOG_LINES_MAX });
        heardMs = this.#nowMs();
        if (isOver) return;
        for (const line of lines) onLine(line);
        after = lines.at(-1)?.sequence ?? after;
      } catch (error) {
        const isFinal = !["machine_unreachable", "busy"].includes(codeOf(error)) || this.#nowMs() - heardMs > LOG_SILENCE_MS_MAX;
        if (isFinal && !isOver) lost();
        if (isFinal) return;
      }
      if (!isOver) timer = setTimeout(() => void poll(), LOG_POLL_MS);
    };
    timer = setTimeout(() => void poll(), LOG_POLL_MS);
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }

  #receive(from: PeerId, message: Uint8Array): void {
    const { transport } = this.#options;
    try {
      const [first, kind, call, ...rest] = list(decode(message), 8);
      version(first);
      switch (u32(kind)) {
        case KIND.ask: return this.#answer(from, u32(call), rest);
        case KIND.lines: return this.#take(from, u32(call), list(rest[0], LOG_LINES_MAX).map(lineFrom));
        case KIND.refused: return this.#take(from, u32(call), new AgentError(codeFrom(rest[0]), "Cannot read the lines of that machine: it refused"));
        case KIND.has: return void transport.send(from, "logs", encode([WIRE_VERSION, KIND.holds, u32(call), this.#options.logs.has(text(rest[0], 40) as Hex) ? 1 : 0]));
        case KIND.holds: return this.#take(from, u32(call), u32(rest[0]) === 1);
        default: throw new CodecError("codec_value", `${u32(kind)} is no kind of message`);
      }
    } catch (error) {
      if (!(error instanceof CodecError)) throw error;
      transport.report(from, "malformed");
    }
  }
  #take(from: PeerId, call: number, answer: Answer | AgentError): void {
    const waiting = this.#calls.get(call);
    // Late, never asked for, or no answer to what was asked.
    if (waiting === undefined || waiting.peer !== from || (waiting.isWhether !== (typeof answer === "boolean") && !(answer instanceof AgentError))) return this.#options.transport.report(from, "useless");
    waiting.done(answer);
  }

  #answer(to: PeerId, call: number, rest: readonly Cbor[]): void {
    const { transport, logs } = this.#options;
    const words = { path: text(rest[0], LOG_PATH_BYTES_MAX), authorization: text(rest[1], LOG_AUTHORIZATION_BYTES_MAX) };
    const [isTail, after, count] = [u32(rest[2]) === 1, Number(u64(rest[3])), Math.min(u32(rest[4]), LOG_LINES_MAX)];
    const id = this.#grant(to, words);
    if (typeof id !== "string") return void transport.send(to, "logs", encode([WIRE_VERSION, KIND.refused, call, codeOf(id)]));
    const lines = isTail ? logs.tail(id, count) : logs.after(id, after, count);
    transport.send(to, "logs", encode([WIRE_VERSION, KIND.lines, call, fitting(lines, isTail).map(lineItems)]));
  }
  #grant(peer: PeerId, words: SignedWords): Hex | AgentError {
    const nowMs = this.#nowMs();
    const key = `${peer} ${hex(sha256(new TextEncoder().encode(`${words.path}\n${words.authorization}`)))}`;
    for (const [one, { untilMs }] of this.#granted) if (untilMs <= nowMs) this.#granted.delete(one);
    try {
      const id = this.#granted.get(key)?.id ?? this.#options.judge(words);
      if (!FOLLOWS.test(words.path)) return id;
      if (this.#granted.size >= LOG_GRANTS_MAX && !this.#granted.has(key)) throw new AgentError("busy", "Cannot give lines to so many at once");
      this.#granted.set(key, { id, untilMs: nowMs + LOG_GRANT_MS });
      return id;
    } catch (error) {
      return error instanceof AgentError ? error : new AgentError("internal", String(error));
    }
  }
}

function machineAt(transport: Transport, peer: PeerId): Address | null {
  const key = transport.machineOf(peer);
  return key === null ? null : addressOf(key);
}

const codeFrom = (value: Cbor | undefined): string => {
  const code = text(value, LOG_CODE_BYTES_MAX);
  if (!/^[a-z][a-z0-9_]*$/.test(code)) throw new CodecError("codec_value", "a code that is none");
  return code;
};

/** As many as one message has room for: of the newest the newest, of those after a line the next ones. */
function fitting(lines: readonly LogLine[], isTail: boolean): readonly LogLine[] {
  let bytes = 0;
  const ordered = isTail ? lines.toReversed() : lines;
  const end = ordered.findIndex(({ line }, index) => (bytes += 3 * line.length + LOG_REQUEST_ID_BYTES_MAX) > LOG_RELAY_BYTES_MAX && index > 0);
  const kept = end < 0 ? ordered : ordered.slice(0, end);
  return isTail ? kept.toReversed() : kept;
}

const lineItems = ({ sequence, timeMs, stream, requestId, line }: LogLine): Cbor => [BigInt(sequence), BigInt(Math.trunc(timeMs)), STREAMS.indexOf(stream), requestId?.slice(0, LOG_REQUEST_ID_BYTES_MAX / 4).toWellFormed() ?? "", line.toWellFormed()];

function lineFrom(value: Cbor): LogLine {
  const [sequence, timeMs, stream, requestId, line] = tuple(value, 5);
  const [at, time] = [Number(u64(sequence)), Number(u64(timeMs))];
  const from = STREAMS[u32(stream)];
  if (!Number.isSafeInteger(at) || at < 1 || !Number.isSafeInteger(time) || from === undefined) throw new CodecError("codec_value", "a line that is none");
  const request = text(requestId, LOG_REQUEST_ID_BYTES_MAX);
  return { sequence: at, timeMs: time, stream: from, requestId: request === "" ? null : request, line: text(line, LOG_TEXT_BYTES_MAX) };
}
