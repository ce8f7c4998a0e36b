/** Proofs of leaves and of their absence: what holds is taken, what was bent is not, and an answer is small. */
import assert from "node:assert";
import { test } from "node:test";
import { type Validator, type ValidatorSet, signVote, validatorSet, validatorsHash } from "#chain/codec/certificate.ts";
import { type Proof, decodeAnswer, decodeEpochAnswer, decodeProof, encodeAnswer, encodeEpochAnswer, encodeProof, stateKey, verifyAnswer, verifyEpoch, verifyProof } from "#chain/codec/proof.ts";
import { bitmapOf } from "#chain/codec/quorum.ts";
import { type BlockHeader, type Certificate, headerId } from "#chain/codec/schema.ts";
import { type Operation, deploymentIdOf } from "#chain/codec/transaction.ts";
import { sha256 } from "#chain/crypto.ts";
import { accountKey, deploymentKey, leaseKey, valueOf } from "#chain/ledger/model.ts";
import { type ChainId, type Digest, digest, epoch, height, moneySecond, timeMs, view } from "#chain/types.ts";
import { TOKEN, World, actor, deployment, random } from "./world.ts";

/** A deployment of 60 replicas that all run, and a thousand accounts. */
function grown(): World {
  const world = new World({ accounts: 3, balance: 10n ** 6n * TOKEN });
  for (let k = 0; k < 60; k++) world.send(actor(1), Array.from({ length: 16 }, (_, i): Operation => ({ kind: "transfer", to: actor(30_000 + 16 * k + i).id, amount: 1n })));
  const machine = world.machine(1, actor(2), { memoryMib: 2 ** 20, cpuMillis: 2 ** 20, bond: 10n ** 4n * TOKEN });
  world.block();
  world.send(actor(1), [deployment("a".repeat(63), { replicas: 60, deposit: 10n ** 4n * TOKEN })]);
  world.block();
  world.ready(machine);
  world.block();
  return world;
}
const world = grown();
const { state } = world.ledger;
const root = state.root;
const id = deploymentIdOf(actor(1).id, 60n, 0);

test("an account, a deployment and a lease are proven with their values; that one is not there is proven by the leaf whose link skips it", () => {
  for (const key of [accountKey(actor(1).id), deploymentKey(id), leaseKey(id, 59), stateKey("totals"), stateKey("sets")]) {
    const proof = decodeProof(encodeProof(state.prove(key)));
    const proven = verifyProof(root, key, proof);
    assert(proven.ok && proven.value !== null);
    const entity = [...state.entities()].find((one) => one.kind !== "archive" && sha256(valueOf(one)).toHex() === sha256(proven.value!).toHex());
    assert(entity !== undefined, "the value is that of an entity");
  }
  const r = random(1);
  const absent = [accountKey(actor(999_999).id), deploymentKey(actor(5).id), leaseKey(id, 60), "00".repeat(24) + "01", "ff".repeat(25), ...Array.from({ length: 200 }, () => accountKey(actor(70_000 + r.int(10_000)).id))];
  for (const key of absent) {
    const proof = decodeProof(encodeProof(state.prove(key)));
    assert.strictEqual(proof.value, null);
    assert.deepStrictEqual(verifyProof(root, key, proof), { ok: true, value: null });
  }
});

test("no bent proof is taken: not one bit of it, not for another key or root, and none of absence for what is there", () => {
  const there = accountKey(actor(1).id);
  const notThere = accountKey(actor(999_999).id);
  const refused = (key: string, proof: Proof, from: Uint8Array = root): void => assert.strictEqual(verifyProof(from, key, proof).ok, false);
  for (const key of [there, notThere]) {
    const good = state.prove(key);
    const encoded = encodeProof(good);
    for (let bit = 0; bit < encoded.length * 8; bit += 3) {
      const changed = encoded.slice();
      changed[bit >> 3]! ^= 1 << (bit & 7);
      let proof: Proof;
      try {
        proof = decodeProof(changed);
      } catch {
        continue;
      }
      refused(key, proof);
    }
    refused(key, good, world.history[0]!.applied.stateRoot);
    refused(accountKey(actor(2).id), good);
    refused(key, { ...good, siblings: good.siblings.slice(1) });
    refused(key, { ...good, siblings: [...good.siblings, new Uint8Array(32)] });
    refused(key, { ...good, slot: good.slot + 2 ** good.siblings.length });
  }
  // The leaf before one that is there does not skip it, and the last leaf skips only what is beyond it.
  const before = [...state.entities()].filter((one) => one.kind === "account").map((one) => accountKey(one.address)).sort();
  const at = before.indexOf(there);
  refused(there, { ...state.prove(before[at - 1]!), value: null });
  refused(notThere, { ...state.prove(there), value: null });
});

const CHAIN = world.ledger.chainId;
const validators: Validator[] = Array.from({ length: 16 }, (_, i) => ({ publicKey: actor(600 + i).key, weight: 1_000_000 + i }));
const set: ValidatorSet = validatorSet(CHAIN as ChainId, epoch(7), validators);
const hash = validatorsHash(validators);
const header: BlockHeader = {
  chainId: CHAIN, epoch: epoch(7), view: view(3_000_000_000), height: height(3_000_000_000), parentView: view(2_999_999_999), parentId: sha256(root), parentBitmap: new Uint8Array(2).fill(255),
  timeMs: timeMs(1_800_000_000_000n), moneySecond: moneySecond(100_000_000n), bodyRoot: sha256(root), stateRoot: digest(root), validatorsHash: hash, nextValidatorsHash: hash, proposer: 15,
};
function finalized(of: BlockHeader, signers: readonly number[] = validators.map((_, i) => i), kind: "finalize" | "notarize" = "finalize", voted: Digest = headerId(of)): Certificate {
  const votes = signers.map((i) => signVote(actor(600 + i).seed, { kind, chainId: CHAIN, epoch: of.epoch, view: of.view, id: voted }, i));
  return { kind, epoch: of.epoch, view: of.view, id: voted, bitmap: bitmapOf(signers, 16), signatures: Uint8Array.fromHex(votes.map(({ signature }) => signature.toHex()).join("")) };
}

test("an answer with header and certificate of 16 validators has at most 3 KB, at a million leaves", () => {
  for (const key of [accountKey(actor(1).id), deploymentKey(id), leaseKey(id, 1), accountKey(actor(999_999).id)]) {
    const proof = state.prove(key);
    const deep = { ...proof, slot: 2 ** 20 - 1, siblings: Array.from({ length: 20 }, (_, i) => proof.siblings[i] ?? root) };
    const size = encodeAnswer({ header, finalization: finalized(header), proof: deep }).length;
    assert(size <= 3_000, `${size} bytes`);
  }
});

test("an answer holds by the validators of its epoch alone, with a quorum's finalization of that very header", () => {
  const key = accountKey(actor(1).id);
  const answer = { header, finalization: finalized(header, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), proof: state.prove(key) };
  const read = decodeAnswer(encodeAnswer(answer));
  assert.strictEqual(verifyAnswer(set, key, read).ok, true);
  const refused = (changes: Partial<typeof answer>, by: ValidatorSet = set): void => assert.strictEqual(verifyAnswer(by, key, { ...read, ...changes }).ok, false);
  refused({ finalization: finalized(header, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]) });
  refused({ finalization: finalized(header, undefined, "notarize") });
  refused({ finalization: finalized(header, undefined, "finalize", sha256(root)) });
  const other = { ...header, stateRoot: sha256(root) };
  refused({ header: other, finalization: finalized(other) });
  refused({ header: other });
  refused({}, validatorSet(CHAIN, epoch(6), validators));
  refused({}, validatorSet(CHAIN, epoch(7), validators.map((one) => ({ ...one, weight: 1 }))));
  assert.throws(() => decodeAnswer(new Uint8Array(40_000)));
});

test("any finalized header of an epoch leads to the validators of the next, and to no others", () => {
  const next = validators.slice(0, 5).map((one) => ({ ...one, weight: one.weight * 2 }));
  const of = { ...header, nextValidatorsHash: validatorsHash(next) };
  const answer = decodeEpochAnswer(encodeEpochAnswer({ header: of, finalization: finalized(of), next }));
  const verified = verifyEpoch(set, answer);
  assert(verified.ok && verified.next.epoch === 8 && verified.next.validators.length === 5);
  assert.strictEqual(verifyEpoch(set, { ...answer, next: validators }).ok, false);
  assert.strictEqual(verifyEpoch(set, { ...answer, finalization: finalized(header) }).ok, false);
  assert.throws(() => decodeEpochAnswer(encodeEpochAnswer({ ...answer, next: [] })));
});
