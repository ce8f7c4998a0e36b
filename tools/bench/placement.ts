/**
 * `npm run bench:placement [-- --short]`: what placement costs a block where 1,000 machines run 10,000 deployments.
 *
 * A change (a deployment more, placed) in one block, and the failure of a machine with 100 leases (a reboot: all are ended and placed elsewhere) in
 * as many blocks as that takes, in CPU time. JSON on stdout, medians and raw.
 */
import assert from "node:assert/strict";
import type { DecodedTransaction, Operation } from "#chain/codec/transaction.ts";
import { type Applied, applyBlock, nextMoneySecond } from "#chain/ledger/ledger.ts";
import { type Actor, TOKEN, World, actor, bootId, comesUp, deployment } from "#tests/ledger/world.ts";
import { median } from "./report.ts";

const isShort = process.argv.includes("--short");
const MACHINES = 1_000;
const DEPLOYMENTS = isShort ? 2_000 : 10_000;
const ROUNDS = isShort ? 5 : 21;
const PER_BLOCK = 200;


/** Room for a hundred leases each, and fifty prices: the cheapest machines are full, and every look passes those. */
const ROOM = { memoryMib: 6_400, cpuMillis: 10_000, bond: 20n * TOKEN };
const world = new World({ accounts: 1_200, balance: 100_000n * TOKEN, parameters: "default" });
const { ledger, view } = world;
for (let n = 0; n < MACHINES; n++) {
  world.machine(n, actor(1 + (n % 50)), { ...ROOM, gib: 1_000n + 16n * BigInt(n % 50), core: 1_000n });
  if (n % 100 === 99) world.block(0);
}
let made = 0;
while (made < DEPLOYMENTS) {
  for (let i = 0; i < PER_BLOCK; i++, made++) world.send(actor(100 + (made % 1_000)), [deployment(`d${made}`, { deposit: TOKEN })]);
  world.block(0);
}
/** From here blocks are applied without what a test checks after each. */
function block(transactions: readonly DecodedTransaction[]): { readonly cpuMs: number; readonly applied: Applied } {
  const timeMs = view.timeMs + 200n;
  const input = { height: view.height + 1, timeMs, moneySecond: nextMoneySecond(ledger, timeMs), previousId: view.stateRoot, transactions };
  const before = process.cpuUsage();
  const applied = applyBlock(ledger, input);
  const { user, system } = process.cpuUsage(before);
  assert(applied.ok && applied.outcomes.every(({ ok }) => ok), JSON.stringify(applied.ok ? applied.outcomes : applied.code));
  return { cpuMs: (user + system) / 1_000, applied };
}
const send = (who: Actor, op: Operation): DecodedTransaction => world.send(who, [op], { nonce: view.account(who.id)?.nonce ?? 0n });
const placedIn = ({ events }: Applied): number => events.filter(({ kind }) => kind === "placed").length;
/** A block looks at 32,768 machines: what was not placed yet comes first in the next. What is placed says that it is ready, or would be placed anew. */
const machines = Array.from({ length: MACHINES }, (_, n) => actor(1_000 + n));
for (let placed = 1; placed > 0;) {
  placed = placedIn(block([]).applied);
  const ready = machines.flatMap((machine) => {
    const ops = view.leasesOfMachine(machine.id).filter(({ state }) => state === "placed").slice(0, 16).map(({ deploymentId, index, rate }): Operation => ({ kind: "ready", deploymentId, index, rate }));
    return ops.length === 0 ? [] : [world.send(machine, ops, { nonce: view.account(machine.id)?.nonce ?? 0n })];
  });
  for (let i = 0; i < ready.length; i += 100) placed += 1 + placedIn(block(ready.slice(i, i + 100)).applied);
}

const changes: number[] = [];
for (let n = 0; n < ROUNDS; n++) {
  const { cpuMs, applied } = block([send(actor(100 + n), deployment(`change${n}`, { deposit: TOKEN }))]);
  assert.equal(placedIn(applied), 1);
  changes.push(cpuMs);
}
const [failures, blocksEach]: [number[], number[]] = [[], []];
for (let n = 0; n < ROUNDS; n++) {
  const busiest = Array.from({ length: MACHINES }, (_, m) => actor(1_000 + m)).reduce((a, b) => (view.machine(b.id)!.leases > view.machine(a.id)!.leases ? b : a));
  const { leases } = view.machine(busiest.id)!;
  const first = block([send(busiest, comesUp(ledger, busiest, bootId(200, n)))]);
  let [cpuMs, placed, blocks] = [first.cpuMs, placedIn(first.applied), 1];
  for (; placed < leases; blocks++) {
    const more = block([]);
    [cpuMs, placed] = [cpuMs + more.cpuMs, placed + placedIn(more.applied)];
  }
  assert.deepEqual([leases, placed], [100, 100]);
  failures.push(cpuMs);
  blocksEach.push(blocks);
}
console.log(JSON.stringify({
  machines: MACHINES, deployments: DEPLOYMENTS, change: { medianCpuMs: median(changes), rawCpuMs: changes }, failure: { leases: 100, blocks: median(blocksEach), medianCpuMs: median(failures), rawCpuMs: failures },
}));
