/** Operations drawn at random: plausible ones for histories, extreme ones for fuzzing. */
import { type Operation, signValidatorProof } from "#chain/codec/transaction.ts";
import { cheapestRate } from "#chain/ledger/placement.ts";
import { type Address, U32_MAX, U64_MAX, address, digest } from "#chain/types.ts";
import { extremeHolding } from "./randomHolders.ts";
import { extremeScaling } from "./randomScaling.ts";
import { type Actor, type Random, TOKEN, type World, actor, bootId, comesUp, component, deployment, registration } from "./world.ts";

export const TENANTS: readonly Actor[] = [1, 2, 3, 4].map(actor);
export const MACHINES: readonly Actor[] = [1001, 1002, 1003].map(actor);
/** Each machine is one of these accounts'. */
export const operatorOf = (machine: Actor): Actor => TENANTS[MACHINES.indexOf(machine) % 2] as Actor;
const NAMES = ["a", "b", "c"];

/** Puts something that somebody might do into the next block, or nothing. */
export function actAtRandom(r: Random, world: World, deployments: readonly Address[]): void {
  const tenant = r.pick(TENANTS);
  const target = deployments.length > 0 ? r.pick(deployments) : address(new Uint8Array(20));
  const owner = TENANTS.find(({ id }) => world.view.deployment(target)?.owner.toHex() === id.toHex()) ?? tenant;
  const machine = r.pick(MACHINES);
  const index = r.int(3);
  const isKnown = world.view.machine(machine.id) !== null;
  const resources = { memoryMib: r.int(150) + 1, cpuMillis: r.int(300) };
  switch (r.int(26)) {
    case 0: return void world.send(tenant, [{ kind: "transfer", to: r.pick([...TENANTS, ...MACHINES]).id, amount: BigInt(r.int(1e6)) * (r.int(9) === 0 ? TOKEN : 1n) }]);
    case 1:
    case 2:
    case 3: {
      // Mostly enough for a minute or two: what runs dry is more worth watching than what runs on.
      const replicas = r.int(3) + 1;
      const deposit = cheapestRate(world.ledger.state, resources.memoryMib, resources.cpuMillis) * BigInt(replicas * (55 + r.int(60)));
      return void world.send(tenant, [deployment(r.pick(NAMES), { ...resources, replicas, deposit, rateMax: r.int(3) === 0 ? BigInt(r.int(600)) : 0n })]);
    }
    case 4: return void world.send(owner, [{ kind: "resize", deploymentId: target, ...resources }]);
    case 5: return void world.send(owner, [{ kind: "scale", deploymentId: target, replicas: r.int(4) }]);
    case 6: return void world.send(tenant, [{ kind: "topUp", deploymentId: target, amount: BigInt(r.int(64 << r.int(10))) }]);
    case 7:
    case 8: return void world.send(tenant, [{ kind: "claim", deploymentId: target, index }]);
    case 9: return void (r.int(2) === 0 && world.send(r.int(4) === 0 ? tenant : owner, [{ kind: "close", deploymentId: target }]));
    case 10: return void (isKnown && r.int(2) === 0 && world.send(machine, [comesUp(world.ledger, machine, bootId(r.int(3), r.int(3)))]));
    case 11: {
      const lease = r.pick([...world.view.leasesOfMachine(machine.id), undefined]);
      return void (isKnown && world.send(machine, [{ kind: "failed", deploymentId: lease?.deploymentId ?? target, index: lease?.index ?? index, cause: "trap" }]));
    }
    case 12: {
      if (r.int(3) > 0) return;
      const price = { memoryMib: 512 << r.int(4), cpuMillis: 500 << r.int(4), gib: BigInt(r.int(5000)), core: BigInt(r.int(3000)), bond: BigInt(r.int(9)) * TOKEN };
      return void world.send(r.int(5) === 0 ? tenant : operatorOf(machine), [registration(world.ledger, machine, operatorOf(machine), price)]);
    }
    // Two operations of which the second may be refused, and takes the first with it.
    case 13: return void world.send(owner, [{ kind: "topUp", deploymentId: target, amount: 100n }, { kind: "resize", deploymentId: target, ...resources }]);
    case 14: return void world.send(tenant, [bondOf(world, tenant, BigInt(r.int(3)) * TOKEN + BigInt(r.int(5)))]);
    case 15: return void world.send(tenant, [{ kind: "unbond", validator: tenant.id, amount: BigInt(r.int(3)) * TOKEN + BigInt(r.int(3)) }]);
    case 16: return void world.send(owner, [updateOf(r, target)]);
    case 17: return void world.send(owner, [r.int(3) === 0 ? { kind: "promote", deploymentId: target } : r.int(2) === 0 ? { kind: "rollBack", deploymentId: target } : updateOf(r, target)]);
    case 19:
    case 20: {
      const lease = r.pick([...world.view.leasesOfMachine(machine.id), undefined]);
      return void world.send(r.int(2) === 0 ? owner : operatorOf(machine), [{ kind: "move", deploymentId: lease?.deploymentId ?? target, index: lease?.index ?? index }]);
    }
    case 21: {
      const ops: readonly Operation[] = [{ kind: "retire", machine: machine.id }, { kind: "constrain", deploymentId: target, regions: r.pick([[], ["test"], ["moon"]]), operators: [], labels: r.pick([[], ["ssd"]]) }, { kind: "label", machine: machine.id, labels: r.pick([[], ["ssd"]]) }];
      const op: Operation = r.int(3) === 0 ? r.pick(ops) : { kind: "drain", machine: machine.id, draining: r.pick([0, 1]) };
      world.send(op.kind === "constrain" ? owner : op.kind === "drain" && isKnown && r.int(3) === 0 ? machine : operatorOf(machine), [op]);
      // What a machine that is gone says for nothing would make the block invalid.
      if (op.kind === "retire") world.block(0);
      return;
    }
    case 22: {
      const deposit = cheapestRate(world.ledger.state, resources.memoryMib, resources.cpuMillis) * BigInt(55 + r.int(60));
      return void world.send(tenant, [taskOf(r, { ...resources, deposit })]);
    }
    case 23:
    case 24:
    case 25: {
      const lease = r.pick([...world.view.leasesOfMachine(machine.id).filter(({ deploymentId }) => world.view.task(deploymentId) !== null), undefined]);
      const run = world.view.task(lease?.deploymentId ?? target)?.runs ?? r.int(3);
      return void (isKnown && world.send(machine, [{ kind: "taskEnded", deploymentId: lease?.deploymentId ?? target, run: r.int(5) === 0 ? run + 1 : run, exitCode: r.int(3), reason: r.pick(["exit", "exit", "trap"]) }]));
    }
    case 18: {
      const lease = r.pick([...world.view.leasesOfMachine(machine.id).filter(({ state }) => state === "ready"), undefined]);
      return void (isKnown && world.send(machine, [{ kind: "health", deploymentId: lease?.deploymentId ?? target, index: lease?.index ?? index, healthy: lease?.unhealthyFrom === null ? 0 : 1, cause: "status 500" }]));
    }
    default: return;
  }
}

const taskOf = (r: Random, changes: { readonly memoryMib: number; readonly cpuMillis: number; readonly deposit: bigint }): Operation => ({
  kind: "runTask", name: r.pick(NAMES), componentDigest: component, configurationDigest: null, rateMax: r.int(3) === 0 ? BigInt(r.int(600)) : 0n, isolation: 0,
  secondsMax: r.int(40) + 1, attemptsMax: r.int(3) + 1, backOffSeconds: r.int(20) + 1, ...changes,
});

const updateOf = (r: Random, deploymentId: Address): Operation => {
  const healthySeconds = r.int(8);
  return {
    kind: "update", deploymentId, componentDigest: digest(new Uint8Array(32).fill(r.int(4))), configurationDigest: null, weight: r.pick([0, 100, 400, 500, 1000]), healthySeconds,
    deadlineSeconds: healthySeconds + 1 + r.int(40), failuresMax: r.int(3),
  };
};

const bonds = new Map<string, Operation>();
/** Each tenant validates with its own key, in these histories. */
function bondOf(world: World, { seed, id }: Actor, amount: bigint): Operation {
  const name = id.toHex() + world.ledger.chainId.toHex();
  const proof = bonds.get(name) ?? { kind: "bond", ...signValidatorProof(seed, world.ledger.chainId, id), amount: 0n };
  bonds.set(name, proof);
  return { ...proof, amount } as Operation;
}

/** Any operation that the layout allows, with the numbers that break things. */
export function extremeOperation(r: Random, known: readonly Address[]): Operation {
  if (r.int(3) === 0) return deployment(r.pick(["a", "b", "c", "d"]), { replicas: r.int(20) + 1, deposit: BigInt(r.int(1e9)) });
  const u32 = (): number => r.pick([0, 1, 2, 3, 255, 256, 257, 1024, 2 ** 24, 2 ** 31, U32_MAX, r.int(1000)]);
  const u64 = (): bigint => r.pick([0n, 1n, 59n, 60n, TOKEN, 2n ** 40n, 2n ** 53n, 2n ** 63n, U64_MAX - 1n, U64_MAX, BigInt(r.int(100_000))]);
  const id = (): Address => r.pick([...known, ...TENANTS.map((one) => one.id), ...MACHINES.map((one) => one.id), address(new Uint8Array(20)), address(new Uint8Array(20).fill(255))]);
  const text = (most: number): string => r.pick(["", "a", "-", "a-", "Ä", "\u0000", "a:b", ":", "x".repeat(most), "é".repeat(most >> 1), "😀".repeat(most >> 2)]);
  const deploymentId = id();
  return r.pick<() => Operation>([
    () => ({ kind: "transfer", to: id(), amount: u64() }),
    () => ({
      kind: "registerMachine", machineKey: r.pick([...MACHINES, ...TENANTS]).key, proof: (registrationOf(r) as Extract<Operation, { kind: "registerMachine" }>).proof, memoryMib: u32(), cpuMillis: u32(),
      pricePerGibSecond: u64(), pricePerCoreSecond: u64(), region: text(32), bond: u64(),
    }),
    () => ({ ...registrationOf(r), memoryMib: u32(), cpuMillis: u32(), pricePerGibSecond: u64(), pricePerCoreSecond: u64(), bond: u64() }) as Operation,
    () => ({ kind: "up", bootId: bootId(r.int(256), r.int(256)), consensusKey: null, binding: null, acknowledgements: [] }),
    () => ({
      kind: "deploy", name: r.pick([text(62), "a", "b"]), componentDigest: component, configurationDigest: r.pick([null, component]), memoryMib: u32(), cpuMillis: u32(),
      concurrency: u32(), replicas: u32(), deposit: u64(), rateMax: u64(), isolation: r.pick([0, 1]),
    }),
    () => ({ kind: "ready", deploymentId, index: u32(), rate: u64() }),
    () => ({
      kind: "runTask", name: r.pick([text(62), "a", "b"]), componentDigest: component, configurationDigest: null, memoryMib: u32(), cpuMillis: u32(), deposit: u64(), rateMax: u64(), isolation: 0,
      secondsMax: u32(), attemptsMax: u32(), backOffSeconds: u32(),
    }),
    () => ({ kind: "taskEnded", deploymentId, run: u32(), exitCode: u32(), reason: text(64) }),
    () => ({ kind: "failed", deploymentId, index: u32(), cause: text(64) }),
    () => ({ kind: "resize", deploymentId, memoryMib: u32(), cpuMillis: u32() }),
    () => ({ kind: "scale", deploymentId, replicas: u32() }),
    () => ({ kind: "topUp", deploymentId, amount: u64() }),
    () => ({ kind: "claim", deploymentId, index: u32() }),
    () => ({ kind: "close", deploymentId }),
    () => ({ kind: "update", deploymentId, componentDigest: component, configurationDigest: r.pick([null, component]), weight: u32(), healthySeconds: u32(), deadlineSeconds: u32(), failuresMax: u32() }),
    () => ({ kind: "promote", deploymentId }),
    () => ({ kind: "drain", machine: id(), draining: r.pick([0, 1]) }),
    () => ({ kind: "retire", machine: id() }),
    () => ({ kind: "move", deploymentId, index: u32() }),
    () => ({ kind: "constrain", deploymentId, regions: [text(31), text(31)], operators: [id()], labels: Array.from({ length: 16 }, () => text(31)) }),
    () => ({ kind: "label", machine: id(), labels: [text(31), "a", "a"] }),
    () => ({ kind: "rollBack", deploymentId }),
    () => ({ kind: "health", deploymentId, index: u32(), healthy: r.pick([0, 1]), cause: text(64) }),
    () => ({ ...r.pick([...bonds.values()]), amount: u64() }) as Operation,
    () => ({ kind: "unbond", validator: id(), amount: u64() }),
    () => ({ kind: "unjail", validator: id() }),
    () => ({ kind: "report", evidence: r.pick([new Uint8Array(0), component, new Uint8Array(1024).fill(255)]) }),
    () => ({ kind: "authorise", key: r.pick([...TENANTS, ...MACHINES]).key, scopes: u32(), limit: u64(), expiryMs: u64() }),
    () => ({ kind: "revoke", key: r.pick([...TENANTS, ...MACHINES]).key }),
    () => ({ kind: "setThreshold", threshold: u32() }),
    ...Array.from({ length: 4 }, () => () => extremeScaling(r, deploymentId, { u32, u64 })),
    ...Array.from({ length: 6 }, () => () => extremeHolding(r, { id, u32, u64, text })),
  ])();
}

let proofs: readonly Operation[] | null = null;
/** Proofs that hold, for the chain of a World with four accounts. */
export function prepareProofs(world: World): void {
  for (const tenant of TENANTS) bondOf(world, tenant, 0n);
  proofs = MACHINES.map((machine) => registration(world.ledger, machine, operatorOf(machine), { memoryMib: 1, cpuMillis: 1, gib: 1n, core: 1n, bond: TOKEN }));
}
const registrationOf = (r: Random): Operation => r.pick(proofs as readonly Operation[]);
