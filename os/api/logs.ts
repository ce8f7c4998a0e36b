/**
 * The log of a deployment over HTTP: the newest lines, a page, or a stream of server-sent events that follows it.
 *
 * A client that reads slower than the log grows loses lines, not the machine its memory: above LOG_FOLLOWER_BYTES_MAX unsent
 * bytes lines are left out and a line of the stream `system` says how many.
 */
import type { ServerResponse } from "node:http";
import { type Hex, hex } from "#chain/types.ts";
import { LOG_FOLLOWERS_MAX, LOG_FOLLOWERS_OF_ONE_MAX, LOG_FOLLOWER_BYTES_MAX, LOG_HEARTBEAT_MS, LOG_LINES_MAX, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX } from "../limits.ts";
import type { LogLine, LogStore } from "../logs.ts";
import type { Context } from "./context.ts";
import { refuseWith } from "./problems.ts";
import { type Route, json } from "./route.ts";
import { DEPLOYMENT_PARAMETER, page, ref } from "./schemas.ts";

export function logRoute({ logs }: Context): Route {
  /** One entry for each client that follows: whose it is. */
  const followers: Hex[] = [];
  return {
    id: "getLogs", method: "GET", path: "/v1/deployments/{id}/logs", auth: "owner",
    summary: "What a deployment wrote on this machine, to its owner; `follow=true` streams them as events `line`",
    parameters: { id: DEPLOYMENT_PARAMETER },
    query: {
      follow: { type: "boolean", default: false },
      tail: { type: "integer", minimum: 0, maximum: LOG_LINES_MAX, description: "The newest so many lines." },
      after: { type: "integer", minimum: 0, description: "Lines after this sequence number; `tail` is ignored." },
      limit: { type: "integer", minimum: 1, maximum: PAGE_ROWS_MAX, default: PAGE_ROWS_DEFAULT },
    },
    answers: { 200: { description: "Lines", types: ["application/json", "text/event-stream"], schema: page("lines", ref("LogLine")) } },
    run: ({ parameters, query, sender, signal }) => {
      const id = parameters["id"] as Hex;
      const after = query["after"] as number | undefined;
      const tail = (query["tail"] as number | undefined) ?? PAGE_ROWS_DEFAULT;
      const limit = query["limit"] as number;
      if (query["follow"] !== true) {
        const lines = after === undefined ? logs.tail(id, tail) : logs.after(id, after, limit);
        return json({ lines: [...lines], next: lines.length === 0 ? null : String(lines.at(-1)?.sequence) });
      }
      const account = sender === null ? refuseWith("unsigned", "Cannot follow a log without a signature") : hex(sender);
      if (followers.length >= LOG_FOLLOWERS_MAX || followers.filter((follower) => follower === account).length >= LOG_FOLLOWERS_OF_ONE_MAX) {
        refuseWith("busy", `Cannot follow the log as ${LOG_FOLLOWERS_OF_ONE_MAX} clients of one account, ${LOG_FOLLOWERS_MAX} of all, may follow logs here at once`);
      }
      // Counted in the turn in which it was checked: requests that come in one packet are not all let in.
      followers.push(account);
      signal.addEventListener("abort", () => followers.splice(followers.indexOf(account), 1), { once: true });
      return {
        kind: "stream", type: "text/event-stream",
        write: (response) => follow(logs, id, after === undefined ? logs.tail(id, tail) : logs.after(id, after, LOG_LINES_MAX), response, signal),
      };
    },
  };
}

async function follow(logs: LogStore, id: Hex, first: readonly LogLine[], response: ServerResponse, signal: AbortSignal): Promise<void> {
  let skipped = 0;
  const send = (line: LogLine): void => void response.write(`id: ${line.sequence}\nevent: line\ndata: ${JSON.stringify(line)}\n\n`);
  const write = (line: LogLine): void => {
    if (response.writableLength > LOG_FOLLOWER_BYTES_MAX) {
      skipped += 1;
      return;
    }
    if (skipped > 0) send({ ...line, sequence: line.sequence - 1, stream: "system", requestId: null, line: `${skipped} lines left out: this client reads too slowly` });
    skipped = 0;
    send(line);
  };
  const ended = new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
  const heartbeat = setInterval(() => response.write(": still here\n\n"), LOG_HEARTBEAT_MS);
  // No await between the first lines and the following: nothing is lost or twice.
  for (const line of first) write(line);
  const unfollow = logs.follow(id, write);
  try {
    await ended;
  } finally {
    clearInterval(heartbeat);
    unfollow();
  }
}
