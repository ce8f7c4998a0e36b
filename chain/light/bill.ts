/**
 * A bill that needs no trust: its lines against the leaf of its deployment (chain/ledger/model.ts has the order of its fields).
 *
 * What is paid stands in the leaf as a sum and a hash over all paid lines, what is not as a sum and a hash over the rest. So every line is
 * proven, and the lines add up to what the ledger says, to the unit; of lines too old to be listed, the sum.
 */
import { type Cbor, CodecError } from "#chain/codec/cbor.ts";
import { bytes, id20, list, text, tuple, u64 } from "#chain/codec/schema.ts";
import { NO_SEGMENT, type Unpaid, afterSegment, unpaidHash, unpaidLeaf } from "#chain/codec/segment.ts";
import { type Address, type Refusal, hex, refuse } from "#chain/types.ts";

export type ClaimedLine = Unpaid & { /** In the order in which they ended; null: it runs. */ readonly place: number | null; readonly isPaid: boolean };
export type Claimed = { readonly lines: readonly ClaimedLine[]; /** The hash of what was paid before the first paid line. */ readonly before: Uint8Array };
export type ProvenLine = ClaimedLine & { readonly seconds: bigint; readonly amount: bigint };
export type ProvenBill = {
  readonly owner: Address;
  readonly name: string;
  /** Money second of the block that proves it. */
  readonly at: bigint;
  readonly lines: readonly ProvenLine[];
  /** Of lines that are not listed. */
  readonly earlier: bigint;
  readonly total: bigint;
  readonly paid: bigint;
  readonly rate: bigint;
  readonly free: bigint;
  readonly dryAt: bigint | null;
};

const TEXT_BYTES_MAX = 1_024;

/** `leaf` is proven as of a block at money second `at`. */
export function proveBill(leaf: readonly Cbor[], at: bigint, { lines, before }: Claimed): { readonly ok: true; readonly bill: ProvenBill } | Refusal {
  const [balance, owed, rate, since, dry, unpaid] = tuple(leaf[18], 6);
  const [paid, segments] = tuple(leaf[20], 2);
  if (lines.some(({ place, end }) => (place === null) !== (end === null))) return refuse("bill_false", "Cannot prove a line that has ended and has no end, or runs and has one");
  const byPlace = (a: ClaimedLine, b: ClaimedLine): number => (a.place ?? 0) - (b.place ?? 0);
  const running = lines.filter(({ place }) => place === null).sort((a, b) => a.index - b.index);
  const ended = lines.filter(({ place, isPaid }) => place !== null && !isPaid).sort(byPlace);
  if (hex(unpaidHash(running.map(unpaidLeaf), ended.map(unpaidLeaf))) !== hex(bytes(unpaid, 32))) return refuse("bill_false", "Cannot prove the lines that are not paid yet: the ledger has others");
  let hash = before;
  for (const line of lines.filter(({ isPaid }) => isPaid).sort(byPlace)) hash = afterSegment(hash, line, line.end as bigint);
  if (hex(hash) !== hex(bytes(segments, 32))) return refuse("bill_false", "Cannot prove the lines that are paid: the ledger has others");

  const [rateNow, owedThen, from] = [u64(rate), u64(owed), u64(since)];
  const [dryThen] = list(dry, 1);
  if (dryThen !== undefined || at < from) throw new CodecError("codec_value", "an escrow is told of at the end of a block");
  const dryAt = rateNow === 0n ? null : from + (u64(balance) - owedThen) / rateNow;
  const until = dryAt !== null && dryAt < at ? dryAt : at;
  const owedNow = owedThen + rateNow * (until - from);
  const total = u64(paid) + owedNow;
  const proven = lines.map((line): ProvenLine => {
    const seconds = (line.end ?? until) - line.openedAt;
    return { ...line, seconds, amount: line.rate * seconds };
  });
  const earlier = proven.reduce((sum, { amount }) => sum - amount, total);
  if (earlier < 0n || (earlier > 0n && hex(before) === hex(NO_SEGMENT))) return refuse("bill_false", `Cannot prove the bill: its lines and what the ledger paid and owes differ by ${earlier}`);
  const bill = { owner: id20(leaf[1]), name: text(leaf[2], TEXT_BYTES_MAX), at, lines: proven, earlier, total, paid: u64(paid), rate: rateNow, free: u64(balance) - owedNow, dryAt };
  return { ok: true, bill };
}
