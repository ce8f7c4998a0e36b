/**
 * `npm run bench:ledger`: transfers per second through the ledger, on one core, as JSON.
 *
 * `apply`: what a block costs when its signatures were checked before, at admission: envelope, operations, journal, state tree, root.
 * `decode` and `verify` are what admission costs besides. Blocks of 1,000 transfers between random accounts; the median of the
 * runs counts, and the CPU time with it, as a busy computer stretches the wall's.
 */
import { type DecodedTransaction, decodeTransaction, signTransaction, verifySignatures } from "#chain/codec/transaction.ts";
import { GENESIS_ACCOUNTS_MAX, type Genesis } from "#chain/codec/genesis.ts";
import { addressOf } from "#chain/codec/address.ts";
import { publicKeyOf, sha256 } from "#chain/crypto.ts";
import { applyBlock, feeFor, nextMoneySecond, openLedger } from "#chain/ledger/ledger.ts";
import { address, timeMs } from "#chain/types.ts";
import { signaturesCheckedBy, verifyNatively } from "#os/verification.ts";

const SENDERS = 1_000;
const BLOCK_TRANSACTIONS = 1_000;
const RUNS = 7;
type Cost = { readonly wallMs: number; readonly cpuMs: number };

function measure(work: () => void): Cost {
  const [wall, cpu] = [performance.now(), process.cpuUsage()];
  work();
  const used = process.cpuUsage(cpu);
  return { wallMs: performance.now() - wall, cpuMs: (used.user + used.system) / 1000 };
}
const median = (costs: readonly Cost[], of: keyof Cost): number => costs.map((cost) => cost[of]).sort((a, b) => a - b)[costs.length >> 1] as number;

function bench(accountCount: number): object {
  const seeds = Array.from({ length: SENDERS }, (_, i) => sha256(new TextEncoder().encode(`bench ${i}`)));
  const senders = seeds.map((seed) => addressOf(publicKeyOf(seed)));
  const others = Array.from({ length: accountCount - SENDERS }, (_, i) => address(sha256(new TextEncoder().encode(`account ${i}`)).slice(0, 20)));
  const everybody = [...senders, ...others];
  const genesis: Genesis = {
    version: 1, name: "bench", timeMs: timeMs(1_700_000_000_000n), deltaMs: 100, parameters: "default",
    validators: [{ publicKey: publicKeyOf(seeds[0]!), weight: 1, operator: senders[0]! }], accounts: everybody.map((id) => ({ address: id, balance: 10n ** 12n })).slice(0, GENESIS_ACCOUNTS_MAX),
  };
  const ledger = openLedger(genesis);
  // A genesis cannot name so many accounts; the others come by transfers, which also warms the code up.
  let [height, at] = [0, genesis.timeMs as bigint];
  const block = (transactions: readonly DecodedTransaction[]): void => {
    at += 1000n;
    const applied = applyBlock(ledger, { height: ++height, timeMs: at, moneySecond: nextMoneySecond(ledger, at), previousId: ledger.state.root, transactions });
    if (!applied.ok || applied.outcomes.some(({ ok }) => !ok)) throw new Error(`Cannot measure block ${height}: ${applied.ok ? "an operation was refused" : applied.message}`);
  };
  const transfers = (nonce: number, to: (i: number) => (typeof everybody)[number], opsPerTransaction = 1): Uint8Array[] =>
    Array.from({ length: BLOCK_TRANSACTIONS }, (_, i) => signTransaction({
      chainId: ledger.chainId, sender: senders[i]!, nonce: BigInt(nonce), validUntilMs: at + 600_000n, fee: feeFor(ledger.rules, 1024),
      ops: Array.from({ length: opsPerTransaction }, (_unused, op) => ({ kind: "transfer" as const, to: to(i * opsPerTransaction + op), amount: 1_000n + BigInt(i) })),
    }, [seeds[i]!]));
  let nonce = 0;
  for (let made = Math.min(accountCount, GENESIS_ACCOUNTS_MAX); made < accountCount; made += 8_000, nonce++) {
    const raw = transfers(nonce, (i) => everybody[Math.min(made + i, accountCount - 1)]!, 8).map(decodeTransaction);
    for (let first = 0; first < BLOCK_TRANSACTIONS; first += 400) block(raw.slice(first, first + 400));
  }
  const costs: Record<"decode" | "verify" | "apply", Cost[]> = { decode: [], verify: [], apply: [] };
  let transactionBytes = 0;
  for (let run = -2; run < RUNS; run++, nonce++) {
    const raw = transfers(nonce, (i) => everybody[(i * 7919 + nonce * 104_729) % accountCount]!);
    let decoded: DecodedTransaction[] = [];
    const decode = measure(() => { decoded = raw.map(decodeTransaction); });
    const verify = measure(() => { if (!decoded.every(verifySignatures)) throw new Error("Cannot measure as a signature does not hold"); });
    const apply = measure(() => block(decoded));
    transactionBytes = raw[0]!.length;
    if (run < 0) continue;
    costs.decode.push(decode);
    costs.verify.push(verify);
    costs.apply.push(apply);
  }
  const perSecond = (parts: readonly (keyof typeof costs)[], of: keyof Cost): number => Math.round((BLOCK_TRANSACTIONS * 1000) / parts.reduce((sum, part) => sum + median(costs[part], of), 0));
  const all = ["decode", "verify", "apply"] as const;
  return {
    accounts: accountCount, transactionBytes,
    withSignatures: { txPerSecond: perSecond(all, "wallMs"), txPerCpuSecond: perSecond(all, "cpuMs") },
    signaturesCheckedBefore: { txPerSecond: perSecond(["apply"], "wallMs"), txPerCpuSecond: perSecond(["apply"], "cpuMs") },
    cpuMicrosecondsPerTransaction: Object.fromEntries(all.map((part) => [part, Math.round(median(costs[part], "cpuMs") * 10) / 10])),
  };
}

verifyNatively((line) => process.stderr.write(`${line}\n`));
console.log(JSON.stringify({ benchmark: "ledger", node: process.version, signaturesBy: signaturesCheckedBy(), runs: RUNS, blockTransactions: BLOCK_TRANSACTIONS, results: [10_000, 100_000].map(bench) }, null, 2));
