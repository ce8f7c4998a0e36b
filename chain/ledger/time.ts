/**
 * Money time (design 4.1): whole seconds of header time, of which one block takes ten at most. So it falls behind for good when
 * the chain halts, and a halted chain bills nobody.
 */
import { PRESETS } from "#chain/constants.ts";
import { type MoneySecond, moneySecond } from "#chain/types.ts";

export function moneySecondAfter(
  parentMoneySecond: bigint, parentTimeMs: bigint, timeMs: bigint, stepSecondsMax: bigint = PRESETS.default.moneyStepSecondsMax,
): MoneySecond {
  const step = timeMs / 1000n - parentTimeMs / 1000n;
  return moneySecond(parentMoneySecond + (step < stepSecondsMax ? step : stepSecondsMax));
}
