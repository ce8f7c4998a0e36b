// Amounts as whole hundredths: "12.5" is 1250.

/** Parses an amount with at most two decimals; i64.MIN_VALUE when the text is not one. */
export function hundredths(text: string): i64 {
  const negative = text.startsWith("-");
  let value: i64 = 0;
  let digits = 0;
  let decimals = -1; // -1 until the point.
  for (let i = negative ? 1 : 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code == 0x2e && decimals < 0) {
      decimals = 0;
      continue;
    }
    if (code < 0x30 || code > 0x39 || decimals == 2 || digits == 15) return i64.MIN_VALUE;
    value = value * 10 + (code - 0x30);
    digits++;
    if (decimals >= 0) decimals++;
  }
  if (digits == 0) return i64.MIN_VALUE;
  for (let i = max(decimals, 0); i < 2; i++) value *= 10;
  return negative ? -value : value;
}

/** 1250 as "12.50". */
export function hundredthsText(amount: i64): string {
  const positive = amount < 0 ? -amount : amount;
  return (amount < 0 ? "-" : "") + (positive / 100).toString() + "." + (positive % 100).toString().padStart(2, "0");
}
