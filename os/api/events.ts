/**
 * What the ledger's blocks did, over HTTP: pages over final blocks, or a stream of server-sent events that follows them.
 *
 * A cursor is a block's height, or `HEIGHT.INDEX` of an event in it; nothing comes twice and nothing is left out between one
 * request and the next. A request reads EVENT_BLOCKS_MAX blocks at most, in turns. A follower is served from the blocks that are
 * kept, not from memory: one that reads slowly is behind, and loses nothing that is not pruned meanwhile.
 */
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { addressText } from "#chain/codec/address.ts";
import { decodeBlock } from "#chain/codec/schema.ts";
import { EXITED } from "#chain/codec/taskOperations.ts";
import type { LedgerEvent } from "#chain/ledger/view.ts";
import type { BlockRecord } from "#chain/node/chainNode.ts";
import { type Hex, address, fromHex, hex } from "#chain/types.ts";
import { EVENT_BLOCKS_MAX, EVENT_BLOCKS_PER_TURN, EVENT_FOLLOWERS_MAX, EVENT_FOLLOWER_BYTES_MAX, EVENT_REQUESTS_MAX, LOG_HEARTBEAT_MS, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX } from "../limits.ts";
import type { Context } from "./context.ts";
import { decimal, eventJson } from "./json.ts";
import { refuseWith } from "./problems.ts";
import { type Call, type Json, type Route, json } from "./route.ts";
import { Seats } from "./seats.ts";
import { ADDRESS_PARAMETER, DEPLOYMENT_PARAMETER, page, ref } from "./schemas.ts";

type Row = { readonly [name: string]: Json } & { readonly cursor: string; readonly kind: string };
type Filter = { readonly deployment: string | undefined; readonly machine: string | undefined };
/** Everything up to and with event `index` of the block is behind it. */
type Cursor = { readonly height: number; readonly index: number };
type Scan = { readonly rows: Row[]; readonly cursor: Cursor; readonly isAtHead: boolean };

const END_OF_BLOCK: number = Number.MAX_SAFE_INTEGER;

/** Resolves in a later turn of the event loop than that of anybody who asked before: all who read blocks together get one part a turn. */
type Turns = () => Promise<void>;
function oneByOne(): Turns {
  let last = Promise.resolve();
  return () => (last = last.then(() => new Promise<void>((resolve) => setImmediate(resolve))));
}

export function eventRoute(context: Context): Route {
  const turns = oneByOne();
  let requests = 0;
  const seats = new Seats(EVENT_FOLLOWERS_MAX);
  return {
    id: "getEvents", method: "GET", path: "/v1/events", auth: "none",
    summary: "What final blocks did to deployments, leases and machines, oldest first; `follow=true` streams each as an event `event`, and one `end` when the deployment asked for is closed",
    query: {
      deployment: DEPLOYMENT_PARAMETER, machine: ADDRESS_PARAMETER,
      after: { type: "string", pattern: "^(0|[1-9][0-9]{0,9})(\\.(0|[1-9][0-9]{0,6}))?$", description: `What came after this block, or after this event (its \`cursor\`, or \`next\`); left out: of the newest ${EVENT_BLOCKS_MAX} blocks.` },
      limit: { type: "integer", minimum: 1, maximum: PAGE_ROWS_MAX, default: PAGE_ROWS_DEFAULT },
      follow: { type: "boolean", default: false },
    },
    answers: { 200: { description: `Events of ${EVENT_BLOCKS_MAX} blocks at most: a page may be empty and not the last. As events: \`event\` has an Event; a stream that ends without \`end\` is to be opened again after the last cursor`, types: ["application/json", "text/event-stream"], schema: page("events", ref("Event")) } },
    run: async ({ query, client, signal }) => {
      const filter = filterOf(query);
      const from = cursorOf(context, query["after"]);
      if (query["follow"] === true) {
        const taken = new AbortController();
        const giveBack = seats.take(client, () => taken.abort()) ?? refuseWith("busy", `Cannot follow events as ${EVENT_FOLLOWERS_MAX} clients do, none of them more often than this one: try again`);
        signal.addEventListener("abort", giveBack, { once: true });
        return { kind: "stream", type: "text/event-stream", write: (response) => follow(context, turns, filter, from, response, AbortSignal.any([signal, taken.signal])).finally(giveBack) };
      }
      if (requests >= EVENT_REQUESTS_MAX) refuseWith("busy", `Cannot read events for more than ${EVENT_REQUESTS_MAX} clients at once: try again`);
      requests += 1;
      try {
        const { rows, cursor, isAtHead } = await scan(context, turns, filter, from, query["limit"] as number, signal);
        return json({ events: rows, next: isAtHead ? null : cursorText(cursor) });
      } finally {
        requests -= 1;
      }
    },
  };
}

const textOf = (value: Call["query"][string] | undefined): string | undefined => (value === undefined ? undefined : String(value));
const filterOf = (query: Call["query"]): Filter => ({ deployment: textOf(query["deployment"]), machine: textOf(query["machine"]) });
const cursorText = ({ height, index }: Cursor): string => (index === END_OF_BLOCK ? String(height) : `${height}.${index}`);
/** Right before an event. */
const before = (height: number, index: number): Cursor => (index === 0 ? { height: height - 1, index: END_OF_BLOCK } : { height, index: index - 1 });

function cursorOf({ node }: Context, after: Call["query"][string] | undefined): Cursor {
  if (after === undefined) return { height: Math.max(0, node.head().height - EVENT_BLOCKS_MAX), index: END_OF_BLOCK };
  const [height = "0", index] = String(after).split(".");
  return { height: Number(height), index: index === undefined ? END_OF_BLOCK : Number(index) };
}

/** Reads on from a cursor, to `limit` rows, EVENT_BLOCKS_MAX blocks or the head. */
async function scan(context: Context, turns: Turns, filter: Filter, from: Cursor, limit: number, signal: AbortSignal): Promise<Scan> {
  const { node } = context;
  const rows: Row[] = [];
  let at = from.index === END_OF_BLOCK ? from.height + 1 : from.height;
  let index = from.index === END_OF_BLOCK ? -1 : from.index;
  const first = firstKept(context, at);
  if (first !== at) [at, index] = [first, -1];
  for (let blocks = 0; at <= node.head().height; at += 1, index = -1) {
    if (blocks === EVENT_BLOCKS_MAX || signal.aborted) return { rows, cursor: before(at, index + 1), isAtHead: false };
    blocks += 1;
    if (blocks % EVENT_BLOCKS_PER_TURN === 0) await turns();
    const block = node.block(at);
    if (block === null) continue;
    let header: ReturnType<typeof decodeBlock>["header"] | null = null;
    for (const [i, event] of block.events.entries()) {
      if (i <= index || !isMeant(event, filter)) continue;
      if (rows.length === limit) return { rows, cursor: before(at, i), isAtHead: false };
      header ??= decodeBlock(block.bytes).header;
      rows.push(rowOf(context, block, header, event, i));
    }
  }
  return { rows, cursor: { height: at - 1, index: END_OF_BLOCK }, isAtHead: true };
}

/** The first block at or after a height that is kept: pruned ones are all before those that are not. */
function firstKept({ node }: Context, at: number): number {
  let [low, high]: [number, number] = [at, node.head().height];
  if (low >= high || node.block(low) !== null) return low;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (node.block(middle) === null) low = middle + 1;
    else high = middle;
  }
  return low;
}

const fieldOf = <T>(event: LedgerEvent, name: string): T | null => (name in event ? ((event as unknown as Readonly<Record<string, T>>)[name] ?? null) : null);

function isMeant(event: LedgerEvent, { deployment, machine }: Filter): boolean {
  const [id, on] = [fieldOf<Uint8Array>(event, "deploymentId"), fieldOf<Uint8Array>(event, "machine")];
  if (deployment !== undefined && (id === null || hex(id) !== deployment)) return false;
  return machine === undefined || (on !== null && addressText(address(on)) === machine);
}

function rowOf(context: Context, block: BlockRecord, { timeMs, moneySecond }: { readonly timeMs: bigint; readonly moneySecond: bigint }, event: LedgerEvent, index: number): Row {
  const [id, machine] = [fieldOf<Uint8Array>(event, "deploymentId"), fieldOf<Uint8Array>(event, "machine")];
  const txid = event.transaction === undefined ? undefined : block.outcomes[event.transaction]?.txid;
  const { kind: _kind, transaction: _transaction, ...details } = eventJson(event) as { readonly [name: string]: Json };
  return {
    cursor: `${block.height}.${index}`, height: block.height, block: hex(block.id), timeMs: decimal(timeMs), second: decimal(moneySecond),
    // The ledger says of money what people say of leases and machines.
    kind: event.kind === "opened" ? "ready" : event.kind === "machine" ? event.state : event.kind,
    transaction: txid === undefined ? null : hex(txid), deployment: id === null ? null : hex(id), name: id === null ? null : nameOf(context, event, id),
    lease: fieldOf<number>(event, "index"), machine: machine === null ? null : addressText(address(machine)),
    cause: fieldOf<string>(event, "cause") ?? fieldOf<string>(event, "why") ?? (event.kind === "taskEnded" ? (event.reason === EXITED ? `exit code ${event.exitCode}` : event.reason) : null), details,
  };
}

function nameOf({ node }: Context, event: LedgerEvent, id: Uint8Array): string | null {
  if (event.kind === "deployed") return event.name;
  const view = node.view();
  return view.deployment(address(id))?.name ?? view.bill(address(id), view.moneySecond)?.name ?? null;
}

async function follow(context: Context, turns: Turns, filter: Filter, from: Cursor, response: ServerResponse, signal: AbortSignal): Promise<void> {
  const { node } = context;
  let wake = (): void => {};
  const unsubscribe = node.onFinal(() => wake());
  const onAbort = (): void => wake();
  signal.addEventListener("abort", onAbort);
  const heartbeat = setInterval(() => response.write(": still here\n\n"), LOG_HEARTBEAT_MS);
  try {
    for (let cursor = from; !signal.aborted;) {
      // Made before the blocks are read: one that comes meanwhile is not slept through.
      const more = new Promise<void>((resolve) => (wake = resolve));
      const read = await scan(context, turns, filter, cursor, PAGE_ROWS_DEFAULT, signal);
      for (const row of read.rows) response.write(`id: ${row.cursor}\nevent: event\ndata: ${JSON.stringify(row)}\n\n`);
      cursor = read.cursor;
      if (response.writableLength > EVENT_FOLLOWER_BYTES_MAX) await once(response, "drain", { signal }).catch(() => {});
      if (!read.isAtHead || node.head().height > cursor.height) continue;
      if (filter.deployment !== undefined && isGone(context, filter.deployment as Hex)) return void response.write("event: end\ndata: {}\n\n");
      await more;
    }
  } finally {
    clearInterval(heartbeat);
    unsubscribe();
    signal.removeEventListener("abort", onAbort);
  }
}

const isGone = ({ node }: Context, id: Hex): boolean => node.view().deployment(address(fromHex(id))) === null;
