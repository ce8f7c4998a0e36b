/** What holders of tokens might do, drawn at random: plausible operations for histories, extreme ones for fuzzing. */
import { signVote } from "#chain/codec/certificate.ts";
import { encodeEvidence } from "#chain/codec/evidence.ts";
import type { SignedVote } from "#chain/codec/schema.ts";
import { type Operation, signValidatorProof } from "#chain/codec/transaction.ts";
import { VOTABLE } from "#chain/constants.ts";
import { sha256 } from "#chain/crypto.ts";
import { type Address, digest, epoch, view } from "#chain/types.ts";
import { type Actor, type Random, TOKEN, type World } from "./world.ts";

const SECRETS = [1, 2].map((byte) => new Uint8Array(32).fill(byte));

/** Puts one of them into the next block, or nothing. */
export function holdAtRandom(r: Random, world: World, holders: readonly Actor[]): void {
  const who = r.pick(holders);
  const all = holders.flatMap(({ id }) => world.view.locksOf(id).items);
  const held = all.length === 0 ? undefined : r.pick(all);
  const validator = r.pick(holders).id;
  const name = r.pick(["a", "b", "c.example"]);
  switch (r.int(16)) {
    case 14: return void world.send(who, [{ kind: "propose", validator: who.id, parameter: VOTABLE.nameRentPerYear.number, value: BigInt(1 + r.int(3)) * TOKEN }]);
    case 15: {
      const [open] = world.view.proposals();
      return void (open && world.send(who, [{ kind: "vote", validator: who.id, proposal: open.id }]));
    }
    case 10: return void world.send(who, [{ kind: "registerName", name, deployment: world.view.deploymentsOf(who.id).items[0]?.id ?? null, years: r.int(3) }]);
    case 11: return void world.send(who, [{ kind: "renewName", name, years: r.int(4) }]);
    case 12: return void world.send(who, [r.int(2) === 0 ? { kind: "transferName", name, to: r.pick(holders).id } : { kind: "releaseName", name }]);
    case 13: return void world.send(who, [{ kind: "pointName", name, deployment: world.view.deploymentsOf(who.id).items[0]?.id ?? null }]);
    case 3: return void world.send(who, [bondOf(world, who, BigInt(r.int(3)) * TOKEN + BigInt(r.int(9)))]);
    case 4: return void (r.int(3) === 0 && world.send(who, [{ kind: "unbond", validator: who.id, amount: r.int(2) === 0 ? TOKEN : (world.view.validator(who.id)?.stake ?? 1n) }]));
    case 5:
    case 6: return void world.send(who, [{ kind: "delegate", validator, amount: BigInt(r.int(3e9)) + 10n ** 8n, commissionMax: 10_000 }]);
    case 7: {
      const mine = world.view.delegationsOf(who.id).items;
      const one = mine.length === 0 ? undefined : r.pick(mine);
      return void (one && world.send(who, [{ kind: "undelegate", validator: one.validator, shares: r.int(3) === 0 ? one.shares : one.shares / BigInt(r.int(5) + 1) }]));
    }
    case 8: return void world.send(who, [{ kind: "setCommission", validator: who.id, bps: Math.max(0, (world.view.validator(who.id)?.commissionBps ?? 0) + r.int(140) - 60) }]);
    case 9: return void (r.int(12) === 0 && reportSomebody(world, who, holders));
    case 0: return void world.send(who, [{ kind: "lock", to: r.pick(holders).id, amount: BigInt(r.int(1e6)), hash: sha256(r.pick(SECRETS)), expiryMs: world.view.timeMs + BigInt(r.int(120_000)) }]);
    case 1: return void (held && world.send(who, [{ kind: "claimLock", lock: held.id, preimage: r.int(4) === 0 ? r.pick(SECRETS) : SECRETS.find((one) => sha256(one).toHex() === held.hash.toHex())! }]));
    default: return void (held && world.send(who, [{ kind: "refundLock", lock: held.id }]));
  }
}

const bonds = new Map<string, Operation>();
/** Each holder validates with its own key, in these histories. */
function bondOf(world: World, { seed, id }: Actor, amount: bigint): Operation {
  const known = bonds.get(id.toHex() + world.ledger.chainId.toHex()) ?? { kind: "bond", ...signValidatorProof(seed, world.ledger.chainId, id), amount: 0n };
  bonds.set(id.toHex() + world.ledger.chainId.toHex(), known);
  return { ...known, amount } as Operation;
}
/** A holder that is in the set signs twice in one view. */
function reportSomebody(world: World, who: Actor, holders: readonly Actor[]): void {
  const members = world.view.validatorsOf(world.view.epoch)!;
  const [guilty] = holders.filter(({ key }) => members.some((one) => one.key.toHex() === key.toHex()));
  if (guilty === undefined) return;
  const index = members.findIndex((one) => one.key.toHex() === guilty.key.toHex());
  const vote = (byte: number): SignedVote => signVote(guilty.seed, { kind: "notarize", chainId: world.ledger.chainId, epoch: epoch(world.view.epoch), view: view(5), id: digest(new Uint8Array(32).fill(byte)) }, index);
  world.send(who, [{ kind: "report", evidence: encodeEvidence({ kind: "votes", a: vote(1), b: vote(2) }) }]);
}

/** Fields as large and as small as the layout has them. */
export type Extremes = { readonly id: () => Address; readonly u32: () => number; readonly u64: () => bigint; readonly text: (most: number) => string };
export const extremeHolding = (r: Random, { id, u32, u64, text }: Extremes): Operation => r.pick<() => Operation>([
  () => ({ kind: "lock", to: id(), amount: u64(), hash: r.pick([digest(new Uint8Array(32)), sha256(r.pick(SECRETS))]), expiryMs: r.pick([u64(), 1_700_000_400_000n + BigInt(r.int(1e9))]) }),
  () => ({ kind: "claimLock", lock: id(), preimage: r.pick(SECRETS) }),
  () => ({ kind: "refundLock", lock: id() }),
  () => ({ kind: "delegate", validator: id(), amount: u64(), commissionMax: u32() }),
  () => ({ kind: "undelegate", validator: id(), shares: u64() }),
  () => ({ kind: "registerName", name: r.pick(["a", text(253)]), deployment: r.pick([null, id()]), years: u32() }),
  () => ({ kind: "propose", validator: id(), parameter: u32(), value: u64() }),
  () => ({ kind: "vote", validator: id(), proposal: id() }),
  () => ({ kind: "renewName", name: r.pick(["a", text(253)]), years: u32() }),
  () => ({ kind: "pointName", name: "a", deployment: r.pick([null, id()]) }),
  () => ({ kind: "transferName", name: "a", to: id() }),
  () => ({ kind: "releaseName", name: text(253) }),
  () => ({ kind: "setCommission", validator: id(), bps: u32() }),
])();
