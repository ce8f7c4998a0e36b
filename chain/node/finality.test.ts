import assert from "node:assert/strict";
import { test } from "node:test";
import type { LedgerEvent } from "#chain/ledger/view.ts";
import { sha256 } from "#chain/crypto.ts";
import { address, height, hex } from "#chain/types.ts";
import { TransactionIndex, Waiters } from "./finality.ts";
import { decodeResults, encodeResults } from "./results.ts";

const txid = (n: number): Uint8Array => sha256(Uint8Array.of(n));

test("the index finds height and place, and forgets the oldest first", () => {
  const index = new TransactionIndex(3);
  index.add(7, [txid(1), txid(2)]);
  index.add(9, [txid(3), txid(4)]);
  assert.deepEqual([1, 2, 3, 4].map((n) => index.find(txid(n))), [null, { height: 7, index: 1 }, { height: 9, index: 0 }, { height: 9, index: 1 }]);
});

test("everybody who waits hears once: final, gone, given up, or too late", async () => {
  const waiters = new Waiters();
  const status = { height: height(3), index: 0, ok: true };
  const code = (wait: Promise<unknown>): Promise<unknown> => wait.then(() => "final", (error: { code: string }) => error.code);
  const controller = new AbortController();
  const id = hex(txid(1));
  const heard = [code(waiters.wait(id, {})), code(waiters.wait(id, { timeoutMs: 1 })), code(waiters.wait(id, { signal: controller.signal })), code(waiters.wait(hex(txid(2)), {}))];
  controller.abort();
  assert.equal(await heard[1], "timeout");
  waiters.resolve(id, status);
  waiters.reject(hex(txid(2)), "expired", "");
  waiters.rejectAll("node_stopped", "");
  assert.deepEqual(await Promise.all(heard), ["final", "timeout", "aborted", "expired"]);
  assert.equal(waiters.has(id), false);
});

test("outcomes and events come back from their bytes as they were", () => {
  const machine = address(new Uint8Array(20).fill(5));
  const events: LedgerEvent[] = [
    { kind: "opened", deploymentId: machine, index: 0, machine, rate: 2n ** 63n, second: 9n }, { kind: "failed", deploymentId: machine, index: 1, machine, cause: `"#": "1"` },
  ];
  const outcomes = [{ txid: sha256(txid(1)), ok: true }, { txid: sha256(txid(2)), ok: false, code: "no", message: "Cannot" }];
  assert.deepEqual(decodeResults(encodeResults({ outcomes, events })), { outcomes, events });
});
