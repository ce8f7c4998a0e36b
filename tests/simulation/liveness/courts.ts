/**
 * Courts: blocks, sets, suspicions and acknowledgements drawn at random, without a world around them. What is found is checked
 * against a second, plain reading of the rules: every set, every beat, every second that a witness names.
 */
import type { Beat, Moment, Suspicion, UpAcknowledgement } from "#chain/codec/liveness.ts";
import type { Court, RecentBlock } from "#chain/liveness/verdict.ts";
import type { WatchedMachine, Weights } from "#chain/liveness/witnesses.ts";
import { type Hex, signature } from "#chain/types.ts";
import { type Chance, chance } from "../chance.ts";
import { CODE, type Code } from "./code.ts";

const COURTS_PER_SEED = 200;
const MARK = signature(new Uint8Array(64));
const MACHINE = "m" as Hex;

export function hold(seed: number, code: Code = CODE): string[] {
  const draw = chance(seed);
  const faults: string[] = [];
  for (let i = 0; i < COURTS_PER_SEED && faults.length === 0; i++) {
    const court = courtOf(draw);
    const first = court.blocks[0]!.height;
    const moment = (): Moment => ({ height: first + draw.below(court.blocks.length), sinceMs: draw.below(7_000) });
    const machine: WatchedMachine = { validator: draw.percent(60) ? (`v${draw.below(6)}` as Hex) : null, bootId: "b1" as Hex, isDown: draw.percent(10), sinceHeight: first + draw.below(draw.percent(80) ? 3 : court.blocks.length) };
    const beats = [null, ...Array.from({ length: 2 }, (_, n): Beat => ({ machine: MACHINE, bootId: "b1" as Hex, number: n + 1, height: first + draw.below(court.blocks.length), timeMs: 0n, signature: MARK }))];
    const witnesses = Array.from({ length: 8 }, (_, n) => `v${n}` as Hex).filter(() => draw.percent(75));
    const base = (): number => court.blocks.at(-1)!.height - draw.below(draw.percent(80) ? 3 : court.blocks.length + 2);
    const suspicions = witnesses.map((witness): Suspicion => ({ witness, machine: MACHINE, bootId: (draw.percent(4) ? "b0" : "b1") as Hex, beat: draw.percent(85) ? beats[2]! : draw.pick(beats), at: moment(), base: base() }));
    faults.push(...checkDown(court, machine, suspicions, code.downOf(court, MACHINE, machine, suspicions)));
    const ups = witnesses.map((witness): UpAcknowledgement => ({ witness, machine: MACHINE, bootId: "b2" as Hex, height: machine.sinceHeight - draw.below(2) + draw.below(5), base: base(), before: { bootId: "b1" as Hex, beat: draw.pick(beats), at: moment() } }));
    faults.push(...checkUp(court, machine, ups, code.upOf(court, machine, "b2" as Hex, ups)));
  }
  return faults;
}

function courtOf(draw: Chance): Court {
  const blocks: RecentBlock[] = [{ height: 5 + draw.below(5), timeMs: 1_000_000n + BigInt(draw.below(1_000)), moneySecond: 700n }];
  const count = 4 + draw.below(10);
  while (blocks.length < count) {
    const { height, timeMs, moneySecond } = blocks.at(-1)!;
    // Header time may stand still; a chain may have been halted.
    const now = timeMs + BigInt(draw.percent(20) ? 0 : draw.percent(5) ? 60_000 : 200 + draw.below(2_500));
    const passed = now / 1000n - timeMs / 1000n;
    blocks.push({ height: height + 1, timeMs: now, moneySecond: moneySecond + (passed < 10n ? passed : 10n) });
  }
  const set = (size: number): Weights => new Map(Array.from({ length: size }, (_, n) => [`v${n}` as Hex, draw.percent(50) ? 1 : 1 + draw.below(3)]));
  const last = blocks.at(-1)!;
  return { blocks, sets: { current: set(1 + draw.below(6)), previous: draw.percent(50) ? set(1 + draw.below(7)) : null, sinceMs: last.timeMs - BigInt(draw.below(40_000)) } };
}

// ---- The second reading ----------------------------------------------------------------------------------------------------

const lastOf = (court: Court): RecentBlock => court.blocks[court.blocks.length - 1]!;

function competent({ blocks, sets }: Court, own: Hex | null): [Hex, number][][] {
  const isYoung = blocks[blocks.length - 1]!.timeMs - sets.sinceMs < 20_000n;
  const both = [sets.current, ...(isYoung && sets.previous ? [sets.previous] : [])];
  return both.map((set) => [...set].filter(([witness]) => witness !== own || set.size === 1));
}

const isFresh = (court: Court, base: number): boolean => court.blocks.some(({ height, timeMs }) => height === base && lastOf(court).timeMs - timeMs <= 10_000n);
const weigh = (members: readonly [Hex, number][], which: (witness: Hex) => boolean = () => true): number => members.reduce((sum, [witness, weight]) => sum + (which(witness) ? weight : 0), 0);

/** Seconds pass as header time does, until the next block has come. */
function secondAt({ blocks }: Court, { height, sinceMs }: Moment): bigint {
  const index = blocks.findIndex((block) => block.height === height);
  const { timeMs, moneySecond } = blocks[index]!;
  const most = blocks[index + 1]?.moneySecond ?? moneySecond;
  const reckoned = moneySecond + BigInt(Math.floor((Number(timeMs % 1000n) + sinceMs) / 1000));
  return reckoned > most ? most : reckoned;
}

function checkDown(court: Court, machine: WatchedMachine, suspicions: readonly Suspicion[], found: { readonly endSecond: bigint; readonly by: readonly Suspicion[] } | null): string[] {
  const sets = competent(court, machine.validator);
  const speaking = suspicions.filter(({ bootId, base }) => bootId === "b1" && base >= machine.sinceHeight && isFresh(court, base));
  const isGuilty = !machine.isDown && [2, 1, 0].some((number) => sets.some((set) => {
    const by = speaking.filter(({ beat }) => (beat?.number ?? 0) === number).map(({ witness }) => witness);
    return 3 * weigh(set, (witness) => by.includes(witness)) > 2 * weigh(set);
  }));
  if (isGuilty !== (found !== null)) return [`down is ${found !== null}, and ${isGuilty} by the second reading`];
  if (!found) return [];
  const named = court.blocks.find(({ height }) => height === (found.by[0]!.beat?.height ?? machine.sinceHeight))!.moneySecond;
  const { endSecond, by } = found;
  if (endSecond < named || endSecond > lastOf(court).moneySecond) return [`the end ${endSecond} is not between the block of the beat, ${named}, and now`];
  const set = sets.find((members) => by.every(({ witness }) => members.some(([one]) => one === witness)) && 3 * weigh(members, (witness) => by.some((one) => one.witness === witness)) > 2 * weigh(members));
  if (!set) return ["down by who is not of one set"];
  const share = (which: (second: bigint) => boolean): number => weigh(set, (witness) => by.some((one) => one.witness === witness && which(secondAt(court, one.at))));
  const whole = share(() => true);
  if (endSecond > named && (2 * share((second) => second <= endSecond) < whole || 2 * share((second) => second < endSecond) >= whole)) return [`the end ${endSecond} is not the lower median`];
  return [];
}

function checkUp(court: Court, machine: WatchedMachine, ups: readonly UpAcknowledgement[], found: { readonly endSecond: bigint } | null): string[] {
  const fresh = ups.filter(({ height, base }) => height >= machine.sinceHeight && isFresh(court, base));
  const sets = competent(court, machine.validator).filter((set) => {
    const by = weigh(set, (witness) => fresh.some((one) => one.witness === witness));
    return by > 0 && 3 * by >= 2 * weigh(set);
  });
  if ((sets.length > 0) !== (found !== null)) return [`up is ${found !== null}, and ${sets.length > 0} by the second reading`];
  const set = sets[0];
  if (!set || !found) return [];
  const here = fresh.filter(({ witness }) => set.some(([one]) => one === witness));
  const holding = here.filter(({ before }) => before.beat !== null);
  const vouching = holding.length > 0 ? holding : here;
  const beat = vouching.reduce((most, { before }) => Math.max(most, before.beat?.number ?? 0), 0);
  const height = vouching.find(({ before }) => before.beat?.number === beat)?.before.beat?.height ?? machine.sinceHeight;
  const named = court.blocks.find((block) => block.height === height)!.moneySecond;
  const seconds = [...new Set(vouching.map(({ before }) => secondAt(court, before.at)))].sort((a, b) => Number(b - a));
  const attested = seconds.find((second) => 3 * weigh(set, (witness) => vouching.some((one) => one.witness === witness && secondAt(court, one.before.at) >= second)) > weigh(set)) ?? seconds.at(-1)!;
  const expected = attested < named ? named : attested;
  return found.endSecond === expected ? [] : [`what ran before up ends at ${found.endSecond}, and at ${expected} by the second reading`];
}
