/**
 * Four validators as real processes on a LAN of network namespaces, under 200 transactions a second throughout, while one after the
 * other is killed, cut off, paused, restarted with a clock 5 s off, and restarted without its disk. At the end: one chain, no fork, and
 * every transaction that was taken is final, everywhere, once.
 */
import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { isNativeBuilt } from "#sandbox/native.ts";
import { type LoadResult, Watch, load, senders, strangers, transfers } from "#tools/bench/chainLoad.ts";
import { type ValidatorHandle, makeChain, startProcess } from "#tools/chain/grid.ts";
import { openLan } from "#tools/devnet/lan.ts";
import { needs } from "../require.ts";
import { eventually, temporaryFolder } from "./stage.ts";

const PORT = 7482;
const RATE = 200;
const VALIDATORS = [0, 1, 2, 3] as const;
/** The others check signatures by the native part, where it is built. */
const CHECKS_BY_OPENSSL = 1;

test("four real validators survive kill -9, partition and heal, a pause, a clock 5 s off and a restart without disk: no fork, no lost transaction", { timeout: 400_000 }, async (t) => {
  if (!needs(t, "root")) return;
  const lan = openLan(VALIDATORS.length);
  t.after(() => lan.close());
  const keys = senders(400);
  const chain = await makeChain(temporaryFolder(t), { validators: VALIDATORS.length, accounts: keys.map(({ address }) => ({ address, balance: 10n ** 13n })) });
  const multiaddress = (index: number): string => `/ip4/${lan.address(index)}/tcp/${PORT}`;
  const handles: ValidatorHandle[] = [];
  t.after(() => Promise.all(handles.map((one) => one.stop("SIGKILL"))));
  const start = async (index: number, more: { clockOffsetMs?: number; votesLost?: boolean } = {}): Promise<void> => {
    handles[index] = await startProcess(chain, index, { listen: [multiaddress(index)], peers: VALIDATORS.filter((other) => other !== index).map(multiaddress), prefix: lan.prefix(index), tellsFinal: index === 0,
      ...(index === CHECKS_BY_OPENSSL ? { environment: { GODWIT_SIGNATURES: "openssl" } } : {}), ...more });
  };
  await Promise.all(VALIDATORS.map((index) => start(index)));
  const height = async (index: number): Promise<number> => (await handles[index]!.status()).height;
  /** `index` is where the first one is, and gets on. */
  const follows = async (index: number, what: string): Promise<void> => {
    const from = await height(0);
    await eventually(`${what}: validator ${index} gets beyond height ${from}`, async () => (await height(index)) > from + 1, 90_000);
  };
  await follows(3, "at first");

  const watch = new Watch(handles[0]!);
  let isOver = false;
  const feed = transfers(chain.chainId, keys, RATE * 120, strangers(50));
  const loaded: Promise<LoadResult>[] = [(async () => {
    const results: LoadResult[] = [];
    while (!isOver) results.push(await load({ to: handles[0]!, watch, feed, seconds: 1, rate: RATE, lostMs: 0 }));
    return results.reduce((sum, one) => ({ ...one, offered: sum.offered + one.offered, refused: sum.refused + one.refused }));
  })()];

  t.diagnostic("kill -9");
  await handles[3]!.stop("SIGKILL");
  await sleep(2_000);
  const alone = await height(0);
  await eventually("three go on without the fourth", async () => (await height(0)) > alone + 2);
  await start(3);
  await follows(3, "after kill -9");

  t.diagnostic("partition");
  lan.cut([0, 1], [2, 3]);
  await sleep(1_000);
  const halted = await height(0);
  await sleep(4_000);
  assert.ok((await height(0)) <= halted + 1, "two of four agree on nothing");
  lan.heal();
  await eventually("the chain goes on after the heal", async () => (await height(0)) > halted + 3, 90_000);
  await Promise.all([1, 2, 3].map((index) => follows(index, "after the partition")));

  t.diagnostic("pause");
  handles[2]!.signal("SIGSTOP");
  await sleep(2_500);
  handles[2]!.signal("SIGCONT");
  await follows(2, "after the pause");

  t.diagnostic("clock");
  await handles[1]!.stop();
  await start(1, { clockOffsetMs: 5_000 });
  await follows(1, "with its clock 5 s off");

  t.diagnostic("without disk");
  await handles[3]!.stop("SIGKILL");
  await rm(join(chain.directory, "3", "chain"), { recursive: true });
  await start(3, { votesLost: true });
  await follows(3, "without its disk");

  isOver = true;
  const { offered, refused } = await loaded[0]!;
  await eventually("all that was taken is final", async () => watch.waiting === 0, 90_000);
  assert.equal(refused, 0);
  assert.equal(watch.final, offered);
  const top = await height(0);
  await eventually("all are there", async () => (await Promise.all(VALIDATORS.map(height))).every((at) => at >= top), 90_000);
  const seen = new Set<string>();
  for (let at = 1; at <= top; at++) {
    const blocks = await Promise.all(handles.map((one) => one.block(at)));
    const known = blocks.filter((block) => block !== null);
    assert.equal(new Set(known.map(({ id }) => id)).size, 1, `one block at height ${at}`);
    for (const txid of known[0]!.txids) {
      assert.equal(seen.has(txid), false, "no transaction twice");
      seen.add(txid);
    }
  }
  assert.equal(seen.size, offered);
  const statuses = await Promise.all(handles.map((one) => one.status()));
  // An answer that nobody waits for any more is useless, and no fault.
  const faults = (offences: Readonly<Record<string, number>>): string[] => Object.keys(offences).filter((name) => name !== "useless");
  assert.deepEqual(statuses.map(({ halted: why, offences }) => [why, faults(offences)]), VALIDATORS.map(() => [null, []]));
  // Who checks signatures in another way has come to the same blocks.
  assert.deepEqual(statuses.map(({ signaturesBy }) => signaturesBy), VALIDATORS.map((index) => (isNativeBuilt() && index !== CHECKS_BY_OPENSSL ? "native" : "openssl")));
  t.diagnostic(`${offered} transactions in ${top} blocks`);
});

test("machines of one chain on one LAN find each other without being told of any, and agree", { timeout: 240_000 }, async (t) => {
  if (!needs(t, "root")) return;
  const lan = openLan(2);
  t.after(() => lan.close());
  const chain = await makeChain(temporaryFolder(t), { validators: 2, accounts: [] });
  const handles = await Promise.all([0, 1].map((index) => startProcess(chain, index, { listen: [`/ip4/${lan.address(index)}/tcp/${PORT}`], peers: [], prefix: lan.prefix(index) })));
  t.after(() => Promise.all(handles.map((one) => one.stop("SIGKILL"))));
  await eventually("both have a block", async () => (await Promise.all(handles.map((one) => one.status()))).every(({ peers, height }) => peers === 1 && height > 0), 90_000);
});
