/** A state that was written down and read back is the same, and goes the same way from there. */
import assert from "node:assert";
import { test } from "node:test";
import { CodecError, encode } from "#chain/codec/cbor.ts";
import { deploymentIdOf } from "#chain/codec/transaction.ts";
import { applyBlock, faultOfLedger, revert } from "#chain/ledger/ledger.ts";
import { type Image, decodeImage, encodeImage, imageOf, ledgerFrom } from "#chain/ledger/snapshot.ts";
import { viewOf } from "#chain/ledger/view.ts";
import type { Address } from "#chain/types.ts";
import { MACHINES, actAtRandom, operatorOf } from "./randomOperations.ts";
import { TOKEN, World, random } from "./world.ts";

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
      slotsFreed += image.slots.filter((slot) => slot === null).length;
      // Encoded only now, when the ledger has long gone on.
      const again = ledgerFrom(world.genesis, decodeImage([...encodeImage(image)]));
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

test("a snapshot that ends early or has another kind of item is not read", () => {
  const world = new World();
  const items = [...encodeImage(imageOf(world.ledger))];
  const no = (changed: readonly Uint8Array[]): void => assert.throws(() => decodeImage(changed), CodecError);
  no(items.slice(0, -1));
  no(items.slice(1));
  no([...items, items[0]!]);
  no([encode([99, []]), ...items]);
  no([encode([0]), ...items]);
  no(items.with(0, items[0]!.slice(0, -1)));
});
