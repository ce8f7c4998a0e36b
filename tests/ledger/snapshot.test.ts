/** A state that was written down and read back is the same, and goes the same way from there. */
import assert from "node:assert";
import { test } from "node:test";
import { CodecError, encode } from "#chain/codec/cbor.ts";
import { type Operation, deploymentIdOf } from "#chain/codec/transaction.ts";
import { applyBlock, faultOfLedger, revert } from "#chain/ledger/ledger.ts";
import type { Image } from "#chain/ledger/image.ts";
import { areAll, decodeArchive, decodeChunk, encodeArchive, encodeChunks, imageOf, ledgerFrom, slotsOf, verifyChunk } from "#chain/ledger/snapshot.ts";
import { viewOf } from "#chain/ledger/view.ts";
import type { Address } from "#chain/types.ts";
import { MACHINES, actAtRandom, operatorOf } from "./randomOperations.ts";
import { TOKEN, World, actor, deployment, random } from "./world.ts";

test("30 histories go on from a snapshot of any block with the roots, bills and due seconds they have without", () => {
  let slotsFreed = 0;
  for (let seed = 1; seed <= 30; seed++) {
    const r = random(seed);
    const world = new World({ accounts: 4, balance: 100n * TOKEN });
    const images: { readonly at: number; readonly image: Image }[] = [];
    const deployments: Address[] = [];
    for (const [i, machine] of MACHINES.entries()) world.machine(i + 1, operatorOf(machine), { gib: BigInt(r.int(4000)) });
    for (let k = 0; k < 24; k++) {
      for (let i = r.int(6); i > 0; i--) actAtRandom(r, world, deployments);
      world.ready(...MACHINES.filter(() => r.int(3) > 0));
      if (k % 8 === r.int(8)) images.push({ at: world.history.length, image: imageOf(world.ledger) });
      world.block(r.pick([0, 1, 3, 10, 11]));
      const { applied, transactions } = world.history.at(-1)!;
      for (const [i, { body }] of transactions.entries()) if (applied.outcomes[i]!.ok) for (const [at, op] of body.ops.entries()) if (op.kind === "deploy") deployments.push(deploymentIdOf(body.sender, body.nonce, at));
    }
    for (const { at, image } of images) {
      slotsFreed += [...image.slots].filter((slot) => slot === null).length;
      // Encoded only now, when the ledger has long gone on.
      const again = ledgerFrom(world.genesis, { slots: slotsOf(chunksOf(image).map(decodeChunk)), archives: image.archives.map(encodeArchive).map(decodeArchive) });
      if (at > 0) assert.strictEqual(again.state.root.toHex(), world.history[at - 1]!.applied.stateRoot.toHex(), `seed ${seed}`);
      assert.strictEqual(faultOfLedger(again), null);
      for (const [i, { applied, ...input }] of world.history.slice(at).entries()) {
        const once = applyBlock(again, { ...input, height: at + i + 1 });
        assert(once.ok && once.stateRoot.toHex() === applied.stateRoot.toHex(), `seed ${seed} block ${at + i + 1}`);
        revert(again, once.undo);
        applyBlock(again, { ...input, height: at + i + 1 });
      }
      const view = viewOf(again);
      for (const id of deployments) assert.deepStrictEqual(view.bill(id, view.moneySecond), world.view.bill(id, view.moneySecond), `seed ${seed}`);
      assert.deepStrictEqual([view.supply(), view.nextDueMoneySecond(), view.deployments().items], [world.view.supply(), world.view.nextDueMoneySecond(), world.view.deployments().items]);
    }
  }
  assert(slotsFreed > 0, "some had slots that were freed");
});

const chunksOf = (image: Image): Uint8Array[] => [...encodeChunks(image)].filter((chunk) => chunk !== null);

/** A history with slots that were freed, enough leaves for several chunks, and a tree that is not full. */
function grown(): World {
  const world = new World({ accounts: 3, balance: 10n ** 6n * TOKEN });
  for (let k = 0; k < 80; k++) {
    const to = Array.from({ length: 16 }, (_, i) => actor(10_000 + 16 * k + i).id);
    world.send(actor(1), to.map((one): Operation => ({ kind: "transfer", to: one, amount: 1n })));
    if (k % 20 === 19) world.block();
  }
  world.machine(1, actor(2), { memoryMib: 2 ** 20, cpuMillis: 2 ** 20, bond: 10n ** 4n * TOKEN });
  world.send(actor(1), [deployment("big", { replicas: 60, deposit: 10n ** 4n * TOKEN })]);
  world.block();
  world.ready(actor(1001));
  world.block();
  world.send(actor(1), [{ kind: "scale", deploymentId: deploymentIdOf(actor(1).id, 80n, 0), replicas: 20 }]);
  world.block();
  return world;
}

test("a state is chunks that are verified one by one against the root, in any order; together they are the state, and the chain goes on from it", () => {
  const world = grown();
  const image = imageOf(world.ledger);
  assert([...image.slots].includes(null), "some slots were freed");
  const root = world.view.stateRoot;
  const chunks = chunksOf(image);
  assert(chunks.length >= 3 && chunks.every((chunk) => chunk.length < 256 * 1024), `${chunks.length} chunks`);
  const taken = chunks.toReversed().map((chunk) => {
    const verified = verifyChunk(root, chunk);
    assert(verified.ok);
    return verified;
  }).toReversed();
  const parts = taken.map(({ part }) => part);
  assert(areAll(parts) && !areAll(parts.slice(1)) && !areAll(parts.slice(0, -1)) && !areAll([parts[0]!, ...parts.slice(2)]) && !areAll([]));
  const joined = ledgerFrom(world.genesis, { slots: slotsOf(taken.map(({ chunk }) => chunk)) });
  assert.strictEqual(joined.state.root.toHex(), root.toHex());
  assert.strictEqual(faultOfLedger(joined), null);
  const id = deploymentIdOf(actor(1).id, 80n, 0);
  // It has no bills of the past, says so, and everything else as who was there all along.
  assert.deepStrictEqual([viewOf(joined).bill(id, world.second)!.since, world.view.bill(id, world.second)!.since], [world.second, 0n]);
  for (const k of [1, 2, 3]) {
    world.send(actor(1), [deployment(`after-${k}`), { kind: "transfer", to: actor(20_000 + k).id, amount: 1n }]);
    if (k === 3) world.send(actor(1), [{ kind: "close", deploymentId: id }]);
    const applied = world.block(k === 2 ? 40 : 1);
    const { applied: _, ...input } = world.history.at(-1)!;
    const again = applyBlock(joined, { ...input, height: world.view.height });
    assert(again.ok && again.stateRoot.toHex() === applied.stateRoot.toHex(), `block ${k}`);
  }
  world.block(40);
});

test("a chunk with any bit changed, of another root, in another place or with other siblings is refused; chunks that are not all of them make no state", () => {
  const world = grown();
  const root = world.view.stateRoot;
  const chunks = chunksOf(imageOf(world.ledger));
  const r = random(3);
  for (const chunk of chunks) {
    for (let k = 0; k < 40; k++) {
      const changed = chunk.slice();
      changed[r.int(changed.length)]! ^= 1 << r.int(8);
      assert.strictEqual(verifyChunk(root, changed).ok, false);
    }
    assert.strictEqual(verifyChunk(world.history[0]!.applied.stateRoot, chunk).ok, false);
  }
  for (const nonsense of [new Uint8Array(0), encode([]), encode([1, 31, 9, 0, [], []]), encode([1, 2 ** 31, 0, 0, [], [encode([0])]])]) assert.strictEqual(verifyChunk(root, nonsense).ok, false);
  const read = chunks.map(decodeChunk);
  for (const some of [read.slice(1), read.slice(0, -1), []]) assert.throws(() => [...slotsOf(some)], CodecError);
});
