/**
 * Addresses: 20 bytes of a hash of a public key. Their text form is in addressText.ts.
 *
 * An account's id is the address of its first key, a machine's id the address of its machine key.
 */
import { hashWithDomain } from "#chain/crypto.ts";
import { type Address, type PublicKey, address } from "#chain/types.ts";

export { addressText, parseAddress } from "./addressText.ts";

const ADDRESS_BYTES = 20;

/** The address that a public key has. */
export const addressOf = (key: PublicKey): Address => address(hashWithDomain("address", key).slice(0, ADDRESS_BYTES));
