/**
 * How another process acts on a running devnet: a Unix socket in its folder, on which whoever runs it listens. One line of JSON asks,
 * one answers. The folder is its owner's alone (0700), so nobody else reaches it; what comes is hostile until parsed all the same.
 *
 * A process number in a file could be another's by now; the one who started a process knows whether it is still that one.
 */
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { type Server, type Socket, connect, createServer } from "node:net";
import { join } from "node:path";
import { type Devnet, DevnetError, OFFSET_MS_MAX, type Row } from "./devnet.ts";

/** sockaddr_un holds 108 bytes with the zero at the end. */
const PATH_BYTES_MAX = 107;
const LINE_BYTES_MAX = 65_536;
const NAMES_MAX = 64;
const NAME_LENGTH_MAX = 32;
/** A machine that is started again is up within a minute, and several are started at once. */
const ANSWER_MS_MAX = 150_000;

export const VERBS = ["kill", "start", "pause", "resume", "partition", "heal", "skew", "slow", "status", "down"] as const;
export type Verb = (typeof VERBS)[number];
export type Request = { readonly verb: Verb; readonly names: readonly string[]; /** Of `skew`, and of `slow`. */ readonly offsetMs: number };
export type Answer = { readonly rows: readonly Row[] };

/** null: it is no request. */
export function parseRequest(line: string): Request | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  if (typeof value !== "object" || value === null) return null;
  const { verb, names = [], offsetMs = 0 } = value as { verb?: unknown; names?: unknown; offsetMs?: unknown };
  const known = VERBS.find((one) => one === verb);
  const areNames = Array.isArray(names) && names.length <= NAMES_MAX && names.every((name) => typeof name === "string" && name.length <= NAME_LENGTH_MAX);
  if (known === undefined || !areNames || !Number.isSafeInteger(offsetMs) || Math.abs(offsetMs as number) > OFFSET_MS_MAX) return null;
  return { verb: known, names: names as string[], offsetMs: offsetMs as number };
}

export function socketPath(directory: string): string {
  const path = join(directory, "control");
  if (Buffer.byteLength(path) > PATH_BYTES_MAX) throw new DevnetError("path_too_long", `Cannot have a socket in ${directory}: its path has more than ${PATH_BYTES_MAX} bytes`);
  return path;
}

/** Makes the folder this process's: refused where another devnet answers; a socket that nobody holds is of one that was killed. */
export async function claim(directory: string): Promise<void> {
  const answers = await ask(directory, { verb: "status", names: [], offsetMs: 0 }).then(() => true, (error: unknown) => !(error instanceof DevnetError && error.code === "devnet_not_running"));
  if (answers) throw new DevnetError("devnet_running", `Cannot start a devnet in ${directory}: one runs there`);
  await rm(socketPath(directory), { force: true });
}

export async function serveControl(directory: string, devnet: Devnet, down: () => void): Promise<AsyncDisposable> {
  const open = new Set<Socket>();
  const server: Server = createServer((socket) => {
    open.add(socket.once("close", () => open.delete(socket)).on("error", () => socket.destroy()));
    void serveOne(socket, devnet, down);
  });
  server.listen(socketPath(directory));
  await once(server, "listening");
  return {
    [Symbol.asyncDispose]: async () => {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}

async function serveOne(socket: Socket, devnet: Devnet, down: () => void): Promise<void> {
  const line = await readLine(socket);
  const request = line === null ? null : parseRequest(line);
  const answer = await perform(devnet, request).catch((error: unknown) => ({
    error: { code: error instanceof DevnetError ? error.code : "devnet_failed", message: error instanceof Error ? error.message : String(error) },
  }));
  // Who asks that all ends has its answer first.
  socket.end(`${JSON.stringify(answer)}\n`, () => { if (request?.verb === "down") down(); });
}

async function perform(devnet: Devnet, request: Request | null): Promise<Answer> {
  if (request === null) throw new DevnetError("request_malformed", "That is no request of a devnet");
  const { verb, names, offsetMs } = request;
  if (verb === "heal") await devnet.heal();
  else if (verb === "skew" || verb === "slow") await devnet[verb](names, offsetMs);
  else if (verb !== "status" && verb !== "down") await devnet[verb](names);
  return { rows: await devnet.rows() };
}

/** Asks the devnet that runs in this folder; throws DevnetError with its code when it refuses. */
export async function ask(directory: string, request: Request): Promise<Answer> {
  const socket = connect(socketPath(directory));
  try {
    await once(socket, "connect");
  } catch {
    throw new DevnetError("devnet_not_running", `No devnet runs in ${directory}: godwit devnet up starts one`);
  }
  const timer = setTimeout(() => socket.destroy(), ANSWER_MS_MAX);
  socket.on("error", () => socket.destroy());
  socket.write(`${JSON.stringify(request)}\n`);
  const line = await readLine(socket);
  clearTimeout(timer);
  socket.destroy();
  if (line === null) throw new DevnetError("devnet_silent", `The devnet in ${directory} ended before it answered`);
  // Whoever may read the folder started it: our own program wrote this.
  const answer = JSON.parse(line) as Answer | { readonly error: { readonly code: string; readonly message: string } };
  if ("error" in answer) throw new DevnetError(answer.error.code, answer.error.message);
  return answer;
}

/** null: the end came before a whole line, or the line is too long. */
function readLine(socket: Socket): Promise<string | null> {
  return new Promise((resolve) => {
    let text = "";
    socket.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
      const end = text.indexOf("\n");
      if (end >= 0) resolve(text.slice(0, end));
      else if (text.length > LINE_BYTES_MAX) {
        resolve(null);
        socket.destroy();
      }
    }).on("close", () => resolve(null));
  });
}
