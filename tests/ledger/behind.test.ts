/** A state some blocks behind another reads as the one that was left there, whatever the other does; and a block that comes again costs no work. */
import assert from "node:assert";
import { test } from "node:test";
import { StateBehind } from "#chain/ledger/behind.ts";
import { type Ledger, type Undo, applyBlock, faultOfLedger, openLedger, revert } from "#chain/ledger/ledger.ts";
import type { Changes } from "#chain/ledger/state.ts";
import { viewOf } from "#chain/ledger/view.ts";
import { type Address, digest } from "#chain/types.ts";
import { MACHINES, actAtRandom, operatorOf } from "./randomOperations.ts";
import { TOKEN, World, random } from "./world.ts";

const seen = (ledger: Ledger, deployments: readonly Address[]): unknown => {
  const view = viewOf(ledger);
  return [
    view.height, view.stateRoot, view.supply(), view.nextDueMoneySecond(), view.deployments(), view.machines(), view.validators(), view.validatorsOf(view.epoch),
    deployments.map((id) => [view.bill(id, view.moneySecond + 5n), view.leasesOfDeployment(id), view.deployment(id)]),
    MACHINES.map((machine) => view.leasesOfMachine(machine.id)), ["n", "o", "m", "p", "t", "z"].map((list) => [ledger.state.sizeOf(list), ledger.state.listed(list)]), ledger.state.entityCount,
  ];
};

test("30 histories: up to three blocks behind, back and forth along them, the state behind is what executing as far gives", () => {
  for (let seed = 1; seed <= 30; seed++) {
    const r = random(seed);
    const world = new World({ accounts: 4, balance: 100n * TOKEN });
    const deployments: Address[] = [];
    for (const [i, machine] of MACHINES.entries()) world.machine(i + 1, operatorOf(machine), { gib: BigInt(r.int(4000)) });
    for (let k = 0; k < 20; k++) {
      for (let i = r.int(6); i > 0; i--) actAtRandom(r, world, deployments);
      world.ready(...MACHINES.filter(() => r.int(3) > 0));
      world.block(r.pick([0, 1, 3, 10, 11]));
    }
    const [ahead, alone] = [openLedger(world.genesis), openLedger(world.genesis)];
    const behind: Ledger = { ...ahead, state: new StateBehind(ahead.state) };
    const between = behind.state as StateBehind;
    const path: { readonly undo: Undo; readonly changes: Changes }[] = [];
    let [at, reached] = [0, 0];
    const apply = (ledger: Ledger, of: number): Undo => {
      const { applied, ...input } = world.history[of]!;
      const once = applyBlock(ledger, { ...input, height: of + 1 });
      assert(once.ok && once.stateRoot.toHex() === applied.stateRoot.toHex());
      return once.undo;
    };
    while (reached < world.history.length) {
      const turn = r.int(4);
      if (turn <= 1 && at < world.history.length && path.length < 3) {
        const undo = apply(ahead, at++);
        path.push({ undo, changes: ahead.state.changesOf(undo) });
        between.passed(undo);
      } else if (turn === 2 && path.length > 0) {
        const { undo, changes } = path.pop()!;
        revert(ahead, undo);
        between.takenBack(undo);
        at--;
        if (r.int(2) === 0) {
          ahead.state.redo(undo, changes);
          between.passed(undo);
          path.push({ undo, changes });
          at++;
        }
      } else if (path.length > 0) {
        const { undo, changes } = path.shift()!;
        assert.throws(() => between.reached(changes, { ...undo, rootBefore: digest(new Uint8Array(32).fill(1)) }), { code: "ERR_ASSERTION" }, "not from another state");
        between.reached(changes, undo);
        apply(alone, reached++);
      }
      assert.deepStrictEqual(seen(behind, deployments), seen(alone, deployments), `seed ${seed}, ${reached} of ${at}`);
    }
    assert.strictEqual(faultOfLedger(behind), null);
    assert.throws(() => between.put());
  }
});
