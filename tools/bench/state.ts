/**
 * `npm run bench:state [-- --short]`: what size costs, as JSON. CPU time, medians and raw values.
 *
 * `streams`: a block with nothing in it on a ledger where so many streams run, beside one where none does, in turns. `join`: the state
 * of 10^5 accounts as chunks, each verified against the root, and the ledger that comes of them; what a new machine does besides is
 * wait for bytes (`bench:chain` has the whole of it). `--short` has a tenth of the streams.
 */
import { addressOf } from "#chain/codec/address.ts";
import type { Genesis } from "#chain/codec/genesis.ts";
import { stateKey, verifyProof } from "#chain/codec/proof.ts";
import { NO_SEGMENT } from "#chain/codec/segment.ts";
import { publicKeyOf, sha256 } from "#chain/crypto.ts";
import { type Ledger, applyBlock, nextMoneySecond, openLedger } from "#chain/ledger/ledger.ts";
import type { Deployment, Entity, Archive } from "#chain/ledger/model.ts";
import { type Chunk, encodeChunks, imageOf, ledgerFrom, slotsOf, verifyChunk } from "#chain/ledger/snapshot.ts";
import { type Address, address, timeMs } from "#chain/types.ts";
import { median } from "./report.ts";

const SHORT = process.argv.includes("--short");
const STREAMS = SHORT ? 100_000 : 1_000_000;
const ACCOUNTS = 100_000;
const BLOCKS = 41;
const REPLICAS = 256;
const LEASES_PER_MACHINE = 1_024;

type Leaf = Exclude<Entity, Archive>;
const idOf = (what: string, n: number): Address => address(sha256(new TextEncoder().encode(`${what} ${n}`)).slice(0, 20));
const seed = sha256(new TextEncoder().encode("bench state"));
const genesis: Genesis = {
  version: 1, name: "bench", timeMs: timeMs(1_700_000_000_000n), deltaMs: 100, parameters: "default",
  validators: [{ publicKey: publicKeyOf(seed), weight: 1, operator: addressOf(publicKeyOf(seed)) }], accounts: [],
};
const empty = (): Leaf[] => [...imageOf(openLedger(genesis)).slots].filter((one) => one !== null);

function cpuMs(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}
const rounded = (value: number): number => Math.round(value * 1000) / 1000;

/** Deployments of 256 replicas that all run, on as many machines as that needs. Made as a state: by blocks it would take hours. */
function withStreams(count: number): Ledger {
  const slots: Leaf[] = empty();
  const operator = idOf("operator", 0);
  const machines = Array.from({ length: Math.ceil(count / LEASES_PER_MACHINE) }, (_, n) => idOf("machine", n));
  for (const id of machines) {
    slots.push({
      kind: "machine", id, key: publicKeyOf(seed), operator, up: true, bootId: new Uint8Array(16), memoryMib: 2 ** 20, cpuMillis: 2 ** 20, memoryMibUsed: LEASES_PER_MACHINE * 64, cpuMillisUsed: 0,
      leases: LEASES_PER_MACHINE, pricePerGibSecond: 1_000n, pricePerCoreSecond: 1_000n, region: "", bond: 10n ** 15n, strikes: 0, placeableFrom: 0n, draining: false, isLeaving: false, labels: [], validator: null, sinceHeight: 1, downs: [],
    });
  }
  for (let first = 0; first < count; first += REPLICAS) {
    const id = idOf("deployment", first);
    const replicas = Math.min(REPLICAS, count - first);
    const streams = Array.from({ length: replicas }, (_, index) => ({ index, machine: machines[Math.floor((first + index) / LEASES_PER_MACHINE)]!, operator, rate: 100n, openedAt: 0n, paidUntil: 0n }));
    const deployment: Deployment = {
      kind: "deployment", id, owner: operator, name: `d${first}`, state: "active", componentDigest: sha256(id), configurationDigest: null, memoryMib: 64, cpuMillis: 0, concurrency: 1, replicas, rateMax: 0n,
      isolation: 0, createdHeight: 0, failures: 0, failedMachines: [], failedAt: 0n, lastFailure: "", reservedRate: 0n,
      escrow: { balance: 10n ** 14n, owed: 0n, rate: 100n * BigInt(replicas), at: 0n, dry: null, streams, ended: [] },
      slot: 0, revision: 1, revisionLast: 1, rollout: null, history: [], rolledBack: "", constraints: { regions: [], operators: [], labels: [] }, paid: 0n, segments: NO_SEGMENT,
    };
    slots.push(deployment);
    for (const { index, machine } of streams) slots.push({ kind: "lease", deploymentId: id, index, state: "ready", machine, rate: 100n, placedAt: 0n, triedHeight: 0, avoid: null, lastEnd: "", revision: 1, unhealthyFrom: 0n, moves: 0, rateLost: 0n, next: null, last: null });
  }
  return ledgerFrom(genesis, { slots });
}

function blocksOf(ledger: Ledger): () => number {
  let [height, at] = [0, genesis.timeMs as bigint];
  return () => cpuMs(() => {
    at += 5_000n;
    const applied = applyBlock(ledger, { height: ++height, timeMs: at, moneySecond: nextMoneySecond(ledger, at), previousId: ledger.state.root, transactions: [] });
    if (!applied.ok) throw new Error(`Cannot measure: ${applied.message}`);
  });
}

function streams(): object {
  const ledger = withStreams(STREAMS);
  const [loaded, bare] = [blocksOf(ledger), blocksOf(openLedger(genesis))];
  const raw = Array.from({ length: BLOCKS + 5 }, () => ({ streams: loaded(), none: bare() })).slice(5);
  const of = (which: "streams" | "none"): number => rounded(median(raw.map((one) => one[which])));
  return { streams: STREAMS, leaves: ledger.state.entityCount, cpuMsPerBlock: of("streams"), cpuMsPerBlockWithout: of("none"), more: rounded(of("streams") - of("none")), raw };
}

function join(): object {
  const accounts = Array.from({ length: ACCOUNTS }, (_, n): Leaf => ({ kind: "account", address: idOf("account", n), balance: BigInt(n), nonce: 0n, keys: [], threshold: 1 }));
  const ledger = ledgerFrom(genesis, { slots: [...empty(), ...accounts] });
  const { root } = ledger.state;
  let chunks: Uint8Array[] = [];
  const read: Chunk[] = [];
  const encode = cpuMs(() => { chunks = [...encodeChunks(imageOf(ledger))].filter((one) => one !== null); });
  const verify = cpuMs(() => {
    for (const chunk of chunks) {
      const verified = verifyChunk(root, chunk);
      if (!verified.ok) throw new Error(`Cannot measure: ${verified.message}`);
      read.push(verified.chunk);
    }
  });
  const load = cpuMs(() => {
    if (ledgerFrom(genesis, { slots: slotsOf(read) }).state.root.toHex() !== root.toHex()) throw new Error("Cannot measure: the chunks are another state");
  });
  const prove = cpuMs(() => {
    for (let n = 0; n < 1_000; n++) {
      const key = stateKey("account", idOf("account", n * 7));
      if (!verifyProof(root, key, ledger.state.prove(key)).ok) throw new Error("Cannot measure: a proof does not hold");
    }
  });
  const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  return {
    accounts: ACCOUNTS, chunks: chunks.length, bytes, encodeSeconds: rounded(encode / 1000), verifySeconds: rounded(verify / 1000), loadSeconds: rounded(load / 1000),
    joinSeconds: rounded((verify + load) / 1000), proofMicroseconds: rounded(prove),
  };
}

console.log(JSON.stringify({ benchmark: "state", node: process.version, join: join(), streams: streams() }, null, 2));
