/** As much of a ledger as liveness needs: money time, verdicts, leases that are placed again; and what the checkers read. */
import type { Suspicion, UpAcknowledgement } from "#chain/codec/liveness.ts";
import type { HostedLease } from "#chain/liveness/host.ts";
import type { Court, RecentBlock } from "#chain/liveness/verdict.ts";
import type { LivenessView, WatchedMachine, Weights, WitnessSets } from "#chain/liveness/witnesses.ts";
import type { Hex } from "#chain/types.ts";
import type { Code } from "./code.ts";

export type Machine = WatchedMachine & { readonly isOffered: boolean; readonly downsMs: readonly bigint[]; readonly restUntilMs: bigint };
export type Lease = HostedLease & { readonly name: string; readonly machine: Hex; readonly bootId: Hex; readonly openedAt: bigint };
export type Ended = Lease & { readonly endSecond: bigint; readonly why: "down" | "up" };
export type Ask = { readonly machine: Hex; readonly bootId: Hex; readonly acknowledgements: readonly UpAcknowledgement[] };
export type Body = { readonly timeMs: bigint; readonly newSet: Weights | null; readonly ups: readonly Ask[]; readonly suspicions: readonly Suspicion[] };
export type Result = { readonly view: View; readonly ended: readonly Ended[]; readonly downs: readonly { readonly machine: Hex; readonly bootId: Hex; readonly by: readonly Suspicion[] }[]; readonly faults: readonly string[] };
export type View = LivenessView & { readonly leases: readonly Lease[] };

export class Ledger {
  readonly #code: Code;
  blocks: RecentBlock[];
  sets: WitnessSets;
  readonly machines: Map<Hex, Machine> = new Map();
  readonly leases: Map<string, Lease> = new Map();
  #waiting: string[];
  #leaseCount = 0;
  readonly #placedBefore = new Set<string>();

  constructor(code: Code, timeMs: bigint, set: Weights, machines: readonly { readonly id: Hex; readonly validator: Hex | null; readonly bootId: Hex; readonly isOffered: boolean }[], names: readonly string[]) {
    this.#code = code;
    this.blocks = [{ height: 1, timeMs, moneySecond: timeMs / 1000n }];
    this.sets = { current: set, previous: null, sinceMs: timeMs - 60_000n };
    for (const { id, ...machine } of machines) this.machines.set(id, { ...machine, isDown: false, sinceHeight: 1, downsMs: [], restUntilMs: 0n });
    this.#waiting = [...names];
    this.#place([]);
  }

  get last(): RecentBlock {
    return this.blocks.at(-1)!;
  }

  get court(): Court {
    return { blocks: this.blocks, sets: this.sets };
  }

  /** Whether a block would do something. */
  isTakeable(suspicions: readonly Suspicion[], ups: Iterable<Ask>): boolean {
    for (const id of new Set(suspicions.map(({ machine }) => machine))) {
      const machine = this.machines.get(id);
      if (machine && this.#code.downOf(this.court, id, machine, suspicions)) return true;
    }
    for (const { machine, bootId, acknowledgements } of ups) if (this.#code.upOf(this.court, this.machines.get(machine)!, bootId, acknowledgements)) return true;
    return false;
  }

  apply(body: Body): Result {
    const { height, timeMs, moneySecond } = this.last;
    const passed = body.timeMs / 1000n - timeMs / 1000n;
    this.blocks.push({ height: height + 1, timeMs: body.timeMs, moneySecond: moneySecond + (passed < 10n ? passed : 10n) });
    if (body.newSet) this.sets = { current: body.newSet, previous: this.sets.current, sinceMs: body.timeMs };
    while (this.blocks.length > 8 && this.blocks[0]!.timeMs < body.timeMs - 40_000n) this.blocks.shift();
    const ended: Ended[] = [];
    const downs: Result["downs"][number][] = [];
    for (const ask of body.ups) this.#up(ask, ended);
    for (const id of [...new Set(body.suspicions.map(({ machine }) => machine))].sort()) {
      const machine = this.machines.get(id);
      const down = machine && this.#code.downOf(this.court, id, machine, body.suspicions);
      if (!down) continue;
      const downsMs = [...machine.downsMs.filter((one) => one > body.timeMs - 3_600_000n), body.timeMs];
      this.machines.set(id, { ...machine, isDown: true, sinceHeight: this.last.height, downsMs, restUntilMs: body.timeMs + this.#code.restMs(downsMs.length) });
      downs.push({ machine: id, bootId: machine.bootId, by: down.by });
      this.#end(id, () => true, down.endSecond, "down", ended);
    }
    const faults: string[] = [];
    this.#place(faults);
    return { view: this.view(), ended, downs, faults };
  }

  #up({ machine: id, bootId, acknowledgements }: Ask, ended: Ended[]): void {
    const machine = this.machines.get(id)!;
    const up = this.#code.upOf(this.court, machine, bootId, acknowledgements);
    if (!up) return;
    this.machines.set(id, { ...machine, bootId, isDown: false, sinceHeight: this.last.height });
    this.#end(id, (lease) => lease.bootId !== bootId, up.endSecond, "up", ended);
  }

  #end(machine: Hex, which: (lease: Lease) => boolean, second: bigint, why: Ended["why"], ended: Ended[]): void {
    for (const lease of this.leases.values()) {
      if (lease.machine !== machine || !which(lease)) continue;
      this.leases.delete(lease.id);
      this.#waiting.push(lease.name);
      ended.push({ ...lease, endSecond: second > lease.openedAt ? second : lease.openedAt, why });
    }
  }

  /** Fewest leases first, then by name. */
  #place(faults: string[]): void {
    const { timeMs, moneySecond } = this.last;
    this.#waiting = this.#waiting.filter((name) => {
      let best: { readonly id: Hex; readonly count: number } | null = null;
      for (const [id, { isDown, isOffered, restUntilMs }] of this.machines) {
        if (isDown || !isOffered || restUntilMs > timeMs) continue;
        const count = [...this.leases.values()].filter((lease) => lease.machine === id).length;
        if (!best || count < best.count) best = { id, count };
      }
      if (!best) return true;
      const machine = this.machines.get(best.id)!;
      const rested = [0n, 10n, 20n, 40n, 80n, 160n, 320n][machine.downsMs.length] ?? 600n;
      if (timeMs < (machine.downsMs.at(-1) ?? -600_000n) + rested * 1000n) faults.push(`${best.id} was down ${machine.downsMs.length} times and did not rest`);
      const id = `${name}/${++this.#leaseCount}`;
      this.leases.set(id, { id, name, machine: best.id, bootId: machine.bootId, openedAt: moneySecond, isFenced: name.startsWith("task"), isSuccessor: this.#placedBefore.has(name) });
      this.#placedBefore.add(name);
      return false;
    });
  }

  view(): View {
    const { height, timeMs } = this.last;
    return { height, timeMs, validators: this.sets.current, sets: this.sets, machines: new Map(this.machines), leases: [...this.leases.values()] };
  }
}
