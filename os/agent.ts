/**
 * The agent: one machine put together from its parts, started in one order and stopped in the reverse.
 *
 *     lock → ports → keys and genesis → logs → chain node → blobs → runner → supervisor → `up` → consensus → API
 *
 * Rules: a data folder or port in use is an error before anything is changed; whatever fails on the way up takes down what is up
 * already; `stop()` takes at most 2 s and leaves no process. kill -9 at any point needs no repair: the next start goes on.
 */
import { randomBytes } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { decodeGenesis } from "#chain/codec/genesis.ts";
import { type Scope, keysThatMay } from "#chain/codec/scopes.ts";
import { signBinding } from "#chain/codec/hello.ts";
import { type Operation, signMachineProof } from "#chain/codec/transaction.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import type { Checkpoint } from "#chain/light/checkpoint.ts";
import { lockFolder } from "#chain/node/folderLock.ts";
import { type ChainNode, openNode } from "#chain/node/node.ts";
import { giveSpareMemoryBack } from "#chain/node/spareMemory.ts";
import type { Transport } from "#chain/network/transport.ts";
import { type Address, type Hex, address as addressOf, fromHex, hex } from "#chain/types.ts";
import { codeDirectory } from "#sandbox/cache.ts";
import * as realSandbox from "#sandbox/sandbox.ts";
import type { Endpoint, Reach, Runner } from "#sandbox/sandbox.ts";
import { type Door, bindDoor } from "./api/door.ts";
import { checkOwner } from "./api/context.ts";
import { judgeLogWords } from "./api/logs.ts";
import type { Context } from "./api/context.ts";
import { createMetrics } from "./api/metrics.ts";
import { createRoutes } from "./api/routes.ts";
import { serveApi } from "./api/server.ts";
import { BlobStore } from "./blobs.ts";
import type { HeldImage } from "./boot/carried.ts";
import { LEFT_BEHIND } from "./boot/ending.ts";
import { ChainSender, FREE } from "./chainSender.ts";
import { ClosedLogs } from "./closedLogs.ts";
import { codeOf, messageOf } from "./error.ts";
import { openExchange } from "./exchange.ts";
import { HealthChecks } from "./health.ts";
import { Hops, endpointsOf } from "./hops.ts";
import { type Inventory, takeInventory } from "./inventory.ts";
import { type KeyPair, openKey } from "./keys.ts";
import { type Left, handLeasesOver } from "./leaving.ts";
import { LOAD_WAIT_MS_MAX, METRICS_CONNECTIONS_MAX, STOP_STEP_MS_MAX, UP_WAIT_MS_MAX } from "./limits.ts";
import { Loads } from "./loads.ts";
import { LogRelay } from "./logRelay.ts";
import { LogStore } from "./logs.ts";
import { type MachineControl, MachineLog } from "./machineControl.ts";
import { PlacesTable } from "./places.ts";
import { printable } from "./printable.ts";
import { QuietLeases } from "./quiet.ts";
import { readDesired } from "./supervisor/desired.ts";
import { Naming } from "./supervisor/naming.ts";
import { besideOf, deploymentOf } from "./supervisor/plan.ts";
import { Supervisor } from "./supervisor/supervisor.ts";
import { Tasks, hostedTasks } from "./tasks.ts";
import { verifyNatively } from "./verification.ts";

/** The chain this machine is part of, and its keys there. */
export type Membership = {
  readonly genesis: Uint8Array;
  readonly validatorSeed?: Uint8Array;
  /** Whose machine this is. With the key, the machine registers itself. */
  readonly operator: { readonly address: Address; readonly key?: KeyPair };
  readonly transport: Transport;
  /** An empty folder begins with a snapshot of other machines. */
  readonly joins?: boolean;
  /** Where that begins to believe, instead of at genesis. */
  readonly checkpoint?: Checkpoint;
};
export type Offer = {
  readonly region: string;
  readonly pricePerGibSecond: bigint;
  readonly pricePerCoreSecond: bigint;
  readonly bond: (inventory: Inventory) => bigint;
};
/** What the machine needs of the sandbox; tests without native parts give another. */
export type Sandbox = Pick<typeof realSandbox, "compile" | "inspect" | "listen" | "startRunner">;
export type Listener = { readonly address: string; readonly port: number };
export type AgentOptions = {
  readonly directory: string;
  /** Both doors are on this address; default: loopback. */
  readonly address?: string;
  readonly apiPort: number;
  /** A door that is bound already, at that port: a machine that boots answers from its first second. */
  readonly door?: Door;
  readonly httpPort: number;
  /** The operator's listener, for `/metrics`; left out: there is none. */
  readonly metrics?: Listener;
  readonly zone: string;
  readonly offer: Offer;
  /** Called when folder and ports are this agent's. */
  readonly join: (directory: string) => Promise<Membership>;
  readonly sandbox?: Sandbox;
  /** When the chain is open, before anything of it is waited for. */
  readonly onNode?: (node: ChainNode, machine: KeyPair) => void;
  /** What ends or changes the machine for its operator; left out: it is an ordinary process. */
  readonly control?: MachineControl;
  /** Where the lines go that the operator reads from afar; one that boots has begun it already. */
  readonly machineLog?: MachineLog;
  /** The image that this machine runs, where it has the whole of it. */
  readonly image?: HeldImage | null;
  /** Lines for the operator. */
  readonly onLog?: (line: string) => void;
};
export type RunningAgent = {
  /** `http://127.0.0.1:PORT` */
  readonly api: string;
  readonly version: string;
  readonly apiPort: number;
  readonly httpPort: number;
  readonly metricsPort: number | null;
  readonly node: ChainNode;
  readonly machine: Address;
  readonly operator: Address;
  readonly bootId: Hex;
  readonly runnerPid: () => number | null;
  /** Resolves with a code when it had to stop by itself. */
  readonly ended: Promise<string>;
  /** Before a stop after which this machine is gone for a while: other machines take its leases, where there are others. */
  handLeasesOver(): Promise<Left>;
  stop(): Promise<void>;
};

const LOOPBACK = "127.0.0.1";

export async function startAgent(options: AgentOptions): Promise<RunningAgent> {
  // Beside the keys of a machine no guest runs.
  realSandbox.forbidTasks();
  const machineLog = options.machineLog ?? new MachineLog();
  const log = (line: string): void => {
    const shown = printable(line);
    if (options.machineLog === undefined) machineLog.add(shown, Date.now());
    options.onLog?.(shown);
  };
  verifyNatively(log);
  const address = options.address ?? LOOPBACK;
  await using started = new AsyncDisposableStack();

  const { door, metricsDoor, listener } = await claim(options, address, started);
  const keys = join(options.directory, "keys");
  const machine = await openKey(join(keys, "machine"));
  const membership = await options.join(options.directory);
  // Before there is a node that closes it: a start that fails must end.
  started.defer(() => membership.transport.close());
  const bootId = hex(randomBytes(16));

  const stopping = new AbortController();
  const parts = await openParts(options, membership, { machine, bootId }, listener, started, stopping.signal, log);
  const { node, runner, blobs, logs, naming, alive, tasks } = parts;
  options.onNode?.(node, machine);
  const machineSender = new ChainSender(node, machine, FREE, Date.now);
  // Before the supervisor hears of a block: what is unloaded here is known to be elsewhere first.
  passOn(options, membership, { machine, bootId }, parts, endpointsOf(address, listener.port), started, log);
  const ingress = holdIngress(runner, readDesired(node.view(), machine.address, options.zone, naming).deployments.filter(({ task }) => task === undefined).map(({ id }) => id));
  const exchange = openExchange({ node, blobs, transport: membership.transport, machine: machine.address, naming });
  started.defer(() => exchange.stop());
  let meters: () => Loads["meters"] = () => new Map();
  const supervisor = new Supervisor({
    load: () => meters(),
    bootId, now: Date.now, blobs: () => blobs.observed(), tasks: () => ({ tasks: tasks.runs, mayRun: tasks.mayRun }), mayComeUp: () => alive.acknowledgements !== null || isAlone(node, membership),
    desired: () => readDesired(node.view(), machine.address, options.zone, naming),
    hands: {
      up: (boot) => upOf(node, machine, membership, boot, alive.acknowledgements ?? []), submit: (operation) => machineSender.submit(operation), blobs,
      runner: { load: (deployment) => runner.load(deployment).finally(() => ingress.loaded(deployment.id)), unload: (id) => runner.unload(id) },
      tasks,
      fetch: (digest) => exchange.bring(digest),
      tell: (id, line) => logs.append(id, { timeMs: Date.now(), stream: "system", requestId: null, line }),
    },
    onFailure: (action, code, error) => log(`Cannot carry out ${action.key} (${code}): ${messageOf(error)}`),
  });
  parts.events.onChange = () => supervisor.poke();
  const ended = Promise.withResolvers<string>();
  parts.events.onKeyInUse = () => ended.resolve("machine_key_in_use");
  parts.events.onLeftBehind = () => ended.resolve(LEFT_BEHIND);
  parts.events.onLost = (id) => supervisor.lost(id);
  const quiet = new QuietLeases({ view: () => node.view(), machine: machine.address, usage: () => runner.usage(), submit: (operation) => machineSender.submit(operation) });
  started.defer(() => quiet.stop());
  const closedLogs = new ClosedLogs({
    logs, isRouted: (id) => tasks.runs.has(id) || supervisor.routes.has(id) || supervisor.routes.has(besideOf(id)),
    isOpen: (id) => (node.view().deployment(addressOf(fromHex(id)))?.state ?? "closing") !== "closing",
  });
  parts.events.onLine = (id) => closedLogs.wrote(id);
  started.defer(() => closedLogs.stop());
  const health = new HealthChecks({ address, httpPort: listener.port, checked: () => supervisor.checked, onResult: (id, cause) => supervisor.isWell(id, cause), restart: (id) => supervisor.restart(id) });
  started.defer(() => health.stop());
  const loads = new Loads({ usage: () => runner.usage(), measured: () => supervisor.measured, checks: (id) => health.asked(id), onChange: () => supervisor.poke(), now: Date.now });
  meters = () => loads.meters;
  started.defer(() => loads.stop());
  started.defer(() => supervisor.stop(STOP_STEP_MS_MAX));
  started.defer(() => {
    machineSender.stop();
    stopping.abort();
  });
  started.defer(node.onFinal(({ events }) => {
    naming.turn(events);
    // Closing is no event of its own; what is closed when all is paid is.
    if (events.length > 0) {
      closedLogs.look();
      quiet.onFinal();
      blobs.look();
    }
    supervisor.poke();
  }));

  // `up` is in the first block, so that no lease of the last boot is paid a second longer than it lived.
  supervisor.reconcile();
  await machineSender.handedIn();
  node.start();
  if (membership.operator.key !== undefined) await register(node, machine, membership.operator.key, options.offer);
  await untilUp(node, machine.address, bootId);
  closedLogs.look();

  // Whoever passes it on, what a client signed for this machine is judged as at the door.
  const logRelay = new LogRelay({
    transport: membership.transport, logs, keyOf: (id) => node.view().machine(id)?.key ?? null,
    judge: (words) => judgeLogWords(words, { chainId: node.chainId, machine: machine.address, nowMs: BigInt(Date.now()), keysOf: (sender) => keysOf(node, sender, "read") }, (id, sender) => checkOwner({ node }, id, sender)),
  });
  started.defer(() => logRelay.stop());
  const version = await readVersion();
  const context: Context = {
    version, node, machine: machine.address, operator: membership.operator.address, bootId, zone: options.zone,
    apiPort: door.port, httpPort: listener.port, blobs, logs, logRelay, copiesOf: (digest, by) => exchange.copiesOf(digest, by), runner, inspect: (component) => (options.sandbox ?? realSandbox).inspect(component), routeCount: () => supervisor.routes.size, now: Date.now,
    machineLog, image: options.image ?? null, ...(options.control === undefined ? {} : { control: options.control }),
  };
  const metrics = createMetrics();
  const behind = {
    chainId: node.chainId, machine: machine.address, now: Date.now,
    keysOf: (sender: Address, scope: Scope) => keysOf(node, sender, scope), operator: membership.operator.address, checkOwner: (id: string, sender: Address) => checkOwner(context, id, sender),
    onFault: (error: unknown, route: string) => log(`The API failed at ${route}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`),
  };
  const api = await serveApi({ ...behind, door, routes: createRoutes(context), onAnswer: metrics.onAnswer });
  started.defer(() => api.stop());
  if (metricsDoor !== null) {
    const operators = await serveApi({ ...behind, door: metricsDoor, routes: [metrics.route(context)] });
    started.defer(() => operators.stop());
  }
  supervisor.poke();
  await ingress.opened;

  const up = started.move();
  void ended.promise.then(() => up.disposeAsync());
  return {
    api: `http://${address}:${door.port}`, version, apiPort: door.port, httpPort: listener.port, metricsPort: metricsDoor?.port ?? null, node, machine: machine.address, operator: membership.operator.address, bootId,
    runnerPid: () => runner.pid, ended: ended.promise,
    handLeasesOver: () => handLeasesOver({ node, machine: machine.address, submit: (operation) => machineSender.submit(operation) }),
    stop: () => up.disposeAsync(),
  };
}

type HttpListener = Awaited<ReturnType<Sandbox["listen"]>>;

/** Makes folder and ports this agent's; nothing is changed when one of them is another's. */
async function claim(options: AgentOptions, address: string, started: AsyncDisposableStack): Promise<{ door: Door; metricsDoor: Door | null; listener: HttpListener }> {
  const lock = async (): Promise<void> => {
    const held = await lockFolder(options.directory);
    started.defer(() => held.release());
  };
  const present = await readFile(join(options.directory, "keys", "machine")).then(() => true, () => false);
  if (present) await lock();
  const listener = await (options.sandbox ?? realSandbox).listen(address, options.httpPort);
  started.defer(() => listener.close());
  const door = options.door ?? (await bindDoor(address, options.apiPort));
  started.defer(() => door.close());
  const metricsDoor = options.metrics === undefined ? null : await bindDoor(options.metrics.address, options.metrics.port, METRICS_CONNECTIONS_MAX);
  if (metricsDoor !== null) started.defer(() => metricsDoor.close());
  if (!present) {
    await mkdir(options.directory, { recursive: true, mode: 0o700 });
    await lock();
  }
  return { door, metricsDoor, listener };
}

type Parts = {
  readonly node: ChainNode;
  readonly runner: Runner;
  readonly tasks: Tasks;
  readonly blobs: BlobStore;
  readonly logs: LogStore;
  readonly naming: Naming;
  /** What witnesses have said of this boot; null: not enough of them. */
  readonly alive: { acknowledgements: readonly Uint8Array[] | null };
  /** What the parts tell the supervisor, which is made after them. */
  readonly events: { onChange: () => void; onLost: (id: Hex) => void; onLine: (id: Hex) => void; onKeyInUse: () => void; onLeftBehind: () => void; reach: Reach; onLease: Tasks["fenced"]; onFence: (untilMs: number) => void };
};

/** Requests for what other machines run: who they are, and what runs where. */
function passOn(
  { zone }: AgentOptions, { transport }: Membership, life: { readonly machine: KeyPair; readonly bootId: Hex }, { node, runner: { elsewhere }, events }: Parts, endpoints: readonly Endpoint[], started: AsyncDisposableStack,
  log: (line: string) => void,
): void {
  if (elsewhere === undefined) return;
  const hops = new Hops({ node, transport, own: { ...life, endpoints: () => endpoints, elsewhere } });
  started.defer(() => hops.stop());
  events.reach = (peer) => hops.reach(peer);
  const onError = (error: unknown): void => { if (codeOf(error) !== "runner_stopped") log(`Cannot tell the runner what runs elsewhere (${codeOf(error)}): ${messageOf(error)}`); };
  const places = new PlacesTable({ view: () => node.view(), machine: life.machine.address, zone, elsewhere, onError });
  started.defer(node.onFinal((block) => {
    hops.onFinal(block);
    places.onFinal(block.events);
  }));
}

async function openParts(
  options: AgentOptions, membership: Membership, life: { readonly machine: KeyPair; readonly bootId: Hex }, listener: HttpListener, started: AsyncDisposableStack, signal: AbortSignal, log: (line: string) => void,
): Promise<Parts> {
  const { directory, sandbox = realSandbox } = options;
  const cacheDirectory = join(directory, "compiled");
  const events: Parts["events"] = { onChange: () => {}, onLost: () => {}, onLine: () => {}, onKeyInUse: () => {}, onLeftBehind: () => {}, reach: () => [], onLease: () => {}, onFence: () => {} };
  const alive: Parts["alive"] = { acknowledgements: null };
  await Promise.all(["chain", "compiled"].map((name) => mkdir(join(directory, name), { recursive: true, mode: 0o700 })));
  const logs = await LogStore.open(join(directory, "logs"), (error) => log(`Cannot write logs of deployments to the disk (${codeOf(error)}): ${messageOf(error)}`));
  started.defer(() => logs.close());

  let opened: ChainNode | null = null;
  const node = await openNode({
    directory: join(directory, "chain"), genesis: membership.genesis, transport: membership.transport,
    machine: {
      seed: life.machine.seed, bootId: life.bootId,
      leases: () => (opened === null ? [] : hostedTasks(opened.view(), life.machine.address)), onLease: (effect) => events.onLease(effect), onFence: (untilMs) => events.onFence(untilMs),
      onAcknowledged: (acknowledgements) => {
        alive.acknowledgements = acknowledgements;
        events.onChange();
      },
      onHalt: (code) => {
        log(`Another machine has this one's key: everything here stops (${code})`);
        events.onKeyInUse();
      },
    },
    joins: membership.joins === true,
    ...(membership.checkpoint === undefined ? {} : { checkpoint: membership.checkpoint }),
    // Of a chain on one machine nobody else has the history.
    archive: decodeGenesis(membership.genesis).validators.length === 1,
    onLeftBehind: () => {
      log("This machine was away for longer than others keep blocks: started again, it begins with a snapshot (left_behind)");
      events.onLeftBehind();
    },
    onHalt: (error) => log(`The chain node signs nothing any more (${error.code}): ${error.message}`),
    ...(membership.validatorSeed === undefined ? {} : { validatorSeed: membership.validatorSeed }),
  });
  opened = node;
  started.defer(() => node.stop());
  started.defer(giveSpareMemoryBack(node));

  const naming = new Naming(() => node.view(), life.machine.address);
  const blobs = await BlobStore.open({
    directory, compiledDirectory: codeDirectory(cacheDirectory), now: Date.now, named: () => naming.named, onChange: () => events.onChange(),
    compile: (component, digest) => sandbox.compile(component, { digest, cacheDirectory, signal }),
  });

  // Last of all, and held: until it is opened clients wait in the backlog of the listener; after, a host that is not loaded yet is unknown.
  const runner = await sandbox.startRunner({
    listener, cacheDirectory, hold: true,
    // A tenant's request must not speak to other machines in this one's name.
    outgoing: { ownAddresses: () => membership.transport.addresses() },
    reach: (peer) => events.reach(peer),
    onLog: ({ id, timeMs, stream, requestId, line }) => {
      logs.append(deploymentOf(id), { timeMs, stream, requestId: requestId === "" ? null : requestId, line });
      events.onLine(deploymentOf(id));
    },
    onExit: ({ pid, code, signal: by }) => log(`The runner ${pid} ended (${by ?? code}); the next one is on its way`),
    onLost: (id, code, message) => {
      log(`The runner came back without ${id} (${code}): ${message}`);
      events.onLost(id as Hex);
    },
  });
  started.defer(() => runner.stop());
  const tasks = new Tasks({
    runner, onChange: () => events.onChange(),
    tell: (id, line) => logs.append(id, { timeMs: Date.now(), stream: "system", requestId: null, line }),
    onFailure: ({ id, compiled }, code, error) => {
      log(`Cannot begin the task ${id} for now (${code}): ${messageOf(error)}`);
      if (code === "artefact_corrupt") blobs.forgetCompiled(compiled.digest as Hex);
    },
  });
  events.onLease = (effect) => tasks.fenced(effect);
  events.onFence = (untilMs) => tasks.fenceUntil(untilMs);
  return { node, runner, tasks, blobs, logs, naming, alive, events };
}

/** Opens the runner to clients once each of the deployments was loaded or refused, or LOAD_WAIT_MS_MAX have passed. */
function holdIngress(runner: Runner, deployments: readonly string[]): { loaded: (id: string) => void; opened: Promise<void> } {
  const waiting = new Set(deployments);
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, LOAD_WAIT_MS_MAX);
  const loaded = (id: string): void => {
    waiting.delete(id);
    if (waiting.size === 0) resolve();
  };
  if (waiting.size === 0) resolve();
  const opened = promise.then(() => {
    clearTimeout(timer);
    return runner.open();
  });
  // A start that fails stops the runner before somebody waits for it.
  opened.catch(() => {});
  return { loaded, opened };
}

/** The operator's registration of this machine: made once, and again when what it offers has changed. */
async function register(node: ChainNode, machine: KeyPair, operator: KeyPair, offer: Offer): Promise<void> {
  const inventory = await takeInventory(offer.region);
  const known = node.view().machine(machine.address);
  const { pricePerGibSecond, pricePerCoreSecond, region } = offer;
  const { memoryMib, cpuMillis } = inventory;
  const bond = offer.bond(inventory);
  const same = known !== null && known.memoryMib === memoryMib && known.cpuMillis === cpuMillis && known.region === region &&
    known.pricePerGibSecond === pricePerGibSecond && known.pricePerCoreSecond === pricePerCoreSecond && known.bond === bond;
  if (same) return;
  const { feeBase, feePerByte } = node.view().parameters();
  const sender = new ChainSender(node, operator, { base: feeBase, perByte: feePerByte }, Date.now);
  await sender.submit({
    kind: "registerMachine", ...signMachineProof(machine.seed, node.chainId, operator.address, node.view().account(machine.address)?.nonce ?? 0n), memoryMib, cpuMillis, pricePerGibSecond, pricePerCoreSecond, region, bond,
  });
}

/** A machine that hosts a validator says so, by that one's word: it is no witness of it. */
function upOf(node: ChainNode, machine: KeyPair, { validatorSeed }: Membership, bootId: Uint8Array, acknowledgements: readonly Uint8Array[]): Operation {
  const host = validatorSeed === undefined ? null : { consensusKey: publicKeyOf(validatorSeed), binding: signBinding(validatorSeed, node.chainId, publicKeyOf(machine.seed)) };
  return { kind: "up", bootId, consensusKey: host?.consensusKey ?? null, binding: host?.binding ?? null, acknowledgements };
}
/** Its own only witness: nobody else can say that it lives. */
function isAlone(node: ChainNode, { validatorSeed }: Membership): boolean {
  const [first, ...others] = node.view().validatorsOf(node.view().epoch) ?? [];
  return validatorSeed !== undefined && first !== undefined && others.length === 0 && hex(first.key) === hex(publicKeyOf(validatorSeed));
}
/** Before it, the ledger still tells of the last boot's leases, which are not here any more. */
async function untilUp(node: ChainNode, machine: Address, bootId: Hex): Promise<void> {
  const isUp = (): boolean => {
    const known = node.view().machine(machine);
    return known !== null && known.state === "up" && hex(known.bootId) === bootId;
  };
  const { promise, resolve } = Promise.withResolvers<void>();
  const unsubscribe = node.onFinal(() => isUp() && resolve());
  const timer = setTimeout(resolve, UP_WAIT_MS_MAX);
  if (!isUp()) await promise;
  clearTimeout(timer);
  unsubscribe();
}

/** Those that may sign requests; null: the account has set no keys, and the one that hashes to its address speaks for it. */
function keysOf(node: ChainNode, sender: Address, scope: Scope): ReturnType<Parameters<typeof serveApi>[0]["keysOf"]> {
  return keysThatMay(node.view().account(sender)?.keys ?? [], scope, BigInt(Date.now()));
}

async function readVersion(): Promise<string> {
  const { version } = JSON.parse(await readFile(join(import.meta.dirname, "..", "package.json"), "utf8")) as { version: string };
  return version;
}
