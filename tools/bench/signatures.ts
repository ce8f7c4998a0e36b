/**
 * `npm run bench:signatures [-- --short] [--save]`: what the check of a signature costs in CPU of the whole process, by each way that there is, as JSON.
 *
 * OpenSSL and the native part, on the loop and as a node asks for them (`verifyInPool`, one after the other and many at a time), and the browser's
 * twin. In rounds, all ways in each, one after the other; medians, and the share of the native part in OpenSSL's time. Each signature is one
 * of a transfer's size, by one of many keys.
 */
import { randomBytes } from "node:crypto";
import { parseArgs } from "node:util";
import { generateKey, sign, useNativeVerification, verify, verifyInPool } from "#chain/crypto.ts";
import { verify as verifyInBrowser } from "#chain/light/browserCrypto.ts";
import { loadVerification } from "#sandbox/verification.ts";
import { computer, median, report, rounded } from "./report.ts";

const KEYS = 512;
const MESSAGE_BYTES = 160;
const AT_ONCE = 64;
const BROWSER_SHARE = 32;

const { values: options } = parseArgs({ options: { short: { type: "boolean", default: false }, save: { type: "boolean", default: false } } });
const [rounds, count] = options.short ? [3, 2_048] : [11, 8_192];
const on = await computer();
const native = loadVerification();
if (native === null) throw new Error("Cannot compare: the native parts are not built, run `npm start` or `npm test` once");

const keys = Array.from({ length: KEYS }, generateKey);
const items = Array.from({ length: count }, (_, index) => {
  const { publicKey, privateKey } = keys[index % KEYS]!;
  const message = new Uint8Array(randomBytes(MESSAGE_BYTES));
  return { publicKey, message, signature: sign(privateKey, "transaction", message) };
});
type Way = { readonly native: boolean; readonly count: number; readonly run: (some: typeof items) => boolean | Promise<boolean> };

const onLoop = (some: typeof items): boolean => some.every(({ signature, message, publicKey }) => verify("transaction", signature, message, publicKey));
const inPool = (atOnce: number) => (some: typeof items): Promise<boolean> => new Promise((resolve) => {
  let [next, left, all] = [0, some.length, true];
  const start = (): void => {
    const item = some[next++];
    if (item === undefined) return;
    verifyInPool("transaction", item.signature, item.message, item.publicKey, (holds) => {
      all &&= holds;
      if (--left === 0) resolve(all);
      else start();
    });
  };
  for (let lane = 0; lane < atOnce; lane++) start();
});
const WAYS: Readonly<Record<string, Way>> = {
  opensslOnLoop: { native: false, count, run: onLoop }, opensslInPoolOne: { native: false, count, run: inPool(1) }, opensslInPoolMany: { native: false, count, run: inPool(AT_ONCE) },
  nativeOnLoop: { native: true, count, run: onLoop }, nativeInPoolOne: { native: true, count, run: inPool(1) }, nativeInPoolMany: { native: true, count, run: inPool(AT_ONCE) },
  browser: { native: false, count: count / BROWSER_SHARE, run: (some) => some.every(({ signature, message, publicKey }) => verifyInBrowser("transaction", signature, message, publicKey)) },
};

const raw: Record<string, number[]> = Object.fromEntries(Object.keys(WAYS).map((name) => [name, []]));
for (let round = 0; round <= rounds; round++) {
  for (const [name, way] of Object.entries(WAYS)) {
    if (!useNativeVerification(way.native ? native : null)) throw new Error("Cannot compare: the native part errs about known signatures");
    const before = process.cpuUsage();
    if (!(await way.run(items.slice(0, way.count)))) throw new Error(`Cannot compare: ${name} refuses a good signature`);
    const { user, system } = process.cpuUsage(before);
    // The first round warms what is compiled and cached.
    if (round > 0) raw[name]!.push(rounded((user + system) / way.count));
  }
}
const cpuUs = Object.fromEntries(Object.entries(raw).map(([name, values]) => [name, median(values)]));
report("signatures", { ...on, rounds, signatures: count, cpuUs, nativeShare: rounded(cpuUs["nativeOnLoop"]! / cpuUs["opensslOnLoop"]!), raw }, options.save, "chain");
