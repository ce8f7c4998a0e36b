/** A chain of two epochs with sixteen validators and a thousand accounts, made by the real ledger and codec: what a machine would answer. */
import { addressOf } from "#chain/codec/address.ts";
import { signVote, validatorsHash, type Validator } from "#chain/codec/certificate.ts";
import { chainIdOf, decodeGenesis, encodeGenesis } from "#chain/codec/genesis.ts";
import { encodeAnswer, encodeEpochAnswer, stateKey } from "#chain/codec/proof.ts";
import { bitmapOf } from "#chain/codec/quorum.ts";
import { type BlockHeader, type Certificate, headerId } from "#chain/codec/schema.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import { openLedger } from "#chain/ledger/ledger.ts";
import { type Address, type ChainId, digest, epoch, height, moneySecond, timeMs, view } from "#chain/types.ts";

export const VALIDATORS = 16;
/** Of sixteen that weigh the same. */
export const QUORUM = 11;
export const START_MS = 1_800_000_000_000n;

const seedOf = (n: number): Uint8Array => Uint8Array.from({ length: 32 }, (_, i) => (i === 0 ? n & 255 : i === 1 ? n >> 8 : 7));

export type Over = Partial<BlockHeader>;
export type SampleChain = {
  readonly chainId: ChainId;
  readonly genesis: Uint8Array;
  readonly addresses: readonly Address[];
  /** The validators of an epoch: another one each. */
  members(of: number): Validator[];
  /** By the validators of `from`, who are those of epoch `of` unless somebody lies. */
  answer(key: string, of: number, options?: { from?: number; over?: Over; signers?: number }): Uint8Array;
  epochAnswer(of: number, options?: { from?: number; next?: Validator[]; signers?: number }): Uint8Array;
  nowMs(of: number): bigint;
  readonly value: string;
  readonly data: Readonly<Record<string, string>>;
};

export function sampleChain(): SampleChain {
  const members = (of: number): Validator[] => Array.from({ length: VALIDATORS }, (_, i) => ({ publicKey: publicKeyOf(seedOf(of + i)), weight: 10 }));
  const addresses = Array.from({ length: 1_000 }, (_, i) => addressOf(publicKeyOf(seedOf(1_000 + i))));
  const genesis = encodeGenesis({
    version: 1, name: "light", timeMs: timeMs(START_MS), deltaMs: 100, parameters: "default", accounts: addresses.map((address, i) => ({ address, balance: BigInt(i + 1) * 1_000n })),
    validators: members(0).map(({ publicKey, weight }) => ({ publicKey, weight, operator: addresses[0]! })),
  });
  const chainId = chainIdOf(genesis);
  const { state } = openLedger(decodeGenesis(genesis));

  const headerOf = (of: number, from: number, over: Over = {}): BlockHeader => ({
    chainId, epoch: epoch(of), view: view(9), height: height(600 * of + 10), parentView: view(8), parentId: digest(new Uint8Array(32)), parentBitmap: new Uint8Array(2).fill(255),
    timeMs: timeMs(START_MS + BigInt(of) * 3_600_000n), moneySecond: moneySecond(1n), bodyRoot: digest(new Uint8Array(32)), stateRoot: state.root,
    validatorsHash: validatorsHash(members(from)), nextValidatorsHash: validatorsHash(members(from + 1)), proposer: 0, ...over,
  });
  const finalizationOf = (header: BlockHeader, from: number, signers: number): Certificate => {
    const vote = { kind: "finalize" as const, chainId, epoch: header.epoch, view: header.view, id: headerId(header) };
    const signatures = new Uint8Array(64 * signers);
    for (let i = 0; i < signers; i++) signatures.set(signVote(seedOf(from + i), vote, i).signature, 64 * i);
    return { kind: "finalize", epoch: header.epoch, view: header.view, id: vote.id, bitmap: bitmapOf(Array.from({ length: signers }, (_, i) => i), VALIDATORS), signatures };
  };
  const answer: SampleChain["answer"] = (key, of, { from = of, over = {}, signers = QUORUM } = {}) => {
    const header = headerOf(of, from, over);
    return encodeAnswer({ header, finalization: finalizationOf(header, from, signers), proof: state.prove(key) });
  };
  const epochAnswer: SampleChain["epochAnswer"] = (of, { from = of, next = members(from + 1), signers = QUORUM } = {}) => {
    const header = headerOf(of, from);
    return encodeEpochAnswer({ header, finalization: finalizationOf(header, from, signers), next });
  };
  const nowMs = (of: number): bigint => START_MS + BigInt(of) * 3_600_000n + 5_000n;
  const key = stateKey("account", addresses[7]!);
  const missingKey = stateKey("account", new Uint8Array(20).fill(9));
  return {
    chainId, genesis, addresses, members, answer, epochAnswer, nowMs, value: state.prove(key).value!.toHex(),
    data: {
      genesis: genesis.toHex(), chainId: chainId.toHex(), epoch: epochAnswer(0).toHex(), key, otherKey: stateKey("account", addresses[8]!), missingKey, answer: answer(key, 1).toHex(),
      missing: answer(missingKey, 1).toHex(), nowMs: nowMs(1).toString(),
    },
  };
}
