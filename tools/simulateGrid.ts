/**
 * `npm run simulate:grid -- [--machines N] [--replicas N] [--minutes M] [--percent P] [--seed S] [--json] [--short]`: a grid without processes.
 * 1,000 machines run 20,000 replicas, and 1 % of them fail each minute; then a rack of 5 % fails at once. What is real: the ledger, every transaction
 * and suspicion with its bytes and signatures, witnesses, placement, blocks. What is assumed stands in ASSUMED: how fast blocks are final, words
 * travel and a replica starts. Prints how long replicas were away, how large blocks were, and what a block cost in CPU time.
 *
 *     a machine's last beat → silence of 1.5 s → suspicions → block: down, and its leases placed → final → loaded: it serves → ready
 */
import assert from "node:assert/strict";
import { parseArgs } from "node:util";
import { SUSPICIONS_PER_BLOCK_MAX } from "#chain/constants.ts";
import { type DecodedTransaction, type Operation, verifySignatures } from "#chain/codec/transaction.ts";
import { GAP_MS, IDLE_MS, SILENT_MS, isMoreThanTwoThirds } from "#chain/liveness/rules.ts";
import { type Built, buildBlock, nextMoneySecond } from "#chain/ledger/ledger.ts";
import { type Hex, hex } from "#chain/types.ts";
import { suspicion, beatOf, wordsFor } from "#tests/ledger/witnesses.ts";
import { type Actor, TOKEN, World, actor, bootId, deployment, random, registration } from "#tests/ledger/world.ts";
import { computer, quantile, rounded } from "#tools/bench/report.ts";

/** Milliseconds. Finality and start as they were measured on one computer (chain/FIGURES.md, bench:heal), each with room upwards. */
const ASSUMED = { finalMs: 250, wordMs: 80, startMsLeast: 100, startMsMost: 900, awayMsLeast: 60_000, awayMsMost: 180_000, beatMs: 500 };
const VALIDATORS = 20;
const SIZE = { memoryMib: 64, cpuMillis: 100 };
/** Each machine has room for twice what it runs on average. */
const ROOM_FACTOR = 2;
const REPLICAS_EACH = 50;
const BURST_PERCENT = 5;
const SETTLE_MS_MAX = 120_000;

export type GridOptions = { readonly machines: number; readonly replicas: number; readonly minutes: number; readonly percent: number; readonly seed: number };
type Spread = { readonly p50: number; readonly p99: number; readonly max: number };
type Block = { readonly bytes: number; readonly cpuMs: number; readonly signatureMs: number; readonly work: number };

const spread = (values: readonly number[]): Spread => ({ p50: rounded(quantile(values, 0.5)), p99: rounded(quantile(values, 0.99)), max: rounded(Math.max(0, ...values)) });

/** Things to come, soonest first; of one instant, in the order in which they were told. */
class Agenda {
  readonly #entries: { readonly atMs: number; readonly order: number; readonly act: () => void }[] = [];
  #count = 0;
  at(atMs: number, act: () => void): void {
    const entry = { atMs, order: this.#count++, act };
    let [low, high] = [0, this.#entries.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const other = this.#entries[middle]!;
      if (other.atMs > atMs || (other.atMs === atMs && other.order > entry.order)) low = middle + 1;
      else high = middle;
    }
    this.#entries.splice(low, 0, entry);
  }
  get nextMs(): number {
    return this.#entries.at(-1)?.atMs ?? Number.POSITIVE_INFINITY;
  }
  next(): void {
    this.#entries.pop()?.act();
  }
}

class Grid {
  readonly world: World;
  readonly machines: readonly Actor[];
  readonly blocks: Block[] = [];
  /** From the death of its machine to serving elsewhere, and to the block that takes its ready. */
  readonly servedMs: number[] = [];
  readonly readyMs: number[] = [];
  readonly downMs: number[] = [];
  nowMs: number;
  readonly #random: ReturnType<typeof random>;
  readonly #agenda = new Agenda();
  readonly #boots: number[];
  readonly #alive: boolean[];
  readonly #nonces = new Map<Hex, bigint>();
  /** By lease: when the machine died under it. */
  readonly #lost = new Map<string, number>();
  /** By machine that witnesses have spoken of: when it died. */
  readonly #downAt = new Map<Hex, number>();
  readonly #indices: ReadonlyMap<Hex, number>;
  #openedCount = 0;
  #waiting: DecodedTransaction[] = [];
  #suspicions: Uint8Array[] = [];
  #lastMs: number;

  constructor({ machines, replicas, seed }: GridOptions) {
    this.#random = random(seed);
    this.world = new World({ accounts: 200, balance: 1_000_000n * TOKEN, parameters: "default", validators: VALIDATORS, signed: true });
    this.machines = Array.from({ length: machines }, (_, n) => actor(1_001 + n));
    this.#indices = new Map(this.machines.map(({ id }, n) => [hex(id), n]));
    [this.#boots, this.#alive] = [Array.from({ length: machines }, () => 0), Array.from({ length: machines }, () => true)];
    this.nowMs = this.#lastMs = Number(this.world.view.timeMs);
    const room = Math.ceil((replicas / machines) * ROOM_FACTOR);
    for (const [n, machine] of this.machines.entries()) {
      const operator = actor(1 + (n % 100));
      this.#send(operator, [registration(this.world.ledger, machine, operator, { memoryMib: SIZE.memoryMib * room, cpuMillis: SIZE.cpuMillis * room, gib: 1_000n + BigInt(n % 7), core: 1_000n, bond: 100n * TOKEN })]);
      if (n % 50 === 49) this.#block();
    }
    this.#drain();
    for (const [n, machine] of this.machines.entries()) {
      this.#send(machine, [this.#up(n)]);
      if (n % 50 === 49) this.#block();
    }
    this.#drain();
    for (let n = 0; n < replicas / REPLICAS_EACH; n++) {
      this.#send(actor(101 + (n % 100)), [deployment(`d${n}`, { ...SIZE, replicas: REPLICAS_EACH, deposit: 100n * TOKEN })]);
      if (n % 5 === 4) this.#block();
    }
    this.#drain();
    this.#settle(() => this.#openedCount === replicas);
    this.blocks.length = 0;
  }

  run(minutes: number, percent: number): void {
    const endMs = this.nowMs + minutes * 60_000;
    const meanMs = 60_000 / ((this.machines.length * percent) / 100);
    const another = (): void => {
      const atMs = this.nowMs + Math.ceil(-Math.log(1 - this.#random.next()) * meanMs);
      if (atMs < endMs) this.#agenda.at(atMs, () => { this.fail(this.#anyAlive()); another(); });
    };
    another();
    this.#until(endMs);
    this.#settle(() => this.#lost.size === 0);
  }
  /** So many at once. */
  burst(count: number): void {
    for (let n = 0; n < count; n++) this.fail(this.#anyAlive());
    this.#settle(() => this.#lost.size === 0);
  }

  fail(n: number): void {
    const machine = this.machines[n]!;
    const { view } = this.world;
    this.#alive[n] = false;
    const [diedMs, lastBeatMs] = [this.nowMs, this.nowMs - this.#random.int(ASSUMED.beatMs)];
    for (const { deploymentId, index, state } of view.leasesOfMachine(machine.id)) {
      const name = `${hex(deploymentId)}/${index}`;
      if ((state === "ready" || state === "placed") && !this.#lost.has(name)) this.#lost.set(name, diedMs);
    }
    const beat = beatOf(this.world, machine, view.machine(machine.id)!.bootId, this.#boots[n]! + 1);
    this.#agenda.at(lastBeatMs + SILENT_MS + ASSUMED.wordMs, () => {
      if (view.machine(machine.id)!.state !== "up") return;
      for (let witness = 0; !isMoreThanTwoThirds(witness, VALIDATORS); witness++) this.#suspicions.push(suspicion(this.world, witness, machine, { beat }));
      this.#downAt.set(hex(machine.id), diedMs);
    });
    const awayMs = ASSUMED.awayMsLeast + this.#random.int(ASSUMED.awayMsMost - ASSUMED.awayMsLeast);
    this.#agenda.at(diedMs + awayMs, () => {
      this.#boots[n]! += 1;
      this.#alive[n] = true;
      this.#send(machine, [this.#up(n)]);
    });
  }

  #anyAlive(): number {
    for (;;) {
      const n = this.#random.int(this.machines.length);
      if (this.#alive[n] === true && this.world.view.machine(this.machines[n]!.id)?.state === "up") return n;
    }
  }
  #up(n: number): Operation {
    const witnesses = Array.from({ length: Math.ceil((VALIDATORS * 2) / 3) }, (_, witness) => witness);
    return wordsFor(this.world, this.machines[n]!, bootId(n % 250, this.#boots[n]!), witnesses);
  }
  #send(sender: Actor, ops: readonly Operation[]): void {
    const name = hex(sender.id);
    const nonce = this.#nonces.get(name) ?? this.world.view.account(sender.id)?.nonce ?? 0n;
    this.#nonces.set(name, nonce + 1n);
    this.#waiting.push(this.world.send(sender, ops, { nonce, validUntilMs: BigInt(this.nowMs) + 60_000n }));
  }
  #drain(): void {
    while (this.#waiting.length > 0) this.#block();
  }
  /** Until `isDone`, which is looked at after each block. */
  #settle(isDone: () => boolean): void {
    for (const endMs = this.nowMs + SETTLE_MS_MAX; !isDone();) {
      assert(this.nowMs < endMs, `not settled: ${this.#lost.size} replicas are away`);
      this.#step();
    }
  }
  #until(endMs: number): void {
    while (this.nowMs < endMs) this.#step();
  }
  /** What comes next: a block, or what somebody does. */
  #step(): void {
    const { view } = this.world;
    const due = view.nextDueMoneySecond();
    const isWanted = this.#waiting.length > 0 || this.#suspicions.length > 0 || (due !== null && due <= view.moneySecond);
    const blockMs = isWanted ? Math.max(this.nowMs, this.#lastMs + GAP_MS) : this.#lastMs + IDLE_MS;
    if (this.#agenda.nextMs <= blockMs) {
      this.nowMs = Math.max(this.nowMs, this.#agenda.nextMs);
      this.#agenda.next();
    } else {
      this.nowMs = blockMs;
      this.#block();
    }
  }

  #block(): void {
    const { ledger, view } = this.world;
    this.nowMs = Math.max(this.nowMs, this.#lastMs + GAP_MS);
    this.#lastMs = this.nowMs;
    const timeMs = BigInt(this.nowMs);
    const transactions = this.#waiting;
    const before = process.cpuUsage();
    const built = buildBlock(ledger, { height: view.height + 1, timeMs, moneySecond: nextMoneySecond(ledger, timeMs), previousId: view.stateRoot, transactions, suspicions: this.#suspicions.slice(0, SUSPICIONS_PER_BLOCK_MAX) });
    const cpu = process.cpuUsage(before);
    assert(built.ok, built.ok ? "" : built.message);
    const taken = new Set(built.transactions.map(({ txid }) => hex(txid)));
    const refused = new Set(built.rejected.map(({ txid }) => hex(txid)));
    assert.deepEqual([...built.rejected], []);
    this.#waiting = transactions.filter(({ txid }) => !taken.has(hex(txid)) && !refused.has(hex(txid)));
    this.#suspicions = this.#suspicions.filter((one) => !built.suspicions.includes(one));
    if (this.#waiting.length === 0) this.#nonces.clear();
    const beforeSignatures = process.cpuUsage();
    for (const transaction of built.transactions) assert(verifySignatures(transaction));
    const signatures = process.cpuUsage(beforeSignatures);
    const bytes = built.transactions.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) + built.suspicions.reduce((sum, { length }) => sum + length, 0);
    this.blocks.push({ bytes, cpuMs: (cpu.user + cpu.system) / 1_000, signatureMs: (signatures.user + signatures.system) / 1_000, work: built.events.length });
    this.#noteEvents(built);
  }

  #noteEvents({ events }: Built): void {
    const finalMs = this.nowMs + ASSUMED.finalMs;
    const placedOn = new Map<number, { readonly operation: Operation; readonly name: string }[]>();
    for (const event of events) {
      if (event.kind === "machine" && event.state === "down") {
        const diedMs = this.#downAt.get(hex(event.machine));
        if (diedMs !== undefined) this.downMs.push(finalMs - diedMs);
      } else if (event.kind === "placed") {
        const n = this.#indices.get(hex(event.machine))!;
        const { deploymentId, index, rate } = event;
        const name = `${hex(deploymentId)}/${index}`;
        (placedOn.get(n) ?? placedOn.set(n, []).get(n)!).push({ operation: { kind: "ready", deploymentId, index, rate }, name });
      } else if (event.kind === "opened") {
        this.#openedCount += 1;
        const name = `${hex(event.deploymentId)}/${event.index}`;
        const diedMs = this.#lost.get(name);
        if (diedMs !== undefined) this.readyMs.push(finalMs - diedMs);
        this.#lost.delete(name);
      }
    }
    for (const [n, placed] of placedOn) this.#start(n, placed, finalMs);
  }
  /** A machine loads what it was given, and says so, sixteen in a transaction. */
  #start(n: number, placed: readonly { readonly operation: Operation; readonly name: string }[], finalMs: number): void {
    const boot = this.#boots[n]!;
    const servesMs = finalMs + ASSUMED.startMsLeast + this.#random.int(ASSUMED.startMsMost - ASSUMED.startMsLeast);
    this.#agenda.at(servesMs, () => {
      if (this.#alive[n] !== true || this.#boots[n] !== boot) return;
      for (const { name } of placed) {
        const diedMs = this.#lost.get(name);
        if (diedMs !== undefined) this.servedMs.push(servesMs - diedMs);
      }
      for (let i = 0; i < placed.length; i += 16) this.#send(this.machines[n]!, placed.slice(i, i + 16).map(({ operation }) => operation));
    });
  }
}

type Figures = {
  readonly replicasLost: number; readonly downMs: Spread; readonly servesAgainMs: Spread; readonly readyAgainMs: Spread;
  readonly blocks: number; readonly busyBlocks: number; readonly blockBytes: Spread; readonly cpuMsPerBlock: Spread; readonly signatureMsPerBlock: Spread; readonly cpuSeconds: number;
};

export function simulateGrid(options: GridOptions): { readonly steady: Figures; readonly burst: Figures & { readonly machines: number } } {
  const grid = new Grid(options);
  const figures = (): Figures => {
    const busy = grid.blocks.filter(({ work }) => work > 0);
    const seconds = grid.blocks.reduce((sum, { cpuMs, signatureMs }) => sum + cpuMs + signatureMs, 0) / 1_000;
    return {
      replicasLost: grid.servedMs.length, downMs: spread(grid.downMs), servesAgainMs: spread(grid.servedMs), readyAgainMs: spread(grid.readyMs),
      blocks: grid.blocks.length, busyBlocks: busy.length, blockBytes: spread(busy.map(({ bytes }) => bytes)), cpuMsPerBlock: spread(busy.map(({ cpuMs }) => cpuMs)),
      signatureMsPerBlock: spread(busy.map(({ signatureMs }) => signatureMs)), cpuSeconds: rounded(seconds),
    };
  };
  const clear = (): void => { for (const list of [grid.blocks, grid.servedMs, grid.readyMs, grid.downMs]) list.length = 0; };
  const beganMs = grid.nowMs;
  grid.run(options.minutes, options.percent);
  const steady = { ...figures(), simulatedSeconds: rounded((grid.nowMs - beganMs) / 1_000, 4) };
  clear();
  const burst = Math.round((options.machines * BURST_PERCENT) / 100);
  grid.burst(burst);
  return { steady, burst: { machines: burst, ...figures() } };
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { machines: { type: "string" }, replicas: { type: "string" }, minutes: { type: "string" }, percent: { type: "string", default: "1" }, seed: { type: "string", default: "1" }, json: { type: "boolean", default: false }, short: { type: "boolean", default: false } } });
  const number = (text: string | undefined, whole: number, short: number): number => (text === undefined ? (values.short ? short : whole) : Number(text));
  const options: GridOptions = { machines: number(values.machines, 1_000, 100), replicas: number(values.replicas, 20_000, 2_000), minutes: number(values.minutes, 10, 3), percent: Number(values.percent), seed: Number(values.seed) };
  if (!Object.values(options).every((value) => value > 0)) {
    console.error("usage: simulate:grid [--machines N] [--replicas N] [--minutes M] [--percent P] [--seed S] [--json] [--short]");
    process.exit(2);
  }
  const on = await computer();
  const result = { bench: "grid", ...options, validators: VALIDATORS, assumed: ASSUMED, computer: on, ...simulateGrid(options), memoryMib: Math.round(process.memoryUsage().rss / 1024 / 1024) };
  console.log(values.json ? JSON.stringify(result) : JSON.stringify(result, null, 1));
}
