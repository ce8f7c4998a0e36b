/**
 * A configuration: the environment of one deployment as canonical CBOR, `[owner, [[key, value], …]]`.
 *
 * It is named by its digest in the ledger, and only lease holders get the bytes. The owner is inside, so that nobody can name
 * another account's configuration in a deployment of their own and read it out.
 */
import { type Cbor, CodecError, decode } from "#chain/codec/cbor.ts";
import { compareBytes } from "#chain/codec/envelope.ts";
import { bytes, list, text, tuple } from "#chain/codec/schema.ts";
import { type Address, address } from "#chain/types.ts";
import { AgentError, messageOf } from "./error.ts";
import { CONFIGURATION_BYTES_MAX, CONFIGURATION_ENTRIES_MAX } from "./limits.ts";

export type Configuration = { readonly owner: Address; readonly environment: Readonly<Record<string, string>> };

const KEY = /^[A-Za-z_][A-Za-z0-9_]*$/;
const KEY_BYTES_MAX = 128;
const VALUE_BYTES_MAX = 32 * 1024;

/** Throws `configuration_invalid`. Keys are in ascending order, each once: one environment has one digest. */
export function parseConfiguration(raw: Uint8Array): Configuration {
  const no = (why: string): never => {
    throw new AgentError("configuration_invalid", `Cannot read the configuration as ${why}`);
  };
  if (raw.length > CONFIGURATION_BYTES_MAX) return no(`it has ${raw.length} bytes and ${CONFIGURATION_BYTES_MAX} is the limit`);
  try {
    const [owner, entries] = tuple(decode(raw), 2) as [Cbor, Cbor];
    const environment: [string, string][] = [];
    for (const entry of list(entries, CONFIGURATION_ENTRIES_MAX)) {
      const [name, value] = tuple(entry, 2) as [Cbor, Cbor];
      const key = text(name, KEY_BYTES_MAX);
      const before = environment.at(-1)?.[0];
      if (!KEY.test(key)) return no(`"${key}" is not the name of a variable`);
      if (before !== undefined && before >= key) return no("its variables are not in ascending order, each once");
      environment.push([key, text(value, VALUE_BYTES_MAX)]);
    }
    return { owner: address(bytes(owner, 20)), environment: Object.fromEntries(environment) };
  } catch (error) {
    if (error instanceof CodecError) return no(messageOf(error));
    throw error;
  }
}

/** The environment of a configuration that a deployment of `owner` names; another's is refused. */
export function environmentFor(raw: Uint8Array, owner: Uint8Array): Readonly<Record<string, string>> {
  const configuration = parseConfiguration(raw);
  if (compareBytes(configuration.owner, owner) !== 0) throw new AgentError("configuration_foreign", "Cannot use the configuration as it belongs to another account");
  return configuration.environment;
}
