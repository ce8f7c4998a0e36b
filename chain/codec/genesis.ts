/**
 * Genesis: what every machine of a grid must agree on before the first block, as one canonical CBOR file. Its hash is the
 * chain's id, so that nothing signed for one grid means anything on another.
 */
import { type Cbor, CodecError, decode, encode } from "#chain/codec/cbor.ts";
import { compareBytes } from "#chain/codec/envelope.ts";
import { bytes, list, text, tuple, u32, u64 } from "#chain/codec/schema.ts";
import { DELTA_MS_MAX, GENESIS_TIME_MS_MAX, type PresetName, STAKE_PER_WEIGHT, VALIDATORS_MAX, WEIGHT_SUM_MAX } from "#chain/constants.ts";
import { hashWithDomain } from "#chain/crypto.ts";
import { type Address, type ChainId, type Digest, type PublicKey, type TimeMs, U64_MAX, address, chainId, digest, publicKey, timeMs } from "#chain/types.ts";

/** Three items each of the 65,536 that one CBOR message may have. */
export const GENESIS_ACCOUNTS_MAX = 16_384;
const NAME_BYTES_MAX = 63;
const VERSION = 1;

export type GenesisValidator = { readonly publicKey: PublicKey; readonly weight: number; readonly operator: Address };
export type GenesisAccount = { readonly address: Address; readonly balance: bigint };
/**
 * A chain that goes on after all of its site was switched off at once (design §4, restart): the same chain from a final block on, under another
 * id, so that nothing signed before can contradict what is signed now.
 */
export type Era = { readonly number: number; /** The id of the era before. */ readonly before: ChainId; readonly height: number; readonly id: Digest };
export type Genesis = {
  readonly version: 1;
  readonly name: string;
  readonly timeMs: TimeMs;
  /** Δ of consensus. */
  readonly deltaMs: number;
  /** Which set of protocol numbers holds. */
  readonly parameters: PresetName;
  /** In the order of their indexes. A token of stake stands behind each unit of weight, on top of the accounts. */
  readonly validators: readonly GenesisValidator[];
  /** Ascending by address, each once; their sum and the stake are the supply. */
  readonly accounts: readonly GenesisAccount[];
  /** Left out in the first era. */
  readonly era?: Era;
};

/** What of it is looked at later: the accounts are in the state. */
export type GenesisFacts = Omit<Genesis, "accounts">;
export const factsOf = ({ version, name, timeMs, deltaMs, parameters, validators, era }: Genesis): GenesisFacts =>
  ({ version, name, timeMs, deltaMs, parameters, validators, ...(era ? { era } : {}) });

export function encodeGenesis(genesis: Genesis): Uint8Array {
  const accounts = [...genesis.accounts].sort((a, b) => compareBytes(a.address, b.address));
  const bytesOut = encode([
    VERSION, genesis.name, genesis.timeMs, genesis.deltaMs, genesis.parameters,
    genesis.validators.map((validator): Cbor => [validator.publicKey, validator.weight, validator.operator]),
    accounts.map((account): Cbor => [account.address, account.balance]),
    ...(genesis.era ? [[genesis.era.number, genesis.era.before, genesis.era.height, genesis.era.id]] : []),
  ]);
  decodeGenesis(bytesOut);
  return bytesOut;
}

export function decodeGenesis(raw: Uint8Array): Genesis {
  const items = list(decode(raw), 8);
  const [version, name, time, delta, parameters, validators, accounts] = items.length === 8 ? items : tuple(items, 7);
  if (u32(version) !== VERSION) throw new CodecError("codec_value", `Cannot read a genesis of version ${u32(version)} as this code knows ${VERSION}`);
  const preset = text(parameters, NAME_BYTES_MAX);
  if (preset !== "default" && preset !== "minimal") throw new CodecError("codec_value", `Cannot read genesis as there is no preset "${preset}"`);
  const genesis: Genesis = {
    version: VERSION, name: text(name, NAME_BYTES_MAX), timeMs: timeMs(u64(time)), deltaMs: u32(delta), parameters: preset,
    validators: list(validators, VALIDATORS_MAX).map((value) => {
      const [key, weight, operator] = tuple(value, 3);
      return { publicKey: publicKey(bytes(key, 32)), weight: u32(weight), operator: address(bytes(operator, 20)) };
    }),
    accounts: list(accounts, GENESIS_ACCOUNTS_MAX).map((value) => {
      const [id, balance] = tuple(value, 2);
      return { address: address(bytes(id, 20)), balance: u64(balance) };
    }),
    ...(items.length === 8 ? { era: eraFrom(items[7]) } : {}),
  };
  checkGenesis(genesis);
  return genesis;
}

function eraFrom(item: Cbor | undefined): Era {
  const [number, before, height, id] = tuple(item, 4);
  if (u32(number) === 0 || u32(height) === 0) throw new CodecError("codec_value", "Cannot use genesis as its era has no number, or no block to begin with");
  return { number: u32(number), before: chainId(bytes(before, 8)), height: u32(height), id: digest(bytes(id, 32)) };
}

function checkGenesis({ validators, accounts, deltaMs, timeMs: time }: Genesis): void {
  const no = (why: string): never => { throw new CodecError("codec_value", `Cannot use genesis as ${why}`); };
  if (validators.length === 0 || validators.some(({ weight }) => weight === 0)) no("it has no validators, or one without weight");
  if (new Set(validators.map(({ publicKey: key }) => key.toHex())).size !== validators.length) no("a validator is there twice");
  if (validators.reduce((sum, { weight }) => sum + weight, 0) > WEIGHT_SUM_MAX) no(`the validators weigh more than ${WEIGHT_SUM_MAX}`);
  if (deltaMs === 0 || deltaMs > DELTA_MS_MAX) no(`delta is not 1 to ${DELTA_MS_MAX} ms`);
  if (time > GENESIS_TIME_MS_MAX) no("its time lies after the year 10000");
  let supply = 0n;
  for (const [i, { address: id, balance }] of accounts.entries()) {
    supply += balance;
    const before = accounts[i - 1];
    if (before && compareBytes(before.address, id) >= 0) no("its accounts are not in ascending order, each once");
  }
  supply += validators.reduce((sum, { weight }) => sum + BigInt(weight), 0n) * STAKE_PER_WEIGHT;
  if (supply > U64_MAX) no("its supply is more than a u64");
}

/** The first eight bytes of the genesis' hash. */
export const chainIdOf = (raw: Uint8Array): ChainId => chainId(hashWithDomain("chain", raw).slice(0, 8));
