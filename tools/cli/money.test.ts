import assert from "node:assert/strict";
import test from "node:test";
import { UsageError } from "./command.ts";
import { durationText, parseTokens, rateText, tokensColumn, tokensText } from "./money.ts";

test("parseTokens() reads what tokensText() writes, to the base unit", () => {
  for (const units of [0n, 1n, 999_999_999n, 1_000_000_000n, 2_500_000_000n, 9_007_199_254_740_993n, 18_446_744_073_709_551_615n])
    assert.equal(parseTokens("x", tokensText(units)), units);
  assert.equal(parseTokens("x", "2.5"), 2_500_000_000n);
  assert.equal(parseTokens("x", "0.000000001"), 1n);
});

test("parseTokens() refuses what is not an amount, and more than a u64", () => {
  for (const text of ["", "-1", "+1", "1.", ".5", "1e3", "0x1", "1,5", " 1", "1.0000000001", "NaN", "18446744073.709551616", "9".repeat(13), "١"])
    assert.throws(() => parseTokens("x", text), UsageError, text);
});

test("amounts in a column have nine decimals", () => {
  assert.equal(tokensColumn(1_234n), "0.000001234");
  assert.equal(tokensColumn(12_000_000_000n), "12.000000000");
  assert.equal(rateText(1_000n), "0.000001/s (0.0036/h)");
});

test("durationText() says the two largest parts", () => {
  const rows: [bigint, string][] = [[0n, "0s"], [59n, "59s"], [60n, "1m"], [61n, "1m 1s"], [3_600n, "1h"], [93_784n, "1d 2h"], [86_400n, "1d"]];
  for (const [seconds, text] of rows) assert.equal(durationText(seconds), text);
});
