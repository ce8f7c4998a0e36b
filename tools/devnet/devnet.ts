/**
 * A devnet: N machines with a validator each, as processes of this computer, and what can be done to them.
 *
 *     DIRECTORY/  genesis  0/ 1/ …   the data folder of each machine; a devnet that was here before goes on
 *
 * As root each machine is in a network namespace of its own and can be cut off from the others, or is a guest of the real image (guests.ts); else all are on ports of loopback. A
 * machine keeps its addresses when it is started again. Only processes that this object started are ever signalled, by what it holds
 * of them. Actions are done one after the other.
 */
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { addressText } from "#chain/codec/address.ts";
import { decodeGenesis } from "#chain/codec/genesis.ts";
import { DELAY_MS_MAX } from "#chain/network/slow.ts";
import { type MachineProcess, type Site, freePort, makeSite, startSiteMachine } from "#tools/chain/machines.ts";
import { type Door, openDoor } from "./door.ts";
import { type Guests, openGuests, registerGuest } from "./guests.ts";
import { type Lan, openLan } from "./lan.ts";

export const MACHINES_MAX = 32;
export const OFFSET_MS_MAX = 86_400_000;
/** Inside of its own network: the others' hops reach it there, the door from outside as well. */
const EVERYWHERE = "0.0.0.0";
const ASK_MS_MAX = 2_000;
/** In a namespace of its own a machine has the ports that it has anywhere. */
const [API_PORT, HTTP_PORT, CHAIN_PORT] = [7480, 7481, 7482] as const;
/** What the image listens on. */
const GUEST_HTTP_PORT = 80;
const SKEW = join(import.meta.dirname, "skewedClock.ts");

export type State = "starting" | "up" | "paused" | "dead";
export type Row = {
  readonly name: string; readonly machine: string; readonly api: string; readonly httpPort: number; readonly state: State;
  readonly isCut: boolean; readonly clockOffsetMs: number; readonly slowMs: number;
  /** null: it does not answer. */
  readonly height: number | null; readonly leases: number | null;
};
export class DevnetError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

type Seat = { readonly name: string; readonly apiPort: number; readonly httpPort: number; process: MachineProcess | null; state: State; isCut: boolean; clockOffsetMs: number; slowMs: number };
export type DevnetOptions = { readonly directory: string; readonly count: number; readonly isIsolated?: boolean; /** A folder with an image: the machines are guests of it. */ readonly image?: string; readonly onChange?: () => void; readonly abort?: AbortSignal };

export class Devnet implements AsyncDisposable {
  readonly site: Site;
  readonly isIsolated: boolean;
  readonly #seats: readonly Seat[];
  readonly #lan: Lan | null;
  readonly #onChange: () => void;
  readonly #places: readonly { readonly api: number; readonly http: number }[];
  readonly #abort: AbortSignal | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  readonly #guests: Guests | null;

  private constructor(site: Site, lan: Lan | null, guests: Guests | null, outside: Devnet["places"], inside: Devnet["places"], onChange: () => void, abort: AbortSignal | undefined) {
    [this.#abort, this.#guests] = [abort, guests];
    [this.site, this.isIsolated, this.#lan, this.#places, this.#onChange] = [site, lan !== null, lan, inside, onChange];
    this.#seats = outside.map(({ api, http }, index) => ({ name: `m${index + 1}`, apiPort: api, httpPort: http, process: null, state: "dead", isCut: false, clockOffsetMs: 0, slowMs: 0 }));
  }

  /** All machines are started, and up when this resolves; whatever fails takes down what is there. */
  static async open({ directory, count, isIsolated = process.getuid?.() === 0, image, onChange = () => {}, abort }: DevnetOptions): Promise<Devnet> {
    if (image !== undefined && !isIsolated) throw new DevnetError("not_isolated", "Cannot run guests on this computer's loopback: they need a network of their own, and that needs root");
    if (!(count >= 1 && count <= MACHINES_MAX)) throw new DevnetError("count_invalid", `Cannot make ${count} machines: expected 1 to ${MACHINES_MAX}`);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const before = await readFile(join(directory, "genesis")).then((bytes) => decodeGenesis(new Uint8Array(bytes)).validators.length, () => null);
    if (before !== null && before !== (image === undefined ? count : 1)) throw new DevnetError("other_devnet", `Cannot start ${count} machines in ${directory}: it holds a devnet of ${before}`);
    // Of guests none validates; emulated they need the time that real machines are given.
    const site = image === undefined ? await makeSite(directory, count) : await makeSite(directory, count, { validators: 1, parameters: "default" });
    await using made = new AsyncDisposableStack();
    const indices = Array.from({ length: count }, (_, index) => index);
    const lan = isIsolated ? openLan(count, { taps: image !== undefined }) : null;
    if (lan !== null) made.defer(() => lan.close());
    const inside = await Promise.all(indices.map(async () => (lan === null ? { api: await freePort(), http: await freePort() } : { api: API_PORT, http: HTTP_PORT })));
    let outside = inside;
    let guests: Guests | null = null;
    const doors: Door[] = [];
    if (lan !== null) {
      // A Unix socket's path is short (108 bytes); the devnet's folder may be long.
      const sockets = await mkdtemp(join(tmpdir(), "godwit-doors-"));
      made.defer(() => rm(sockets, { recursive: true, force: true }));
      made.defer(async () => void (await Promise.all(doors.map((door) => door.close()))));
      const hostOf = (index: number): { host?: string } => (image === undefined ? {} : { host: lan.address(index) });
      const httpPort = image === undefined ? HTTP_PORT : GUEST_HTTP_PORT;
      for (const opened of await Promise.allSettled(indices.map((index) => openDoor(lan.prefix(index), [{ socket: join(sockets, `${index}-api`), port: API_PORT, ...hostOf(index) }, { socket: join(sockets, `${index}-http`), port: httpPort, ...hostOf(index) }]))))
        if (opened.status === "fulfilled") doors.push(opened.value);
        else throw opened.reason;
      if (image !== undefined) guests = made.use(await openGuests(site, lan, image, sockets));
      outside = doors.map(({ ports }) => ({ api: ports[0]!, http: ports[1]! }));
    }
    const devnet = new Devnet(site, lan, guests, outside, inside, onChange, abort);
    made.defer(() => devnet.#stopAll());
    await devnet.start(devnet.names);
    devnet.#made = made.move();
    return devnet;
  }
  #made: AsyncDisposableStack | null = null;

  get names(): readonly string[] {
    return this.#seats.map(({ name }) => name);
  }
  /** Where each machine's API and ingress are, as seen from this computer. */
  get places(): readonly { readonly api: number; readonly http: number }[] {
    return this.#seats.map(({ apiPort, httpPort }) => ({ api: apiPort, http: httpPort }));
  }
  /** All that a machine has printed in this life. */
  output(index: number): string {
    return this.#seats[index]?.process?.output() ?? "";
  }

  /** As a power cut does it. */
  kill(names: readonly string[]): Promise<void> {
    return this.#act(names, async (seat) => {
      await seat.process?.stop("SIGKILL");
      this.#set(seat, "dead");
    });
  }
  start(names: readonly string[]): Promise<void> {
    return this.#act(names, async (seat, index) => {
      if (seat.process !== null && seat.state !== "dead") return;
      await this.#begin(seat, index);
    });
  }
  pause(names: readonly string[]): Promise<void> {
    return this.#act(names, async (seat) => {
      if (seat.state !== "up") throw new DevnetError("machine_not_up", `Cannot pause ${seat.name}: it is ${seat.state}`);
      seat.process?.signal("SIGSTOP");
      this.#set(seat, "paused");
    });
  }
  resume(names: readonly string[]): Promise<void> {
    return this.#act(names, async (seat) => {
      if (seat.state !== "paused") return;
      seat.process?.signal("SIGCONT");
      this.#set(seat, "up");
    });
  }
  /** Nothing goes any more between these and the others; among themselves they talk on. */
  partition(names: readonly string[]): Promise<void> {
    return this.#act(names, async () => {}, (chosen) => {
      const lan = this.#lan;
      if (lan === null) throw new DevnetError("not_isolated", "Cannot cut machines off that share this computer's loopback: start the devnet as root");
      for (const seat of chosen) seat.isCut = true;
      const groups = [true, false].map((isCut) => this.#seats.flatMap((seat, index) => (seat.isCut === isCut ? [index] : [])));
      lan.heal();
      if (groups.every((group) => group.length > 0)) lan.cut(...groups);
    });
  }
  /** Every cut is over. */
  heal(): Promise<void> {
    return this.#act([], async () => {}, () => {
      this.#lan?.heal();
      for (const seat of this.#seats) seat.isCut = false;
    });
  }
  /** Started again with a clock that is off by so much; 0 sets it right. */
  skew(names: readonly string[], offsetMs: number): Promise<void> {
    if (!Number.isSafeInteger(offsetMs) || Math.abs(offsetMs) > OFFSET_MS_MAX) throw new DevnetError("offset_invalid", `Cannot set a clock off by ${offsetMs} ms: at most ${OFFSET_MS_MAX} either way`);
    return this.#again(names, (seat) => (seat.clockOffsetMs = offsetMs));
  }
  /** Started again behind a long line: what it sends to the others leaves so much later; 0: as the others. */
  slow(names: readonly string[], slowMs: number): Promise<void> {
    if (!Number.isSafeInteger(slowMs) || slowMs < 0 || slowMs > DELAY_MS_MAX) throw new DevnetError("delay_invalid", `Cannot make a machine slow by ${slowMs} ms: expected 0 to ${DELAY_MS_MAX}`);
    if (this.#guests !== null) throw new DevnetError("guests_not_slow", "Cannot make guests slow: their image has no such word");
    return this.#again(names, (seat) => (seat.slowMs = slowMs));
  }
  #again(names: readonly string[], change: (seat: Seat) => void): Promise<void> {
    return this.#act(names, async (seat, index) => {
      if (seat.state === "paused") seat.process?.signal("SIGCONT");
      if (seat.state !== "dead") await seat.process?.stop();
      this.#set(seat, "dead");
      change(seat);
      await this.#begin(seat, index);
    });
  }

  rows(): Promise<Row[]> {
    return Promise.all(this.#seats.map(async ({ name, apiPort, httpPort, state, isCut, clockOffsetMs, slowMs }, index) => {
      const api = `http://127.0.0.1:${apiPort}`;
      const machine = addressText(this.site.machines[index]!);
      const seen = state === "up" ? await look(api, machine) : { height: null, leases: null };
      return { name, machine, api, httpPort, state, isCut, clockOffsetMs, slowMs, ...seen };
    }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#made?.disposeAsync();
  }
  async #stopAll(): Promise<void> {
    this.#isClosed = true;
    await Promise.all(this.#seats.map(async (seat) => {
      if (seat.state === "paused") seat.process?.signal("SIGCONT");
      await seat.process?.stop();
      seat.state = "dead";
    }));
  }

  async #begin(seat: Seat, index: number): Promise<void> {
    if (this.#isClosed) return;
    this.#set(seat, "starting");
    const lan = this.#lan;
    const { api, http } = this.#places[index]!;
    const guests = this.#guests;
    try {
      const started = guests !== null ? await guests.start(index, seat.clockOffsetMs, this.#abort) : await startSiteMachine(this.site, index, {
        apiPort: api, httpPort: http, ...(this.#abort === undefined ? {} : { abort: this.#abort }), ...(lan === null ? {} : { prefix: lan.prefix(index), address: EVERYWHERE, place: (of) => `${lan.address(of)}:${CHAIN_PORT}` }),
        options: seat.slowMs === 0 ? [] : ["--slow-ms", String(seat.slowMs)],
        ...(seat.clockOffsetMs === 0 ? {} : { flags: ["--import", SKEW], environment: { GODWIT_CLOCK_OFFSET_MS: String(seat.clockOffsetMs) } }),
      });
      seat.process = started;
      // It may end by itself, too.
      started.process.once("exit", () => { if (seat.process === started) this.#set(seat, "dead"); });
      if (guests !== null) await registerGuest(this.site, index, `http://127.0.0.1:${seat.apiPort}`);
      this.#set(seat, started.process.exitCode === null ? "up" : "dead");
    } catch (error) {
      this.#set(seat, "dead");
      throw new DevnetError("machine_did_not_start", `Cannot start ${seat.name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  #set(seat: Seat, state: State): void {
    seat.state = state;
    this.#onChange();
  }
  async #act(names: readonly string[], each: (seat: Seat, index: number) => Promise<void>, whole: (seats: readonly Seat[]) => void = () => {}): Promise<void> {
    const indices = [...new Set(names)].map((name) => {
      const index = this.#seats.findIndex((seat) => seat.name === name);
      if (index < 0) throw new DevnetError("machine_unknown", `There is no machine "${name}" in this devnet: it has ${this.names.join(", ")}`);
      return index;
    });
    const turn = this.#turn.then(async () => {
      whole(indices.map((index) => this.#seats[index]!));
      const done = await Promise.allSettled(indices.map((index) => each(this.#seats[index]!, index)));
      for (const one of done) if (one.status === "rejected") throw one.reason;
      this.#onChange();
    });
    this.#turn = turn.catch(() => {});
    await turn;
  }
}

/** What a machine says of itself and of its leases. */
async function look(api: string, machine: string): Promise<{ height: number | null; leases: number | null }> {
  const get = async (path: string): Promise<unknown> => {
    const answer = await fetch(api + path, { signal: AbortSignal.timeout(ASK_MS_MAX) });
    if (!answer.ok) throw new Error(`${path} answers ${answer.status}`);
    return answer.json();
  };
  const [status, listed] = await Promise.all(["/v1/status", "/v1/machines"].map((path) => get(path).catch(() => null)));
  const number = (value: unknown): number | null => (typeof value === "number" ? value : null);
  const own = (listed as { machines?: readonly { id?: unknown; leases?: unknown }[] } | null)?.machines?.find(({ id }) => id === machine);
  return { height: number((status as { head?: { height?: unknown } } | null)?.head?.height), leases: number(own?.leases) };
}
