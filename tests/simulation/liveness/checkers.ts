/** What must hold in every world of liveness, after every block and step: all that a scenario adds is what it forbids. */
import type { HostEffect } from "#chain/liveness/host.ts";
import type { Hex } from "#chain/types.ts";
import type { Ended, Result } from "./ledger.ts";
import { type Death, EPOCH_MS, type Node, placeOf } from "./node.ts";
import type { World } from "./world.ts";

type Made = { readonly timeMs: number; readonly moneySecond: bigint; readonly atMs: number };

/** Header time jumps where a leader's clock is ahead, and witnesses know of that so long after the block was proposed. */
const FINALITY_MS = 400;

export class Checkers {
  readonly faults: string[] = [];
  downs = 0;
  fenceStops = 0;
  /** From its last beat until a dead machine was down. */
  readonly downMs: number[] = [];
  /** No live machine is taken down: anyone, or one of these. */
  protects: "all" | ReadonlySet<number> | null = null;
  /** All dead are down, in the end, and all live ones up. */
  settles = false;
  readonly #world: World;
  readonly #made: Made[] = [{ timeMs: EPOCH_MS, moneySecond: BigInt(EPOCH_MS / 1000), atMs: 0 }];
  /** By lease name: who runs it. */
  readonly #runs = new Map<string, Set<string>>();

  constructor(world: World) {
    this.#world = world;
  }

  fault(what: string): void {
    const { scenario, nowMs, n, liars, liarMode } = this.#world;
    if (this.faults.length < 3) this.faults.push(`${scenario.name}: ${what}, after ${nowMs} ms (${n} validators, ${liarMode} liars ${[...liars].join(" ")})`);
  }

  // ---- Tasks -------------------------------------------------------------------------------------------------------------------

  noteTask(node: Node, effect: Extract<HostEffect, { kind: "start" | "stop" }>): void {
    const name = effect.lease.split("/")[0]!;
    if (!name.startsWith("task")) return;
    const who = this.#runs.get(name) ?? new Set();
    this.#runs.set(name, who);
    const life = `m${node.place} life ${node.life}`;
    if (effect.kind === "start") {
      who.add(life);
      if (who.size > 1) this.fault(`${name} runs on ${[...who].join(" and ")}`);
      return;
    }
    if (effect.why === "fence") this.fenceStops += 1;
    who.delete(life);
  }

  noteCrash(node: Node): void {
    for (const who of this.#runs.values()) who.delete(`m${node.place} life ${node.life}`);
  }

  noteWitness({ witness, pool, place }: Node): void {
    const { n, k, liars } = this.#world;
    if (witness!.watches.size > k || witness!.log.size > k || (!liars.has(place) && pool.size > n * k)) this.fault(`v${place} remembers without bound`);
  }

  /** Who does not follow the chain is not told that all is well. */
  noteAcknowledgement(witness: Node, from: Node, isClear: boolean): void {
    const [{ view }, { view: known }] = [witness.witness!, from.host];
    // A liar answers before it knows anything, and who has just started may hear what its life before asked.
    if (view === null || known === null) return;
    const behindMs = view.timeMs - known.timeMs;
    if (isClear && behindMs > 10_500n) this.fault(`m${from.place} is ${behindMs} ms behind, and its beat is clear to v${witness.place}`);
  }

  // ---- Blocks ------------------------------------------------------------------------------------------------------------------

  noteBlock({ view, ended, downs, faults }: Result, atMs: number): void {
    const { ledger, nodes, nowMs } = this.#world;
    this.#made.push({ timeMs: Number(view.timeMs), moneySecond: ledger.last.moneySecond, atMs });
    for (const what of faults) this.fault(what);
    for (const { machine, bootId, by } of downs) {
      this.downs += 1;
      const place = placeOf(machine);
      const dead = this.#deathOf(machine, bootId);
      if (dead && !dead.isSeen) {
        dead.isSeen = true;
        const downMs = nowMs - dead.beatMs;
        this.downMs.push(downMs);
        if (downMs > (this.#world.scenario.downMsMax ?? downMs)) this.fault(`${machine} was down ${downMs} ms after its last beat only`);
      } else if (!dead && nodes[place]!.isAlive && (this.protects === "all" || this.protects?.has(place))) {
        this.fault(`${machine} was taken down alive by ${by.map(({ witness }) => witness).join(" ")}`);
      }
    }
    for (const lease of ended) this.#checkEnd(lease);
  }

  #deathOf(machine: Hex, bootId: Hex): Death | undefined {
    return this.#world.nodes[placeOf(machine)]!.deaths.find((death) => death.bootId === bootId);
  }

  /** A bill ends neither a second after the death nor a second before what honest witnesses of more than a third heard last. */
  #checkEnd({ machine, bootId, endSecond, openedAt, why }: Ended): void {
    const dead = this.#deathOf(machine, bootId);
    if (!dead) return;
    const { nodes, liars, n } = this.#world;
    const heard = [...dead.heard].filter(([place]) => nodes[place]!.isAlive && !liars.has(place) && place !== placeOf(machine)).map(([, atMs]) => atMs).sort((a, b) => b - a);
    const heardMs = heard[Math.floor(n / 3)];
    const late = endSecond - this.#secondAt(dead.atMs);
    if (late > 1n) this.fault(`the bill of ${machine} ends by ${why} ${late} s after its death`);
    if (heardMs === undefined) return;
    const early = this.#secondAt(heardMs - FINALITY_MS) - endSecond;
    if (early > 1n && endSecond > openedAt) this.fault(`the bill of ${machine} ends by ${why} ${early} s before it was last heard`);
  }

  /** Money time as the chain of this world had it. */
  #secondAt(atMs: number): bigint {
    const index = this.#made.findLastIndex((block) => block.atMs <= atMs);
    const { timeMs, moneySecond, atMs: madeMs } = this.#made[index]!;
    const passed = BigInt(Math.min(Math.floor((timeMs + atMs - madeMs) / 1000) - Math.floor(timeMs / 1000), 10));
    const next = this.#made[index + 1];
    return next && next.moneySecond < moneySecond + passed ? next.moneySecond : moneySecond + passed;
  }

  atEnd(): void {
    if (!this.settles || this.faults.length > 0) return;
    const { ledger, nodes, nowMs } = this.#world;
    for (const [id, { isDown, bootId }] of ledger.machines) {
      const node = nodes[placeOf(id)]!;
      if (node.isAlive && (isDown || bootId !== node.bootId)) this.fault(`${id} lives, and is ${isDown ? "down" : "registered with another boot id"}`);
      if (!node.isAlive && !isDown && nowMs - node.deaths.at(-1)!.atMs > 12_000) this.fault(`${id} is dead, and up`);
    }
    for (const { machine, bootId, id } of ledger.leases.values()) if (ledger.machines.get(machine)!.bootId !== bootId) this.fault(`${id} is still with a boot before`);
  }
}
