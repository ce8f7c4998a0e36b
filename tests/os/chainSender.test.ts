import assert from "node:assert/strict";
import test from "node:test";
import { type Operation, decodeTransaction } from "#chain/codec/transaction.ts";
import { NodeError } from "#chain/node/node.ts";
import { height, hex } from "#chain/types.ts";
import { ChainSender, FREE } from "#os/chainSender.ts";
import { keyPair } from "#os/keys.ts";
import { accountOf, fakeNode, seedOf } from "./fakeNode.ts";

const MACHINE = 3;
const up = (n: number): Operation => ({ kind: "up", bootId: new Uint8Array(16).fill(n), consensusKey: null, binding: null, acknowledgements: [] });
const NONCE = 5n;

type Wait = { readonly nonce: bigint; readonly final: () => void; readonly lost: () => void };

/** A mempool of one account by the real one's rules: a nonce is free, taken by one that waits, or used. */
function stage(): { sender: ChainSender; waits: Wait[]; nonces: () => bigint[] } {
  const node = fakeNode(1_000_000);
  const waits: Wait[] = [];
  const waiting = new Map<string, bigint>();
  const account = { address: accountOf(MACHINE), balance: 0n, nonce: NONCE, keys: [], threshold: 1 };
  node.accounts.set(hex(account.address), account);
  const submit = node.submit;
  node.submit = async (bytes) => {
    const { nonce } = decodeTransaction(bytes).body;
    if (nonce < account.nonce) throw new NodeError("wrong_nonce", "used");
    if ([...waiting.values()].includes(nonce)) throw new NodeError("replacement_underpriced", "taken");
    const { txid } = await submit(bytes);
    waiting.set(hex(txid), nonce);
    return { txid };
  };
  node.whenFinal = (txid) => {
    const { promise, resolve, reject } = Promise.withResolvers<{ height: ReturnType<typeof height>; index: number; ok: boolean }>();
    const nonce = waiting.get(hex(txid));
    assert(nonce !== undefined);
    const leave = (): void => void waiting.delete(hex(txid));
    waits.push({
      nonce,
      final: () => {
        leave();
        account.nonce = nonce + 1n;
        resolve({ height: height(1), index: 0, ok: true });
      },
      lost: () => {
        leave();
        reject(new NodeError("expired", "as the test says"));
      },
    });
    return promise;
  };
  return { sender: new ChainSender(node, keyPair(seedOf(MACHINE)), FREE, () => 1_000_000), waits, nonces: () => waits.map(({ nonce }) => nonce) };
}
const settle = async (): Promise<void> => {
  for (let n = 0; n < 40; n += 1) await Promise.resolve();
};

test("operations sent together have nonces in order, and each resolves with its own block", async () => {
  const { sender, waits, nonces } = stage();
  const sent = [1, 2, 3].map((n) => sender.submit(up(n)));
  await settle();
  assert.deepEqual(nonces(), [NONCE, NONCE + 1n, NONCE + 2n]);
  for (const { final } of waits) final();
  await Promise.all(sent);
});

test("a nonce whose transaction was lost is used by the next operation, while others that waited behind it still wait", async () => {
  const { sender, waits, nonces } = stage();
  const sent = [1, 2].map((n) => sender.submit(up(n)));
  await settle();
  waits[0]?.lost();
  await assert.rejects(sent[0]!, { code: "expired" });
  const again = [3, 4].map((n) => sender.submit(up(n)));
  await settle();
  assert.deepEqual(nonces().slice(2), [NONCE, NONCE + 2n], "the gap first, then past the one that waits");
  for (const nonce of [NONCE, NONCE + 1n, NONCE + 2n]) waits.findLast((wait) => wait.nonce === nonce)?.final();
  await Promise.all([sent[1], ...again]);
});

test("a nonce that somebody else used with this key is left behind at the next operation", async () => {
  const { sender, waits, nonces } = stage();
  const sent = [sender.submit(up(1)), sender.submit(up(2))];
  await settle();
  waits[1]?.final();
  const again = sender.submit(up(3));
  await settle();
  assert.equal(nonces()[2], NONCE + 2n);
  waits[0]?.lost();
  waits[2]?.final();
  await assert.rejects(sent[0]!, { code: "expired" });
  await again;
});
