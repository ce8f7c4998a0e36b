/**
 * Who speaks for an account: a set of keys, each with scopes, a limit and an expiry, and how many of them must sign.
 *
 * An account that never sent anything has no keys: the one that hashes to its address speaks for it, and becomes the first of
 * its set. What a transaction changes of the keys counts from the next block on, for all in this one are judged alike: `keysBefore`
 * keeps how they were. A limit is what a key may still spend, fees too; every key that signs answers for all that is spent.
 *
 * Invariant: as many keys as the threshold have the account scope and never expire. Nobody locks himself out.
 */
import { addressOf } from "#chain/codec/address.ts";
import { SCOPES, SCOPES_ALL, mayDo, scopeOf } from "#chain/codec/scopes.ts";
import type { Authorise, DecodedTransaction, Revoke, SetThreshold } from "#chain/codec/transaction.ts";
import { type BlockContext, OK, type Origin, type Result, accountOf, sameBytes } from "#chain/ledger/block.ts";
import { KEYS_MAX } from "#chain/ledger/limits.ts";
import type { Account, AccountKey } from "#chain/ledger/model.ts";
import { type Address, type Refusal, U64_MAX, hex, refuse } from "#chain/types.ts";

/** Keys and threshold as the block found them, of accounts that change them in it. */
export type KeysBefore = Map<string, Pick<Account, "keys" | "threshold">>;

function withKey(keys: readonly AccountKey[], key: Uint8Array): AccountKey | undefined {
  for (const one of keys) if (sameBytes(one.key, key)) return one;
  return undefined;
}
const keysBeforeOf = (before: KeysBefore | null, id: Address): Pick<Account, "keys" | "threshold"> | undefined => (before === null || before.size === 0 ? undefined : before.get(hex(id)));
const SILENT = refuse("bad_signature", "Cannot take the transaction as its keys do not speak for its sender");

/** Why these signatures do not make this transaction; null when they do. Whether they hold was checked before. */
export function refusalOfSigners(account: Account, { body, signatures }: DecodedTransaction, timeMs: bigint, before: KeysBefore | null): Refusal | null {
  const { keys, threshold } = keysBeforeOf(before, account.address) ?? account;
  if (keys.length === 0) return signatures.length === 1 && signatures.every(({ key }) => sameBytes(addressOf(key), body.sender)) ? null : SILENT;
  if (signatures.length < threshold) return SILENT;
  for (const { key } of signatures) {
    const known = withKey(keys, key);
    if (!known || known.expiryMs < timeMs) return SILENT;
    const beyond = known.scopes === SCOPES_ALL ? undefined : body.ops.find((op) => !mayDo(known.scopes, scopeOf(op)));
    if (beyond) return refuse("out_of_scope", `Cannot take a ${beyond.kind} as key ${key.toHex().slice(0, 16)} may not sign one`);
    if (body.fee > limitOf(account, known)) return refuse("limit_exceeded", `Cannot take a fee of ${body.fee} as key ${key.toHex().slice(0, 16)} may not spend so much`);
  }
  return null;
}

/** Of a key that was revoked in this block, what is left is in how it was before. */
const limitOf = (account: Account, known: AccountKey): bigint => {
  const now = withKey(account.keys, known.key)?.limit ?? known.limit;
  return now < known.limit ? now : known.limit;
};

/** The first transaction of an account makes its key the set. */
export const keysAfterFirst = ({ keys }: Account, { signatures }: DecodedTransaction): readonly AccountKey[] => {
  const [first] = signatures;
  return keys.length > 0 || !first ? keys : [{ key: first.key, scopes: SCOPES_ALL, limit: U64_MAX, expiryMs: U64_MAX }];
};

/** Takes what was spent from what each signer may spend; false, and no change, when it is more than one of them may. */
export function spendLimits({ state, keysBefore }: BlockContext, sender: Address, { signatures }: DecodedTransaction, spent: bigint): boolean {
  const account = accountOf(state, sender);
  const before = keysBeforeOf(keysBefore, sender);
  // Nearly always: no key of the account has a limit.
  if (before === undefined && account.keys.every(({ limit }) => limit === U64_MAX)) return true;
  const isLimited = (one: AccountKey): boolean => one.limit !== U64_MAX && signatures.some(({ key }) => sameBytes(key, one.key));
  if (spent <= 0n || ![...account.keys, ...(before?.keys ?? [])].some(isLimited)) return true;
  if ([...account.keys, ...(before?.keys ?? [])].some((one) => isLimited(one) && one.limit < spent)) return false;
  const less = (keys: readonly AccountKey[]): AccountKey[] => keys.map((one) => (isLimited(one) ? { ...one, limit: one.limit - spent } : one));
  state.put({ ...account, keys: less(account.keys) });
  if (before) keysBefore.set(hex(sender), { ...before, keys: less(before.keys) });
  return true;
}

export function authorise(context: BlockContext, { key, scopes, limit, expiryMs }: Authorise, { sender }: Origin): Result {
  if (expiryMs <= context.timeMs) return refuse("expired", `Cannot authorise a key until ${expiryMs} as it is ${context.timeMs}`);
  const isWhole = scopes === SCOPES_ALL && limit === U64_MAX;
  if (scopes === 0 || ((scopes & SCOPES.account) !== 0 && !isWhole)) return refuse("bad_scopes", "Cannot authorise a key for nothing, or one that may change keys with fewer scopes or a limit");
  const account = accountOf(context.state, sender);
  const keys = [...account.keys.filter((one) => !sameBytes(one.key, key)), { key, scopes, limit, expiryMs }];
  if (keys.length > KEYS_MAX) return refuse("too_many_keys", `Cannot authorise another key as an account has ${KEYS_MAX} at most`);
  return change(context, account, { keys, threshold: account.threshold });
}

export function revoke(context: BlockContext, { key }: Revoke, { sender }: Origin): Result {
  const account = accountOf(context.state, sender);
  if (!withKey(account.keys, key)) return refuse("key_unknown", `Cannot revoke key ${key.toHex()} as the account has no such key`);
  return change(context, account, { keys: account.keys.filter((one) => !sameBytes(one.key, key)), threshold: account.threshold });
}

export const setThreshold = (context: BlockContext, { threshold }: SetThreshold, { sender }: Origin): Result => {
  const account = accountOf(context.state, sender);
  return change(context, account, { keys: account.keys, threshold });
};

function change({ state, keysBefore }: BlockContext, account: Account, to: Pick<Account, "keys" | "threshold">): Result {
  const masters = to.keys.filter(({ scopes, expiryMs }) => mayDo(scopes, "account") && expiryMs === U64_MAX).length;
  if (to.threshold < 1 || masters < to.threshold) return refuse("would_lock_out", `Cannot demand ${to.threshold} signatures where ${masters} keys may change keys and never expire`);
  const name = hex(account.address);
  if (!keysBefore.has(name)) keysBefore.set(name, { keys: account.keys, threshold: account.threshold });
  state.put({ ...account, ...to });
  return OK;
}
