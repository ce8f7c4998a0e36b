/**
 * The log of a deployment over HTTP: the newest lines, a page, or a stream of server-sent events that follows it.
 *
 * A client that reads slower than the log grows loses lines, not the machine its memory: above LOG_FOLLOWER_BYTES_MAX unsent
 * bytes lines are left out and a line of the stream `system` says how many. A deployment that is closed, by its owner's word in a
 * final block, or a task that has ended, still has its last requests to answer: its stream ends with `event: end` once nothing was written for LOG_QUIET_MS.
 * With `machine` the lines are another machine's, which judges the request by itself (logRelay.ts); a stream whose machine falls silent ends without `end`.
 */
import type { ServerResponse } from "node:http";
import { addressText } from "#chain/codec/address.ts";
import { type RequestExpected, verifyRequest } from "#chain/codec/request.ts";
import { type Address, type Hex, address, fromHex, hex } from "#chain/types.ts";
import { LOG_FOLLOWERS_MAX, LOG_FOLLOWERS_OF_ONE_MAX, LOG_FOLLOWER_BYTES_MAX, LOG_HEARTBEAT_MS, LOG_LAST_LINES_MS_MAX, LOG_LINES_MAX, LOG_QUIET_ELSEWHERE_MS, LOG_QUIET_MS, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX } from "../limits.ts";
import type { LogPart, SignedWords } from "../logRelay.ts";
import type { LogLine } from "../logs.ts";
import type { Context } from "./context.ts";
import { refuseWith } from "./problems.ts";
import { type Call, type Route, json } from "./route.ts";
import { Seats } from "./seats.ts";
import { ADDRESS_PARAMETER, DEPLOYMENT_PARAMETER, page, ref } from "./schemas.ts";

export function logRoute(context: Context): Route {
  const { logs, logRelay } = context;
  const seats = new Seats(LOG_FOLLOWERS_MAX, LOG_FOLLOWERS_OF_ONE_MAX);
  return {
    id: "getLogs", method: "GET", path: "/v1/deployments/{id}/logs", auth: "owner", isPassedOn: true,
    summary: "What a deployment wrote on this machine, or on the one that `machine` names and that the request is signed for, to its owner; `follow=true` streams events `line`, and one `end` when it is closed and writes no more",
    parameters: { id: DEPLOYMENT_PARAMETER },
    query: {
      machine: { ...ADDRESS_PARAMETER, description: "Whose lines." },
      follow: { type: "boolean", default: false },
      tail: { type: "integer", minimum: 0, maximum: LOG_LINES_MAX, description: "The newest so many lines." },
      after: { type: "integer", minimum: 0, description: "Lines after this sequence number; `tail` is ignored." },
      limit: { type: "integer", minimum: 1, maximum: PAGE_ROWS_MAX, default: PAGE_ROWS_DEFAULT },
    },
    answers: { 200: { description: "Lines. As events: `line` has a LogLine; `end`, the last one, says that the deployment is closed; a stream that ends without it is to be opened again", types: ["application/json", "text/event-stream"], schema: page("lines", ref("LogLine")) } },
    run: async ({ parameters, query, sender, elsewhere, signal }) => {
      const id = parameters["id"] as Hex;
      const after = query["after"] as number | undefined;
      const tail = (query["tail"] as number | undefined) ?? PAGE_ROWS_DEFAULT;
      const limit = query["limit"] as number;
      if (query["follow"] !== true) {
        const part = after === undefined ? { tail } : { after, limit };
        const lines = elsewhere !== null ? await logRelay.lines(elsewhere.machine, elsewhere, part) : after === undefined ? logs.tail(id, tail) : logs.after(id, after, limit);
        return json({ lines: [...lines], next: lines.length === 0 ? null : String(lines.at(-1)?.sequence) });
      }
      const account = sender === null ? refuseWith("unsigned", "Cannot follow a log without a signature") : hex(sender);
      // Counted in the turn in which it is checked: requests that come in one packet are not all let in.
      const taken = new AbortController();
      const giveBack = seats.take(account, () => taken.abort()) ??
        refuseWith("busy", `Cannot follow the log as ${LOG_FOLLOWERS_OF_ONE_MAX} clients of one account, ${LOG_FOLLOWERS_MAX} of all, may follow logs here at once`);
      signal.addEventListener("abort", giveBack, { once: true });
      const source: Source = elsewhere === null ? {
        // No await between the first lines and the following: nothing is lost or twice.
        open: (onLine) => {
          for (const line of after === undefined ? logs.tail(id, tail) : logs.after(id, after, LOG_LINES_MAX)) onLine(line);
          return logs.follow(id, onLine);
        },
        quietMs: LOG_QUIET_MS,
      } : await sourceElsewhere(context, elsewhere, after === undefined ? { tail } : { after, limit: LOG_LINES_MAX });
      return { kind: "stream", type: "text/event-stream", write: (response) => follow(context, id, source, response, AbortSignal.any([signal, taken.signal])) };
    },
  };
}

/** Machines that ran it, also runs that are paid for by now, as far as they are up. */
function hostsOf({ node, machine: here }: Context, id: Hex): Address[] {
  const [view, deploymentId] = [node.view(), address(fromHex(id))];
  const past = view.bill(deploymentId, view.moneySecond)?.segments.map(({ machine }) => machine) ?? [];
  const now = view.leasesOfDeployment(deploymentId).flatMap(({ machine, last }) => [machine, last?.machine ?? null]);
  const named = new Map([...now, ...past].flatMap((one) => (one === null ? [] : [[hex(one), address(one)] as const])));
  named.delete(hex(here));
  return [...named.values()].filter((one) => view.machine(one)?.state === "up");
}

export function logMachinesRoute(context: Context): Route {
  const { logs, logRelay, machine } = context;
  return {
    id: "getLogMachines", method: "GET", path: "/v1/deployments/{id}/logs/machines", auth: "owner", parameters: { id: DEPLOYMENT_PARAMETER },
    summary: "Machines that have lines of a deployment, of those that this one reaches; `silent` ran it, are up, and were not reached",
    answers: { 200: { description: "Names for `machine` of its log", types: ["application/json"], schema: ref("LogMachines") } },
    run: async ({ parameters }) => {
      const id = parameters["id"] as Hex;
      const { machines, silent } = await logRelay.holders(id, hostsOf(context, id));
      return json({ machines: [...(logs.has(id) ? [machine] : []), ...machines].map(addressText), silent: silent.map(addressText) });
    },
  };
}

/** Whose log these words ask this machine for, signed by who may read it. */
export function judgeLogWords({ path, authorization }: SignedWords, expected: Pick<RequestExpected, "chainId" | "machine" | "nowMs" | "keysOf">, checkOwner: (id: string, sender: Address) => void): Hex {
  const id = /^\/v1\/deployments\/([0-9a-f]{40})\/logs(?:\?|$)/.exec(path)?.[1];
  if (id === undefined) return refuseWith("wrong_request", "Cannot give lines to a request for something else");
  const verified = verifyRequest(authorization, { ...expected, method: "GET", path });
  if (!verified.ok) return refuseWith(verified.code, verified.message);
  checkOwner(id, verified.sender);
  return id as Hex;
}

type Source = { readonly open: (onLine: (line: LogLine) => void, lost: () => void) => () => void; readonly quietMs: number };

/** Its first lines are there before the answer begins: that the machine is not reached is a problem and no empty stream. */
async function sourceElsewhere({ logRelay }: Context, { machine, ...words }: NonNullable<Call["elsewhere"]>, part: LogPart): Promise<Source> {
  const first = await logRelay.lines(machine, words, part);
  const from = first.at(-1)?.sequence ?? ("after" in part ? part.after : 0);
  return {
    open: (onLine, lost) => {
      for (const line of first) onLine(line);
      return logRelay.follow(machine, words, from, onLine, lost);
    },
    quietMs: LOG_QUIET_ELSEWHERE_MS,
  };
}

async function follow({ node }: Context, id: Hex, { open, quietMs }: Source, response: ServerResponse, signal: AbortSignal): Promise<void> {
  const write = writer(response);
  const ended = Promise.withResolvers<void>();
  const stop = (): void => ended.resolve();
  if (signal.aborted) stop();
  else signal.addEventListener("abort", stop, { once: true });
  const heartbeat = setInterval(() => response.write(": still here\n\n"), LOG_HEARTBEAT_MS);
  let quiet: NodeJS.Timeout | undefined;
  let last: NodeJS.Timeout | undefined;
  let isLost = false;
  const waitForQuiet = (): void => {
    clearTimeout(quiet);
    quiet = setTimeout(stop, quietMs);
  };
  const unfollow = open((line) => {
    write(line);
    if (quiet !== undefined) waitForQuiet();
  }, () => {
    isLost = true;
    stop();
  });
  const look = (): void => {
    const state = node.view().deployment(address(fromHex(id)))?.state ?? "closing";
    if (quiet !== undefined || (state !== "closing" && state !== "ended")) return;
    waitForQuiet();
    last = setTimeout(stop, LOG_LAST_LINES_MS_MAX);
  };
  const unsubscribe = node.onFinal(look);
  look();
  try {
    await ended.promise;
    if (!signal.aborted && !isLost) write("end");
  } finally {
    clearInterval(heartbeat);
    clearTimeout(quiet);
    clearTimeout(last);
    unsubscribe();
    unfollow();
  }
}

/** Writes lines, and the end, as events; above LOG_FOLLOWER_BYTES_MAX unsent bytes it leaves lines out and tells how many with the next one that goes out. */
function writer(response: ServerResponse): (what: LogLine | "end") => void {
  let skipped: { readonly count: number; readonly last: LogLine } | null = null;
  const send = (line: LogLine): void => void response.write(`id: ${line.sequence}\nevent: line\ndata: ${JSON.stringify(line)}\n\n`);
  return (what) => {
    if (what !== "end" && response.writableLength > LOG_FOLLOWER_BYTES_MAX) {
      skipped = { count: (skipped?.count ?? 0) + 1, last: what };
      return;
    }
    if (skipped !== null) send({ ...skipped.last, stream: "system", requestId: null, line: `${skipped.count} lines left out: this client reads too slowly` });
    skipped = null;
    if (what === "end") response.write("event: end\ndata: {}\n\n");
    else send(what);
  };
}
