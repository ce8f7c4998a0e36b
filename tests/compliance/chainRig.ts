/** Small chains for tests: keys from numbers, a genesis of them, and signed transactions. */
import { addressOf } from "#chain/codec/address.ts";
import { chainIdOf, encodeGenesis } from "#chain/codec/genesis.ts";
import { signBinding } from "#chain/codec/hello.ts";
import { type Operation, signMachineProof, signTransaction } from "#chain/codec/transaction.ts";
import type { PresetName } from "#chain/constants.ts";
import { publicKeyOf, sha256 } from "#chain/crypto.ts";
import { type Address, type ChainId, digest, timeMs } from "#chain/types.ts";

export type Key = { readonly seed: Uint8Array; readonly address: Address };
export type Rig = { readonly genesis: Uint8Array; readonly chainId: ChainId; readonly validators: readonly Key[]; readonly operator: Key; readonly machine: Key; readonly tenants: readonly Key[] };

export const FEE = 100_000n;
export const TOKEN = 1_000_000_000n;

export function keyOf(name: string): Key {
  const seed = sha256(new TextEncoder().encode(`godwit test key ${name}`));
  return { seed, address: addressOf(publicKeyOf(seed)) };
}

export type RigOptions = { readonly validators?: number; readonly tenants?: number; readonly deltaMs?: number; readonly preset?: PresetName; readonly startMs?: number };

export function chainRig({ validators = 1, tenants = 4, deltaMs = 100, preset = "minimal", startMs = Date.now() - 1_000 }: RigOptions = {}): Rig {
  const keys = Array.from({ length: validators }, (_, index) => keyOf(`validator ${index}`));
  const operator = keyOf("operator");
  const machine = keyOf("machine");
  const tenantKeys = Array.from({ length: tenants }, (_, index) => keyOf(`tenant ${index}`));
  const genesis = encodeGenesis({
    version: 1, name: "test", timeMs: timeMs(BigInt(startMs)), deltaMs, parameters: preset,
    validators: keys.map(({ seed }) => ({ publicKey: publicKeyOf(seed), weight: 1, operator: operator.address })),
    accounts: [operator, ...tenantKeys].map(({ address }) => ({ address, balance: 1_000n * TOKEN })),
  });
  return { genesis, chainId: chainIdOf(genesis), validators: keys, operator, machine, tenants: tenantKeys };
}

export function transactionOf(rig: Rig, from: Key, nonce: bigint, ops: readonly Operation[], fee: bigint = FEE): Uint8Array {
  return signTransaction({ chainId: rig.chainId, sender: from.address, nonce, validUntilMs: BigInt(Date.now() + 600_000), fee, ops }, [from.seed]);
}
export const transferOf = (rig: Rig, from: Key, nonce: bigint, to: Address = rig.operator.address): Uint8Array =>
  transactionOf(rig, from, nonce, [{ kind: "transfer", to, amount: 1_000n }]);
export const registerOf = (rig: Rig, nonce: bigint): Uint8Array => transactionOf(rig, rig.operator, nonce, [{
  kind: "registerMachine", ...signMachineProof(rig.machine.seed, rig.chainId, rig.operator.address), memoryMib: 4096, cpuMillis: 4000,
  pricePerGibSecond: 1_000n, pricePerCoreSecond: 2_000n, region: "test", bond: 20n * TOKEN,
}]);
/** The machine hosts the first validator: on a chain of one its own word is enough. */
export const upOf = (rig: Rig, bootId: Uint8Array): Operation => {
  const { seed } = rig.validators[0]!;
  return { kind: "up", bootId, consensusKey: publicKeyOf(seed), binding: signBinding(seed, rig.chainId, publicKeyOf(rig.machine.seed)), acknowledgements: [] };
};
export const deployOf = (rig: Rig, from: Key, nonce: bigint, name: string, deposit: bigint = TOKEN): Uint8Array => transactionOf(rig, from, nonce, [{
  kind: "deploy", name, componentDigest: digest(sha256(new TextEncoder().encode(name))), configurationDigest: null, memoryMib: 64, cpuMillis: 100,
  concurrency: 4, replicas: 1, deposit, rateMax: 0n, isolation: 0,
}]);
