/**
 * Many validators in a calm network under load: how soon a transaction is final, what the links carry, and what consensus costs.
 *
 * Signatures are checked one after the other, 135 µs each; disks flush within 5 ms. A transaction is known to all a network's delay
 * after it was sent, goes into the next block, and is final when the last of the validators has committed that.
 */

import { CodecError } from "#chain/codec/cbor.ts";
import { encodeCertificate, encodeMessage } from "#chain/codec/schema.ts";
import type { Certificate } from "#chain/codec/schema.ts";
import { hex } from "#chain/types.ts";
import type { Message } from "./node.ts";
import { plain } from "./scenarios.ts";
import { CODE, World } from "./world.ts";

const CHECK_US = 135;
const TRANSACTION_EVERY_MS = 37;
/** Of an empty block: header, leader's signature, frames. */
const PROPOSAL_BYTES = 420;
/** Blocks before that are not counted: the first views begin apart. */
const WARM_MS = 2_000;

export type CrowdOptions = { readonly validators: number; readonly seconds: number; readonly seed: number; readonly deltaMs: number; readonly calmMs: readonly [number, number] };
export type CrowdFigures = {
  readonly validators: number; readonly deltaMs: number; readonly networkMs: readonly [number, number]; readonly blocks: number; readonly blocksPerSecond: number;
  /** From the making of a block to its last commit, and from the sending of a transaction. */
  readonly blockFinalMs: Percentiles; readonly transactionFinalMs: Percentiles;
  readonly bytesPerSecondPerNode: number; readonly checksPerBlockPerNode: number; readonly stepUsPerBlockPerNode: number; readonly faults: readonly string[];
};
type Percentiles = { readonly p50: number; readonly p99: number; readonly max: number };

export function crowd({ validators, seconds, seed, deltaMs, calmMs }: CrowdOptions): CrowdFigures {
  let stepMs = 0;
  const step: typeof CODE.step = (state, event) => {
    const startedMs = performance.now();
    try {
      return CODE.step(state, event);
    } finally {
      stepMs += performance.now() - startedMs;
    }
  };
  const world = new World(seed, {
    ...plain, name: "crowd", weights: [Array.from({ length: validators }, () => 1)], followers: 0, gstMs: 0, tailMs: WARM_MS + seconds * 1000, calmMs, checkUs: CHECK_US,
    blockIntervalMs: 200, deltaMs, skewMsMax: 5, diskMsMax: 5, busyPercent: 0, partition: "none", blocksMin: null,
  }, { ...CODE, step });
  world.stepsMax = Number.MAX_SAFE_INTEGER;
  const made = new Map<string, { readonly atMs: number; readonly sentMs: readonly number[]; commits: number; finalMs: number }>();
  let sent: number[] = [];
  let bytes = 0;
  world.onMade = (block) => {
    const ready = sent.filter((atMs) => atMs + calmMs[1] <= world.nowMs);
    sent = sent.filter((atMs) => atMs + calmMs[1] > world.nowMs);
    made.set(hex(block.id), { atMs: world.nowMs, sentMs: ready, commits: 0, finalMs: 0 });
  };
  world.onSend = (_, message) => { if (world.nowMs >= WARM_MS) bytes += bytesOf(message) * (validators - 1); };
  world.onFinal = (_, block) => {
    const one = made.get(hex(block.id))!;
    one.commits += 1;
    one.finalMs = world.nowMs;
  };
  for (let atMs = 0; atMs < WARM_MS + seconds * 1000; atMs += TRANSACTION_EVERY_MS) world.queue.push(atMs, () => void sent.push(atMs));
  world.queue.push(600, () => { for (const node of world.nodes) node.step({ kind: "waiting", count: 1 }); });
  const outcome = world.run();
  const final = [...made.values()].filter((one) => one.commits === validators && one.atMs >= WARM_MS);
  const all = [...made.values()].filter((one) => one.commits === validators).length;
  return {
    validators, deltaMs, networkMs: calmMs, blocks: final.length, blocksPerSecond: Math.round((final.length / seconds) * 100) / 100,
    blockFinalMs: percentiles(final.map((one) => one.finalMs - one.atMs)), transactionFinalMs: percentiles(final.flatMap((one) => one.sentMs.map((atMs) => one.finalMs - atMs))),
    bytesPerSecondPerNode: Math.round(bytes / seconds / validators), checksPerBlockPerNode: Math.round(world.checks / all / validators),
    stepUsPerBlockPerNode: Math.round((stepMs * 1000) / all / validators), faults: outcome.faults,
  };
}

function percentiles(values: readonly number[]): Percentiles {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number): number => Math.round((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0) * 10) / 10;
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}

function bytesOf(message: Message): number {
  switch (message.kind) {
    case "vote": return encodeMessage({ kind: "vote", vote: message.vote }).length;
    case "certificate": return certificateBytes(message.certificate);
    case "proposal": return PROPOSAL_BYTES + (message.block.parentCertificate ? certificateBytes(message.block.parentCertificate) : 0) + message.justification.reduce((sum, c) => sum + certificateBytes(c), 0);
    case "block": case "request": case "status": case "statusRequest": throw new CodecError("codec_value", `nobody sends a ${message.kind} to all`);
  }
}

const certificateBytes = (certificate: Certificate): number => encodeCertificate(certificate).length + 4;
