/**
 * Whether a block is one, before its transactions are executed: what its header says about its body, its parent, its validators
 * and its time; and its transactions with every signature checked, once per node. `stateRoot` and `nextValidatorsHash` are the executor's to compare.
 *
 * Consensus has looked at view, height, parent and pacing already; leader and id were checked when the proposal came.
 */
import { BLOCK_BYTES_MAX, type Parameters } from "#chain/constants.ts";
import { CodecError } from "#chain/codec/cbor.ts";
import { type DecodedTransaction, decodeTransaction } from "#chain/codec/transaction.ts";
import { type Block, bodyRoot, headerId } from "#chain/codec/schema.ts";
import { moneySecondAfter } from "#chain/ledger/time.ts";
import { type ChainId, type Digest, type MoneySecond, type Refusal, type TimeMs, refuse } from "#chain/types.ts";
import type { CertificateChecks } from "./certificateChecks.ts";
import type { HeldBlock } from "./heldBlocks.ts";
import type { Mempool } from "./mempool.ts";
import { signaturesHold } from "./signatureChecks.ts";

export type ParentFacts = { readonly id: Digest; readonly height: number; readonly view: number; readonly timeMs: TimeMs; readonly moneySecond: MoneySecond };
export type ChainFacts = { readonly chainId: ChainId; readonly epoch: number; readonly validatorsHash: Digest; readonly rules: Parameters; /** The block that the era began with. */ readonly eraHeight?: number };

export function refusalOfHeader({ block: { header, body }, bytes }: HeldBlock, parent: ParentFacts, chain: ChainFacts): Refusal | null {
  const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
  const certificate = body.parentCertificate;
  // R14: the last block of the epoch before is this one's genesis; so is the block with which an era begins.
  const begins = parent.height % chain.rules.epochBlocks === 0 || parent.height === chain.eraHeight;
  const facts: readonly (readonly [boolean, string])[] = [
    [bytes.length <= BLOCK_BYTES_MAX && bytes.length <= chain.rules.blockBytesMax, "its size"],
    [same(header.chainId, chain.chainId) && header.epoch === chain.epoch, "its chain"],
    [same(header.parentId, parent.id) && header.height === parent.height + 1 && header.parentView === (begins ? 0 : parent.view), "its parent"],
    [header.timeMs >= parent.timeMs + BigInt(chain.rules.blockIntervalMsMin), "its time"],
    [header.moneySecond === moneySecondAfter(parent.moneySecond, parent.timeMs, header.timeMs, chain.rules.moneyStepSecondsMax), "its money time"],
    [same(header.validatorsHash, chain.validatorsHash), "its validators"],
    [same(header.bodyRoot, bodyRoot(body)), "its body's root"],
    [body.transactions.length <= chain.rules.transactionsPerBlockMax, "its number of transactions"],
    [begins ? certificate === null && header.parentBitmap.length === 0
      : certificate !== null && certificate.kind !== "nullify" && certificate.view === parent.view && certificate.id !== null
        && same(certificate.id, parent.id) && same(certificate.bitmap, header.parentBitmap), "its parent's certificate"],
  ];
  const wrong = facts.find(([holds]) => !holds);
  return wrong ? refuse("block_invalid", `Cannot take block ${header.height} of view ${header.view}: ${wrong[1]} is wrong`) : null;
}

/**
 * R14: why a block above an epoch's last one is not a seal; null when it is. It changes nothing: state, money and sets are its
 * parent's, and it is never executed, so this and its parent's certificate are all there is to check.
 */
export function refusalOfSeal({ block: { header, body } }: HeldBlock, { header: parent }: Block, chain: ChainFacts): Refusal | null {
  const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
  const certificate = body.parentCertificate;
  const isEmpty = body.transactions.length === 0 && body.evidence.length === 0 && body.suspicions.length === 0;
  const links = same(header.parentId, headerId(parent)) && header.height === parent.height + 1 && header.parentView === parent.view && header.timeMs >= parent.timeMs + BigInt(chain.rules.blockIntervalMsMin);
  const stays = header.moneySecond === parent.moneySecond && same(header.stateRoot, parent.stateRoot) && same(header.validatorsHash, parent.validatorsHash) && same(header.nextValidatorsHash, parent.nextValidatorsHash);
  const certified = certificate !== null && certificate.kind !== "nullify" && certificate.view === parent.view && certificate.id !== null
    && same(certificate.id, header.parentId) && same(certificate.bitmap, header.parentBitmap);
  const holds = isEmpty && links && stays && certified && same(header.chainId, chain.chainId) && header.epoch === chain.epoch && same(header.bodyRoot, bodyRoot(body));
  return holds ? null : refuse("seal_invalid", `Cannot take the block of view ${header.view} as a seal of epoch ${chain.epoch}`);
}

/** Decodes the transactions and checks what nobody here has checked: signatures of those the mempool does not have, the certificate. */
export async function openBlock({ block: { header, body } }: HeldBlock, pool: Mempool | null, checks: CertificateChecks): Promise<DecodedTransaction[] | Refusal> {
  const wrong = (why: string): Refusal => refuse("block_invalid", `Cannot take block ${header.height} of view ${header.view}: ${why}`);
  const transactions: DecodedTransaction[] = [];
  const unknown: Promise<boolean>[] = [];
  try {
    for (const bytes of body.transactions) {
      const known = pool?.known(bytes) ?? null;
      const transaction = known ?? decodeTransaction(bytes);
      transactions.push(transaction);
      if (known === null) unknown.push(pool?.holds(transaction, bytes) ?? new Promise((resolve) => signaturesHold(transaction, resolve)));
    }
  } catch (error) {
    if (!(error instanceof CodecError)) throw error;
    return wrong(error.message);
  }
  if (body.parentCertificate && !(await checks.holds(body.parentCertificate))) return wrong("its parent's certificate does not hold");
  const answers = await Promise.all(unknown);
  return answers.every((holds) => holds) ? transactions : wrong("a signature of a transaction does not hold");
}

/** The transactions of a block of our own store: checked when they were stored, and by the store's checksums since. */
export const trustedTransactions = ({ block }: HeldBlock): DecodedTransaction[] => block.body.transactions.map(decodeTransaction);
