/**
 * One leaf of each kind that a state can have, and the root that a fixed history gives, pinned for the version of the data folders. A chain goes on in
 * a folder of before only when its blocks give the same state: whoever changes a leaf, or what the rules make of a history, raises that version.
 */
import assert from "node:assert";
import { test } from "node:test";
import { STATE_KINDS, type StateKind } from "#chain/codec/proof.ts";
import { type Operation, deploymentIdOf } from "#chain/codec/transaction.ts";
import { sha256 } from "#chain/crypto.ts";
import { type Archive, type Entity, keyOf, valueOf } from "#chain/ledger/model.ts";
import { FOLDER_VERSION } from "#chain/node/dataFolder.ts";
import { type Address, address } from "#chain/types.ts";
import { TOKEN, World, actor, component, deployment } from "#tests/ledger/world.ts";

/** By version. What stands here is never edited: a line is added. */
const PINNED: Readonly<Record<number, string>> = {
  3: "cacdb09a5a5ec1597d3565bc26e4496f",
  4: "cacdb09a5a5ec1597d3565bc26e4496f",
  5: "cacdb09a5a5ec1597d3565bc26e4496f",
};
const REMINDER = `A leaf's bytes, or the state that a fixed history gives, are not those of data folders of version ${FOLDER_VERSION}: raise FOLDER_VERSION (chain/node/dataFolder.ts) and add a line to PINNED for the new one`;

type Leaf = Exclude<Entity, Archive>;
const id: Address = address(new Uint8Array(20).fill(2));
const other: Address = address(new Uint8Array(20).fill(3));

/** A machine, what runs on it, and what waits for payment: each field of a leaf that can be filled is. */
function played(): World {
  const world = new World({ signed: true });
  const machine = world.machine(1, actor(2));
  world.block();
  const hello = deploymentIdOf(actor(1).id, 0n, 0);
  const task: Operation = { kind: "runTask", name: "job", componentDigest: component, configurationDigest: null, memoryMib: 64, cpuMillis: 100, deposit: TOKEN, rateMax: 0n, isolation: 0, secondsMax: 60, attemptsMax: 2, backOffSeconds: 5 };
  world.send(actor(1), [deployment("hello", { replicas: 2 }), { kind: "constrain", deploymentId: hello, regions: ["eu"], operators: [], labels: [] }, task]);
  world.block();
  world.send(actor(1), [{ kind: "constrain", deploymentId: hello, regions: [], operators: [], labels: [] }, { kind: "autoscale", deploymentId: hello, min: 1, max: 3, metric: 1, target: 9, rateMax: 0n }]);
  world.block();
  world.ready(machine);
  world.block();
  world.send(machine, [{ kind: "taskEnded", deploymentId: deploymentIdOf(actor(1).id, 0n, 2), run: 1, exitCode: 3, reason: "exit" }]);
  world.send(actor(1), [{ kind: "resize", deploymentId: hello, memoryMib: 128, cpuMillis: 10 }, { kind: "move", deploymentId: hello, index: 0 }]);
  world.block(3);
  return world;
}

test(`every kind of leaf has the bytes, and a fixed history the state, of data folders of version ${FOLDER_VERSION}`, () => {
  const world = played();
  const { state } = world.ledger;
  const hello = deploymentIdOf(actor(1).id, 0n, 0);
  const leaves: Readonly<Record<StateKind, Leaf>> = {
    account: state.account(actor(1).id)!, deployment: state.deployment(hello)!, lease: state.lease(hello, 0)!, machine: state.machine(actor(1001).id)!, totals: state.totals,
    validator: {
      kind: "validator", id, key: actor(1).key, operator: other, state: "jailed", stake: 5n, unbonding: [{ amount: 1n, releaseMs: 2n ** 53n + 1n, releaseEpoch: 4 }], commissionBps: 1_000, commissionAtMs: 7n,
      delegated: { units: 8n, shares: 9n }, leaving: { units: 10n, shares: 11n },
    },
    sets: { kind: "sets", epoch: 4, current: [{ key: actor(1).key, weight: 2, operator: id }], next: [] }, presence: { kind: "presence", blocks: 3, signed: [1, 2], proposed: [0, 1] },
    span: { kind: "span", first: 1, last: 2, members: [{ key: actor(2).key, weight: 1, operator: other }] }, clocks: state.clocks,
    lock: { kind: "lock", id, sender: other, recipient: id, amount: 2n ** 64n - 1n, hash: component, expiryMs: 9n },
    delegation: { kind: "delegation", id, validator: id, delegator: other, shares: 5n, leaving: [{ shares: 1n, releaseMs: 2n, releaseEpoch: 3 }] },
    name: { kind: "name", id, name: "shop.example", owner: other, deployment: id, expiryMs: 4n },
    settings: { kind: "settings", values: [{ parameter: 1, value: 20_000n }], scheduled: [{ parameter: 2, value: 3n, epoch: 9 }] },
    proposal: { kind: "proposal", id, parameter: 1, value: 20_000n, validator: other, epoch: 2, votes: [id] },
    task: state.task(deploymentIdOf(actor(1).id, 0n, 2))!, scaling: state.scaling(hello)!,
  };
  assert.deepStrictEqual(Object.keys(leaves).toSorted(), Object.keys(STATE_KINDS).toSorted());
  for (const [kind, leaf] of Object.entries(leaves)) assert.ok(leaf, kind);
  const bytes = Object.values(leaves).flatMap((leaf) => [new TextEncoder().encode(keyOf(leaf)), valueOf(leaf)]);
  assert.strictEqual(sha256(...bytes, world.view.stateRoot).toHex().slice(0, 32), PINNED[FOLDER_VERSION], REMINDER);
});
