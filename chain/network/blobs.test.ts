import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { decode, encode } from "#chain/codec/cbor.ts";
import { sha256 } from "#chain/crypto.ts";
import { hex } from "#chain/types.ts";
import { ManualClock } from "#tests/compliance/manualClock.ts";
import { BlobExchange } from "./blobs.ts";
import { BLOB_CHUNK_BYTES, BLOB_TIMEOUT_MS } from "./limits.ts";
import { MemoryNetwork } from "./memory.ts";
import { type Transport, peerId } from "./transport.ts";

const [A, B, C] = [1, 2, 3].map((n) => peerId(Uint8Array.of(n))) as [ReturnType<typeof peerId>, ReturnType<typeof peerId>, ReturnType<typeof peerId>];
const BLOB = Uint8Array.from({ length: 3 * BLOB_CHUNK_BYTES + 77 }, (_, n) => n % 251);
const DIGEST = sha256(BLOB);

function world(): { clock: ManualClock; join: (id: typeof A, blobs?: Map<string, Uint8Array | "withheld">) => { exchange: BlobExchange; transport: Transport; reads: string[] }; settle: <T>(work: Promise<T>) => Promise<T> } {
  const clock = new ManualClock();
  const network = new MemoryNetwork({ clock });
  return {
    clock,
    join: (id, blobs = new Map()) => {
      const transport = network.join(id);
      const reads: string[] = [];
      const exchange = new BlobExchange({ transport, clock, holds: (digest) => blobs.has(digest), read: async (digest) => {
        reads.push(digest);
        return blobs.get(digest) ?? null;
      } });
      return { exchange, transport, reads };
    },
    settle: async (work) => {
      let isOver = false;
      void work.catch(() => undefined).finally(() => { isOver = true; });
      while (!isOver) {
        clock.advance(100);
        await sleep(0);
      }
      return work;
    },
  };
}

test("a blob comes from whoever has it, in parts, read once, and is what its name says", async () => {
  const { join, settle } = world();
  const { exchange } = join(A);
  join(B);
  const { reads } = join(C, new Map([[hex(DIGEST), BLOB]]));
  assert.deepEqual(await settle(exchange.fetch(DIGEST, { bytesMax: BLOB.length })), BLOB);
  assert.equal(reads.length, 1);
  const none = sha256(new Uint8Array(0));
  await assert.rejects(settle(exchange.fetch(none, { bytesMax: 10 })), { code: "blob_missing" });
  await assert.rejects(settle(exchange.fetch(DIGEST, { bytesMax: BLOB.length - 1 })), { code: "blob_too_large" });
  await assert.rejects(settle(exchange.fetch(DIGEST, { bytesMax: BLOB.length, signal: AbortSignal.abort() })), { code: "aborted" });
});

test("a blob is missing only when every peer has said so: one that is silent, or may not give it yet, has not", async () => {
  const { join, settle } = world();
  const { exchange } = join(A);
  const fetch = (): Promise<Uint8Array> => settle(exchange.fetch(DIGEST, { bytesMax: BLOB.length }));
  await assert.rejects(fetch(), { code: "blob_missing" }, "nobody else is there");
  join(B);
  await assert.rejects(fetch(), { code: "blob_missing" });
  const blobs = new Map<string, Uint8Array | "withheld">([[hex(DIGEST), "withheld"]]);
  const { reads } = join(C, blobs);
  await assert.rejects(fetch(), { code: "blob_unanswered" });
  // It is a block further: no earlier answer is remembered.
  blobs.set(hex(DIGEST), BLOB);
  assert.deepEqual(await fetch(), BLOB);
  assert.equal(reads.length, 2);
  const silent = join(peerId(Uint8Array.of(9)));
  silent.exchange.stop();
  await assert.rejects(settle(exchange.fetch(sha256(new Uint8Array(0)), { bytesMax: 1 })), { code: "blob_unanswered" });
  assert.deepEqual(await Promise.all([B, C, silent.transport.self].map((peer) => settle(exchange.isAt(peer, DIGEST)))), [false, true, null]);
});

test("an empty blob is one", async () => {
  const { join, settle } = world();
  const { exchange } = join(A);
  const empty = sha256(new Uint8Array(0));
  join(B, new Map([[hex(empty), new Uint8Array(0)]]));
  assert.equal((await settle(exchange.fetch(empty, { bytesMax: 0 }))).length, 0);
});

test("a peer that gives other bytes is let go of, one that is silent costs a wait, and the next one is asked", async () => {
  const { join, settle, clock } = world();
  const { exchange, transport } = join(A);
  join(B, new Map([[hex(DIGEST), BLOB.with(5, 99)]]));
  const silent = peerId(Uint8Array.of(9));
  join(silent).exchange.stop();
  join(C, new Map([[hex(DIGEST), BLOB]]));
  const startedMs = clock.nowMs();
  assert.deepEqual(await settle(exchange.fetch(DIGEST, { bytesMax: BLOB.length, peers: [B, silent] })), BLOB);
  assert.ok(clock.nowMs() - startedMs >= BLOB_TIMEOUT_MS);
  assert.deepEqual(transport.peers().includes(B), false);
});

test("parts that do not fit together are refused, and answers that nobody asked for count against who sends them", async () => {
  const { join, settle, clock } = world();
  const { exchange, transport } = join(A);
  const liar = join(B);
  liar.exchange.stop();
  let asked = 0;
  liar.transport.onMessage((from, channel, message) => {
    const [, , call, , offset] = decode(message) as [number, number, number, Uint8Array, number];
    if (channel !== "blobs") return;
    asked++;
    // Of another length each time: it would never end.
    liar.transport.send(from, "blobs", encode([1, 1, call, 10 + asked, new Uint8Array(offset === 0 ? 5 : 1)]));
  });
  await assert.rejects(settle(exchange.fetch(DIGEST, { bytesMax: 1_000 })), { code: "blob_missing" });
  assert.deepEqual([asked, transport.peers()], [2, []]);
  const stranger = join(C);
  clock.advance(10);
  for (let n = 0; n < 100; n++) stranger.transport.send(A, "blobs", encode([1, 2, 1_000 + n]));
  clock.advance(10);
  assert.deepEqual(transport.peers(), []);
});
