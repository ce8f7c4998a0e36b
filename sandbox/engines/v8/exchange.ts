/** One request on V8, from its head to the last byte of its answer: admitted, given to a lane, answered, accounted for. */
import { randomBytes } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Lane } from "./lane.ts";
import { GuestRequests } from "./outgoing.ts";
import { LogLines } from "./logLines.ts";
import type { FromLane, GuestRequest, Headers } from "./protocol.ts";
import type { Lanes, Loaded } from "./loaded.ts";
import { isForbidden } from "./wasiHttp.ts";

const STATUS_OF: Readonly<Record<string, number>> = {
  host_unknown: 404, host_missing: 400, header_too_large: 431, body_too_large: 413, queue_full: 503, queue_timeout: 503, overloaded: 503, fuel_limit: 504, wall_time_limit: 504,
};
const STATUS_DEFAULT = 500;
const NOT_MODIFIED = 304;
const INFORMATIONAL_MAX = 199;
const HEADER_OVERHEAD_BYTES = 4;
/** What the ingress says, and no client. */
const OURS: ReadonlySet<string> = new Set(["x-request-id", "x-forwarded-for"]);
const latin1 = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0) & 0xff);
const fromLatin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

export class Exchange {
  readonly #runner: Lanes;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #expectsContinue: boolean;
  readonly #id = randomBytes(8).toString("hex");
  #loaded: Loaded | undefined;
  #lane: Lane | null = null;
  #lines: LogLines | undefined;
  #requests: GuestRequests | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;
  #hasFailed = false;
  #head: { status: number; headers: Headers } | null = null;
  #chunks: Uint8Array[] = [];
  #isStreaming = false;
  #answerBytes = 0;
  #bodyBytes = 0;
  #bodyDone: () => void = () => {};

  constructor(runner: Lanes, request: IncomingMessage, response: ServerResponse, expectsContinue: boolean) {
    this.#runner = runner;
    this.#request = request;
    this.#response = response;
    this.#expectsContinue = expectsContinue;
  }

  async run(): Promise<void> {
    const { headers } = this.#request;
    const host = hostOf(headers.host);
    if (host === null) return this.#problem("host_missing");
    const loaded = this.#runner.route(host);
    if (loaded === undefined) return this.#problem("host_unknown");
    this.#loaded = loaded;
    this.#lines = new LogLines(loaded.limits.logBytesPerSecondMax, (stream, line) => this.#runner.log(loaded.id, this.#id, stream, line), () => void (loaded.usage.logLinesDropped += 1));
    loaded.usage.requests += 1;
    const bytes = (this.#request.url ?? "").length + this.#request.rawHeaders.reduce((sum, text) => sum + text.length, 0) + (this.#request.rawHeaders.length / 2) * HEADER_OVERHEAD_BYTES;
    if (bytes > loaded.limits.headerBytesMax) return this.#fail("header_too_large");
    const length = headers["content-length"] === undefined ? null : Number(headers["content-length"]);
    if (length !== null && length > loaded.limits.requestBodyBytesMax) return this.#fail("body_too_large");
    this.#response.on("close", () => this.#clientGone());
    if (!(await this.#admitted(loaded))) return;
    if (this.#isOver) return this.#leave(true);
    const hasBody = (length !== null && length > 0) || headers["transfer-encoding"] !== undefined;
    this.#begin(loaded, host, hasBody);
  }

  /** Waits for one of the deployment's places. */
  async #admitted({ usage, queue, concurrency, limits }: Loaded): Promise<boolean> {
    if (usage.running < concurrency) {
      usage.running += 1;
      return true;
    }
    if (queue.length >= limits.queueLengthMax) {
      this.#fail("queue_full");
      return false;
    }
    let enter: () => void = () => {};
    const entered = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(false), limits.queueWaitMsMax);
      enter = () => {
        clearTimeout(timer);
        resolve(true);
      };
      queue.push(enter);
    });
    if (entered) return true;
    queue.splice(queue.indexOf(enter), 1);
    this.#fail("queue_timeout");
    return false;
  }

  #begin(loaded: Loaded, authority: string, hasBody: boolean): void {
    const { program, setting, limits } = loaded;
    const lane = this.#runner.lane(program);
    if (lane === null) {
      this.#fail("overloaded");
      return this.#leave(true);
    }
    this.#lane = lane;
    this.#timer = setTimeout(() => this.#fail("wall_time_limit", `still running after ${limits.wallTimeMsMax} ms`), limits.wallTimeMsMax);
    lane.take((message) => this.#hear(message), (reason) => this.#fail("trap", `the guest's thread ended: ${reason}`));
    if (!hasBody) this.#request.resume();
    this.#requests = new GuestRequests(this.#runner.dialler, loaded.id, loaded.outgoing, limits, (message) => this.#lane?.post(message), loaded.mock);
    const request: GuestRequest = { method: this.#request.method ?? "GET", target: this.#request.url ?? "/", authority, headers: this.#guestHeaders(), body: hasBody ? null : new Uint8Array() };
    lane.post({ type: "serve", id: program.id, setting, request });
  }

  #guestHeaders(): Headers {
    const { rawHeaders } = this.#request;
    const headers: [string, Uint8Array][] = [];
    for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
      const name = rawHeaders[i]!.toLowerCase();
      if (!isForbidden(name) && !OURS.has(name)) headers.push([name, latin1(rawHeaders[i + 1]!)]);
    }
    const client = (this.#request.socket.remoteAddress ?? "").replace(/^::ffff:/, "");
    return [...headers, ["x-forwarded-for", latin1(client)], ["x-request-id", latin1(this.#id)]];
  }

  #hear(message: FromLane): void {
    switch (message.type) {
      case "write":
        this.#lines!.push(message.stream === 1 ? "stdout" : "stderr", message.bytes);
        return this.#lane?.post({ type: "taken", bytes: message.bytes.length });
      case "want": return this.#giveBody();
      case "answer": return this.#answer(message);
      case "body": return this.#send(message.chunks, false);
      case "refused": return this.#fail("guest_error", message.error);
      case "done": return this.#done(message);
      case "send": return this.#requests?.send(message);
      case "wantPart": return this.#requests?.want(message.call);
      case "begun": return;
      default: throw message satisfies never;
    }
  }

  /** The next chunk of the request's body, when it comes; what has been read stays with the guest. */
  #giveBody(): void {
    if (this.#expectsContinue && this.#bodyBytes === 0) this.#response.writeContinue();
    const request = this.#request;
    const ended = (): void => {
      stop();
      this.#lane?.post({ type: "chunk", bytes: null });
    };
    const readable = (): void => {
      const chunk = request.read() as Uint8Array | null;
      if (chunk === null) return void (request.readableEnded && ended());
      stop();
      this.#bodyBytes += chunk.length;
      if (this.#bodyBytes > this.#loaded!.limits.requestBodyBytesMax) return this.#fail("body_too_large");
      this.#lane?.post({ type: "chunk", bytes: new Uint8Array(chunk) });
    };
    const stop = (): void => void request.off("readable", readable).off("end", ended);
    this.#bodyDone = stop;
    request.on("readable", readable).on("end", ended);
    if (request.readableEnded) ended();
    else readable();
  }

  #answer({ status, headers, chunks, isWhole }: Extract<FromLane, { type: "answer" }>): void {
    if (status <= INFORMATIONAL_MAX) return this.#fail("guest_error", `${status} is no status of an answer`);
    const bytes = headers.reduce((sum, [name, value]) => sum + name.length + value.length + HEADER_OVERHEAD_BYTES, 0);
    if (bytes > this.#loaded!.limits.headerBytesMax) return this.#fail("guest_error", `the answer's headers have ${bytes} bytes`);
    this.#head = { status, headers };
    this.#send(chunks, isWhole);
  }

  /** An answer that is whole waits for the word that the guest has ended well, and then has its length. */
  #send(chunks: readonly Uint8Array[], isWhole: boolean): void {
    for (const chunk of chunks) this.#answerBytes += chunk.length;
    if (this.#answerBytes > this.#loaded!.limits.responseBodyBytesMax) return this.#fail("answer_too_large");
    this.#chunks.push(...chunks);
    if (!isWhole) this.#stream();
  }

  #stream(): void {
    if (this.#isOver || this.#head === null || (this.#chunks.length === 0 && this.#isStreaming)) return;
    if (!this.#isStreaming) this.#writeHead(null);
    this.#isStreaming = true;
    const chunks = this.#chunks.splice(0);
    const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    const taken = (): void => this.#lane?.post({ type: "taken", bytes });
    if (this.#hasNoBody()) return taken();
    const isFull = chunks.map((chunk) => this.#response.write(chunk)).includes(false);
    if (isFull) this.#response.once("drain", taken);
    else taken();
  }

  #done({ failure, memoryBytes, trailers }: Extract<FromLane, { type: "done" }>): void {
    const { usage } = this.#loaded!;
    usage.memoryBytesPeak = Math.max(usage.memoryBytesPeak, memoryBytes);
    if (this.#isOver) return;
    if (failure !== null) return this.#fail(failure.code, failure.message, true);
    if (this.#head === null) return this.#fail("no_answer", "", true);
    const announced = this.#head.headers.filter(([name]) => name === "content-length").map(([, value]) => fromLatin1(value));
    if (!this.#hasNoBody() && announced.some((text) => text !== String(this.#answerBytes))) return this.#fail("guest_error", "the body is not as long as its content-length", true);
    if (!this.#isStreaming && trailers.length === 0) {
      this.#writeHead(announced.length === 0 ? this.#answerBytes : null);
      if (!this.#hasNoBody()) for (const chunk of this.#chunks) this.#response.write(chunk);
    } else {
      this.#stream();
      this.#response.addTrailers(trailers.map(([name, value]): [string, string] => [name, fromLatin1(value)]));
    }
    this.#isOver = true;
    this.#response.end();
    this.#leave(true);
  }

  #hasNoBody(): boolean {
    return this.#request.method === "HEAD" || this.#head?.status === NOT_MODIFIED;
  }

  #writeHead(length: number | null): void {
    const { status, headers } = this.#head!;
    const raw = headers.flatMap(([name, value]) => (name === "x-request-id" ? [] : [name, fromLatin1(value)]));
    // A guest's HEAD answer has no body to tell the length of.
    if (length !== null && !(this.#hasNoBody() && length === 0)) raw.push("content-length", String(length));
    this.#response.sendDate = true;
    this.#response.writeHead(status, [...raw, "x-request-id", this.#id]);
  }

  /** The first cause counts: an answer that has begun is broken off, and one that has not is a problem. */
  #fail(code: string, detail = "", isFree = false): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#hasFailed = true;
    if (this.#loaded !== undefined) this.#loaded.usage.errors += 1;
    this.#lines?.end();
    if (this.#loaded !== undefined) for (const line of `${code}${detail === "" ? "" : `: ${detail}`}`.split("\n")) this.#runner.log(this.#loaded.id, this.#id, "system", line);
    if (this.#isStreaming) this.#response.destroy();
    else this.#problem(code);
    if (this.#lane !== null) this.#leave(isFree);
  }

  #problem(code: string): void {
    const status = STATUS_OF[code] ?? STATUS_DEFAULT;
    const body = `${JSON.stringify({ status, code, requestId: this.#id })}\n`;
    const retry = status === 503 ? ["retry-after", "1"] : [];
    // A body that nobody reads would be taken for the next request.
    if (!this.#request.readableEnded) retry.push("connection", "close");
    this.#response.writeHead(status, ["content-type", "application/problem+json", "content-length", String(Buffer.byteLength(body)), "x-request-id", this.#id, ...retry]);
    this.#response.end(this.#request.method === "HEAD" ? undefined : body);
  }

  #clientGone(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (this.#lane !== null) this.#leave(false);
  }

  /** The place goes to who waits for it. */
  #leave(isFree: boolean): void {
    clearTimeout(this.#timer);
    this.#requests?.end();
    this.#bodyDone();
    if (!this.#hasFailed) this.#lines?.end();
    if (!this.#request.readableEnded) this.#request.resume();
    if (this.#lane !== null) this.#runner.release(this.#lane, isFree);
    this.#lane = null;
    const { usage, queue } = this.#loaded!;
    const next = queue.shift();
    if (next === undefined) usage.running -= 1;
    else next();
  }
}

/** A Host header without its port, in lower case; null for none. */
function hostOf(header: string | undefined): string | null {
  const name = (header ?? "").replace(/:\d+$/, "").replace(/\.$/, "").toLowerCase();
  return name === "" ? null : name;
}
