/** Planted bugs of liveness, one for every rule (chain/liveness/README.md): `scenario` is a world of `tests/simulation/liveness`, or its courts. */

import type { Mutant } from "../mutants.ts";

const rule = (name: string, from: string, to: string, scenario: string, seedsMax: number, ...more: Mutant["edits"]): Mutant =>
  ({ name, scenario, seedsMax, edits: [{ file: "liveness/rules.ts", from, to }, ...more] });
const plant = (name: string, file: string, from: string, to: string, scenario: string, seedsMax: number): Mutant =>
  ({ name, scenario, seedsMax, edits: [{ file: `liveness/${file}.ts`, from, to }] });

export const LIVENESS_MUTANTS: readonly Mutant[] = [
  plant("suspicions are never void", "verdict", "return block === undefined || latest(court).timeMs > block.timeMs + BigInt(VOID_MS);", "return VOID_MS < 0 && block === undefined;", "courts", 20),
  plant("suspicions of before the last up count", "verdict", "    if (suspicion.base < machine.sinceHeight) continue;\n", "", "flaps", 20),
  plant("suspicions need not name the same beat", "verdict", "const number = suspicion.beat?.number ?? 0;", "const number = 0;", "courts", 20),
  plant("acknowledgements of a third hold the fence", "host", "isTwoThirds(weightIn(set, sent.clear), sumOf(set))", "isTwoThirds(2 * weightIn(set, sent.clear), sumOf(set))", "fence", 60),
  plant("acknowledgements are clear while a suspicion is out", "witness", "const isClear = !isBehind && !canBeTaken(state, beat.machine, beat.bootId, state.view.timeMs);", "const isClear = !isBehind;", "fence", 60),
  plant("suspicions are not in the vote log", "witness", "log: new Map(log),", "log: new Map([...log].slice(0, 0)),", "fence and restart", 60),
  plant("no grace after a stall", "witness", "if (isLate(state, nowMs)) state.muteUntilMs = later(state.muteUntilMs, nowMs + BigInt(GRACE_MS));", "", "halt, and machines come later", 20),
  plant("no grace after more than half are lost", "witness", "return heard > 1 && lost * 2 > heard;", "return false;", "cut cable", 20),
  rule("lost is 1.5 s of silence", "LOST_MS = 750", "LOST_MS = 1_500", "cut cable", 60, { file: "liveness/rules.ts", from: "&& 2 * LOST_MS <= SILENT_MS", to: "" }),
  plant("signs without hearing a quorum", "witness", "return isMoreThanTwoThirds(weight, sumOf(validators));", "return isMoreThanTwoThirds(weight + sumOf(validators), sumOf(validators));", "no quorum on either side", 60),
  plant("the end may lie beyond the next block", "verdict", "return least(block.moneySecond + seconds, next.moneySecond);", "return next.moneySecond < 0n ? 0n : block.moneySecond + seconds;", "courts", 20),
  plant("the latest time for the median", "verdict", "if (below * 2 >= whole) return second;", "if (below >= whole) return second;", "courts", 20),
  plant("the end may lie before the block that the beat names", "verdict", "return least(second < named ? named : second, latest(court).moneySecond);", "return least(named < 0n ? named : second, latest(court).moneySecond);", "courts", 20),
  rule("down at more than a third", "part * 3 > whole * 2;", "part * 3 > whole;", "courts", 20),
  rule("down at more than half", "part * 3 > whole * 2;", "part * 2 > whole;", "courts", 20),
  plant("beats of any boot id count", "witness", "if (entry.machine.bootId !== beat.bootId || entry.machine.isDown) return noteOther", "if (entry.machine.isDown) return noteOther", "reboots", 20),
  rule("a successor starts at once", "SUCCESSOR_MS = 3_000", "SUCCESSOR_MS = 0", "behind", 60, { file: "liveness/rules.ts", from: "assert(FENCE_MS < SILENT_MS + SUCCESSOR_MS);", to: "" }),
  plant("the fence counts from the acknowledgement", "host", "if (isEnough && (state.clearMs === null || sent.atMs > state.clearMs)) state.clearMs = sent.atMs;", "if (isEnough) state.clearMs = state.sent.at(-1)!.atMs;", "slow answers", 20),
  plant("one of two competent sets holds the fence", "host", "const isEnough = sets.every(", "const isEnough = sets.some(", "two sets", 20),
  plant("who never heard the boot before vouches for it", "verdict", "const vouching = heard.length > 0 ? heard : before;", "const vouching = heard.length > 99 ? heard : before;", "courts", 20),
  plant("the set before is not competent", "witnesses", "timeMs - sinceMs < BigInt(OVERLAP_MS) ? [current, previous]", "timeMs - sinceMs < BigInt(OVERLAP_MS) * 0n ? [current, previous]", "courts", 20),
  plant("no second signature", "witness", "return view.timeMs - entry.suspected.baseMs >= BigInt(AGAIN_MS);", "return view.timeMs < 0n && AGAIN_MS > 0;", "by and by", 20),
  plant("a new witness signs after 1.5 s", "witness", " || (entry.beat === null && nowMs - entry.sinceMs < BigInt(OVERLAP_MS))", "", "new witnesses", 20),
  plant("up while the old boot still beats", "witness", "if (!machine.isDown && nowMs - entry.atMs < BigInt(SILENT_MS)) return;", "", "two with one key", 20),
  plant("up needs more than two thirds", "verdict", "if (!isTwoThirds(weightIn(set, by.map(({ witness }) => witness)), sumOf(set))) continue;\n    const before", "if (!isTwoThirds(weightIn(set, by.map(({ witness }) => witness)) - 1, sumOf(set))) continue;\n    const before", "courts", 20),
  plant("machines that do not follow the chain are acknowledged", "witness", "const isBehind = beat.timeMs + BigInt(LAG_MS) < state.view.timeMs;", "const isBehind = beat.timeMs + BigInt(LAG_MS) < 0n;", "deaf", 20),
  plant("no rest after down", "rules", "return rest < REST_MS_MAX ? rest : REST_MS_MAX;", "return rest < 0n ? rest : 0n;", "flaps", 20),
  plant("a rest does not grow", "rules", "rest *= 2n;", "rest += 0n;", "flaps", 20),
  plant("a suspected leader is waited for", "witness", "return watch !== undefined && (watch.machine.isDown || watch.suspected !== null);", "return watch === undefined;", "death far away", 60),
  plant("up ends at the lower median of what witnesses say", "verdict", "if (isMoreThanAThird(above, whole)) return second;", "if (isMoreThanAThird(above, whole) && above * 2 > whole) return second;", "courts", 20),
  plant("up is asked for with the first two thirds", "host", "nowMs - state.upEnoughMs < BigInt(UP_WAIT_MS)", "nowMs - state.upEnoughMs < BigInt(UP_WAIT_MS - 1_000)", "reboot among liars", 60),
  plant("who is no witness is counted", "verdict", "const by = [...byBeat.get(number)!.values()].filter(({ witness }) => set.has(witness));", "const by = [...byBeat.get(number)!.values()];", "courts", 20),
  plant("a machine's own validator is its witness", "witnesses", "if (own === null || !set.has(own) || set.size === 1) return set;", "if (own !== \"\") return set;", "courts", 20),
  plant("a started witness signs at once", "witness", "muteUntilMs: nowMs + BigInt(GRACE_MS), holdUntilMs", "muteUntilMs: nowMs, holdUntilMs", "restart and a loss", 20),
];
