/**
 * `npm run bench:deploy`: from the POST of a signed deployment (component built and uploaded) to the first byte that it serves, on a
 * real machine process; the ingress is asked without pause from the POST on. Prints JSON: median, minimum, maximum, every round.
 *
 *   npm run bench:deploy [-- --rounds N]
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { request } from "node:http";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { addressOf, addressText } from "#chain/codec/address.ts";
import { type TransactionBody, signTransaction } from "#chain/codec/transaction.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import { chainId, fromHex } from "#chain/types.ts";
import { buildProject } from "#workloads/sdk/build.ts";
import { ApiClient } from "#tools/cli/client.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const ROUND_MS_MAX = 20_000;
const TOKEN = 1_000_000_000n;

/** Milliseconds until the host answers 200; asks again at once when it does not. */
async function untilServed(port: number, host: string, sinceMs: number): Promise<number> {
  while (performance.now() - sinceMs < ROUND_MS_MAX) {
    const status = await new Promise<number>((resolve) => {
      request({ host: "127.0.0.1", port, headers: { host }, agent: false }, (answer) => {
        answer.resume();
        resolve(answer.statusCode ?? 0);
      }).on("error", () => resolve(0)).end();
    });
    if (status === 200) return performance.now() - sinceMs;
  }
  throw new Error(`${host} was not served within ${ROUND_MS_MAX} ms`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { rounds: { type: "string", default: "9" } } });
  const directory = mkdtempSync(join(tmpdir(), "godwit-bench-"));
  const machine = spawn(process.execPath, [join(ROOT, "tools", "start.ts"), "--data", directory, "--api-port", "0", "--http-port", "0", "--no-demo"], { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  machine.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  try {
    while (!/^stop /m.test(output)) await once(machine.stdout, "data");
    const url = /^api\s+(\S+)/m.exec(output)![1]!;
    const port = Number(/^ingress\s+\S+:(\d+)/m.exec(output)![1]);
    const seed = fromHex(readFileSync(join(directory, "keys", "development"), "utf8").trim());
    const sender = addressOf(publicKeyOf(seed));
    await using client = new ApiClient({ url, signer: { address: sender, seed } });
    const { component } = await buildProject(join(ROOT, "workloads", "examples", "hello"));
    const { digest } = await client.uploadComponent(component);
    const status = await client.status();
    const roundsMs: number[] = [];
    for (let round = 0; round < Number(values.rounds); round++) {
      const { nonce } = await client.account(addressText(sender));
      const body: TransactionBody = {
        chainId: chainId(fromHex(status.chainId)), sender, nonce, validUntilMs: BigInt(Date.now()) + 60_000n, fee: TOKEN / 1_000n,
        ops: [{ kind: "deploy", name: `bench-${round}`, componentDigest: digest, configurationDigest: null, memoryMib: 64, cpuMillis: 10, concurrency: 4, replicas: 1, deposit: TOKEN, rateMax: 0n, isolation: 0 }],
      };
      const transaction = signTransaction(body, [seed]);
      const sinceMs = performance.now();
      const submitted = client.submit(transaction);
      roundsMs.push(await untilServed(port, `bench-${round}.${addressText(sender)}.localhost`, sinceMs));
      await submitted;
      // The next round's nonce is read from final state, and its block is not held back by this one's.
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    const sorted = roundsMs.toSorted((a, b) => a - b);
    const rounded = (ms: number | undefined): number => Math.round((ms ?? Number.NaN) * 10) / 10;
    console.log(JSON.stringify({ bench: "deploy", cores: cpus().length, node: process.version, postToFirstByteMs: { median: rounded(sorted[Math.floor(sorted.length / 2)]), min: rounded(sorted[0]), max: rounded(sorted.at(-1)) }, roundsMs: roundsMs.map(rounded) }, null, 2));
  } finally {
    machine.kill("SIGINT");
    await once(machine, "close");
    rmSync(directory, { recursive: true, force: true });
  }
}

await main();
