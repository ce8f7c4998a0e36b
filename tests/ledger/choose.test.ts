/** The fast choice of a machine against the rule as it reads: every machine asked, all ranked, the first taken. */
import assert from "node:assert";
import { test } from "node:test";
import { PRESETS } from "#chain/constants.ts";
import { DOMAINS, sha256, sha256Hex } from "#chain/crypto.ts";
import type { BlockContext } from "#chain/ledger/block.ts";
import { rateLeft, reportersOf } from "#chain/ledger/ceiling.ts";
import { newEscrow } from "#chain/ledger/escrow.ts";
import { LEASES_PER_MACHINE_MAX, MACHINES_CONSIDERED_MAX, MACHINES_VISITED_MAX } from "#chain/ledger/limits.ts";
import { bondNumber, offerEntry, rateNumber } from "#chain/ledger/market.ts";
import { type Deployment, type Lease, type Machine, leaseKey } from "#chain/ledger/model.ts";
import { bondFor, compareRanks, obstacleOf, rateOf } from "#chain/ledger/offer.ts";
import { choose, spreadOf } from "#chain/ledger/placement.ts";
import { newLease } from "#chain/ledger/rollout.ts";
import { State } from "#chain/ledger/state.ts";
import { type Address, type Hex, address, digest, hex, publicKey } from "#chain/types.ts";
import { type Random, random } from "./world.ts";

const idOf = (text: string): Address => address(sha256(new TextEncoder().encode(text)).slice(0, 20));
const [PREVIOUS, KEY, DIGEST] = [new Uint8Array(32).fill(5), publicKey(new Uint8Array(32)), digest(new Uint8Array(32))];

function machineAtRandom(r: Random, n: number): Machine {
  const memoryMib = r.pick([0, 64, 1024, 4096, 2 ** 24]);
  const cpuMillis = r.pick([0, 100, 4000, 2 ** 20]);
  const price = (): bigint => r.pick([0n, 1n, 1000n, 1000n, BigInt(r.int(5000)), 2n ** 40n, 2n ** 40n - BigInt(r.int(3))]);
  return {
    kind: "machine", id: idOf(`machine ${n}`), key: KEY, operator: idOf(`operator ${r.int(4)}`), up: r.int(8) > 0, bootId: new Uint8Array(16), memoryMib, cpuMillis,
    memoryMibUsed: r.pick([0, 0, memoryMib, r.int(memoryMib + 1)]), cpuMillisUsed: r.pick([0, 0, r.int(cpuMillis + 1)]), leases: r.int(12) === 0 ? LEASES_PER_MACHINE_MAX : r.int(9),
    pricePerGibSecond: price(), pricePerCoreSecond: price(), region: r.pick(["eu", "us"]), bond: r.pick([0n, 10n ** 9n, 10n ** 11n, 2n ** 63n]), strikes: 0, placeableFrom: BigInt(r.int(12)),
    draining: r.int(9) === 0, isLeaving: false, labels: r.pick([[], ["ssd"], ["gpu", "ssd"]]), validator: null, sinceHeight: 1, downs: [],
  };
}

function deploymentAtRandom(r: Random, n: number): Deployment {
  return {
    kind: "deployment", id: idOf(`deployment ${n}`), owner: idOf("owner"), name: `d${n}`, state: r.pick(["active", "active", "paused"]), componentDigest: DIGEST, configurationDigest: null, memoryMib: r.pick([1, 64, 64, 1000, 2 ** 23]), cpuMillis: r.pick([0, 10, 100, 2 ** 19]),
    concurrency: 1, replicas: 3, rateMax: r.pick([0n, 0n, 1n, 200n, 2n ** 53n + 1n, 2n ** 60n]), isolation: 0, createdHeight: 1, failures: 0, failedMachines: r.int(3) === 0 ? [idOf(`machine ${r.int(30)}`)] : [], failedAt: 0n, lastFailure: "", reservedRate: 0n,
    escrow: newEscrow(10n ** 18n, 0n), slot: r.pick([0, 1]), revision: 1, revisionLast: 1, rollout: null, history: [], rolledBack: "",
    paid: 0n, segments: DIGEST,
    constraints: { regions: r.pick([[], [], ["eu"]]), operators: r.int(3) === 0 ? [idOf("operator 1"), idOf("operator 2")] : [], labels: r.pick([[], [], ["ssd"], ["gpu"]]) },
  };
}

function leaseAtRandom(r: Random, { id, slot }: Deployment, index: number): Lease {
  const machine = (): Address => idOf(`machine ${r.int(30)}`);
  const pending = { ...newLease(id, slot * 256 + index, 1), avoid: r.int(3) === 0 ? machine() : null };
  if (r.int(2) === 0) return pending;
  const moving = { ...pending, state: "moving", machine: machine(), rate: BigInt(r.int(300)) } as const;
  return { ...moving, last: r.int(2) === 0 ? { machine: machine(), until: 99n } : null };
}

/** The rule as it reads. */
function naive({ state, second, previousId }: BlockContext, deployment: Deployment, lease: Lease): { machine: Machine; rate: bigint } | null {
  const { memoryMib, cpuMillis, constraints } = deployment;
  const ceiling = rateLeft(state, deployment.id, lease);
  if (ceiling !== null && ceiling <= 0n) return null;
  const need = { memoryMib, cpuMillis, rateMax: deployment.rateMax, regions: constraints.regions, operators: constraints.operators.map(hex), labels: constraints.labels };
  const failed = deployment.state === "paused" ? deployment.failedMachines : [];
  const elsewhere = [...failed, lease.state === "moving" ? lease.machine : null, lease.last?.machine ?? null].filter((one) => one !== null).map(hex);
  const { machines, operators } = spreadOf(new Map(), state, deployment);
  const isAvoided = ({ id, operator }: Machine): boolean =>
    [...deployment.failedMachines, ...(lease.avoid === null ? [] : [lease.avoid])].some((one) => hex(one) === hex(id)) || reportersOf(state, deployment, lease).some((one) => hex(one) === hex(operator));
  const tie = ({ id }: Machine): Hex => sha256Hex(new Uint8Array([...DOMAINS.placement, ...previousId, ...Uint8Array.fromHex(leaseKey(lease.deploymentId, lease.index)), ...id]));
  const ranked = [...state.lists.from("c", "c")].slice(0, MACHINES_VISITED_MAX).map((entry) => state.machineNamed(entry.slice(21) as Hex) as Machine)
    .filter((machine) => obstacleOf(need, machine, hex(machine.operator), second) === null && !elsewhere.includes(hex(machine.id)))
    .filter((machine) => ceiling === null || rateOf(machine, memoryMib, cpuMillis) <= ceiling).slice(0, MACHINES_CONSIDERED_MAX)
    .map((machine) => ({
      machine, tie: tie(machine), isAvoided: isAvoided(machine), shared: machines.get(hex(machine.id)) ?? 0, sharedOperator: operators.get(hex(machine.operator)) ?? 0,
      rate: rateOf(machine, memoryMib, cpuMillis), freeMib: machine.memoryMib - machine.memoryMibUsed,
    }))
    .sort((a, b) => compareRanks(a, b) || (a.tie < b.tie ? -1 : 1));
  return ranked[0] ?? null;
}

test("fast is naive: in 400 random worlds each lease gets the machine that the rule gives it, and the market is what the list is", () => {
  let [chosen, none, tied] = [0, 0, 0];
  for (let seed = 1; seed <= 400; seed++) {
    const r = random(seed);
    const state = new State(PRESETS.default);
    const context = { state, second: 9n, previousId: PREVIOUS } as unknown as BlockContext;
    const twins = r.int(3) === 0;
    for (let n = 0; n < 30; n++) {
      const made = machineAtRandom(r, twins ? 0 : n);
      state.put({ ...made, id: idOf(`machine ${n}`) });
    }
    const deployments = Array.from({ length: 4 }, (_, n) => deploymentAtRandom(r, n));
    for (const deployment of deployments) {
      state.put(deployment);
      for (let index = 0; index < 3; index++) state.put(leaseAtRandom(r, deployment, index));
      if (r.int(3) > 0) continue;
      state.put({ kind: "scaling", id: deployment.id, min: 0, max: 9, metric: 0, target: 1, rateMax: r.pick([0n, 100n, 400n, 2n ** 62n]), told: [], verdict: 1, due: null, grownFrom: r.int(3), reporters: [idOf("operator 1")] });
    }
    for (let round = 0; round < 3; round++) {
      const savepoint = state.savepoint();
      for (let k = r.int(9); k > 0; k--) {
        const n = r.int(30);
        const known = state.machine(idOf(`machine ${n}`));
        if (known && r.int(6) === 0) state.remove(known);
        else state.put(r.int(2) === 0 && known ? { ...known, memoryMibUsed: r.int(known.memoryMib + 1), leases: r.int(5) } : machineAtRandom(r, n));
      }
      for (const deployment of deployments) {
        const lost = state.leasesOf(deployment.id).find(({ machine, last }) => [machine, last?.machine ?? null].some((one) => one !== null && state.machine(one) === undefined));
        if (lost) continue;
        for (const lease of state.leasesOf(deployment.id)) {
          const { best, looks } = choose(context, deployment, lease, spreadOf(new Map(), state, deployment));
          const expected = naive(context, deployment, lease);
          assert.deepStrictEqual([best === null ? null : hex(best.machine.id), best?.rate], [expected === null ? null : hex(expected.machine.id), expected?.rate], `seed ${seed}`);
          assert(looks >= 1);
          if (best === null) none++;
          else chosen++;
          if (twins && best !== null) tied++;
        }
      }
      if (r.int(2) === 0) state.rollback(savepoint);
      const listed = [...state.lists.from("c", "c")];
      assert.deepStrictEqual(state.market.rows.map(({ entry }) => entry), listed, `seed ${seed}`);
      for (const { machine, entry, memoryMibFree } of state.market.rows) {
        assert.strictEqual(machine, state.machineNamed(hex(machine.id)));
        assert.deepStrictEqual([offerEntry(machine), memoryMibFree], [entry, machine.memoryMib - machine.memoryMibUsed]);
      }
    }
  }
  assert(chosen > 1_000 && none > 1_000 && tied > 50, `${chosen} chosen, ${none} none, ${tied} among equals`);
});

test("rates and bonds in numbers are those in bigints, or Infinity", () => {
  const r = random(1);
  const sizes = [0, 1, 63, 64, 1023, 2 ** 20, 2 ** 24];
  for (let k = 0; k < 20_000; k++) {
    const machine = machineAtRandom(r, k);
    const [memoryMib, cpuMillis] = [r.pick([...sizes, r.int(2 ** 24)]), r.pick([0, 1, 999, 2 ** 20, r.int(2 ** 20)])];
    assert.strictEqual(BigInt(bondNumber(memoryMib, cpuMillis)), bondFor(memoryMib, cpuMillis));
    const state = new State(PRESETS.default);
    state.put({ ...machine, up: true, draining: false });
    const [row] = state.market.rows;
    const [rate, exact] = [rateNumber(row!, memoryMib, cpuMillis), rateOf(machine, memoryMib, cpuMillis)];
    if (Number.isFinite(rate)) assert.strictEqual(BigInt(rate), exact);
    else assert(exact > 2n ** 53n - 1n);
  }
});
