/**
 * A whole grid on one computer for one author: a genesis with one validator, a funded development account, and the machine that
 * registers itself. What `npm start` and the tests run.
 *
 *     DIRECTORY/  keys/{machine,validator,operator,development}  chain/  components/  configurations/  compiled/  logs/
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { chainIdOf, decodeGenesis, encodeGenesis } from "#chain/codec/genesis.ts";
import { CERTIFICATE_FLOOD_VALIDATORS_MAX, type PresetName } from "#chain/constants.ts";
import { isLoopback } from "#chain/network/addresses.ts";
import { MemoryNetwork } from "#chain/network/memory.ts";
import { slowTransport } from "#chain/network/slow.ts";
import { peerId } from "#chain/network/transport.ts";
import { type Address, timeMs } from "#chain/types.ts";
import { type Listener, type Membership, type Offer, type RunningAgent, type Sandbox, startAgent } from "./agent.ts";
import { codeOf } from "./error.ts";
import { type KeyPair, openKey } from "./keys.ts";

export type DevelopmentOptions = {
  readonly directory: string;
  readonly apiPort: number;
  readonly httpPort: number;
  readonly address?: string;
  /** Default `localhost`: browsers and curl resolve every name under it to this computer. */
  readonly zone?: string;
  /** Default `default`; `minimal` for tests that would only wait. */
  readonly parameters?: PresetName;
  readonly sandbox?: Sandbox;
  readonly onLog?: (line: string) => void;
  readonly metrics?: Listener;
  /** A chain of several machines instead of one of its own: this one votes if its key is in that genesis, and follows if not. */
  readonly chain?: ChainOptions;
};
export type ChainOptions = {
  readonly genesis: Uint8Array;
  /** Multiaddresses to listen on, and of machines to begin with. */
  readonly listen: readonly string[];
  readonly peers: readonly string[];
  /** What is sent to others leaves so much later: for devnets. */
  readonly delayMs?: number;
};
export type DevelopmentAgent = RunningAgent & {
  /** The funded account. */
  readonly account: KeyPair;
};

/** One token is 10^9 base units. */
const TOKEN = 1_000_000_000n;
const ACCOUNT_BALANCE = 1_000_000n * TOKEN;
const OPERATOR_BALANCE = 10_000n * TOKEN;
/** Δ on one computer. */
const DELTA_MS = 100;

/** 64 MiB and a quarter of a core cost about a token a day. */
export const DEVELOPMENT_OFFER: Offer = {
  region: "local",
  pricePerGibSecond: 20_000n,
  pricePerCoreSecond: 40_000n,
  bond: () => 1_000n * TOKEN,
};

export async function startDevelopment(options: DevelopmentOptions): Promise<DevelopmentAgent> {
  let account: KeyPair | null = null;
  const agent = await startAgent({
    directory: options.directory, apiPort: options.apiPort, httpPort: options.httpPort, zone: options.zone ?? "localhost", offer: DEVELOPMENT_OFFER,
    ...(options.address === undefined ? {} : { address: options.address }),
    ...(options.metrics === undefined ? {} : { metrics: options.metrics }),
    ...(options.sandbox === undefined ? {} : { sandbox: options.sandbox }),
    ...(options.onLog === undefined ? {} : { onLog: options.onLog }),
    join: async (directory) => {
      account = await openDevelopmentAccount(directory);
      return options.chain === undefined ? joinAlone(directory, account.address, options.parameters ?? "default") : joinChain(directory, options.chain);
    },
  });
  if (account === null) throw new Error("The agent started without joining");
  return { ...agent, account };
}

export const openDevelopmentAccount = (directory: string): Promise<KeyPair> => openKey(developmentKeyPath(directory));
const developmentKeyPath = (directory: string): string => join(directory, "keys", "development");

/** The libp2p parts are loaded by whoever has others to talk to. */
async function joinChain(directory: string, { genesis, listen, peers, delayMs = 0 }: ChainOptions): Promise<Membership> {
  const { openStreams } = await import("#chain/network/streams.ts");
  const [machine, validator, operator] = await Promise.all((["machine", "validator", "operator"] as const).map((name) => openKey(join(directory, "keys", name)))) as [KeyPair, KeyPair, KeyPair];
  const validators = decodeGenesis(genesis).validators.map(({ publicKey }) => peerId(publicKey));
  const isValidator = validators.includes(peerId(validator.publicKey));
  const transport = await openStreams({
    chainId: chainIdOf(genesis), machineSeed: machine.seed, listen, peers, validators,
    mdns: listen.some((address) => !isLoopback(address)), floods: validators.length > CERTIFICATE_FLOOD_VALIDATORS_MAX, ...(isValidator ? { validatorSeed: validator.seed } : {}),
  });
  return { genesis, ...(isValidator ? { validatorSeed: validator.seed } : {}), operator: { address: operator.address, key: operator }, transport: delayMs > 0 ? slowTransport(transport, delayMs) : transport, joins: !isValidator };
}

/** A chain on this machine only; `account` is the one that begins with money. */
export async function joinAlone(directory: string, account: Address, parameters: PresetName): Promise<Membership> {
  const validator = await openKey(join(directory, "keys", "validator"));
  const operator = await openKey(join(directory, "keys", "operator"));
  // The node keeps the genesis of its folder; only a folder without one gets a new one.
  const genesis = await readFile(join(directory, "chain", "genesis")).then((bytes) => new Uint8Array(bytes), (error: unknown) => {
    if (codeOf(error) !== "ENOENT") throw error;
    return encodeGenesis({
      version: 1, name: "development", timeMs: timeMs(BigInt(Date.now())), deltaMs: DELTA_MS, parameters,
      validators: [{ publicKey: validator.publicKey, weight: 1, operator: operator.address }],
      accounts: [{ address: account, balance: ACCOUNT_BALANCE }, { address: operator.address, balance: OPERATOR_BALANCE }],
    });
  });
  return {
    genesis, validatorSeed: validator.seed, operator: { address: operator.address, key: operator },
    transport: new MemoryNetwork().join(peerId(validator.publicKey)),
  };
}
