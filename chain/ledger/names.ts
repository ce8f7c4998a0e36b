/**
 * Names: who registers one first has it, for as long as its rent is paid; it points to a deployment of its owner, and machines answer by it.
 *
 * A label (`shop`) is a host under the grid's zone, a name with dots (`shop.example`) is a host as it is. The rent is a token a year, in advance, into
 * the fee pool: without one, whoever comes first would keep every good name for a fee of a hundred-thousandth. When the time is over
 * a name points nowhere; for 30 days it is its owner's still, and anybody may renew it for him; then it is anybody's: to register, or to take off the state. What is given up is not paid back.
 */
import { type PointName, type RegisterName, type ReleaseName, type RenewName, type TransferName, nameIdOf } from "#chain/codec/holderOperations.ts";
import { type BlockContext, OK, type Origin, type Result, debit, sameBytes, unfunded } from "#chain/ledger/block.ts";
import type { NameHeld } from "#chain/ledger/holdings.ts";
import { LOOKUPS_PER_WORK, NAMES_PER_DEPLOYMENT_MAX, NAME_GRACE_MS, NAME_YEARS_MAX, NAME_YEAR_MS } from "#chain/ledger/limits.ts";
import { parseId } from "#chain/ledger/state.ts";
import { type Address, type Refusal, refuse } from "#chain/types.ts";

const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
/** Whether machines could answer by it: DNS labels; none that looks like an account's (`<deployment>.<account>.<zone>`), and no IP address. */
export function isName(text: string): boolean {
  const labels = text.split(".");
  return text.length <= 253 && labels.every((label) => LABEL.test(label) && !label.startsWith("gw1")) && (labels.length === 1 || !/^[0-9]+$/.test(labels.at(-1)!));
}
/** Anybody's again. */
export const isFree = ({ expiryMs }: NameHeld, timeMs: bigint): boolean => timeMs >= expiryMs + NAME_GRACE_MS;

export function registerName(context: BlockContext, { name, deployment, years }: RegisterName, { sender }: Origin): Result {
  const { state, timeMs, events } = context;
  if (!isName(name)) return refuse("bad_name", `Cannot register "${name}" as it is no host name, or one of an account or an address`);
  const id = nameIdOf(name);
  const known = state.named(id);
  if (known && !isFree(known, timeMs)) return refuse("name_taken", `Cannot register "${name}" as it has an owner`);
  const pointed = refusalOfPointing(context, sender, deployment);
  if (pointed) return pointed;
  const paid = payRent(context, sender, name, timeMs, years);
  if (!paid.ok) return paid;
  state.put({ kind: "name", id, name, owner: sender, deployment, expiryMs: paid.expiryMs });
  events.push({ kind: "nameRegistered", name, owner: sender, deployment, expiryMs: paid.expiryMs });
  return OK;
}

/** By anybody: rent that is paid for another is a present. */
export function renewName(context: BlockContext, { name, years }: RenewName, { sender }: Origin): Result {
  const { state, timeMs, events } = context;
  const known = state.named(nameIdOf(name));
  if (!known || isFree(known, timeMs)) return unknown(name);
  const paid = payRent(context, sender, name, known.expiryMs, years);
  if (!paid.ok) return paid;
  state.put({ ...known, expiryMs: paid.expiryMs });
  events.push({ kind: "nameRenewed", name, owner: known.owner, expiryMs: paid.expiryMs });
  return OK;
}

export function pointName(context: BlockContext, { name, deployment }: PointName, { sender }: Origin): Result {
  const owned = ownedBy(context, name, sender);
  if (!owned.ok) return owned;
  const pointed = refusalOfPointing(context, sender, deployment);
  if (pointed) return pointed;
  context.state.put({ ...owned.held, deployment });
  context.events.push({ kind: "namePointed", name, owner: sender, deployment });
  return OK;
}

/** It points nowhere then: what it pointed to was the owner's of before. */
export function transferName(context: BlockContext, { name, to }: TransferName, { sender }: Origin): Result {
  const owned = ownedBy(context, name, sender);
  if (!owned.ok) return owned;
  context.state.put({ ...owned.held, owner: to, deployment: null });
  context.events.push({ kind: "nameTransferred", name, sender, owner: to });
  return OK;
}

/** One that is nobody's: by anybody, who takes its leaf off the state. */
export function releaseName(context: BlockContext, { name }: ReleaseName, { sender }: Origin): Result {
  const { state, timeMs, events } = context;
  const held = state.named(nameIdOf(name));
  if (!held) return unknown(name);
  if (!isFree(held, timeMs) && !sameBytes(held.owner, sender)) return anothers(name);
  state.remove(held);
  events.push({ kind: "nameReleased", name, owner: held.owner });
  return OK;
}

function payRent({ state, timeMs, rules }: BlockContext, sender: Address, name: string, fromMs: bigint, years: number): { readonly ok: true; readonly expiryMs: bigint } | Refusal {
  if (years === 0) return refuse("bad_years", `Cannot rent "${name}" for no time`);
  const expiryMs = fromMs + BigInt(years) * NAME_YEAR_MS;
  if (years > NAME_YEARS_MAX || expiryMs > timeMs + BigInt(NAME_YEARS_MAX) * NAME_YEAR_MS) return refuse("bad_years", `Cannot rent "${name}" until ${expiryMs} as that is more than ${NAME_YEARS_MAX} years ahead`);
  const rent = BigInt(years) * rules.nameRentPerYear;
  if (!debit(state, sender, rent)) return unfunded(`pay a rent of ${rent}`);
  state.put({ ...state.totals, feePool: state.totals.feePool + rent });
  return { ok: true, expiryMs };
}

function refusalOfPointing({ state, timeMs }: BlockContext, sender: Address, deployment: Address | null): Refusal | null {
  if (deployment === null) return null;
  const known = state.deployment(deployment);
  if (!known || known.state === "closing") return refuse("unknown_deployment", `Cannot point a name to deployment ${deployment.toHex()} as there is none`);
  if (!sameBytes(known.owner, sender)) return refuse("not_owner", "Cannot point a name to another's deployment");
  const ids = state.listed(`N${deployment.toHex()}`);
  state.spend(ids.length / LOOKUPS_PER_WORK);
  const count = ids.filter((id) => !isFree(state.named(parseId(id)) as NameHeld, timeMs)).length;
  return count >= NAMES_PER_DEPLOYMENT_MAX ? refuse("too_many_names", `Cannot point another name to deployment ${deployment.toHex()} as it has ${NAMES_PER_DEPLOYMENT_MAX}`) : null;
}

function ownedBy({ state, timeMs }: BlockContext, name: string, sender: Address): { readonly ok: true; readonly held: NameHeld } | Refusal {
  const held = state.named(nameIdOf(name));
  if (!held || isFree(held, timeMs)) return unknown(name);
  return sameBytes(held.owner, sender) ? { ok: true, held } : anothers(name);
}
const anothers = (name: string): Refusal => refuse("not_owner", `Cannot change name "${name}" as it is another's`);
const unknown = (name: string): Refusal => refuse("name_unknown", `Cannot find name "${name}": nobody has it`);
