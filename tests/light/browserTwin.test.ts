/**
 * The browser's part of the protocol against the node's: the same answer for every signature, in Node and in a real browser, and a light
 * client in a page that follows an epoch and proves an account.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { stripTypeScriptTypes } from "node:module";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { verifyStrict } from "#chain/crypto.ts";
import { CodecError, decode, encode } from "#chain/codec/cbor.ts";
import { needs } from "#tests/require.ts";
import { chance } from "#tests/simulation/chance.ts";
import { judgedByAll, rows } from "#tests/vectors/verifiers.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const BROWSER_TIMEOUT_MS = 60_000;

test("the browser's verifyStrict() gives the node's answer for good, changed, mixed-order and random signatures", () => {
  const accepted = { yes: 0, no: 0 };
  for (const { signature, message, key } of rows(chance(1), 40)) accepted[judgedByAll(signature, message, key) ? "yes" : "no"] += 1;
  assert(accepted.yes >= 40 && accepted.no >= 120, JSON.stringify(accepted));
});

/** Values of the profile and what becomes of them when a byte is changed, cut off or added; and noise. */
function items256(): Uint8Array[] {
  return Array.from({ length: 256 }, (_, i) => {
    const noise = new Uint8Array(randomBytes(1 + (i % 40)));
    if (i % 4 === 0) return noise;
    const whole = encode([i, 2n ** BigInt(i % 64), noise, "text \u00fc", [[], [noise.subarray(0, i % 9), i * 65_537]]]);
    if (i % 4 === 1) return whole;
    const at = Math.floor((i * 7) % whole.length);
    return i % 4 === 2 ? whole.map((byte, n) => (n === at ? byte ^ (1 << (i % 8)) : byte)) : whole.subarray(0, at);
  });
}
/** What was read, written again; empty when it is refused. */
function reading(bytes: Uint8Array): string {
  try {
    return encode(decode(bytes)).toHex();
  } catch (error) {
    if (error instanceof CodecError) return "";
    throw error;
  }
}

/** The repository's TypeScript as JavaScript, noble, and a page that loads the light client and says what it found. */
async function page(t: TestContext, script: string, data: unknown): Promise<{ url: string; result: Promise<any> }> { // eslint-disable-line typescript/no-explicit-any
  const found = Promise.withResolvers<unknown>();
  const imports = {
    "#chain/crypto.ts": "/chain/light/browserCrypto.ts", "/chain/crypto.ts": "/chain/light/browserCrypto.ts", "#chain/": "/chain/", "node:assert": "/assert.js",
    "@noble/ed25519": "/node_modules/@noble/ed25519/index.js", "@noble/hashes/sha2.js": "/node_modules/@noble/hashes/sha2.js",
  };
  const html = `<!doctype html><script type="importmap">${JSON.stringify({ imports })}</script><script type="module">
    const data = await (await fetch("/data")).json();
    let result;
    try { result = await (async () => { ${script} })(); } catch (error) { result = { error: String(error.stack ?? error) }; }
    await fetch("/result", { method: "POST", body: JSON.stringify(result) });
  </script>`;
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? "/", "http://localhost").pathname;
    const send = (type: string, body: string): void => void response.writeHead(200, { "content-type": type }).end(body);
    if (path === "/") return send("text/html", html);
    if (path === "/data") return send("application/json", JSON.stringify(data));
    if (path === "/assert.js") return send("text/javascript", "export default function assert(holds) { if (!holds) throw new Error('assertion'); }");
    if (path === "/result") {
      let body = "";
      request.on("data", (chunk: Buffer) => (body += chunk.toString())).on("end", () => {
        send("text/plain", "");
        found.resolve(JSON.parse(body));
      });
      return;
    }
    if (!/^\/(chain|node_modules\/@noble)\/[\w./-]+\.(ts|js)$/.test(path) || path.includes("..")) return void response.writeHead(404).end();
    const text = readFileSync(join(ROOT, path), "utf8");
    send("text/javascript", path.endsWith(".ts") ? stripTypeScriptTypes(text) : text);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, result: found.promise };
}

async function inBrowser(t: TestContext, script: string, data: unknown): Promise<any> { // eslint-disable-line typescript/no-explicit-any
  const { url, result } = await page(t, script, data);
  const profile = mkdtempSync(join(tmpdir(), "godwit-chromium-"));
  const sandbox = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
  const browser: ChildProcess = spawn("chromium", ["--headless=new", "--disable-gpu", "--no-first-run", ...sandbox, `--user-data-dir=${profile}`, url], { stdio: "ignore", detached: true });
  t.after(async () => {
    try {
      process.kill(-(browser.pid ?? 0), "SIGKILL");
    } catch {
      // It has ended.
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  });
  const timeout = AbortSignal.timeout(BROWSER_TIMEOUT_MS);
  return Promise.race([result, new Promise((_, fail) => timeout.addEventListener("abort", () => fail(new Error("the browser said nothing in time"))))]);
}

test("in a browser: verifyStrict() and decode() give the node's answers, and a light client follows an epoch, proves an account and refuses a liar", async (t) => {
  if (!needs(t, "chromium")) return;
  const { sampleChain } = await import("./sampleChain.ts");
  const chain = sampleChain();
  const checks = rows(chance(2), 10).map(({ signature, message, key }) => ({ signature: signature.toHex(), message: message.toHex(), key: key.toHex(), expected: verifyStrict(signature, message, key) }));
  const items = items256().map((bytes) => ({ bytes: bytes.toHex(), expected: reading(bytes) }));
  assert(items.some(({ expected }) => expected === "") && items.some(({ expected }) => expected !== ""));
  const result = await inBrowser(t, `
    const { decode, encode } = await import("#chain/codec/cbor.ts");
    const { verifyStrict } = await import("#chain/light/browserCrypto.ts");
    const light = await import("#chain/light/light.ts");
    const hex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
    const differ = data.checks.filter(({ signature, message, key, expected }) => verifyStrict(hex(signature), hex(message), hex(key)) !== expected).length;
    const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    const reading = (bytes) => { try { return toHex(encode(decode(bytes))); } catch (error) { if (error.name !== "CodecError") throw error; return ""; } };
    const misread = data.items.filter(({ bytes, expected }) => reading(hex(bytes)) !== expected).length;
    const begun = light.fromGenesis(hex(data.genesis), hex(data.chainId));
    const followed = light.follow(begun.state, hex(data.epoch));
    const read = light.read(followed.state, data.key, hex(data.answer), begun.limits, BigInt(data.nowMs));
    const lie = light.read(followed.state, data.otherKey, hex(data.answer), begun.limits, BigInt(data.nowMs));
    const absent = light.read(followed.state, data.missingKey, hex(data.missing), begun.limits, BigInt(data.nowMs));
    return { differ, misread, followed: followed.ok, value: read.ok && Array.from(read.value, (byte) => byte.toString(16).padStart(2, "0")).join(""), lie: lie.code, absent: absent.ok && absent.value === null, agent: navigator.userAgent };
  `, { checks, items, ...chain.data });
  assert.deepEqual([result.error, result.differ, result.misread, result.followed, result.value, result.lie, result.absent], [undefined, 0, 0, true, chain.value, "proof_invalid", true]);
  assert.match(result.agent, /Chrom/);
});
