/** The worlds of liveness, by name: who dies, what is cut, who lies, and when; seconds from the start. */
import type { Hex } from "#chain/types.ts";
import type { Scenario, World } from "./world.ts";

const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const silence = (world: World, machine: number, witnesses: readonly number[]): void => witnesses.forEach((one) => world.block(machine, one));
const set = (members: readonly number[]): ReadonlyMap<Hex, number> => new Map(members.map((i) => [`v${i}` as Hex, 1]));

/** A machine without a validator dies, in a world where one validator is dead already. */
function deathAfterDeath(world: World): number {
  world.at(1, () => world.crash(world.nodes[world.draw.below(world.n)]!));
  world.at(20 + world.draw.below(10), () => world.crash(world.nodes[world.n + world.draw.below(world.k - world.n)]!));
  world.checkers.settles = true;
  return 42;
}

/** A machine that may host a validator dies, and the liars do what they can. */
function deathAmongLiars(world: World): number {
  world.lie(world.f, [0]);
  const honest = upTo(world.k).filter((i) => !world.liars.has(i));
  // A validator's own machine has a witness less: with as many liars as there may be, the rest are not more than two thirds.
  const victim = world.draw.pick(honest.filter((i) => i >= world.n));
  world.at(20 + world.draw.below(10), () => world.crash(world.nodes[victim]!));
  world.checkers.settles = true;
  return 42;
}

function halt(world: World): number {
  const start = 8 + world.draw.below(5);
  world.at(start, () => {
    world.haltUntilMs = world.nowMs + 60_000;
    if (world.draw.percent(50)) world.side.splice(0, world.k, ...upTo(world.k));
  });
  world.lie(world.f);
  world.at(start + 40 + world.draw.below(20), () => world.heal());
  world.at(start + 60, () => world.heal());
  world.checkers.protects = "all";
  return start + 85;
}

/** More than half of the machines are behind a cable that is cut; or the chain, too, has no quorum meanwhile. */
function cut(world: World): number {
  const far = upTo(world.k).slice(world.n);
  if (world.draw.percent(50)) far.push(...upTo(world.f));
  const start = 11 + world.draw.below(3);
  world.at(start, () => far.forEach((i) => (world.side[i] = 1)));
  world.at(start + 2 + world.draw.below(7), () => world.heal());
  world.checkers.protects = "all";
  return start + 35;
}

/** No side has a quorum, for 1 to 60 s, and the liars are in both. */
function split(world: World): number {
  world.lie(world.f);
  const near = new Set<number>();
  while (near.size < world.n >> 1) near.add(world.draw.below(world.n));
  for (let i = world.n; i < world.k; i++) if (world.draw.percent(50)) near.add(i);
  const start = 11 + world.draw.below(4);
  world.at(start, () => near.forEach((i) => (world.side[i] = 1)));
  world.at(start + world.draw.pick([2, 3, 4, 6, 9, 20]), () => world.heal());
  if (world.n - (world.n >> 1) < world.quorum) world.checkers.protects = "all";
  return start + 50;
}

/** One witness after the other does not hear a machine for two seconds: suspicions of different beats, that must not add up. */
function glitches(world: World): number {
  world.lie(world.f);
  const machine = world.draw.pick(upTo(world.k).filter((i) => !world.liars.has(i)));
  const honest = upTo(world.n).filter((i) => !world.liars.has(i) && i !== machine);
  let second = 11;
  for (let round = 0; round < 12; round++) {
    const witness = honest[round % honest.length]!;
    world.at(second, () => world.block(machine, witness));
    second += 2 + world.draw.below(600) / 1000;
    world.at(second, () => world.blocked.clear());
    second += (600 + world.draw.below(600)) / 1000;
  }
  world.checkers.protects = "all";
  return second + 8;
}

function restarts(world: World): number {
  let second = 15;
  for (let round = 0; round < 3; round++) {
    world.at(second, () => {
      const node = world.draw.pick(world.nodes);
      world.crash(node);
      world.after(world.draw.pick([300, 1_000, 2_000, 5_000, 15_000]), () => world.restart(node));
    });
    second += 20;
  }
  world.checkers.settles = true;
  return second + 30;
}

/** Sets change three times; one machine, perhaps a validator's, hears of it late. */
function epochs(world: World): number {
  world.lie(world.f > 1 ? 1 : world.f);
  for (const second of [11, 33, 55]) world.at(second, () => {
    const members = upTo(world.n).filter((i) => !world.liars.has(i));
    while (members.length > 4) members.splice(world.draw.below(members.length), 1);
    world.newSet = members.length >= 4 ? set(members) : set(upTo(world.n));
  });
  const slow = world.draw.below(world.k);
  world.at(5, () => (world.behindMs[slow] = 500 + world.draw.below(3_000)));
  world.checkers.protects = "all";
  return 72;
}

/** Validators that were not in the set become it while a machine cannot reach them. */
function newWitnesses(world: World): number {
  const machine = world.k - 1;
  // The first set changes some seconds later, and all seven are competent for 20 s more.
  world.at(0, () => (world.newSet = set([0, 1, 2, 3])));
  world.at(34, () => silence(world, machine, [4, 5, 6]));
  world.at(37, () => (world.newSet = set([3, 4, 5, 6])));
  world.at(45, () => world.heal());
  world.checkers.protects = new Set([machine]);
  return 55;
}

/** In the first seconds of an epoch the new set loses a machine that the set before still hears, and which hears no blocks. */
function twoSets(world: World): number {
  const machine = world.n;
  world.at(0, () => (world.newSet = set([0, 1, 2, 3])));
  world.at(25, () => (world.newSet = set([3, 4, 5, 6])));
  world.at(28.5, () => (world.behindMs[machine] = 60_000));
  world.at(29, () => silence(world, machine, [4, 5, 6]));
  world.at(38, () => world.heal());
  return 45;
}

/** Machines lose some of their links, some of the time, both ways or one, or do not follow the chain. */
function trouble(kinds: number, rounds: number): (world: World) => number {
  return (world) => {
    if (world.draw.percent(70)) world.lie(world.f);
    const target = world.draw.below(world.k);
    let second = 11;
    for (let round = 0; round < rounds; round++) {
      const machine = world.draw.percent(70) ? target : world.draw.below(world.k);
      const some = upTo(world.n).filter(() => world.draw.percent(55));
      const kind = world.draw.below(kinds);
      world.at(second, () => disturb(world, kind, machine, some));
      second += (500 + world.draw.below(6_000)) / 1000;
      world.at(second, () => world.heal());
      second += world.draw.below(4_000) / 1000;
    }
    world.checkers.settles = world.liarMode !== "early" && world.liarMode !== "late";
    return second + 45;
  };
}

function disturb(world: World, kind: number, machine: number, some: readonly number[]): void {
  const node = world.nodes[machine]!;
  const again = (one: typeof node, afterMs: number): void => {
    world.crash(one);
    world.after(afterMs, () => world.restart(one));
  };
  switch (kind) {
    case 0: return silence(world, machine, some);
    case 1: return some.forEach((one) => (world.block(machine, one), world.block(one, machine)));
    case 2: return upTo(world.n).forEach((one) => world.block(one, machine));
    case 3: return silence(world, machine, upTo(world.n).filter((one) => !world.liars.has(one)));
    case 4: world.behindMs[machine] = 20_000; return silence(world, machine, some);
    case 5: world.side[machine] = 7; return;
    case 6: if (node.isAlive && (machine >= world.n || upTo(world.n).every((i) => world.nodes[i]!.isAlive))) again(node, 300 + world.draw.below(9_000)); return;
    default: {
      const witness = world.nodes[world.draw.below(world.n)]!;
      if (witness.isAlive && !world.liars.has(witness.place)) again(witness, 300);
    }
  }
}

/** One is cut off and comes back; while it rests, others lose their leases. */
function flaps(world: World): number {
  const [flapping, second, third] = [world.n, world.n + 1, world.n + 2];
  const away = (machine: number, fromSecond: number, forSeconds: number): void => {
    world.at(fromSecond, () => (world.side[machine] = 7));
    world.at(fromSecond + forSeconds, () => world.heal());
  };
  away(flapping, 12, 4);
  away(second, 18, 4);
  away(flapping, 30, 4);
  away(third, 43, 4);
  world.at(59, () => {
    if (world.checkers.downs > 4) world.checkers.fault(`four times a machine was away, and ${world.checkers.downs} times one was taken down`);
  });
  return 60;
}

/** After a stall validators reach each other first, and the other machines some seconds later. */
function haltAndReturn(world: World): number {
  world.at(12, () => {
    world.haltUntilMs = world.nowMs + 30_000;
    world.side.splice(0, world.k, ...upTo(world.k));
  });
  world.at(41.9, () => upTo(world.n).forEach((i) => (world.side[i] = 99)));
  world.at(44 + world.draw.below(4), () => world.heal());
  world.checkers.protects = "all";
  return 60;
}

/** Acknowledgements take 3.5 s; then the machine is silent. */
function slowAnswers(world: World): number {
  const machine = world.n;
  world.at(11, () => {
    world.behindMs[machine] = 60_000;
    upTo(world.n).forEach((one) => world.slowMs.set(one * 64 + machine, 3_500));
  });
  world.at(12, () => silence(world, machine, upTo(world.n)));
  return 30;
}

/** One of four is dead, and one has forgotten: it learns of the last beat from those who sign again. */
function byAndBy(world: World): number {
  const machine = world.n;
  world.at(1, () => world.crash(world.nodes[3]!));
  world.at(12, () => world.crash(world.nodes[machine]!));
  world.at(12.1, () => world.crash(world.nodes[2]!));
  world.at(12.4, () => world.restart(world.nodes[2]!));
  world.checkers.settles = true;
  return 50;
}

/** A machine that is heard, and hears nothing. */
function deaf(world: World): number {
  world.at(11, () => (world.behindMs[world.n] = 60_000));
  return 32;
}

/** Witnesses start again, hear a machine once, and lose it for three seconds. */
function restartAndLoss(world: World): number {
  const machine = world.n;
  world.at(12, () => [0, 1, 2].forEach((one) => world.crash(world.nodes[one]!)));
  world.at(12.3, () => [0, 1, 2].forEach((one) => world.restart(world.nodes[one]!)));
  world.at(13.6, () => silence(world, machine, [0, 1, 2]));
  world.at(16.6, () => world.heal());
  world.checkers.protects = new Set([machine]);
  return 30;
}

/** A validator's machine starts again; a liar is the first to answer, and one honest witness the last. */
function rebootAmongLiars(world: World): number {
  world.liarMode = world.draw.pick(["early", "join"]);
  world.liars.add(3);
  world.slowMs.set(2 * 64, 700);
  world.at(13 + world.draw.below(5_000) / 1000, () => {
    world.crash(world.nodes[0]!);
    world.after(300 + world.draw.below(600), () => world.restart(world.nodes[0]!));
  });
  return 34;
}

/** A second machine starts with the key of a live one; half of the witnesses do not hear the first for a while. */
function clone(world: World): number {
  const place = world.draw.below(world.k);
  world.lie(world.draw.percent(50) ? world.f : 0, [place]);
  const { bootId } = world.nodes[place]!;
  world.at(12, () => world.clone(place));
  world.at(21, () => {
    if (world.ledger.machines.get(`m${place}` as Hex)!.bootId !== bootId) world.checkers.fault(`a second machine took over m${place}, which lives`);
    upTo(world.n).forEach((one) => world.draw.percent(50) && world.block(place, one));
  });
  world.at(26, () => world.heal());
  return 45;
}

/** A machine hears no blocks and is silent to just enough honest witnesses, for good or two seconds; liars acknowledge all, and sign when they like. */
function fence(world: World): number {
  world.liarMode = world.draw.pick(["join", "early"]);
  world.lie(world.f);
  const machine = world.draw.pick(upTo(world.k).filter((i) => !world.liars.has(i)));
  const witnesses = world.n - (machine < world.n ? 1 : 0);
  const honest = upTo(world.n).filter((i) => !world.liars.has(i) && i !== machine).slice(0, Math.floor((2 * witnesses) / 3) + 1 - world.f);
  world.at(11.5, () => (world.behindMs[machine] = 25_000));
  world.at(12, () => silence(world, machine, honest));
  world.at(world.draw.percent(40) ? 27 : 13.7 + world.draw.below(600) / 1000, () => world.blocked.clear());
  return 38;
}

/** As `fence`, and one of the witnesses that have signed starts again before the machine is heard: only its log remembers. */
function fenceAndRestart(world: World): number {
  world.liarMode = "join";
  world.lie(world.f);
  const machine = world.n;
  const honest = upTo(world.n).filter((i) => !world.liars.has(i));
  const signing = honest.slice(0, Math.floor((2 * world.n) / 3) + 1 - world.f);
  world.at(11.5, () => (world.behindMs[machine] = 60_000));
  world.at(12, () => silence(world, machine, signing));
  world.at(13.8, () => {
    world.crash(world.nodes[signing[0]!]!);
    world.after(100, () => world.restart(world.nodes[signing[0]!]!));
  });
  world.at(14.2, () => world.blocked.clear());
  return 38;
}

/** A machine starts again at once; one of the witnesses is a liar who answers first, one gets blocks late. */
function reboots(world: World): number {
  world.lie(world.f);
  const machine = world.draw.pick(upTo(world.k).filter((i) => !world.liars.has(i)));
  world.at(13 + world.draw.below(4_000) / 1000, () => {
    world.crash(world.nodes[machine]!);
    world.after(300 + world.draw.below(600), () => world.restart(world.nodes[machine]!));
  });
  world.checkers.settles = true;
  return 34;
}

/** It hears no blocks but is heard by all: after its leases ended elsewhere it must not run on. */
function lags(world: World): number {
  const machine = world.n;
  world.at(11, () => (world.behindMs[machine] = 60_000));
  world.at(12, () => silence(world, machine, upTo(world.n)));
  world.at(15.2, () => world.blocked.clear());
  return 40;
}

/** It starts again while it hears of blocks 11 to 25 s late: it is up again all the same, later. */
function rebootsBehind(world: World): number {
  const machine = world.n;
  world.at(11, () => (world.behindMs[machine] = 11_000 + world.draw.below(14_000)));
  world.at(13, () => {
    world.crash(world.nodes[machine]!);
    world.after(300 + world.draw.below(4_000), () => world.restart(world.nodes[machine]!));
  });
  world.checkers.settles = true;
  return 70;
}

const more = (n: number): number => n + 3;
export const SCENARIOS: readonly Scenario[] = [
  { name: "calm", script: (world) => (world.lie(world.f), (world.checkers.protects = "all"), 32) },
  { name: "death with a validator dead", validators: 4, machines: more, script: deathAfterDeath },
  { name: "death among liars", machines: more, script: deathAmongLiars },
  // At most silence (1.5 s) and a view that is lost to its timer (1.6 s), now and then; p99 is below (README).
  { name: "death far away", machines: more, delayMsMax: 150, deltaMs: 400, downMsMax: 3_200, script: deathAfterDeath },
  { name: "halt", script: halt },
  { name: "cut cable", machines: (n, draw) => 2 * n + draw.below(2), script: cut },
  { name: "no quorum on either side", isLossless: true, script: split },
  { name: "glitches", script: glitches },
  { name: "restarts", script: restarts },
  { name: "epochs", script: epochs },
  { name: "new witnesses", validators: 7, machines: more, isLossless: true, script: newWitnesses },
  { name: "two sets", validators: 7, machines: more, isLossless: true, script: twoSets },
  { name: "partial", script: trouble(5, 6) },
  { name: "mix", script: trouble(8, 7) },
  { name: "flaps", machines: more, script: flaps },
  { name: "two with one key", script: clone },
  { name: "fence", script: fence },
  { name: "fence and restart", validators: 4, machines: more, script: fenceAndRestart },
  { name: "halt, and machines come later", machines: more, isLossless: true, script: haltAndReturn },
  { name: "slow answers", machines: more, script: slowAnswers },
  { name: "by and by", validators: 4, machines: more, script: byAndBy },
  { name: "deaf", machines: more, script: deaf },
  { name: "restart and a loss", validators: 4, machines: more, isLossless: true, script: restartAndLoss },
  { name: "reboot among liars", validators: 4, machines: more, isLossless: true, script: rebootAmongLiars },
  { name: "reboots", script: reboots },
  { name: "behind", machines: more, script: lags },
  { name: "reboot behind", machines: more, script: rebootsBehind },
];

export function scenario(name: string): Scenario {
  const found = SCENARIOS.find((one) => one.name === name);
  if (!found) throw new Error(`no world of liveness is named ${name}`);
  return found;
}
