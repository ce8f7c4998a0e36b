/**
 * What the ledger's refusal codes mean to a tenant. A block records the code alone: these are the sentences that go with it.
 */
const SENTENCES: Readonly<Record<string, string>> = {
  bad_proof: "the key did not sign for this operator",
  bad_scopes: "a key for nothing, or one that may change keys and yet has fewer scopes or a limit",
  expired: "that time is over already",
  key_unknown: "the account has no such key",
  limit_exceeded: "it spends more than a key that signed it may",
  not_jailed: "the validator is not jailed",
  stake_too_small: "a stake is a token at least, or nothing",
  too_many_keys: "an account has 16 keys at most",
  validator_tombstoned: "its key has signed against itself: take the stake back and use another key",
  validator_unknown: "there is no such validator",
  would_lock_out: "too few keys would be left that may change keys and never expire",
  bad_expiry: "a lock holds until a time that is still to come, a year at most",
  lock_expired: "its time is over: it can be refunded now",
  lock_not_expired: "its time is not over yet",
  lock_unknown: "there is no such lock: it never was, or was claimed or refunded",
  wrong_preimage: "that is not the secret",
  bad_amount: "the amount must be more than nothing",
  bad_concurrency: "so many requests at a time are not allowed",
  bad_name: "a name is a DNS label: a to z, 0 to 9 and inner hyphens",
  bad_replicas: "so many replicas are not allowed",
  bad_resources: "so much memory or CPU is beyond the limits of a replica",
  deployment_closing: "the deployment is closing",
  escrow_dry: "the escrow has run dry: top it up",
  insufficient_funds: "there is too little money: an escrow must hold at least 60 seconds of its rate, and an account what it pays",
  name_taken: "this account has a deployment of that name",
  no_capacity: "the machine has no room for it",
  not_owner: "it belongs to another account",
  nothing_to_claim: "nothing is due yet: seconds are paid out once they are old enough that no earlier end can be proven",
  rate_above_max: "it would cost more than the manifest's maximum rate",
  too_many_changes: "too many changes of this replica wait for their payment: try again in half a minute",
  unknown_deployment: "there is no such deployment",
};

/** A sentence for people; the code itself when there is none. */
export const refusalText = (code: string): string => SENTENCES[code] ?? code;
