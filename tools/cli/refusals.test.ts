import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { refusalText } from "./refusals.ts";

const LEDGER = join(import.meta.dirname, "../../chain/ledger");
/** Of machines, of a block or a chunk as a whole, and of envelopes. */
const NOT_OF_PEOPLE = new Set([
  "already_ready", "bad_level", "health_known", "lease_busy", "load_known", "no_standby", "not_leaving", "not_on_standby", "not_placed_here", "not_ready_here", "not_witnessed", "on_standby", "too_soon", "wrong_rate", "wrong_run",
  "block_full", "chunk_invalid", "suspicion_invalid", "wrong_height", "wrong_money_second", "wrong_time",
  "bad_signature", "expiry_too_far", "fee_too_low", "free_share_used", "nonce_used_up", "out_of_scope", "wrong_chain", "wrong_nonce",
]);

test("every code that the ledger can refuse a person's transaction with has a sentence, and what is none of people's is a code of the ledger still", () => {
  const codes = new Set(readdirSync(LEDGER).filter((name) => name.endsWith(".ts") && !name.includes(".test.")).flatMap((name) => [...readFileSync(join(LEDGER, name), "utf8").matchAll(/refuse\("([a-z_]+)"/g)].map(([, code]) => code as string)));
  assert(codes.size > 90, `${codes.size}`);
  assert.deepEqual([...codes].filter((code) => refusalText(code) === code && !NOT_OF_PEOPLE.has(code)), []);
  assert.deepEqual([...NOT_OF_PEOPLE].filter((code) => !codes.has(code)), []);
});
