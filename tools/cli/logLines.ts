/**
 * What a deployment wrote, from all machines that have lines of it: those that run it and those that did and are there still. The machine
 * that is asked passes each request on to the one it is signed for; one that cannot be reached is said once and costs nobody else's lines.
 */
import type { Deployment, LogLine } from "./answers.ts";
import { ApiError, type ApiClient, type LogOptions } from "./client.ts";
import { pause } from "./pause.ts";

/** A machine lets one account follow eight logs at once. */
export const LOG_MACHINES_MAX = 8;
const LOOK_INTERVAL_MS = 2_000;

export type PlacedLine = LogLine & { readonly machine: string };
export type LogReader = {
  readonly client: Pick<ApiClient, "logs" | "logMachines" | "deployment" | "status">;
  readonly deployment: Pick<Deployment, "id" | "leases">;
  /** Something is missing, and why. */
  readonly missing: (text: string) => void;
};

/** The asked machine, those of its leases, then all others. */
export async function machinesOf({ client, deployment, missing }: LogReader): Promise<string[]> {
  const { machine: here } = await client.status();
  const { machines: others, silent } = await client.logMachines(deployment.id).catch((error: unknown) => {
    if (!(error instanceof ApiError) || error.status !== 503) throw error;
    missing(error.message);
    return { machines: [], silent: [] };
  });
  const placed = deployment.leases.flatMap(({ machine }) => machine ?? []);
  // Those that run it are asked anyway, and say themselves that they are not reached.
  for (const machine of silent) if (!placed.includes(machine)) missing(`The lines of ${machine}, which ran it, are missing: it was not reached from ${here}`);
  const all = [...new Set([here, ...placed, ...others])];
  if (all.length > LOG_MACHINES_MAX) missing(`${all.length} machines have lines of it: these are those of ${LOG_MACHINES_MAX}`);
  return all.slice(0, LOG_MACHINES_MAX);
}

/** The newest `tail` of all, in the order of their times. */
export async function newestLines(reader: LogReader, tail: number, signal: AbortSignal): Promise<PlacedLine[]> {
  const [here, ...others] = await machinesOf(reader);
  const linesOf = async (machine: string): Promise<PlacedLine[]> => (await Array.fromAsync(reader.client.logs(reader.deployment.id, { tail, signal, ...(machine === here ? {} : { machine }) }))).map((line) => ({ ...line, machine }));
  const all = await Promise.all([linesOf(here!), ...others.map((machine) => linesOf(machine).catch((error: unknown) => lost(reader, machine, error)))]);
  return all.flat().toSorted((a, b) => Number(a.timeMs - b.timeMs)).slice(tail === 0 ? all.flat().length : -tail);
}

function lost({ missing }: LogReader, machine: string, error: unknown): [] {
  if (!(error instanceof ApiError) || error.code === "interrupted") throw error;
  missing(`The lines of ${machine} are missing: ${error.message}`);
  return [];
}

/** The newest of each machine, then what comes, as it comes, until the deployment is closed or the signal; machines that it moves to are followed too. */
export async function* followedLines(reader: LogReader, options: Pick<LogOptions, "tail" | "onSkipped" | "onEnd"> & { readonly signal: AbortSignal }): AsyncGenerator<PlacedLine, void, undefined> {
  const { client, deployment: { id } } = reader;
  const over = new AbortController();
  const signal = AbortSignal.any([options.signal, over.signal]);
  const queue: PlacedLine[] = [];
  const followed = new Set<string>();
  let [wake, isEnded] = [(): void => {}, false];
  let failure: unknown = null;
  const here = (await client.status()).machine;
  const follow = async (machine: string): Promise<void> => {
    let after: number | undefined;
    for (let isTold = false; !signal.aborted && !isEnded; await pause(LOOK_INTERVAL_MS, signal)) {
      try {
        const part = after === undefined ? (options.tail === undefined ? {} : { tail: options.tail }) : { after };
        for await (const line of client.logs(id, { follow: true, signal, ...part, ...(options.onSkipped === undefined ? {} : { onSkipped: options.onSkipped }), ...(machine === here ? {} : { machine }), onEnd: () => (isEnded = true) })) {
          after = line.sequence;
          queue.push({ ...line, machine });
          wake();
        }
        if (isEnded) return;
        // That machine stops, and answers for no other any more.
        if (machine === here) over.abort();
      } catch (error) {
        if (machine === here) throw error;
        if (!isTold && !signal.aborted) lost(reader, machine, error);
        isTold = true;
      }
    }
  };
  const running: Promise<void>[] = [];
  const begin = (machines: readonly string[]): void => {
    for (const machine of machines) {
      if (followed.has(machine) || followed.size >= LOG_MACHINES_MAX) continue;
      followed.add(machine);
      running.push(follow(machine).catch((error: unknown) => {
        failure ??= error;
        over.abort();
      }));
    }
  };
  begin(await machinesOf(reader));
  const whole = (async (): Promise<void> => {
    for (; !signal.aborted && !isEnded && failure === null; await pause(LOOK_INTERVAL_MS, signal)) {
      const now = await client.deployment(id).catch(() => null);
      begin(now?.leases.flatMap(({ machine }) => machine ?? []) ?? []);
    }
  })();
  void followedToEnd(running).then(() => {
    over.abort();
    wake();
  });
  try {
    while (!over.signal.aborted || queue.length > 0) {
      if (queue.length === 0) await new Promise<void>((resolve) => (wake = resolve));
      else yield queue.shift()!;
    }
    if (failure !== null) throw failure as Error;
    if (isEnded) options.onEnd?.();
  } finally {
    over.abort();
    await whole;
  }
}
/** All that run, and those that begin meanwhile. */
async function followedToEnd(running: readonly Promise<void>[]): Promise<void> {
  for (let index = 0; index < running.length; index++) await running[index];
}
