import assert from "node:assert/strict";
import { test } from "node:test";
import { type Operation, decodeTransaction, signTransaction } from "#chain/codec/transaction.ts";
import { publicKeyOf, sha256 } from "#chain/crypto.ts";
import { type Address, address, chainId, digest, hex, refuse } from "#chain/types.ts";
import { CHECKS_AT_ONCE, CHECKS_QUEUED_MAX, MEMPOOL_COUNT_MAX, PENDING_PER_PEER_MAX } from "./limits.ts";
import { LOCAL, Mempool, type MempoolOptions, PENDING_PER_ACCOUNT_MAX } from "./mempool.ts";

const CHAIN = chainId(new Uint8Array(8).fill(1));
const NOW = 1_800_000_000_000n;
const TO = address(new Uint8Array(20).fill(9));
const seedOf = (who: number): Uint8Array => sha256(Uint8Array.of(who));
const senderOf = (who: number): Address => address(publicKeyOf(seedOf(who)).slice(0, 20));

type Sent = { who?: number; nonce?: bigint; fee?: bigint; chain?: number; validUntilMs?: bigint; amount?: bigint; ops?: Operation[]; signer?: number };
const sent = ({ who = 1, nonce = 0n, fee = 1000n, chain = 1, validUntilMs = NOW + 1000n, amount = 1n, ops, signer = who }: Sent = {}): Uint8Array =>
  signTransaction({
    chainId: chainId(new Uint8Array(8).fill(chain)), sender: senderOf(who), nonce, validUntilMs, fee, ops: ops ?? [{ kind: "transfer", to: TO, amount }],
  }, [seedOf(signer)]);
const UP: Extract<Operation, { kind: "up" }> = { kind: "up", bootId: new Uint8Array(16), consensusKey: null, binding: null, acknowledgements: [] };

type Rig = { pool: Mempool; nonces: Map<string, bigint>; dropped: [bigint, string][]; setNow(ms: bigint): void };
function rig(options: MempoolOptions = {}): Rig {
  let now = NOW;
  const nonces = new Map<string, bigint>();
  const dropped: [bigint, string][] = [];
  const pool = new Mempool({
    account: (sender) => ({ nonce: nonces.get(hex(sender)) ?? 0n, balance: 1_000_000n }),
    refusalOf: ({ body, signatures }, noncesAhead) => {
      const nonce = nonces.get(hex(body.sender)) ?? 0n;
      const facts: [boolean, string][] = [
        [hex(body.chainId) === hex(CHAIN), "wrong_chain"], [body.nonce >= nonce && body.nonce <= nonce + noncesAhead, "wrong_nonce"], [body.validUntilMs >= now, "expired"], [body.validUntilMs <= now + HOUR_MS, "expiry_too_far"],
        [signatures.every((by) => hex(by.key).startsWith(hex(body.sender))), "bad_signature"], [body.fee >= (body.ops.every((op) => op.kind === "up") ? 0n : 100n), "fee_too_low"],
      ];
      const wrong = facts.find(([holds]) => !holds);
      return wrong ? refuse(wrong[1], "") : null;
    },
  }, { onDrop: ({ body }, code) => dropped.push([body.nonce, code]), ...options });
  return { pool, nonces, dropped, setNow: (ms) => { now = ms; } };
}
const HOUR_MS = 3_600_000n;
const codeOf = async (pool: Mempool, bytes: Uint8Array): Promise<string> => {
  const answer = await pool.submit(bytes);
  return answer.ok ? "ok" : answer.code;
};
function damaged(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  copy[copy.length - 40]! ^= 1;
  return copy;
}

test("each wrong transaction is refused with its own code, and a good one is taken", async () => {
  const cases: [string, Uint8Array, string][] = [
    ["good", sent(), "ok"],
    ["above 8 KiB", new Uint8Array(8193), "transaction_too_large"],
    ["not CBOR", Uint8Array.of(0xff), "transaction_malformed"],
    ["no operation", sent({ who: 2 }).slice(0, 40), "transaction_malformed"],
    ["another chain", sent({ chain: 2 }), "wrong_chain"],
    ["expired", sent({ validUntilMs: NOW - 1n }), "expired"],
    ["nonce 16 of 0", sent({ nonce: 16n }), "wrong_nonce"],
    ["nonce 15 of 0", sent({ nonce: 15n }), "ok"],
    ["fee one below the least", sent({ fee: 99n }), "fee_too_low"],
    ["more money than there is", sent({ amount: 1_000_000n }), "insufficient_funds"],
    ["deposit beyond the balance", sent({ ops: [{ kind: "topUp", deploymentId: TO, amount: 999_001n }] }), "insufficient_funds"],
    ["just enough money", sent({ who: 3, amount: 999_000n }), "ok"],
    ["signed by another", sent({ who: 4, signer: 5 }), "bad_signature"],
    ["a damaged signature", damaged(sent({ who: 6 })), "bad_signature"],
    ["a free operation", sent({ who: 7, fee: 0n, ops: [UP] }), "ok"],
  ];
  for (const [name, bytes, code] of cases) assert.equal(await codeOf(rig().pool, bytes), code, name);
});

test("no signature is checked while anything cheaper is wrong", async () => {
  let checks = 0;
  const { pool } = rig({ checkSignatures: (_, done) => { checks++; queueMicrotask(() => done(true)); } });
  for (const bytes of [sent({ chain: 2 }), sent({ validUntilMs: 0n }), sent({ nonce: 99n }), sent({ fee: 0n }), sent({ amount: 2_000_000n }), sent({ who: 4, signer: 5 })]) {
    assert.notEqual(await codeOf(pool, bytes), "ok");
  }
  assert.equal(checks, 0);
  await Promise.all([pool.submit(sent()), pool.submit(sent()), pool.submit(sent())]);
  assert.equal(await codeOf(pool, sent()), "ok");
  assert.equal(checks, 1);
});

test("what became wrong while its signature was checked is not taken", async () => {
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  const { pool, nonces } = rig({ checkSignatures: (_, done) => void held.then(() => done(true)) });
  const answer = codeOf(pool, sent());
  nonces.set(hex(senderOf(1)), 1n);
  pool.tipMoved([decodeTransaction(sent())]);
  release();
  assert.equal(await answer, "wrong_nonce");
  assert.equal(pool.count, 0);
});

test("those of one account must be paid for together, in order of nonce", async () => {
  const { pool } = rig();
  assert.equal(await codeOf(pool, sent({ nonce: 0n, amount: 600_000n })), "ok");
  assert.equal(await codeOf(pool, sent({ nonce: 1n, amount: 600_000n })), "insufficient_funds");
  assert.equal(await codeOf(pool, sent({ nonce: 1n, amount: 300_000n })), "ok");
});

test("a replacement pays a tenth more", async () => {
  const { pool, dropped } = rig();
  assert.equal(await codeOf(pool, sent({ fee: 1001n })), "ok");
  assert.equal(await codeOf(pool, sent({ fee: 1101n })), "replacement_underpriced");
  assert.equal(await codeOf(pool, sent({ fee: 1102n })), "ok");
  assert.equal(pool.count, 1);
  assert.deepEqual(dropped, [[0n, "replaced"]]);
  const free = rig().pool;
  assert.equal(await codeOf(free, sent({ who: 7, fee: 0n, ops: [UP] })), "ok");
  assert.equal(await codeOf(free, sent({ who: 7, fee: 0n, ops: [{ ...UP, bootId: new Uint8Array(16).fill(1) }] })), "replacement_underpriced");
});

test("without room the lowest fee per byte leaves, and lower ones are refused", async () => {
  const { pool, dropped } = rig({ countMax: 3 });
  for (const [who, fee] of [[1, 500n], [2, 300n], [3, 400n]] as const) assert.equal(await codeOf(pool, sent({ who, fee })), "ok");
  assert.equal(await codeOf(pool, sent({ who: 4, fee: 300n })), "mempool_full");
  assert.equal(await codeOf(pool, sent({ who: 4, fee: 600n, nonce: 2n })), "ok");
  assert.deepEqual(dropped, [[0n, "mempool_full"]]);
  assert.equal(await codeOf(pool, sent({ who: 7, fee: 0n, ops: [UP] })), "ok", "a free operation is let in and pushes out");
  assert.deepEqual(pool.select(10, 100_000).map(({ body }) => body.fee), [0n, 500n]);
  assert.equal(await codeOf(pool, sent({ who: 5, fee: 9_000n })), "ok");
  assert.deepEqual(pool.select(10, 100_000).map(({ body }) => body.fee), [0n, 9_000n]);
  const small = rig({ bytesMax: sent().length * 2 }).pool;
  for (const who of [1, 2]) assert.equal(await codeOf(small, sent({ who })), "ok");
  assert.equal(await codeOf(small, sent({ who: 3 })), "mempool_full");
  assert.equal(await codeOf(small, sent({ who: 3, fee: 2000n })), "ok");
  assert.equal(small.bytesTotal, sent().length * 2);
});

test("what can change all leases of a deployment stands behind what changes two balances, for the same fee", async () => {
  const { pool } = rig();
  const id = senderOf(9);
  assert.equal(await codeOf(pool, sent({ who: 1, fee: 2_000n, ops: Array.from({ length: 16 }, (): Operation => ({ kind: "resize", deploymentId: id, memoryMib: 1, cpuMillis: 0 })) })), "ok");
  assert.equal(await codeOf(pool, sent({ who: 2, fee: 500n })), "ok");
  assert.deepEqual(pool.select(10, 100_000).map(({ body }) => body.fee), [500n, 2_000n]);
});

test("what makes and takes back all leases of a revision stands behind, however short it is", async () => {
  const deploymentId = senderOf(9);
  const update: Operation = { kind: "update", deploymentId, componentDigest: digest(new Uint8Array(32)), configurationDigest: null, weight: 1000, healthySeconds: 1, deadlineSeconds: 2, failuresMax: 0 };
  for (const ops of [[update], [{ kind: "promote", deploymentId }], [{ kind: "rollBack", deploymentId }], [{ kind: "drain", machine: deploymentId, draining: 1 }]] as Operation[][]) {
    const { pool } = rig();
    assert.equal(await codeOf(pool, sent({ who: 1, fee: 2_000n, ops })), "ok");
    assert.equal(await codeOf(pool, sent({ who: 2, fee: 500n })), "ok");
    assert.deepEqual(pool.select(10, 100_000).map(({ body }) => body.fee), [500n, 2_000n], ops[0]!.kind);
  }
});

test("of what is free each machine has one after the other: whoever sends sixteen at once keeps nobody waiting for more than the first", async () => {
  const { pool } = rig();
  for (let nonce = 0n; nonce < 16n; nonce++) await pool.submit(sent({ who: 7, nonce, fee: 0n, ops: [{ ...UP, bootId: new Uint8Array(16).fill(Number(nonce)) }] }));
  for (const who of [8, 9]) await pool.submit(sent({ who, fee: 0n, ops: [UP] }));
  const senders = pool.select(1000, 1e6).map(({ body: { sender } }) => [7, 8, 9].find((who) => hex(senderOf(who)) === hex(sender)));
  assert.deepEqual(senders.slice(0, 4), [7, 8, 9, 7]);
  assert.equal(senders.length, 18);
});

test("free operations fill half a block where others wait for it, and all of it where nobody does", async () => {
  const { pool } = rig();
  for (let nonce = 0n; nonce < 8n; nonce++) assert.equal(await codeOf(pool, sent({ who: 7, fee: 0n, nonce, ops: [UP] })), "ok");
  assert.equal(pool.select(4, 100_000).length, 4);
  for (const who of [1, 2]) assert.equal(await codeOf(pool, sent({ who })), "ok");
  const fees = (count: number, bytes: number): bigint[] => pool.select(count, bytes).map(({ body }) => body.fee);
  assert.deepEqual(fees(4, 100_000), [0n, 0n, 1000n, 1000n]);
  assert.deepEqual(fees(6, 100_000), [0n, 0n, 0n, 1000n, 1000n, 0n]);
  assert.deepEqual(fees(100, sent().length * 3).slice(-2), [1000n, 1000n]);
});

test("select() takes by fee per byte among accounts, by nonce within one, without gaps, within its limits", async () => {
  const { pool } = rig();
  for (const [who, nonce, fee] of [[1, 1n, 9000n], [1, 0n, 200n], [2, 0n, 500n], [2, 2n, 900n], [3, 0n, 300n], [1, 2n, 150n]] as const) {
    assert.equal(await codeOf(pool, sent({ who, nonce, fee })), "ok");
  }
  assert.equal(await codeOf(pool, sent({ who: 7, fee: 0n, ops: [UP] })), "ok");
  const fees = (count: number, bytes = 1_000_000): bigint[] => pool.select(count, bytes).map(({ body }) => body.fee);
  assert.deepEqual(fees(100), [0n, 500n, 300n, 200n, 9000n, 150n]);
  assert.equal(pool.readyCount, 6);
  assert.deepEqual(fees(3), [0n, 500n, 300n]);
  assert.equal(fees(100, sent().length * 2 + 10).length, 2);
});

test("the tip moves forward and back, and what became final leaves with whatever had its nonces", async () => {
  const { pool, nonces, dropped, setNow } = rig();
  const all = [];
  for (const nonce of [0n, 1n, 2n]) {
    const answer = await pool.submit(sent({ nonce }));
    assert.ok(answer.ok);
    all.push(answer.transaction);
  }
  const [first, second] = [all[0]!, all[1]!];
  const nonce = (n: bigint): void => { nonces.set(hex(senderOf(1)), n); };
  nonce(2n);
  pool.tipMoved([first, second]);
  assert.equal(pool.readyCount, 1);
  assert.deepEqual(pool.select(9, 9999).map(({ body }) => body.nonce), [2n]);
  assert.equal(await codeOf(pool, sent({ nonce: 1n, fee: 5000n })), "wrong_nonce");
  nonce(0n);
  pool.tipMoved([first, second]);
  assert.equal(pool.readyCount, 3);
  assert.equal(await codeOf(pool, sent({ nonce: 1n, fee: 5000n })), "ok");
  nonce(2n);
  pool.final([first, second], NOW);
  assert.deepEqual(dropped, [[1n, "replaced"], [1n, "wrong_nonce"]]);
  assert.equal(pool.count, 1);
  assert.equal(pool.readyCount, 1);
  setNow(NOW + 10_000n);
  pool.final([], NOW + 10_000n);
  assert.deepEqual(dropped.at(-1), [2n, "expired"]);
  assert.deepEqual([pool.count, pool.bytesTotal, pool.readyCount], [0, 0, 0]);
});

test("what was taken while the clock was years ahead leaves when it is right, and its nonce is free", async () => {
  const { pool, dropped, setNow } = rig();
  const years = 100_000n * HOUR_MS;
  setNow(NOW + years);
  assert.equal(await codeOf(pool, sent({ validUntilMs: NOW + years + 1000n })), "ok");
  assert.equal(await codeOf(pool, sent({ who: 2, validUntilMs: NOW + years + 1000n })), "ok");
  setNow(NOW);
  assert.equal(await codeOf(pool, sent()), "replacement_underpriced");
  pool.final([], NOW);
  assert.deepEqual(dropped, [[0n, "expiry_too_far"], [0n, "expiry_too_far"]]);
  assert.equal(await codeOf(pool, sent()), "ok");
  // A chain that is being caught up with is behind the clock, and what is valid now waits.
  const behind = rig();
  assert.equal(await codeOf(behind.pool, sent()), "ok");
  behind.pool.final([], NOW - years);
  assert.equal(behind.pool.count, 1);
});

test("what has become final is let go of, however many there were", async () => {
  const { pool, nonces } = rig();
  for (let nonce = 0n; nonce < 3_000n; nonce++) {
    const bytes = sent({ nonce, amount: 1n });
    assert.equal(await codeOf(pool, bytes), "ok");
    nonces.set(hex(senderOf(1)), nonce + 1n);
    pool.final([decodeTransaction(bytes)], NOW);
  }
  assert.equal(pool.count, 0);
  assert(pool.heldCount < 1_000, `${pool.heldCount} are held`);
});

test("sixteen wait for one account, no more", async () => {
  const { pool } = rig();
  for (let nonce = 0n; nonce < BigInt(PENDING_PER_ACCOUNT_MAX); nonce++) assert.equal(await codeOf(pool, sent({ nonce })), "ok");
  assert.equal(await codeOf(pool, sent({ nonce: 16n })), "wrong_nonce");
});

test("known() is for exactly the bytes whose signature was checked: the id does not cover signatures", async () => {
  const { pool } = rig();
  const answer = await pool.submit(sent());
  assert.ok(answer.ok);
  assert.ok(pool.known(sent()));
  assert.equal(pool.known(damaged(sent())), null);
  const longer = damaged(sent());
  longer[longer.length - 40]! ^= 1;
  longer[10]! ^= 1;
  assert.equal(pool.known(longer), null, "the same end of the signature under other bytes");
});

test("a forged copy that comes first costs the real transaction nothing", async () => {
  const { pool } = rig();
  const [forged, real] = await Promise.all([codeOf(pool, damaged(sent())), codeOf(pool, sent())]);
  assert.deepEqual([forged, real], ["bad_signature", "ok"]);
});

/** A transaction of another sender each, with the same signature under it: cheap to make, and as good as forged. */
const TEMPLATE = sent();
const SENDER_AT = Buffer.from(TEMPLATE).indexOf(senderOf(1));
function forged(n: number): Uint8Array {
  const bytes = TEMPLATE.slice();
  new DataView(bytes.buffer).setUint32(bytes.length - 8, n);
  new DataView(bytes.buffer).setUint32(SENDER_AT, n);
  return bytes;
}
const ANYBODY = { account: () => ({ nonce: 0n, balance: 1_000_000n }), refusalOf: () => null };
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("a flood of forgeries from one source does not keep out what others send, whatever its size", async () => {
  const accused: string[] = [];
  const codes = new Map<string, number>();
  const running: (() => void)[] = [];
  const pool = new Mempool(ANYBODY, {
    onForged: (source) => accused.push(source),
    checkSignatures: ({ body }, done) => running.push(() => done(body.fee !== 1_000n)),
  });
  for (let n = 0; n < CHECKS_QUEUED_MAX + 500; n++) pool.offer(forged(n), "liar", (answer) => {
    const code = answer.ok ? "ok" : answer.code;
    codes.set(code, (codes.get(code) ?? 0) + 1);
  });
  const refusedMin = 500 - CHECKS_AT_ONCE;
  assert.equal(codes.get("mempool_full"), refusedMin, "the queue is bounded");
  const honest = [10, 11, 12].map((who) => pool.submit(sent({ who, fee: 5_000n }), "honest"));
  // What runs already is of the flood; from then on the two take turns.
  for (let done = 0; done < CHECKS_AT_ONCE + 6; done++) {
    running.shift()!();
    await nextTurn();
  }
  while (running.length > 0) running.shift()!();
  assert.deepEqual((await Promise.all(honest)).map(({ ok }) => ok), [true, true, true]);
  assert.deepEqual([codes.get("ok"), codes.get("mempool_full"), new Set(accused).size, accused[0], pool.count], [undefined, refusedMin + 3, 1, "liar", 3]);
});

test("what a block needs is checked at once, before all that waits, and once", async () => {
  const checked: bigint[] = [];
  const held: (() => void)[] = [];
  const { pool } = rig({ checkSignatures: ({ body }, done) => { checked.push(body.fee); held.push(() => done(true)); } });
  for (let n = 0; n < CHECKS_AT_ONCE + 10; n++) void pool.submit(sent({ who: 1 + (n % 12), nonce: BigInt(Math.floor(n / 12)), fee: 1_000n + BigInt(n) }));
  const last = sent({ who: 20, fee: 5_000n });
  const submitted = pool.submit(last);
  assert.equal(checked.includes(5_000n), false, "it waits in its turn");
  const verdict = pool.holds(decodeTransaction(last), last);
  assert.equal(checked.at(-1), 5_000n);
  held.at(-1)!();
  assert.equal(await verdict, true);
  assert.equal((await submitted).ok, true);
  assert.equal(checked.filter((fee) => fee === 5_000n).length, 1);
});

test("one peer brings half of what waits at most, and what is submitted here is not counted to it", async () => {
  const pool = new Mempool(ANYBODY, { checkSignatures: (_, done) => queueMicrotask(() => done(true)), perPeerMax: 5 });
  const codes: string[] = [];
  for (let n = 0; n < 7; n++) {
    const answer = await pool.submit(forged(n), "peer");
    codes.push(answer.ok ? "ok" : answer.code);
  }
  assert.deepEqual(codes, ["ok", "ok", "ok", "ok", "ok", "too_many_pending", "too_many_pending"]);
  for (const source of ["another peer", LOCAL]) assert.equal((await pool.submit(forged(9 + source.length), source)).ok, true);
  assert.ok(PENDING_PER_PEER_MAX * 2 <= MEMPOOL_COUNT_MAX);
});
