/** A second state takes over what a block changed in the first: the same entities, lists, bills and, once settled, the same tree. */
import assert from "node:assert";
import { test } from "node:test";
import { applyBlock, faultOfLedger, openLedger, revert } from "#chain/ledger/ledger.ts";
import { viewOf } from "#chain/ledger/view.ts";
import { type Address, digest } from "#chain/types.ts";
import { MACHINES, actAtRandom, operatorOf } from "./randomOperations.ts";
import { TOKEN, World, random } from "./world.ts";

test("30 histories taken over block by block: the state is the one that executed them, and the tree settles to its root at any time", () => {
  for (let seed = 1; seed <= 30; seed++) {
    const r = random(seed);
    const world = new World({ accounts: 4, balance: 100n * TOKEN });
    const deployments: Address[] = [];
    for (const [i, machine] of MACHINES.entries()) world.machine(i + 1, operatorOf(machine), { gib: BigInt(r.int(4000)) });
    for (let k = 0; k < 24; k++) {
      for (let i = r.int(6); i > 0; i--) actAtRandom(r, world, deployments);
      world.ready(...MACHINES.filter(() => r.int(3) > 0));
      world.block(r.pick([0, 1, 3, 10, 11]));
    }
    const [first, second] = [openLedger(world.genesis), openLedger(world.genesis)];
    for (const [i, { applied, ...input }] of world.history.entries()) {
      const once = applyBlock(first, { ...input, height: i + 1 });
      assert(once.ok);
      const changes = first.state.changesOf(once.undo);
      assert.throws(() => second.state.adopt(changes, digest(new Uint8Array(32).fill(1)), once.undo.rootAfter), { code: "ERR_ASSERTION" }, "not on another state");
      second.state.adopt(changes, once.undo.rootBefore, once.undo.rootAfter);
      assert.strictEqual(second.state.root.toHex(), applied.stateRoot.toHex());
      // Now and then only: hashes that were left for several blocks must come out the same.
      if (r.int(4) === 0) second.state.settle();
    }
    second.state.settle();
    assert.strictEqual(faultOfLedger(second), null);
    const view = viewOf(second);
    assert.deepStrictEqual([view.supply(), view.nextDueMoneySecond(), view.deployments().items], [world.view.supply(), world.view.nextDueMoneySecond(), world.view.deployments().items], `seed ${seed}`);
    // It can go on by itself.
    const next = { height: world.history.length + 1, timeMs: world.view.timeMs + 1_000n, moneySecond: view.moneySecond + 1n, previousId: new Uint8Array(32), transactions: [] };
    const [a, b] = [applyBlock(first, next), applyBlock(second, next)];
    assert(a.ok && b.ok && a.stateRoot.toHex() === b.stateRoot.toHex(), `seed ${seed}`);
    revert(second, b.undo);
  }
});
