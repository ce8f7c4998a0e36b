/**
 * The API of a node that never was: the blocks of a World with a validator's certificates, and the ledger's view as JSON. A lie is
 * a function that changes one answer.
 */
import { addressText, parseAddress } from "#chain/codec/address.ts";
import { signVote, validatorsHash } from "#chain/codec/certificate.ts";
import { encode } from "#chain/codec/cbor.ts";
import { chainIdOf, encodeGenesis } from "#chain/codec/genesis.ts";
import { type BlockBody, type BlockHeader, type Certificate, bodyRoot, encodeBlock, encodeCertificate, genesisId, headerId } from "#chain/codec/schema.ts";
import { VALIDATORS_MAX } from "#chain/constants.ts";
import { type Address, type Digest, address, epoch, height, moneySecond, timeMs, view } from "#chain/types.ts";
import { accountJson, billJson } from "#os/api/json.ts";
import { type World, actor, validatorActor } from "./world.ts";

export type ApiBlock = { height: number; id: string; bytes: string; certificate: string; outcomes: { txid: string; ok: boolean; code?: string }[] };
export type Forge = (header: BlockHeader, body: BlockBody) => { header: BlockHeader; body: BlockBody };

/** All blocks as the API gives them; `forge` is what a dishonest validator would sign instead, block by block. */
export function blocksOf(world: World, forge: Forge = (header, body) => ({ header, body })): ApiBlock[] {
  const genesisBytes = encodeGenesis(world.genesis);
  const chainId = chainIdOf(genesisBytes);
  const blocks: ApiBlock[] = [{ height: 0, id: genesisId(genesisBytes).toHex(), bytes: genesisBytes.toBase64(), certificate: "", outcomes: [] }];
  const hash = validatorsHash(world.genesis.validators);
  let parentId: Digest = genesisId(genesisBytes);
  let parent: Certificate | null = null;
  for (const [i, { transactions, applied, timeMs: time, moneySecond: second, parentBitmap, proposer, evidence, suspicions }] of world.history.entries()) {
    const plain: BlockBody = { parentCertificate: parent, transactions: transactions.map(({ bodyBytes, signatures }) => encode([bodyBytes, signatures.map((by) => [by.key, by.signature])])), evidence: evidence ?? [], suspicions: suspicions ?? [] };
    const draft: BlockHeader = {
      chainId, epoch: epoch(0), view: view(i + 1), height: height(i + 1), parentView: view(i), parentId, parentBitmap: parentBitmap ?? new Uint8Array(0), timeMs: timeMs(time),
      moneySecond: moneySecond(second), bodyRoot: bodyRoot(plain), stateRoot: applied.stateRoot, validatorsHash: hash, nextValidatorsHash: hash, proposer: proposer ?? VALIDATORS_MAX - 1,
    };
    const { header, body } = forge(draft, plain);
    const id = headerId(header);
    const votes = world.genesis.validators.map((_, index) => signVote(validatorActor(index).seed, { kind: "finalize", chainId, epoch: epoch(0), view: header.view, id }, index));
    parent = { kind: "finalize", epoch: epoch(0), view: header.view, id, bitmap: Uint8Array.of(2 ** votes.length - 1), signatures: new Uint8Array(Buffer.concat(votes.map(({ signature }) => signature))) };
    parentId = id;
    blocks.push({
      height: i + 1, id: id.toHex(), bytes: encodeBlock({ header, body }).toBase64(), certificate: encodeCertificate(parent).toBase64(),
      outcomes: applied.outcomes.map(({ txid, ok, code }) => ({ txid: txid.toHex(), ok, ...(code === undefined ? {} : { code }) })),
    });
  }
  return blocks;
}

/** Answers GET as a node does; `later` is the money second at which bills are asked for, as a live node's move on. */
export function apiOf(world: World, blocks: readonly ApiBlock[], lie: (path: string, answer: unknown) => unknown = (_path, answer) => answer, later: bigint = 0n): (path: string) => Promise<unknown> {
  const answerTo = (path: string): unknown => {
    const [, , kind, id = "", what] = path.split("/");
    if (kind === "blocks") return blocks[id === "latest" ? blocks.length - 1 : Number(id)];
    if (kind === "accounts") {
      const who = parseAddress(id) as Address;
      return accountJson(world.view.account(who) ?? { address: who, balance: -1n, nonce: 0n, keys: [], threshold: 1 });
    }
    if (kind === "deployments" && what === "bill") return billJson(world.view.bill(address(Uint8Array.fromHex(id)), world.second + later)!);
    throw new Error(`there is no ${path} for ${addressText(actor(0).id)}`);
  };
  return async (path) => lie(path, structuredClone(answerTo(path)));
}
