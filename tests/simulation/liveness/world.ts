/**
 * A world for who is alive: N validators, the witnesses, on the first N of K machines; a bad network; liars; and a chain that is
 * agreement by assumption: whoever can reach a quorum makes blocks, in turn, late where a leader is gone. All by the seed.
 */
import type { Beat, Suspicion } from "#chain/codec/liveness.ts";
import { type HostEffect, type HostEvent, wakeMs as wakeHostMs } from "#chain/liveness/host.ts";
import { type WitnessEffect, type WitnessEvent, wakeMs as wakeWitnessMs } from "#chain/liveness/witness.ts";
import { type Hex, signature } from "#chain/types.ts";
import { type Chance, chance } from "../chance.ts";
import { Queue } from "../queue.ts";
import { type Node, EPOCH_MS, idOf, placeOf } from "./node.ts";
import { Checkers } from "./checkers.ts";
import { type Code, CODE } from "./code.ts";
import { type Ask, Ledger, type View } from "./ledger.ts";
import { type LiarMode, LIAR_MODES, lieOf } from "./liars.ts";

export type Scenario = {
  readonly name: string;
  readonly validators?: number;
  readonly machines?: (validators: number, draw: Chance) => number;
  readonly delayMsMax?: number;
  readonly deltaMs?: number;
  readonly isLossless?: boolean;
  /** A dead machine is down so soon after its last beat. */
  readonly downMsMax?: number;
  /** How long it lasts, and what happens in it. */
  readonly script: (world: World) => number;
};
export type Outcome = { readonly seed: number; readonly faults: readonly string[]; readonly downs: number; readonly downMs: readonly number[]; readonly fenceStops: number; readonly height: number };

const TICK_MS = 50;
const MARK = signature(new Uint8Array(64));
export class World {
  readonly draw: Chance;
  readonly code: Code;
  readonly scenario: Scenario;
  readonly n: number;
  readonly k: number;
  readonly quorum: number;
  /** Liars that the rules bear. */
  readonly f: number;
  nowMs = 0;
  readonly nodes: Node[] = [];
  readonly ledger: Ledger;
  readonly liars: Set<number> = new Set();
  liarMode: LiarMode;
  readonly checkers: Checkers;
  readonly side: number[];
  readonly blocked: Set<number> = new Set();
  /** Links that are slower, by from · 64 + to. */
  readonly slowMs: Map<number, number> = new Map();
  /** Who does not hear of final blocks. */
  readonly behindMs: number[];
  haltUntilMs = 0;
  newSet: ReadonlyMap<Hex, number> | null = null;
  readonly #queue = new Queue();
  readonly #baseMs: number;
  readonly #jitterMs: number;
  readonly #lossPermille: number;
  #bootCount = 100;
  readonly #views: View[];
  #turn: number;
  #timeouts = 0;
  #viewMs = 0;
  #blockMs = 0;
  #waitMs: number | null = null;
  #isPending = false;

  constructor(seed: number, scenario: Scenario, code: Code) {
    this.draw = chance(seed);
    this.code = code;
    this.scenario = scenario;
    const { draw } = this;
    this.n = scenario.validators ?? 4 + draw.below(4);
    const offered = scenario.machines?.(this.n, draw) ?? 3 + draw.below(6);
    this.k = offered > this.n ? offered : this.n;
    this.quorum = Math.floor((2 * this.n) / 3) + 1;
    this.f = Math.ceil(this.n / 3) - 1;
    const delayMsMax = scenario.delayMsMax ?? 50;
    this.#baseMs = 1 + draw.below(Math.floor(delayMsMax / 5));
    this.#jitterMs = 5 + draw.below(Math.floor(delayMsMax / 2));
    this.#lossPermille = scenario.isLossless ? 0 : draw.pick([0, 0, 10, 30]);
    this.liarMode = draw.pick(LIAR_MODES);
    this.side = Array.from({ length: this.k }, () => 0);
    this.behindMs = Array.from({ length: this.k }, () => 0);
    const skewMsMax = draw.pick([20, 1_000, 5_000]);
    for (let place = 0; place < this.k; place++) this.nodes.push(this.#newNode(place, draw.below(2 * skewMsMax) - skewMsMax));
    const set = new Map(Array.from({ length: this.n }, (_, i) => [idOf("v", i), 1]));
    const machines = this.nodes.map(({ place, bootId }) => ({ id: idOf("m", place), validator: place < this.n ? idOf("v", place) : null, bootId, isOffered: place < offered }));
    this.ledger = new Ledger(code, BigInt(EPOCH_MS), set, machines, Array.from({ length: 2 * offered }, (_, i) => `${i % 2 === 0 ? "service" : "task"}${i}`));
    this.checkers = new Checkers(this);
    this.#views = [this.ledger.view()];
    this.#turn = draw.below(this.n);
    for (const node of this.nodes) {
      this.#start(node, -20_000);
      this.give(node, this.#views[0]!);
    }
    this.#chainTick();
  }

  run(): Outcome {
    const { checkers } = this;
    const endMs = this.scenario.script(this) * 1000;
    for (let next = this.#queue.pop(); next && next.atMs <= endMs && checkers.faults.length < 3; next = this.#queue.pop()) {
      this.nowMs = next.atMs;
      next.run();
    }
    checkers.atEnd();
    return { seed: 0, faults: checkers.faults, downs: checkers.downs, downMs: checkers.downMs, fenceStops: checkers.fenceStops, height: this.ledger.last.height };
  }

  at(second: number, run: () => void): void {
    this.after(Math.floor(second * 1000) - this.nowMs, run);
  }

  after(ms: number, run: () => void): void {
    this.#queue.push(this.nowMs + ms, run);
  }

  block(from: number, to: number): void {
    this.blocked.add(from * 64 + to);
  }

  heal(): void {
    this.blocked.clear();
    this.side.fill(0);
    this.behindMs.fill(0);
  }

  lie(count: number, not: readonly number[] = []): void {
    const honest = Array.from({ length: this.n }, (_, i) => i).filter((i) => !not.includes(i));
    while (this.liars.size < count && honest.length > 0) this.liars.add(honest.splice(this.draw.below(honest.length), 1)[0]!);
  }

  // ---- Machines --------------------------------------------------------------------------------------------------------------

  #newNode(place: number, skewMs: number): Node {
    const bootId = idOf("b", this.#bootCount++);
    return {
      place, clockMs: this.draw.below(1_000_000) + 100_000, skewMs, isAlive: true, life: 0, bootId, host: this.code.newHost(idOf("m", place), bootId, 0n), witness: null, log: new Map(), pool: new Map(), ups: new Map(),
      height: 0, isDirty: true, isWaiting: false, beatMs: 0, heard: new Map(), deaths: [],
    };
  }

  clockOf(node: Node): bigint {
    return BigInt(node.clockMs + this.nowMs);
  }

  /** `sinceMs`: the witness was started so long ago. */
  #start(node: Node, sinceMs: number): void {
    node.isAlive = true;
    node.life += 1;
    node.height = 0;
    node.host = this.code.newHost(idOf("m", node.place), node.bootId, this.clockOf(node) + BigInt(this.draw.below(500)));
    node.witness = node.place < this.n ? this.code.newWitness(idOf("v", node.place), this.clockOf(node) + BigInt(sinceMs), node.log) : null;
    node.pool.clear();
    node.ups.clear();
    node.heard.clear();
    const { life } = node;
    const again = (everyMs: number, run: () => void) => (): void => {
      if (!node.isAlive || node.life !== life) return;
      run();
      this.after(everyMs, again(everyMs, run));
    };
    this.after(this.draw.below(TICK_MS), again(TICK_MS, () => this.tick(node)));
    this.after(20 + this.draw.below(100), again(300, () => {
      const isReached = this.#majority().some((place) => !this.isCut(place, node.place));
      if (isReached && this.behindMs[node.place] === 0) this.give(node, this.#views.at(-1)!);
    }));
  }

  crash(node: Node): void {
    node.isAlive = false;
    node.deaths.push({ bootId: node.bootId, atMs: this.nowMs, beatMs: node.beatMs, heard: new Map(node.heard), isSeen: false });
    this.checkers.noteCrash(node);
    // What it heard is gone with it.
    for (const { heard, deaths } of this.nodes) for (const memory of [heard, ...deaths.map((death) => death.heard)]) memory.delete(node.place);
  }

  restart(node: Node): void {
    node.bootId = idOf("b", this.#bootCount++);
    this.#start(node, 0);
  }

  /** A second machine with the key of a live one. */
  clone(place: number): void {
    const node = this.#newNode(place, 0);
    this.nodes.push(node);
    const again = (): void => {
      this.tick(node);
      this.after(TICK_MS, again);
    };
    node.life = 99;
    again();
  }

  /** The shell ticks when `wakeMs` says so: a tick before then must change nothing (but that a quorum is missed is seen by looking, every tick). */
  tick(node: Node): void {
    const nowMs = this.clockOf(node);
    const host = wakeHostMs(node.host, nowMs);
    const witness = node.witness === null ? nowMs : wakeWitnessMs(node.witness, nowMs);
    const before = stateOf(node);
    const said = this.#host(node, { kind: "tick", nowMs });
    if (this.code === CODE && said > 0 && host > nowMs) this.checkers.fault(`a tick of m${node.place} that was not due for ${host - nowMs} ms did something`);
    const answered = this.#witness(node, { kind: "tick", nowMs });
    // A planted bug is to be found by what it does.
    if (this.code === CODE && witness > nowMs + BigInt(TICK_MS) && (answered > 0 || stateOf(node) !== before)) this.checkers.fault(`a tick of v${node.place} that was not due for ${witness - nowMs} ms did something`);
  }

  give(node: Node, view: View): void {
    if (!node.isAlive || view.height <= node.height) return;
    node.height = view.height;
    node.isDirty = true;
    for (const [key, { base }] of node.pool) if (base < view.height - 200) node.pool.delete(key);
    const nowMs = this.clockOf(node);
    const leases = view.leases.filter((lease) => lease.machine === node.host.machine && lease.bootId === node.bootId);
    this.#host(node, { kind: "final", nowMs, view, leases });
    this.#witness(node, { kind: "final", nowMs, view });
  }

  /** How many effects that had. */
  #host(node: Node, event: HostEvent): number {
    const [state, effects] = this.code.stepHost(node.host, event);
    node.host = state;
    for (const effect of effects) this.#carryOutHost(node, effect);
    return effects.length;
  }

  #carryOutHost(node: Node, effect: HostEffect): void {
    switch (effect.kind) {
      case "beat": {
        node.beatMs = this.nowMs;
        const beat: Beat = { ...effect.beat, signature: MARK };
        for (const to of effect.to) this.#send(node.place, placeOf(to), (witness) => this.#beat(witness, node, beat));
        break;
      }
      case "up": {
        const ask: Ask = { machine: node.host.machine, bootId: effect.bootId, acknowledgements: effect.acknowledgements };
        for (let place = 0; place < this.n; place++) this.#send(node.place, place, (validator) => {
          validator.ups.set(ask.machine, ask);
          validator.isDirty = true;
        });
        break;
      }
      case "start": case "stop": this.checkers.noteTask(node, effect); break;
      case "halt": break;
      default: effect satisfies never;
    }
  }

  // ---- Witnesses ---------------------------------------------------------------------------------------------------------------

  #beat(witness: Node, from: Node, beat: Beat): void {
    if (!this.liars.has(witness.place)) from.heard.set(witness.place, this.nowMs);
    this.#witness(witness, { kind: "beat", nowMs: this.clockOf(witness), beat }, from);
  }

  #witness(node: Node, event: WitnessEvent, from: Node | null = null): number {
    if (!node.witness) return 0;
    if (event.kind === "suspicion") this.#collect(node, event.suspicion);
    const [state, honest] = this.code.step(node.witness, event);
    node.witness = state;
    this.checkers.noteWitness(node);
    const effects = this.liars.has(node.place) ? lieOf(this, node, event) : honest;
    for (const effect of effects) this.carryOut(node, effect, from);
    return honest.length;
  }

  #collect(node: Node, suspicion: Suspicion): void {
    const key = `${suspicion.machine} ${suspicion.witness}${this.liars.has(node.place) ? ` ${suspicion.beat?.number ?? 0}` : ""}`;
    const known = node.pool.get(key);
    if (known && known.base > suspicion.base) return;
    node.pool.set(key, suspicion);
    node.isDirty = true;
  }

  carryOut(node: Node, effect: WitnessEffect, from: Node | null): void {
    const back = (event: HostEvent) => (): void => {
      if (from?.isAlive) this.#host(from, { ...event, nowMs: this.clockOf(from) });
    };
    switch (effect.kind) {
      case "acknowledge":
        if (!this.liars.has(node.place)) this.checkers.noteAcknowledgement(node, from!, effect.acknowledgement.isClear);
        this.#send(node.place, from!.place, back({ kind: "acknowledgement", nowMs: 0n, from: idOf("v", node.place), acknowledgement: effect.acknowledgement }));
        break;
      case "acknowledgeUp":
        if (effect.signed) node.log.set(effect.acknowledgement.machine, effect.signed);
        this.#send(node.place, from!.place, back({ kind: "upAcknowledgement", nowMs: 0n, acknowledgement: effect.acknowledgement }));
        break;
      case "suspect":
        node.log.set(effect.suspicion.machine, effect.signed);
        for (let place = 0; place < this.n; place++) this.#send(node.place, place, (to) => this.#witness(to, { kind: "suspicion", nowMs: this.clockOf(to), suspicion: effect.suspicion }));
        break;
      default: effect satisfies never;
    }
  }

  // ---- Network and chain -------------------------------------------------------------------------------------------------------

  isCut(a: number, b: number): boolean {
    return this.side[a] !== this.side[b] || this.blocked.has(a * 64 + b);
  }

  #delay(): number {
    return this.#baseMs + this.draw.below(this.#jitterMs) + (this.draw.percent(1) ? this.draw.below(100) : 0);
  }

  #send(from: number, to: number, run: (node: Node) => void): void {
    if (from !== to && this.isCut(from, to)) return;
    const isLost = from !== to && this.draw.below(1000) < this.#lossPermille;
    if (isLost && this.draw.percent(50)) return;
    // What is lost on a stream is sent again.
    const delayMs = from === to ? 1 : this.#delay() + (this.slowMs.get(from * 64 + to) ?? 0) + (isLost ? 200 + this.draw.below(300) : 0);
    this.after(delayMs, () => {
      const node = this.nodes[to]!;
      if (node.isAlive) run(node);
    });
  }

  /** Validators that reach each other and are a quorum. */
  #majority(): number[] {
    const sides = new Map<number, number[]>();
    for (let i = 0; i < this.n; i++) if (this.nodes[i]!.isAlive) sides.set(this.side[i]!, [...(sides.get(this.side[i]!) ?? []), i]);
    return [...sides.values()].find((one) => one.length >= this.quorum) ?? [];
  }

  #chainTick(): void {
    this.after(20, () => this.#chainTick());
    const present = this.nowMs < this.haltUntilMs ? [] : this.#majority();
    if (this.#isPending) return;
    if (present.length === 0) {
      this.#timeouts = 0;
      this.#viewMs = this.nowMs;
      return;
    }
    for (const node of present.map((i) => this.nodes[i]!)) {
      if (!node.isDirty) continue;
      node.isDirty = false;
      node.isWaiting = this.ledger.isTakeable([...node.pool.values()], node.ups.values());
    }
    const isWaiting = present.some((i) => this.nodes[i]!.isWaiting && !this.liars.has(i));
    if (isWaiting && this.#waitMs === null) {
      this.#waitMs = this.nowMs;
      for (const i of present) this.#send(present[0]!, i, (node) => this.#witness(node, { kind: "due", nowMs: this.clockOf(node) }));
    }
    if (!isWaiting) this.#waitMs = null;
    const idleMs = this.#blockMs + 5_000;
    const dueMs = this.#waitMs === null ? idleMs : Math.min(idleMs, Math.max(this.#blockMs + 200, this.#waitMs));
    if (this.nowMs < dueMs && !this.newSet) return;
    const leader = this.#turn % this.n;
    if (present.includes(leader)) return this.#propose(leader, present);
    const isSuspected = present.filter((i) => this.code.suspects(this.nodes[i]!.witness!, idOf("m", leader))).length >= this.quorum;
    const graceMs = isSuspected ? this.#baseMs + this.#jitterMs : 4 * (this.scenario.deltaMs ?? 100) * 1.5 ** this.#timeouts;
    if (this.nowMs < Math.max(dueMs, this.#viewMs) + graceMs) return;
    this.#turn += 1;
    this.#timeouts += 1;
    this.#viewMs = this.nowMs + this.#baseMs + this.#jitterMs;
  }

  #propose(leader: number, present: readonly number[]): void {
    const wallOf = (i: number): number => EPOCH_MS + this.nowMs + this.nodes[i]!.skewMs;
    const walls = present.map(wallOf).sort((a, b) => a - b);
    const timeMs = Math.max(Number(this.ledger.last.timeMs), Math.min(wallOf(leader), walls[walls.length >> 1]! + 2_000));
    const node = this.nodes[leader]!;
    const isCensored = this.liars.has(leader) && this.draw.percent(50);
    const body = { timeMs: BigInt(timeMs), newSet: this.newSet, ups: isCensored ? [] : [...node.ups.values()], suspicions: isCensored ? [] : [...node.pool.values()] };
    this.newSet = null;
    this.#isPending = true;
    const proposedMs = this.nowMs;
    this.after(3 * (this.#baseMs + this.draw.below(this.#jitterMs)) + 5, () => {
      this.#isPending = false;
      this.#blockMs = proposedMs;
      this.#turn += 1;
      this.#timeouts = 0;
      this.#viewMs = this.nowMs;
      this.#waitMs = null;
      const result = this.ledger.apply(body);
      this.#views.push(result.view);
      if (this.#views.length > 3) this.#views.shift();
      this.checkers.noteBlock(result, proposedMs);
      for (const to of this.nodes) {
        to.isDirty = true;
        this.#toNode(present[this.draw.below(present.length)]!, to, result.view);
      }
      for (const i of present) this.nodes[i]!.ups.clear();
    });
  }

  #toNode(from: number, to: Node, view: View): void {
    if (from !== to.place && this.isCut(from, to.place)) return;
    this.after(from === to.place ? 1 : this.#delay() + this.behindMs[to.place]!, () => this.give(to, view));
  }
}

export function simulate(seed: number, scenario: Scenario, code: Code = CODE): Outcome {
  try {
    return { ...new World(seed, scenario, code).run(), seed };
  } catch (error) {
    return { seed, faults: [`${(error as Error).stack}`], downs: 0, downMs: [], fenceStops: 0, height: 0 };
  }
}

/** What a tick of a witness may change besides what it says. */
const stateOf = ({ witness }: Node): string => `${witness?.muteUntilMs} ${witness?.holdUntilMs} ${witness?.isStalled}`;
