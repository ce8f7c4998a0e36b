/**
 * What all parties of a grid do, each operation there is, drawn at random and then fitted to the state so that most of it is taken: histories of
 * this kind reach what plausible guesses (randomOperations.ts) are refused. Four validators witness; who acts is now and then the wrong one.
 */
import { signVote } from "#chain/codec/certificate.ts";
import { encodeEvidence } from "#chain/codec/evidence.ts";
import type { SignedVote } from "#chain/codec/schema.ts";
import { SCOPES, SCOPES_ALL } from "#chain/codec/scopes.ts";
import { type Operation, type OperationKind, signValidatorProof } from "#chain/codec/transaction.ts";
import { VOTABLE } from "#chain/constants.ts";
import { sha256 } from "#chain/crypto.ts";
import { cheapestRate } from "#chain/ledger/placement.ts";
import type { DeploymentView, LeaseView } from "#chain/ledger/view.ts";
import { type Address, U64_MAX, digest, epoch, hex, view } from "#chain/types.ts";
import { beatOf, suspicion, wordsFor } from "./witnesses.ts";
import { type Actor, type Random, TOKEN, type World, actor, bootId, component, deployment, registration, validatorActor } from "./world.ts";

const HOLDERS: readonly Actor[] = [1, 2, 3, 4].map(actor);
const GRID: readonly Actor[] = [1001, 1002, 1003, 1004].map(actor);
/** Its keys change; all that it does besides is that. */
const KEEPER: Actor = actor(5);
const KEYS: readonly Actor[] = [5, 6, 7].map(actor);
/** Who put up the genesis' validators. */
const FOUNDER: Actor = actor(0);
const VALIDATORS = 4;
const SECRETS: readonly Uint8Array[] = [1, 2].map((byte) => new Uint8Array(32).fill(byte));
const NAMES = ["a", "b", "c.example"];
const DEPLOYMENTS = ["a", "b", "c", "d"];
/** Blocks in which its validators cannot change, as those of an audit's API must not. */
export const BLOCKS_OF_FIRST_EPOCH = 56;
export const GRID_WORLD: { readonly accounts: number; readonly balance: bigint; readonly validators: number } = { accounts: 5, balance: 1_000n * TOKEN, validators: VALIDATORS };

type Act = { readonly by: Actor; readonly ops: readonly Operation[]; readonly signers?: readonly Actor[] };
type Lease = LeaseView & { readonly on: Actor | undefined };
/** What an act is drawn from. */
class Scene {
  readonly r: Random;
  readonly world: World;
  constructor(r: Random, world: World) {
    [this.r, this.world] = [r, world];
  }
  get open(): readonly DeploymentView[] {
    return this.world.view.deployments().items.filter(({ state }) => state !== "closing");
  }
  leases(isWanted: (lease: Lease) => boolean): readonly Lease[] {
    return this.open.flatMap(({ id }) => this.world.view.leasesOfDeployment(id)).map((lease) => ({ ...lease, on: GRID.find(({ id }) => lease.machine !== null && hex(id) === hex(lease.machine)) })).filter(isWanted);
  }
  /** Nearly always the right one. */
  owner({ owner }: { readonly owner: Address }): Actor {
    return this.r.int(20) === 0 ? this.r.pick(HOLDERS) : (HOLDERS.find(({ id }) => hex(id) === hex(owner)) as Actor);
  }
  readonly one = <T>(items: readonly T[]): T | null => (items.length === 0 ? null : this.r.pick(items));
  /** Who validates now. */
  get witnesses(): readonly Actor[] {
    const known = [0, 1, 2, 3].map(validatorActor).concat(HOLDERS);
    return this.world.view.validatorsOf(this.world.view.epoch)!.map(({ key }) => known.find((one) => hex(one.key) === hex(key)) as Actor);
  }
  get machines(): readonly Actor[] {
    return GRID.filter(({ id }) => this.world.view.machine(id) !== null);
  }
}
const operatorOf = (machine: Actor): Actor => HOLDERS[GRID.indexOf(machine) % 3] as Actor;
type Draw = (scene: Scene) => Act | null;

/** Of a deployment, by its owner. */
const ofOwner = (isWanted: (one: DeploymentView, scene: Scene) => boolean, op: (one: DeploymentView, scene: Scene) => Operation | null): Draw => (scene) => {
  const one = scene.one(scene.open.filter((each) => isWanted(each, scene)));
  const made = one === null ? null : op(one, scene);
  return one === null || made === null ? null : { by: scene.owner(one), ops: [made] };
};
/** Of a lease, by the machine that it is on. */
const ofMachine = (isWanted: (lease: Lease, scene: Scene) => boolean, op: (lease: Lease, scene: Scene) => Operation): Draw => (scene) => {
  const lease = scene.one(scene.leases((each) => each.on !== undefined && isWanted(each, scene)));
  return lease === null ? null : { by: lease.on as Actor, ops: [op(lease, scene)] };
};
const ofOperator = (isWanted: (machine: Actor, scene: Scene) => boolean, op: (machine: Actor, scene: Scene) => Operation): Draw => (scene) => {
  const machine = scene.one(scene.machines.filter((each) => isWanted(each, scene)));
  return machine === null ? null : { by: operatorOf(machine), ops: [op(machine, scene)] };
};
const isService = ({ id }: DeploymentView, { world }: Scene): boolean => world.view.task(id) === null;
const isRunning = ({ state }: LeaseView): boolean => state === "ready" || state === "moving";
const resources = ({ r }: Scene): { memoryMib: number; cpuMillis: number } => ({ memoryMib: 1 + r.int(200), cpuMillis: r.int(300) });
const depositFor = ({ r, world }: Scene, { memoryMib, cpuMillis }: { memoryMib: number; cpuMillis: number }, replicas: number): bigint =>
  cheapestRate(world.ledger.state, memoryMib, cpuMillis) * BigInt(replicas * (60 + r.pick([0, 1, 5, 30, 300])));

const DRAWS: { readonly [K in OperationKind]: { readonly often: number; readonly draw: Draw } } = {
  transfer: { often: 1, draw: ({ r }) => ({ by: r.pick(HOLDERS), ops: [{ kind: "transfer", to: r.pick([...HOLDERS, ...GRID, FOUNDER]).id, amount: BigInt(r.int(1e6) + 1) }] }) },
  registerMachine: { often: 2, draw: ({ r, world }) => {
    const machine = r.pick(GRID);
    return { by: operatorOf(machine), ops: [registration(world.ledger, machine, operatorOf(machine), { memoryMib: 512 << r.int(3), cpuMillis: 1000 << r.int(3), gib: BigInt(r.int(4_000)), core: BigInt(r.int(3_000)), bond: BigInt(1 + r.int(9)) * TOKEN })] };
  } },
  up: { often: 2, draw: ({ r, world, machines, witnesses }) => {
    const machine = machines.length === 0 ? null : r.pick(machines);
    return machine === null ? null : { by: machine, ops: [wordsFor(world, machine, bootId(r.int(3), r.int(3)), r.int(8) === 0 ? witnesses.slice(1) : witnesses)] };
  } },
  deploy: { often: 4, draw: (scene) => {
    const [size, replicas, { r }] = [resources(scene), 1 + scene.r.int(3), scene];
    return { by: r.pick(HOLDERS), ops: [deployment(r.pick(DEPLOYMENTS), { ...size, replicas, deposit: depositFor(scene, size, replicas), rateMax: r.int(4) === 0 ? BigInt(r.int(600)) : 0n })] };
  } },
  runTask: { often: 3, draw: (scene) => {
    const [size, { r }] = [resources(scene), scene];
    return { by: r.pick(HOLDERS), ops: [{ kind: "runTask", name: r.pick(["t", "u", "v"]), componentDigest: component, configurationDigest: null, ...size, deposit: depositFor(scene, size, 1), rateMax: 0n, isolation: 0, secondsMax: 1 + r.int(40), attemptsMax: 1 + r.int(3), backOffSeconds: 1 + r.int(20) }] };
  } },
  ready: { often: 3, draw: ofMachine(({ state }) => state === "placed", ({ deploymentId, index, rate }, { r }) => ({ kind: "ready", deploymentId, index, rate: r.int(20) === 0 ? rate + 1n : rate })) },
  failed: { often: 1, draw: ofMachine(({ state }) => state !== "pending", ({ deploymentId, index }) => ({ kind: "failed", deploymentId, index, cause: "trap" })) },
  resize: { often: 2, draw: ofOwner(isService, ({ id }, scene) => ({ kind: "resize", deploymentId: id, ...resources(scene) })) },
  scale: { often: 2, draw: ofOwner(isService, ({ id }, { r }) => ({ kind: "scale", deploymentId: id, replicas: r.int(5) })) },
  topUp: { often: 3, draw: ({ r, one, open }) => {
    const found = one(open);
    return found === null ? null : { by: r.pick(HOLDERS), ops: [{ kind: "topUp", deploymentId: found.id, amount: BigInt(1 + r.int(64 << r.int(12))) }] };
  } },
  claim: { often: 6, draw: (scene) => {
    const lease = scene.one(scene.leases(isRunning));
    return lease === null ? null : { by: scene.r.pick(HOLDERS), ops: [{ kind: "claim", deploymentId: lease.deploymentId, index: lease.index }] };
  } },
  close: { often: 1, draw: ofOwner(() => true, ({ id }) => ({ kind: "close", deploymentId: id })) },
  update: { often: 3, draw: ofOwner((one, scene) => isService(one, scene) && one.rollout === null, ({ id }, { r }) => {
    const healthySeconds = r.int(8);
    return { kind: "update", deploymentId: id, componentDigest: digest(new Uint8Array(32).fill(r.int(5))), configurationDigest: null, weight: r.pick([0, 100, 400, 1000]), healthySeconds, deadlineSeconds: healthySeconds + 1 + r.int(40), failuresMax: r.int(3) };
  }) },
  promote: { often: 3, draw: ofOwner(({ rollout }) => rollout !== null, ({ id }) => ({ kind: "promote", deploymentId: id })) },
  rollBack: { often: 1, draw: ofOwner(({ rollout }) => rollout !== null, ({ id }) => ({ kind: "rollBack", deploymentId: id })) },
  health: { often: 2, draw: ofMachine(isRunning, ({ deploymentId, index, unhealthyFrom }) => ({ kind: "health", deploymentId, index, healthy: unhealthyFrom === null ? 0 : 1, cause: "status 500" })) },
  move: { often: 4, draw: (scene) => {
    const lease = scene.one(scene.leases(({ state }) => state === "ready"));
    const found = lease === null ? null : scene.world.view.deployment(lease.deploymentId);
    return lease === null || found === null ? null : { by: scene.r.int(2) === 0 ? scene.owner(found) : operatorOf(lease.on as Actor), ops: [{ kind: "move", deploymentId: lease.deploymentId, index: lease.index }] };
  } },
  left: { often: 6, draw: (scene) => {
    const lease = scene.one(scene.leases(({ last }) => last !== null));
    const by = GRID.find(({ id }) => lease?.last && hex(id) === hex(lease.last.machine));
    return lease === null || by === undefined ? null : { by, ops: [{ kind: "left", deploymentId: lease.deploymentId, index: lease.index }] };
  } },
  taskEnded: { often: 5, draw: ofMachine((lease, { world }) => lease.state === "ready" && world.view.task(lease.deploymentId) !== null, ({ deploymentId }, { r, world }) => ({ kind: "taskEnded", deploymentId, run: world.view.task(deploymentId)!.runs + (r.int(10) === 0 ? 1 : 0), exitCode: r.int(2), reason: r.pick(["exit", "exit", "trap"]) })) },
  drain: { often: 1, draw: ({ r, machines }) => {
    const machine = machines.length === 0 ? null : r.pick(machines);
    return machine === null ? null : { by: r.int(2) === 0 ? machine : operatorOf(machine), ops: [{ kind: "drain", machine: machine.id, draining: r.pick([0, 0, 1]) }] };
  } },
  retire: { often: 1, draw: ofOperator(({ id }, { world }) => world.view.machine(id)!.leases === 0, ({ id }) => ({ kind: "retire", machine: id })) },
  label: { often: 1, draw: ofOperator(() => true, ({ id }, { r }) => ({ kind: "label", machine: id, labels: r.pick([[], ["ssd"]]) })) },
  constrain: { often: 1, draw: ofOwner(() => true, ({ id }, { r }) => ({ kind: "constrain", deploymentId: id, regions: r.pick([[], ["test"]]), operators: [], labels: r.pick([[], [], ["ssd"]]) })) },
  autoscale: { often: 3, draw: ofOwner((one, scene) => isService(one, scene) && one.rollout === null, ({ id }, { r }) => {
    const min = r.pick([0, 0, 1, 2]);
    return { kind: "autoscale", deploymentId: id, min, max: r.int(10) === 0 ? 0 : Math.max(1, min) + r.int(4), metric: r.int(3), target: 100, rateMax: r.int(3) === 0 ? BigInt(r.int(2_000)) : 0n };
  }) },
  load: { often: 8, draw: ofMachine((lease, { world }) => isRunning(lease) && lease.standbyRate === null && world.view.scaling(lease.deploymentId) !== null, ({ deploymentId, index }, { r }) => ({ kind: "load", deploymentId, index, level: r.pick([0, 1, 2, 2]) })) },
  standby: { often: 7, draw: ofMachine((lease, { world }) => lease.state === "ready" && lease.standbyRate === null && world.view.scaling(lease.deploymentId)?.min === 0, ({ deploymentId, index }, { r }) => ({ kind: "standby", deploymentId, index, idleSeconds: r.int(30) })) },
  wake: { often: 7, draw: ofMachine(({ standbyRate }) => standbyRate !== null, ({ deploymentId, index }) => ({ kind: "wake", deploymentId, index })) },
  bond: { often: 2, draw: ({ r, world }) => {
    const by = r.pick(HOLDERS);
    return { by, ops: [{ kind: "bond", ...signValidatorProof(by.seed, world.ledger.chainId, by.id), amount: TOKEN * BigInt(1 + r.int(3)) + BigInt(r.int(9)) }] };
  } },
  unbond: { often: 1, draw: ({ r, world }) => {
    const by = r.pick(HOLDERS);
    return world.view.validator(by.id) === null ? null : { by, ops: [{ kind: "unbond", validator: by.id, amount: r.int(2) === 0 ? world.view.validator(by.id)!.stake : TOKEN }] };
  } },
  unjail: { often: 3, draw: ({ r, world }) => {
    const jailed = world.view.validators().items.filter(({ state }) => state === "jailed");
    const one = jailed.length === 0 ? null : r.pick(jailed);
    return one === null ? null : { by: [...HOLDERS, FOUNDER].find(({ id }) => hex(id) === hex(one.operator)) as Actor, ops: [{ kind: "unjail", validator: one.id }] };
  } },
  report: { often: 1, draw: ({ r, world }) => {
    if (r.int(15) > 0) return null;
    const index = world.view.validatorsOf(world.view.epoch)!.findIndex((one) => hex(one.key) === hex(validatorActor(3).key));
    const word = (byte: number): SignedVote => signVote(validatorActor(3).seed, { kind: "notarize", chainId: world.ledger.chainId, epoch: epoch(world.view.epoch), view: view(5), id: digest(new Uint8Array(32).fill(byte)) }, index);
    return index < 0 ? null : { by: r.pick(HOLDERS), ops: [{ kind: "report", evidence: encodeEvidence({ kind: "votes", a: word(1), b: word(2) }) }] };
  } },
  delegate: { often: 3, draw: ({ r, world }) => {
    const known = world.view.validators().items.filter(({ state }) => state === "active");
    return known.length === 0 ? null : { by: r.pick(HOLDERS), ops: [{ kind: "delegate", validator: r.pick(known).id, amount: 10n ** 8n + BigInt(r.int(2e9)), commissionMax: 10_000 }] };
  } },
  undelegate: { often: 2, draw: ({ r, world }) => {
    const by = r.pick(HOLDERS);
    const mine = world.view.delegationsOf(by.id).items.filter(({ shares }) => shares > 0n);
    const one = mine.length === 0 ? null : r.pick(mine);
    return one === null ? null : { by, ops: [{ kind: "undelegate", validator: one.validator, shares: r.int(2) === 0 ? one.shares : one.shares / 3n }] };
  } },
  setCommission: { often: 1, draw: ({ r, world }) => {
    const by = r.pick(HOLDERS);
    const one = world.view.validator(by.id);
    return one === null ? null : { by, ops: [{ kind: "setCommission", validator: by.id, bps: Math.max(0, one.commissionBps + r.int(120) - 60) }] };
  } },
  propose: { often: 1, draw: ({ r }) => ({ by: FOUNDER, ops: [{ kind: "propose", validator: validatorActor(r.int(VALIDATORS)).id, parameter: VOTABLE.nameRentPerYear.number, value: BigInt(1 + r.int(3)) * TOKEN }] }) },
  vote: { often: 2, draw: ({ r, world }) => {
    const open = world.view.proposals();
    return open.length === 0 ? null : { by: FOUNDER, ops: [{ kind: "vote", validator: validatorActor(r.int(VALIDATORS)).id, proposal: r.pick(open).id }] };
  } },
  lock: { often: 1, draw: ({ r, world }) => ({ by: r.pick(HOLDERS), ops: [{ kind: "lock", to: r.pick(HOLDERS).id, amount: BigInt(1 + r.int(1e6)), hash: sha256(r.pick(SECRETS)), expiryMs: world.view.timeMs + 50_000n + BigInt(r.int(120_000)) }] }) },
  claimLock: { often: 1, draw: ({ r, world }) => {
    const all = HOLDERS.flatMap(({ id }) => world.view.locksOf(id).items);
    const one = all.length === 0 ? null : r.pick(all);
    return one === null ? null : { by: r.pick(HOLDERS), ops: [{ kind: "claimLock", lock: one.id, preimage: SECRETS.find((secret) => hex(sha256(secret)) === hex(one.hash))! }] };
  } },
  refundLock: { often: 1, draw: ({ r, world }) => {
    const all = HOLDERS.flatMap(({ id }) => world.view.locksOf(id).items).filter(({ expiryMs }) => expiryMs <= world.view.timeMs);
    return all.length === 0 ? null : { by: r.pick(HOLDERS), ops: [{ kind: "refundLock", lock: r.pick(all).id }] };
  } },
  registerName: { often: 1, draw: ({ r, world }) => {
    const by = r.pick(HOLDERS);
    return { by, ops: [{ kind: "registerName", name: r.pick(NAMES), deployment: world.view.deploymentsOf(by.id).items[0]?.id ?? null, years: 1 + r.int(2) }] };
  } },
  ...Object.fromEntries((["renewName", "pointName", "transferName", "releaseName"] as const).map((kind) => [kind, { often: 1, draw: ({ r, world }: Scene): Act | null => {
    const by = HOLDERS.find(({ id }) => world.view.namesOf(id).items.length > 0);
    const held = by === undefined ? undefined : world.view.namesOf(by.id).items[0];
    if (by === undefined || held === undefined) return null;
    const { name } = held;
    const op: Operation = kind === "renewName" ? { kind, name, years: 1 } : kind === "pointName" ? { kind, name, deployment: world.view.deploymentsOf(by.id).items.at(-1)?.id ?? null } : kind === "transferName" ? { kind, name, to: r.pick(HOLDERS).id } : { kind, name };
    return { by, ops: [op] };
  } }])) as unknown as Record<"renewName" | "pointName" | "transferName" | "releaseName", { readonly often: number; readonly draw: Draw }>,
  authorise: { often: 2, draw: ofKeys(({ r, world }) => {
    const isMaster = r.int(2) === 0;
    return { kind: "authorise", key: r.pick(KEYS).key, scopes: isMaster ? SCOPES_ALL : SCOPES.transfer, limit: isMaster ? U64_MAX : BigInt(r.int(1e9)), expiryMs: isMaster ? U64_MAX : world.view.timeMs + 90_000n };
  }) },
  revoke: { often: 1, draw: ofKeys(({ r }) => ({ kind: "revoke", key: r.pick(KEYS).key })) },
  setThreshold: { often: 1, draw: ofKeys(({ r }) => ({ kind: "setThreshold", threshold: 1 + r.int(2) })) },
};

/** By as many of its master keys as it demands. */
function ofKeys(op: (scene: Scene) => Operation): Draw {
  return (scene) => {
    const { keys, threshold } = scene.world.view.account(KEEPER.id)!;
    const masters = KEYS.filter(({ key }) => keys.length === 0 ? key === KEEPER.key : keys.some((one) => hex(one.key) === hex(key) && one.expiryMs === U64_MAX));
    return { by: KEEPER, ops: [op(scene)], signers: masters.slice(0, threshold) };
  };
}

export const KINDS: readonly OperationKind[] = Object.keys(DRAWS) as OperationKind[];
const DRAWN: readonly OperationKind[] = KINDS.flatMap((kind) => Array.from({ length: DRAWS[kind].often }, () => kind));

/** Machines and money for those who have none. */
export function settleGrid(r: Random, world: World): void {
  world.send(actor(1), [{ kind: "transfer", to: FOUNDER.id, amount: 50n * TOKEN }]);
  for (const machine of GRID.slice(0, 2 + r.int(3))) world.send(operatorOf(machine), [registration(world.ledger, machine, operatorOf(machine), { memoryMib: 1024, cpuMillis: 4000, gib: BigInt(500 + r.int(2_000)), core: 1000n, bond: 5n * TOKEN })]);
  world.block();
  for (const machine of GRID) if (world.view.machine(machine.id) !== null) world.send(machine, [wordsFor(world, machine, bootId(9, 0), [0, 1, 2])]);
  world.block();
}

/** A block of what some of them do. Gives the kinds that were taken. */
export function playBlock(r: Random, world: World): OperationKind[] {
  const scene = new Scene(r, world);
  if (r.int(15) === 0) return silence(scene);
  for (let left = r.int(8); left > 0; left--) {
    const kind = r.pick(DRAWN);
    const act = DRAWS[kind].draw(scene);
    if (act === null) continue;
    world.send(act.by, act.ops, act.signers ? { signers: act.signers } : {});
    // What a machine says for nothing in the block that takes it off the grid would make that invalid.
    if (kind === "retire") return play(scene);
  }
  if (r.int(5) > 0) world.ready(...scene.machines);
  return play(scene);
}

/** A block in which a machine goes down, if its witnesses may say so. */
function silence({ r, world, machines, witnesses }: Scene): OperationKind[] {
  const up = machines.filter(({ id }) => world.view.machine(id)!.state === "up");
  if (up.length === 0) return [];
  const machine = r.pick(up);
  const beat = r.int(2) === 0 ? null : beatOf(world, machine, world.view.machine(machine.id)!.bootId);
  const { height } = world.view;
  world.tryBlock(r.pick([1, 2, 3]), { suspicions: witnesses.map((witness) => suspicion(world, witness, machine, { beat, at: { height: Math.max(0, height - r.int(3)), sinceMs: r.int(3_000) } })) });
  return [];
}

/** Who signed the parent, and who proposes, is drawn too. */
function play({ r, world, witnesses: { length } }: Scene): OperationKind[] {
  const whole = 2 ** length - 1;
  // One of them is hardly ever there.
  const bits = r.pick([whole, whole >> 1, whole >> 1, r.int(whole + 1)]);
  const parentBitmap = Uint8Array.from({ length: (length + 7) >> 3 }, (_, i) => (bits >> (8 * i)) & 255);
  const { outcomes } = world.block(r.pick([0, 0, 1, 1, 2, 2, 3, 5, 9, 11]), { parentBitmap, proposer: r.int(Math.min(length, 2)) });
  const { transactions } = world.history.at(-1)!;
  return transactions.flatMap(({ body }, i) => (outcomes[i]!.ok ? body.ops.map(({ kind }) => kind) : []));
}

/** Everybody closes what is his, waits, and takes his machines off the grid. */
export function endGrid(world: World): void {
  const { view } = world;
  for (const { id, owner, state } of view.deployments({ limit: 1_000 }).items) {
    if (state !== "closing") world.send(HOLDERS.find((one) => hex(one.id) === hex(owner)) as Actor, [{ kind: "close", deploymentId: id }]);
  }
  world.block();
  // Rests after strikes, and the hour in which two downs are kept.
  for (let k = 0; k < 140; k++) world.block(10);
  world.block(4_000);
  for (const machine of GRID) if (view.machine(machine.id) !== null) world.send(operatorOf(machine), [{ kind: "retire", machine: machine.id }]);
  world.block();
}
