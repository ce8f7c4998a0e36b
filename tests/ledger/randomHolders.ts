/** What holders of tokens might do, drawn at random: plausible operations for histories, extreme ones for fuzzing. */
import type { Operation } from "#chain/codec/transaction.ts";
import { sha256 } from "#chain/crypto.ts";
import { type Address, digest } from "#chain/types.ts";
import type { Actor, Random, World } from "./world.ts";

const SECRETS = [1, 2].map((byte) => new Uint8Array(32).fill(byte));

/** Puts one of them into the next block, or nothing. */
export function holdAtRandom(r: Random, world: World, holders: readonly Actor[]): void {
  const who = r.pick(holders);
  const all = holders.flatMap(({ id }) => world.view.locksOf(id).items);
  const held = all.length === 0 ? undefined : r.pick(all);
  switch (r.int(3)) {
    case 0: return void world.send(who, [{ kind: "lock", to: r.pick(holders).id, amount: BigInt(r.int(1e6)), hash: sha256(r.pick(SECRETS)), expiryMs: world.view.timeMs + BigInt(r.int(120_000)) }]);
    case 1: return void (held && world.send(who, [{ kind: "claimLock", lock: held.id, preimage: r.int(4) === 0 ? r.pick(SECRETS) : SECRETS.find((one) => sha256(one).toHex() === held.hash.toHex())! }]));
    default: return void (held && world.send(who, [{ kind: "refundLock", lock: held.id }]));
  }
}

/** Fields as large and as small as the layout has them. */
export type Extremes = { readonly id: () => Address; readonly u32: () => number; readonly u64: () => bigint; readonly text: (most: number) => string };
export const extremeHolding = (r: Random, { id, u64 }: Extremes): Operation => r.pick<() => Operation>([
  () => ({ kind: "lock", to: id(), amount: u64(), hash: r.pick([digest(new Uint8Array(32)), sha256(r.pick(SECRETS))]), expiryMs: r.pick([u64(), 1_700_000_400_000n + BigInt(r.int(1e9))]) }),
  () => ({ kind: "claimLock", lock: id(), preimage: r.pick(SECRETS) }),
  () => ({ kind: "refundLock", lock: id() }),
])();
