/** The domain strings: nothing is hashed or signed without one, so that no byte string means two things. */

/** What each hash or signature is about; the bytes before the message are `godwit/<what>/1\0`. */
const DOMAIN_NAMES = [
  "chain", "address", "block", "body", "vote", "proposal", "validators", "transaction", "txid", "deployment", "machine",
  "request", "leaf", "node", "state", "placement", "leaders", "peer", "evidence", "validator",
  "beat", "suspicion", "upAcknowledgement", "witnesses",
  "lock", "delegation", "name", "parameters", "image", "segment", "vault", "hop", "hopKey",
] as const;
export type Domain = (typeof DOMAIN_NAMES)[number];

const utf8 = new TextEncoder();
export const DOMAINS: Readonly<Record<Domain, Uint8Array>> = Object.freeze(
  Object.fromEntries(DOMAIN_NAMES.map((name) => [name, utf8.encode(`godwit/${name}/1\0`)])),
) as Readonly<Record<Domain, Uint8Array>>;
