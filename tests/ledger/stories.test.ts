/** Short stories of one ledger: each names what somebody relies on. Amounts are worked out by hand. */
import assert from "node:assert";
import { test } from "node:test";
import { deploymentIdOf } from "#chain/codec/transaction.ts";
import { TOKEN, World, actor, deployment } from "./world.ts";

const [tenant, operator] = [actor(1), actor(2)];

test("a deployment is placed in its block, runs from its ready, is paid by the second and gives the rest back", () => {
  const world = new World({ thorough: true });
  const machine = world.machine(1, operator);
  world.block();
  const deploy = world.send(tenant, [deployment("hello")]);
  world.block();
  const id = deploymentIdOf(tenant.id, 0n, 0);
  const [lease] = world.view.leasesOfDeployment(id);
  assert.strictEqual(lease?.state, "placed");
  // 64 MiB at 1024 per GiB·s and 0.1 core at 1000 per core·s.
  assert.strictEqual(lease.rate, 64n + 100n);
  assert.strictEqual(world.view.bill(id, world.second)?.total, 0n);
  world.block(3);
  world.ready(machine);
  world.block();
  assert.strictEqual(world.view.leasesOfDeployment(id)[0]?.state, "ready");
  world.block(7);
  assert.strictEqual(world.view.bill(id, world.second)?.total, 7n * 164n);
  assert.strictEqual(world.view.bill(id, world.second + 5n)?.total, 12n * 164n);
  const close = world.send(tenant, [{ kind: "close", deploymentId: id }]);
  world.block(3);
  assert.strictEqual(world.view.deployment(id)?.state, "closing");
  world.block(1);
  assert.strictEqual(world.view.nextDueMoneySecond(), world.second + 1n);
  world.block(1);
  assert.strictEqual(world.view.deployment(id), null);
  const bill = world.view.bill(id, world.second);
  assert.strictEqual(bill?.total, 10n * 164n);
  assert.strictEqual(bill.closed, true);
  assert.strictEqual(bill.refunded, 10n * TOKEN - 1640n);
  const fees = deploy.body.fee + close.body.fee;
  assert.strictEqual(world.view.account(tenant.id)?.balance, 1000n * TOKEN - fees - 1640n);
  // 5 % of 1,640 is the chain's.
  assert.strictEqual(world.view.account(operator.id)?.balance, 1000n * TOKEN - 20n * TOKEN - world.history[0]!.transactions[0]!.body.fee + 1640n - 82n);
});
