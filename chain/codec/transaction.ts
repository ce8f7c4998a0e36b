/**
 * Transactions: `[body, signatures]` with `body = [1, chainId, sender, nonce, validUntil, fee, [[kind, …], …]]`.
 *
 * An operation is an array that starts with its number; LAYOUTS has every operation's fields in the order of the bytes, and is
 * the only place that knows them. What decodes here is well formed and no more: the ledger says whether it may be done.
 */
import { type Cbor, CodecError, decode, encode } from "#chain/codec/cbor.ts";
import { type Envelope, type SignedBy, openEnvelope, seal, signaturesHold } from "#chain/codec/envelope.ts";
import { ADDRESS, DIGEST, DIGEST_OR_NONE, FLAG, type Field, type Layout, PUBLIC_KEY, SIGNATURE, U32, U64, bytesOf, orNone, same, textOf } from "#chain/codec/fields.ts";
import { HOLDER_LAYOUTS, type HolderOperation } from "#chain/codec/holderOperations.ts";
import { SCALING_LAYOUTS, type ScalingOperation } from "#chain/codec/scalingOperations.ts";
import { bytes, bytesUpTo, list, tuple, u32, u64 } from "#chain/codec/schema.ts";
import { TASK_LAYOUTS, type TaskOperation } from "#chain/codec/taskOperations.ts";
import { EVIDENCE_BYTES_MAX, OPERATIONS_PER_TRANSACTION_MAX, STATEMENT_BYTES_MAX, TRANSACTION_BYTES_MAX, UP_ACKNOWLEDGEMENTS_MAX } from "#chain/constants.ts";
import { hashWithDomain, publicKeyOf, sign } from "#chain/crypto.ts";
import {
  type Address, type ChainId, type Digest, type Hex, type PublicKey, type Signature, address, chainId, hex,
} from "#chain/types.ts";

/** A DNS label. */
export const NAME_BYTES_MAX = 63;
const REGION_BYTES_MAX = 32;
export const CAUSE_BYTES_MAX = 64;
/** Of one deployment's regions, operators or labels, and of one machine's labels. */
const CONSTRAINTS_MAX = 16;
const BOOT_ID_BYTES = 16;
const VERSION = 1;

export type Transfer = { readonly kind: "transfer"; readonly to: Address; readonly amount: bigint };
/** Sender = operator. Again = new prices, capacity or bond; a raise of price holds for new leases only. */
export type RegisterMachine = {
  readonly kind: "registerMachine";
  readonly machineKey: PublicKey;
  readonly proof: Signature;
  readonly memoryMib: number;
  readonly cpuMillis: number;
  readonly pricePerGibSecond: bigint;
  readonly pricePerCoreSecond: bigint;
  readonly region: string;
  readonly bond: bigint;
};
/** Sender = machine. A new boot id ends the leases of the old boot. */
export type Up = {
  readonly kind: "up";
  readonly bootId: Uint8Array;
  /** The validator that the machine hosts, and its word for that (`signBinding` of hello.ts); null: none. */
  readonly consensusKey: PublicKey | null;
  readonly binding: Signature | null;
  /** Each one sealed (`liveness.ts`): witnesses say that this boot lives. Empty from a machine that is its own only witness. */
  readonly acknowledgements: readonly Uint8Array[];
};
export type Deploy = {
  readonly kind: "deploy";
  readonly name: string;
  readonly componentDigest: Digest;
  /** null: the deployment has no configuration. */
  readonly configurationDigest: Digest | null;
  readonly memoryMib: number;
  readonly cpuMillis: number;
  readonly concurrency: number;
  readonly replicas: number;
  readonly deposit: bigint;
  /** Base units per second that one replica may cost at most; 0 = any. */
  readonly rateMax: bigint;
  /** 0 = shares a runner, 1 = has one alone. */
  readonly isolation: 0 | 1;
};
/** Sender = machine. `rate` repeats the lease's, so that blocks alone tell a bill. */
export type Ready = { readonly kind: "ready"; readonly deploymentId: Address; readonly index: number; readonly rate: bigint };
/** Sender = machine. */
export type Failed = { readonly kind: "failed"; readonly deploymentId: Address; readonly index: number; readonly cause: string };
export type Resize = { readonly kind: "resize"; readonly deploymentId: Address; readonly memoryMib: number; readonly cpuMillis: number };
export type Scale = { readonly kind: "scale"; readonly deploymentId: Address; readonly replicas: number };
export type TopUp = { readonly kind: "topUp"; readonly deploymentId: Address; readonly amount: bigint };
export type Claim = { readonly kind: "claim"; readonly deploymentId: Address; readonly index: number };
export type Close = { readonly kind: "close"; readonly deploymentId: Address };
/** Sender = operator. Again = more stake, for the same operator. */
export type Bond = { readonly kind: "bond"; readonly consensusKey: PublicKey; readonly proof: Signature; readonly amount: bigint };
export type Unbond = { readonly kind: "unbond"; readonly validator: Address; readonly amount: bigint };
/** The operator says that its validator is back. */
export type Unjail = { readonly kind: "unjail"; readonly validator: Address };
/** Evidence (`evidence.ts`) against a validator, by anybody who has it. */
export type Report = { readonly kind: "report"; readonly evidence: Uint8Array };
/** A new key, or other rights for a known one. The limit is what it may still spend; the largest u64 is none. From the next block on. */
export type Authorise = { readonly kind: "authorise"; readonly key: PublicKey; readonly scopes: number; readonly limit: bigint; readonly expiryMs: bigint };
export type Revoke = { readonly kind: "revoke"; readonly key: PublicKey };
/** How many keys must sign. */
export type SetThreshold = { readonly kind: "setThreshold"; readonly threshold: number };
/**
 * A new revision beside the one that serves. It takes `weight` per mille of the requests once all its leases are ready and healthy, is
 * promoted when they were so for `healthySeconds`, and rolled back after more than `failuresMax` failures or at the deadline.
 */
export type Update = {
  readonly kind: "update";
  readonly deploymentId: Address;
  readonly componentDigest: Digest;
  readonly configurationDigest: Digest | null;
  readonly weight: number;
  readonly healthySeconds: number;
  readonly deadlineSeconds: number;
  readonly failuresMax: number;
};
/** Ends the wait for health: a canary gets all its leases, what has them serves alone. */
export type Promote = { readonly kind: "promote"; readonly deploymentId: Address };
export type RollBack = { readonly kind: "rollBack"; readonly deploymentId: Address };
/** Sender = machine: a lease that is ready does not answer as it should, or does again. Only changes are told. */
/** By the machine that a lease has left: nobody asks for it there any more. */
export type Left = { readonly kind: "left"; readonly deploymentId: Address; readonly index: number };
export type Health = { readonly kind: "health"; readonly deploymentId: Address; readonly index: number; readonly healthy: 0 | 1; readonly cause: string };
/** Sender = operator: a machine takes nothing more and what runs on it moves away (1), or it goes on as before (0). */
export type Drain = { readonly kind: "drain"; readonly machine: Address; readonly draining: 0 | 1 };
/** Sender = operator: an empty machine leaves the grid, and its bond comes back. */
export type Retire = { readonly kind: "retire"; readonly machine: Address };
/** Sender = the deployment's owner or the machine's operator: another machine takes the lease over. */
export type Move = { readonly kind: "move"; readonly deploymentId: Address; readonly index: number };
/** Where a deployment's leases may be placed: in one of the regions, with one of the operators, on machines with all the labels; an empty list allows all. */
export type Constrain = { readonly kind: "constrain"; readonly deploymentId: Address; readonly regions: readonly string[]; readonly operators: readonly Address[]; readonly labels: readonly string[] };
/** Sender = operator. */
export type Label = { readonly kind: "label"; readonly machine: Address; readonly labels: readonly string[] };
export type Operation = HolderOperation | TaskOperation | ScalingOperation | Drain | Retire | Move | Constrain | Label | Update | Promote | RollBack | Health | Left | Authorise | Revoke | SetThreshold | Bond | Unbond | Unjail | Report | Transfer | RegisterMachine | Up | Deploy | Ready | Failed | Resize | Scale | TopUp | Claim | Close;
export type OperationKind = Operation["kind"];

export type TransactionBody = {
  readonly chainId: ChainId;
  readonly sender: Address;
  readonly nonce: bigint;
  /** Header time in ms up to which a block may take it. */
  readonly validUntilMs: bigint;
  readonly fee: bigint;
  readonly ops: readonly Operation[];
};
export type DecodedTransaction = Envelope & {
  readonly body: TransactionBody;
  readonly txid: Digest;
  /** `txid` and the sender as text, as maps are keyed by them: made once, as the same text is found faster than one that is equal. */
  readonly id: Hex;
  readonly from: Hex;
  /** Of the whole signed transaction: what the fee is for. */
  readonly sizeBytes: number;
};
export type { SignedBy };

/** Of at most so many as one deployment's rules, or one machine's labels, have. */
const listOf = <T>(item: Field<T>): Field<readonly T[]> => ({ read: (value) => list(value, CONSTRAINTS_MAX).map((one) => item.read(one)), write: (value) => value.map((one) => item.write(one)) });
const WORDS = listOf(textOf(REGION_BYTES_MAX));

/** The wire order of every operation's fields is the order they have here. Numbers are never given twice. */
const LAYOUTS: { readonly [K in OperationKind]: Layout<Extract<Operation, { kind: K }>> } = {
  transfer: { number: 1, fields: { to: ADDRESS, amount: U64 } },
  registerMachine: {
    number: 2,
    fields: {
      machineKey: PUBLIC_KEY,
      proof: SIGNATURE,
      memoryMib: U32, cpuMillis: U32, pricePerGibSecond: U64, pricePerCoreSecond: U64, region: textOf(REGION_BYTES_MAX), bond: U64,
    },
  },
  up: {
    number: 3,
    fields: {
      bootId: bytesOf(BOOT_ID_BYTES), consensusKey: orNone(PUBLIC_KEY), binding: orNone(SIGNATURE),
      acknowledgements: {
        read: (value) => list(value, UP_ACKNOWLEDGEMENTS_MAX).map((one) => bytesUpTo(one, STATEMENT_BYTES_MAX)),
        write: (value) => value,
      },
    },
  },
  deploy: {
    number: 4,
    fields: {
      name: textOf(NAME_BYTES_MAX), componentDigest: DIGEST, configurationDigest: DIGEST_OR_NONE, memoryMib: U32, cpuMillis: U32,
      concurrency: U32, replicas: U32, deposit: U64, rateMax: U64, isolation: FLAG,
    },
  },
  ready: { number: 5, fields: { deploymentId: ADDRESS, index: U32, rate: U64 } },
  failed: { number: 6, fields: { deploymentId: ADDRESS, index: U32, cause: textOf(CAUSE_BYTES_MAX) } },
  resize: { number: 7, fields: { deploymentId: ADDRESS, memoryMib: U32, cpuMillis: U32 } },
  scale: { number: 8, fields: { deploymentId: ADDRESS, replicas: U32 } },
  topUp: { number: 9, fields: { deploymentId: ADDRESS, amount: U64 } },
  claim: { number: 10, fields: { deploymentId: ADDRESS, index: U32 } },
  close: { number: 11, fields: { deploymentId: ADDRESS } },
  bond: { number: 12, fields: { consensusKey: PUBLIC_KEY, proof: SIGNATURE, amount: U64 } },
  unbond: { number: 13, fields: { validator: ADDRESS, amount: U64 } },
  unjail: { number: 14, fields: { validator: ADDRESS } },
  report: { number: 15, fields: { evidence: same((value) => bytesUpTo(value, EVIDENCE_BYTES_MAX)) } },
  authorise: { number: 16, fields: { key: PUBLIC_KEY, scopes: U32, limit: U64, expiryMs: U64 } },
  revoke: { number: 17, fields: { key: PUBLIC_KEY } },
  setThreshold: { number: 18, fields: { threshold: U32 } },
  update: {
    number: 50,
    fields: { deploymentId: ADDRESS, componentDigest: DIGEST, configurationDigest: DIGEST_OR_NONE, weight: U32, healthySeconds: U32, deadlineSeconds: U32, failuresMax: U32 },
  },
  promote: { number: 51, fields: { deploymentId: ADDRESS } },
  rollBack: { number: 52, fields: { deploymentId: ADDRESS } },
  drain: { number: 54, fields: { machine: ADDRESS, draining: FLAG } },
  retire: { number: 55, fields: { machine: ADDRESS } },
  move: { number: 56, fields: { deploymentId: ADDRESS, index: U32 } },
  constrain: { number: 57, fields: { deploymentId: ADDRESS, regions: WORDS, operators: listOf(ADDRESS), labels: WORDS } },
  label: { number: 58, fields: { machine: ADDRESS, labels: WORDS } },
  left: { number: 59, fields: { deploymentId: ADDRESS, index: U32 } },
  health: { number: 53, fields: { deploymentId: ADDRESS, index: U32, healthy: FLAG, cause: textOf(CAUSE_BYTES_MAX) } },
  ...HOLDER_LAYOUTS,
  ...TASK_LAYOUTS,
  ...SCALING_LAYOUTS,
};
type AnyLayout = { readonly number: number; readonly fields: Readonly<Record<string, Field<unknown>>> };
const layoutOf = (kind: OperationKind): AnyLayout => LAYOUTS[kind] as unknown as AnyLayout;
const FIELDS = Object.fromEntries((Object.keys(LAYOUTS) as OperationKind[]).map((kind) => [kind, Object.entries(layoutOf(kind).fields)])) as unknown as Readonly<Record<OperationKind, readonly (readonly [string, Field<unknown>])[]>>;
const KINDS: ReadonlyMap<number, OperationKind> = new Map((Object.keys(LAYOUTS) as OperationKind[]).map((kind) => [LAYOUTS[kind].number, kind]));

function encodeOperation(op: Operation): Cbor {
  const layout = layoutOf(op.kind);
  const values = op as unknown as Record<string, unknown>;
  return [layout.number, ...FIELDS[op.kind].map(([name, field]) => field.write(values[name]))];
}

function decodeOperation(value: Cbor): Operation {
  const parts = list(value, 16);
  const kind = KINDS.get(u32(parts[0] as Cbor));
  if (kind === undefined) throw new CodecError("codec_value", `Cannot read operation ${String(parts[0])} as there is none of that number`);
  const layout = FIELDS[kind];
  if (parts.length !== layout.length + 1) throw new CodecError("codec_length", `Cannot read a ${kind} of ${parts.length - 1} fields as it has ${layout.length}`);
  const op: Record<string, unknown> = { kind };
  for (let i = 0; i < layout.length; i++) op[layout[i]![0]] = layout[i]![1].read(parts[i + 1] as Cbor);
  return op as unknown as Operation;
}

export const encodeBody = (body: TransactionBody): Uint8Array =>
  encode([VERSION, body.chainId, body.sender, body.nonce, body.validUntilMs, body.fee, body.ops.map(encodeOperation)]);

export function decodeBody(raw: Uint8Array): TransactionBody {
  const [version, chain, sender, nonce, validUntil, fee, ops] = tuple(decode(raw), 7);
  if (u32(version) !== VERSION) throw new CodecError("codec_value", `Cannot read a transaction of version ${u32(version)} as this code knows ${VERSION}`);
  const operations = list(ops, OPERATIONS_PER_TRANSACTION_MAX).map(decodeOperation);
  if (operations.length === 0) throw new CodecError("codec_length", "Cannot read a transaction without operations");
  return {
    chainId: chainId(bytes(chain, 8)), sender: address(bytes(sender, 20)), nonce: u64(nonce), validUntilMs: u64(validUntil), fee: u64(fee), ops: operations,
  };
}

/** Parses a signed transaction, whose body stays in `raw`: nobody may overwrite it. Throws CodecError; checks no signature (`verifySignatures`). */
export function decodeTransaction(raw: Uint8Array): DecodedTransaction {
  if (raw.length > TRANSACTION_BYTES_MAX) throw new CodecError("codec_length", `Cannot read a transaction of ${raw.length} bytes as ${TRANSACTION_BYTES_MAX} is the limit`);
  const { bodyBytes, signatures } = openEnvelope(raw, TRANSACTION_BYTES_MAX);
  return decoded({ bodyBytes, signatures }, decodeBody(bodyBytes), raw.length);
}

export function decoded({ bodyBytes, signatures }: Envelope, body: TransactionBody, sizeBytes: number): DecodedTransaction {
  const txid = txidOf(bodyBytes);
  return { bodyBytes, signatures, body, txid, id: hex(txid), from: hex(body.sender), sizeBytes };
}

export const txidOf = (bodyBytes: Uint8Array): Digest => hashWithDomain("txid", bodyBytes);

/** Signs a body with the given private keys and gives the bytes to send. */
export const signTransaction = (body: TransactionBody, seeds: readonly Uint8Array[]): Uint8Array => seal("transaction", encodeBody(body), seeds);

/** True when all signatures hold. Costs 0.1 ms each: once per node, at admission. */
export const verifySignatures = (transaction: Envelope): boolean => signaturesHold("transaction", transaction);

/** The id of the deployment that operation `opIndex` of a transaction makes: known before it is sent. */
export const deploymentIdOf = (owner: Address, nonce: bigint, opIndex: number): Address =>
  address(hashWithDomain("deployment", encode([owner, nonce, opIndex])).slice(0, 20));

/** What a machine key signs to let `operator` register it on one chain, while the machine's own account has that nonce: what is retired has another. */
export const machineProofMessage = (chain: ChainId, operator: Address, nonce: bigint = 0n): Uint8Array => encode(nonce === 0n ? [chain, operator] : [chain, operator, nonce]);
export const signMachineProof = (machineSeed: Uint8Array, chain: ChainId, operator: Address, nonce: bigint = 0n): { machineKey: PublicKey; proof: Signature } =>
  ({ machineKey: publicKeyOf(machineSeed), proof: sign(machineSeed, "machine", machineProofMessage(chain, operator, nonce)) });

/** What a consensus key signs to let `operator` put stake behind it on one chain: the same bytes, under a domain of its own. */
export const signValidatorProof = (consensusSeed: Uint8Array, chain: ChainId, operator: Address): { consensusKey: PublicKey; proof: Signature } =>
  ({ consensusKey: publicKeyOf(consensusSeed), proof: sign(consensusSeed, "validator", machineProofMessage(chain, operator)) });
