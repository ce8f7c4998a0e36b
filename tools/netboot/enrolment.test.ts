import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { signMachineProof } from "#chain/codec/transaction.ts";
import { chainId, hex } from "#chain/types.ts";
import type { Mac } from "#os/boot/addresses.ts";
import { enrol } from "#os/boot/enrolment.ts";
import { JOIN_PATH, type JoinAnswer, type JoinRequest, parseJoinRequest } from "#os/boot/joinRequest.ts";
import { codeOf } from "#os/error.ts";
import { keyPair } from "#os/keys.ts";
import { JoinBook } from "./book.ts";
import { Enrolment } from "./enrolment.ts";
import { TOKEN_MS } from "./limits.ts";
import { JoinTokens } from "./tokens.ts";

const CHAIN = chainId(new Uint8Array(8).fill(1));
const OPERATOR = keyPair(new Uint8Array(32).fill(9)).address;
const MAC = "52:54:00:00:00:01" as Mac;
const OTHER_MAC = "52:54:00:00:00:02" as Mac;
const OFFER = { memoryMib: 512, cpuMillis: 2_000, region: "oslo" };

type World = { readonly url: string; readonly tokens: JoinTokens; readonly named: Set<Mac>; readonly lines: string[]; nowMs: number; fail: string | null; failRetire: string | null; join(request: JoinRequest): Promise<JoinAnswer>; enrol(seed: number, token: string, mac?: Mac, freshToken?: () => Promise<string>): Promise<JoinAnswer | null> };

/** A boot server's join route over real HTTP; the chain is a list of what was done. */
async function world(t: TestContext, countMax = 8, book = new JoinBook()): Promise<World> {
  const gone = new AbortController();
  const one: World = {
    url: "", tokens: new JoinTokens(book), named: new Set([MAC]), lines: [], nowMs: 0, fail: null, failRetire: null,
    join: (request) => enrolment.join(request),
    enrol: (seed, token, mac = MAC, freshToken) => enrol({ ...(freshToken === undefined ? {} : { freshToken }), bootServer: one.url, token, mac, machine: keyPair(new Uint8Array(32).fill(seed)), operator: OPERATOR, chainId: CHAIN, offer: OFFER, onLine: (line) => void one.lines.push(line), signal: gone.signal, againMs: 20 }),
  };
  const enrolment = new Enrolment({
    operator: OPERATOR, chainId: CHAIN, countMax, tokens: one.tokens, book, isNamed: async (mac) => one.named.has(mac), now: () => one.nowMs, onLine: () => {},
    hands: {
      register: async ({ machineKey }) => {
        if (one.fail !== null) throw Object.assign(new Error("as the test says"), { code: one.fail, ...(one.fail === "starting" ? { status: 503 } : {}) });
        one.lines.push(`+${machineKey.slice(0, 4)}`);
      },
      retire: async (key) => {
        const code = one.failRetire ?? one.fail;
        if (code !== null) throw Object.assign(new Error("as the test says"), { code });
        one.lines.push(`-${key.slice(0, 4)}`);
      },
    },
  });
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part)).on("end", () => {
      const parsed = request.url === JOIN_PATH ? parseJoinRequest(Buffer.concat(parts)) : null;
      if (parsed === null) return void response.writeHead(400).end();
      void enrolment.join(parsed).then((answer) => response.end(JSON.stringify(answer)));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    gone.abort();
    server.close();
    server.closeAllConnections();
  });
  return Object.assign(one, { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
}

const keyOf = (seed: number): string => hex(keyPair(new Uint8Array(32).fill(seed)).publicKey).slice(0, 4);
const done = (lines: readonly string[]): string[] => lines.filter((line) => /^[+-]/.test(line));

test("a machine with a good token whose address is named is registered, once", async (t) => {
  const one = await world(t);
  assert.deepEqual(await one.enrol(1, await one.tokens.make(MAC, 0)), { state: "registered" });
  assert.deepEqual(await one.enrol(1, await one.tokens.make(MAC, 0)), { state: "registered" });
  assert.deepEqual(done(one.lines), [`+${keyOf(1)}`]);
});

test("a machine that nobody named is pending until somebody does; its token need not last", async (t) => {
  const one = await world(t);
  const joining = one.enrol(2, await one.tokens.make(OTHER_MAC, 0), OTHER_MAC);
  while (!one.lines.some((line) => line.includes("waits for the operator"))) await new Promise((resolve) => setTimeout(resolve, 5));
  one.nowMs = TOKEN_MS * 10;
  assert.deepEqual(done(one.lines), []);
  one.named.add(OTHER_MAC);
  assert.deepEqual(await joining, { state: "registered" });
});

test("a token is good once, for ten minutes, for one hardware address; whoever shows it wrongly has used it up", async (t) => {
  const one = await world(t);
  const token = await one.tokens.make(MAC, 0);
  assert.deepEqual(await one.enrol(1, token), { state: "registered" });
  assert.deepEqual(await one.enrol(3, token), { state: "refused", code: "token_unknown" });
  const late = await one.tokens.make(MAC, 0);
  one.nowMs = TOKEN_MS;
  assert.deepEqual(await one.enrol(3, late), { state: "refused", code: "token_over" });
  const stolen = await one.tokens.make(OTHER_MAC, one.nowMs);
  assert.deepEqual(await one.enrol(3, stolen), { state: "refused", code: "token_wrong_machine" });
  assert.deepEqual(await one.enrol(3, stolen, OTHER_MAC), { state: "refused", code: "token_unknown" });
  assert.deepEqual(done(one.lines), [`+${keyOf(1)}`]);
});

test("a machine whose token was over, or that was refused for want of money, asks with another until it is registered", async (t) => {
  const one = await world(t);
  const late = await one.tokens.make(MAC, 0);
  one.nowMs = TOKEN_MS;
  one.fail = "insufficient_funds";
  let fresh = 0;
  const joining = one.enrol(1, late, MAC, () => {
    if (++fresh === 2) one.fail = null;
    return one.tokens.make(MAC, one.nowMs);
  });
  assert.deepEqual(await joining, { state: "registered" });
  assert.deepEqual(one.lines.filter((line) => line.startsWith("not enrolled")).map((line) => /\((.*)\)/.exec(line)?.[1]), ["token_over", "insufficient_funds"]);
});

test("a key that did not sign for this operator on this chain is refused before its token is looked at", async (t) => {
  const one = await world(t);
  const token = await one.tokens.make(MAC, 0);
  const request: JoinRequest = { mac: MAC, token, machineKey: hex(keyPair(new Uint8Array(32).fill(1)).publicKey), proof: hex(new Uint8Array(64)), ...OFFER };
  assert.deepEqual(await one.join(request), { state: "refused", code: "bad_proof" });
  assert.deepEqual(await one.enrol(1, token), { state: "registered" });
});

test("a machine that lost its key comes back as the same one: the one before is retired when it is empty", async (t) => {
  const one = await world(t);
  await one.enrol(1, await one.tokens.make(MAC, 0));
  one.fail = "machine_in_use";
  const again = one.enrol(2, await one.tokens.make(MAC, 0));
  await new Promise((resolve) => setTimeout(resolve, 100));
  one.fail = "machine_resting";
  await new Promise((resolve) => setTimeout(resolve, 100));
  one.fail = null;
  assert.deepEqual(await again, { state: "registered" });
  assert.deepEqual(done(one.lines), [`+${keyOf(1)}`, `-${keyOf(1)}`, `+${keyOf(2)}`]);
});

test("a machine whose answer was lost shows its token again and is what it was: registered, or pending", async (t) => {
  const one = await world(t);
  const { machineKey, proof } = signMachineProof(new Uint8Array(32).fill(1), CHAIN, OPERATOR);
  for (const mac of [OTHER_MAC, MAC]) {
    const request: JoinRequest = { mac, token: await one.tokens.make(mac, 0), machineKey: hex(machineKey), proof: hex(proof), ...OFFER };
    const first = await one.join(request);
    assert.notEqual(first.state, "refused");
    assert.deepEqual(await one.join(request), first);
  }
  assert.deepEqual(done(one.lines), [`+${keyOf(1)}`]);
});

test("a machine that comes back with another key is registered though the one before is retired already", async (t) => {
  const one = await world(t);
  await one.enrol(1, await one.tokens.make(MAC, 0));
  one.failRetire = "machine_unknown";
  assert.deepEqual(await one.enrol(2, await one.tokens.make(MAC, 0)), { state: "registered" });
  assert.deepEqual(done(one.lines), [`+${keyOf(1)}`, `+${keyOf(2)}`]);
});

test("an API that starts, as that of the machine itself may, is asked again", async (t) => {
  const one = await world(t);
  one.fail = "starting";
  const joining = one.enrol(1, await one.tokens.make(MAC, 0));
  await new Promise((resolve) => setTimeout(resolve, 100));
  // Its clock was years ahead, and so is what was signed by it.
  one.fail = "expiry_too_far";
  await new Promise((resolve) => setTimeout(resolve, 100));
  // Its first transaction was not final in time, and waits still.
  one.fail = "replacement_underpriced";
  await new Promise((resolve) => setTimeout(resolve, 100));
  one.fail = null;
  assert.deepEqual(await joining, { state: "registered" });
});

test("no more machines than were allowed, and a refusal of the chain is told", async (t) => {
  const one = await world(t, 1);
  one.named.add(OTHER_MAC);
  one.fail = "insufficient_funds";
  assert.deepEqual(await one.enrol(1, await one.tokens.make(MAC, 0)), { state: "refused", code: "insufficient_funds" });
  one.fail = null;
  await one.enrol(1, await one.tokens.make(MAC, 0));
  assert.deepEqual(await one.enrol(2, await one.tokens.make(OTHER_MAC, 0), OTHER_MAC), { state: "refused", code: "machines_full" });
});

test("a server that is restarted knows its tokens, who waits and who is registered; another's file is not taken for its own", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "godwit-joins-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "state", "joins.json");
  const before = await world(t, 8, await JoinBook.open(file));
  const { machineKey, proof } = signMachineProof(new Uint8Array(32).fill(2), CHAIN, OPERATOR);
  const waiting: JoinRequest = { mac: OTHER_MAC, token: await before.tokens.make(OTHER_MAC, 0), machineKey: hex(machineKey), proof: hex(proof), ...OFFER };
  assert.deepEqual(await before.join(waiting), { state: "pending" });
  const [spent, unspent] = [await before.tokens.make(MAC, 0), await before.tokens.make(MAC, 0)];
  assert.deepEqual(await before.enrol(1, spent), { state: "registered" });

  const after = await world(t, 8, await JoinBook.open(file));
  assert.deepEqual(await after.join({ ...waiting, token: null }), { state: "pending" });
  after.named.add(OTHER_MAC);
  assert.deepEqual(await after.join({ ...waiting, token: null }), { state: "registered" });
  assert.deepEqual(await after.enrol(3, spent), { state: "refused", code: "token_unknown" });
  assert.deepEqual(await after.enrol(3, unspent), { state: "registered" });
  assert.deepEqual(done(after.lines), [`+${keyOf(2)}`, `-${keyOf(1)}`, `+${keyOf(3)}`], "what it registered before it was restarted is retired");

  for (const wrong of ["", "{}", '{"format":"godwit-joins-1","tokens":[{"mac":"x"}],"admitted":[],"registered":[]}']) {
    writeFileSync(file, wrong);
    await assert.rejects(JoinBook.open(file), (error) => codeOf(error) === "joins_invalid");
  }
});

test("a server that ends between a transaction and its answer retires that key when the machine comes with another", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "godwit-joins-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "joins.json");
  const before = await world(t, 8, await JoinBook.open(file));
  before.fail = "outcome_unknown";
  const { machineKey, proof } = signMachineProof(new Uint8Array(32).fill(1), CHAIN, OPERATOR);
  const request: JoinRequest = { mac: MAC, token: await before.tokens.make(MAC, 0), machineKey: hex(machineKey), proof: hex(proof), ...OFFER };
  assert.deepEqual(await before.join(request), { state: "pending" });
  const after = await world(t, 8, await JoinBook.open(file));
  assert.deepEqual(await after.enrol(2, await after.tokens.make(MAC, 0)), { state: "registered" });
  assert.deepEqual(done(after.lines), [`-${keyOf(1)}`, `+${keyOf(2)}`]);
});

test("what is no join request is none", () => {
  const parse = (value: unknown): JoinRequest | null => parseJoinRequest(new TextEncoder().encode(JSON.stringify(value)));
  const good = { mac: MAC, token: null, machineKey: "ab".repeat(32), proof: "cd".repeat(64), ...OFFER };
  assert.deepEqual(parse(good), good);
  for (const change of [{ mac: "x" }, { token: "short" }, { token: 5 }, { machineKey: "AB".repeat(32) }, { machineKey: "ab" }, { proof: null }, { memoryMib: -1 }, { memoryMib: 1.5 }, { memoryMib: 2 ** 33 }, { cpuMillis: "1" }, { region: "Oslo!" }, { more: 1 }])
    assert.equal(parse({ ...good, ...change }), null, JSON.stringify(change));
  assert.equal(parse([good]), null);
  assert.equal(parseJoinRequest(Uint8Array.of(0xff)), null);
  assert.equal(parse({ ...good, region: "x".repeat(5_000) }), null);
});
