import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import type { TestContext } from "node:test";
import { sha256 } from "#chain/crypto.ts";
import { type Hex, address, hex } from "#chain/types.ts";
import { BlobStore, type BlobStoreOptions } from "./blobs.ts";
import { AgentError } from "./error.ts";
import { UPLOAD_ACCOUNT_BYTES_MAX, UPLOAD_BYTES_MIN, UPLOAD_EXPIRY_MS } from "./limits.ts";

const OWNER = address(new Uint8Array(20).fill(1));
const STRANGER = address(new Uint8Array(20).fill(2));
const bytes = Uint8Array.of(0, 1, 2);
const id = hex(sha256(bytes));

function folder(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "godwit-blobs-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}
const open = (directory: string, changes: Partial<BlobStoreOptions> = {}): Promise<BlobStore> =>
  BlobStore.open({ directory, now: () => 1_000_000, named: () => new Set(), onChange: () => {}, compile: async (_bytes, digest) => ({ digest, path: "p", cached: false }), ...changes });
const refusing = (code: string): BlobStoreOptions["compile"] => async () => { throw new AgentError(code, "as the test says"); };
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
async function state(store: BlobStore, digest: Hex): Promise<string | undefined> {
  for (let n = 0; n < 200 && ["present", "compiling"].includes(store.observed().get(digest)?.state ?? ""); n += 1) await settled();
  return store.observed().get(digest)?.state;
}

test("put() keeps what hashes to its name, compiles it once, and finds it again after a restart", async (t) => {
  const directory = folder(t);
  let compiles = 0;
  const store = await open(directory, { compile: async (component, digest) => {
    compiles += 1;
    assert.deepEqual(component, bytes);
    return { digest, path: "p", cached: false };
  } });
  await store.put("component", id, OWNER, bytes);
  await Promise.all([store.compile(id), store.compile(id)]);
  await store.put("component", id, OWNER, bytes);
  await store.compile(id);
  assert.equal(compiles, 1);
  assert.equal(store.observed().get(id)?.expiresAtMs, 1_000_000 + UPLOAD_EXPIRY_MS);
  await assert.rejects(store.put("component", "0".repeat(64) as Hex, OWNER, bytes), { code: "digest_mismatch" });

  writeFileSync(join(directory, "components", "torn.part"), "rest of a write");
  const again = await open(directory);
  assert.deepEqual([...again.observed().keys()], [id]);
  assert.equal(again.observed().get(id)?.state, "present");
  assert.deepEqual(await again.read(id), bytes);
  assert.deepEqual(readdirSync(join(directory, "components")), [`${id}.${hex(OWNER)}`]);
});

test("the compiler's refusal is remembered with its cause until the bytes come again; a trouble of the machine is not", async (t) => {
  const store = await open(folder(t), { compile: refusing("compile_failed") });
  await store.put("component", id, OWNER, bytes);
  assert.equal(await state(store, id), "refused");
  assert.equal(store.observed().get(id)?.cause, "compile_failed");

  let attempts = 0;
  const troubled = await open(folder(t), { compile: async (_bytes, digest) => {
    attempts += 1;
    if (attempts === 1) throw new AgentError("EAGAIN", "no process");
    return { digest, path: "p", cached: false };
  } });
  await troubled.put("component", id, OWNER, bytes);
  for (let n = 0; n < 200 && attempts === 0; n += 1) await settled();
  await settled();
  assert.equal(troubled.observed().get(id)?.state, "present");
  await troubled.compile(id);
  assert.equal(troubled.observed().get(id)?.state, "compiled");
});

test("whatever strangers upload, what a deployment names is compiled at once, and of the rest each account in its turn", async (t) => {
  const named = new Set<Hex>();
  const begun: Hex[] = [];
  const ends = new Map<Hex, () => void>();
  const compile: BlobStoreOptions["compile"] = async (_bytes, digest) => {
    begun.push(digest);
    await new Promise<void>((resolve) => ends.set(digest, resolve));
    return { digest, path: "p", cached: false };
  };
  const store = await open(folder(t), { named: () => named, compile });
  const [flood, one, wanted] = [[10, 11, 12, 13], [20], [30]].map((all) => all.map((n) => Uint8Array.of(0, n))) as [Uint8Array[], Uint8Array[], Uint8Array[]];
  const digestOf = (component: Uint8Array | undefined): Hex => hex(sha256(component!));
  const put = async (owner: typeof OWNER, components: readonly Uint8Array[]): Promise<void> => { for (const component of components) await store.put("component", digestOf(component), owner, component); };
  const untilBegun = async (count: number): Promise<void> => { while (begun.length < count) await settled(); };
  await put(STRANGER, flood);
  await put(OWNER, one);
  await untilBegun(1);
  await put(OWNER, wanted);
  for (let n = 0; n < 20; n += 1) await settled();
  assert.deepEqual(begun, [digestOf(flood[0])], "one compiler is left for what is named");
  named.add(digestOf(wanted[0]));
  store.look();
  await untilBegun(2);
  assert.equal(begun[1], digestOf(wanted[0]));
  ends.get(digestOf(flood[0]))!();
  await untilBegun(3);
  assert.equal(begun[2], digestOf(one[0]), "the account that had no turn yet");
  for (const [count, component] of [[4, flood[1]], [5, flood[2]], [6, flood[3]]] as const) {
    ends.get(begun.at(count === 4 ? 2 : -1)!)!();
    await untilBegun(count);
    assert.equal(begun.at(-1), digestOf(component));
  }
  for (const end of ends.values()) end();
  assert.equal(await state(store, digestOf(flood[3])), "compiled");
});

test("bytes that the disk changed are not used", async (t) => {
  const directory = folder(t);
  const store = await open(directory);
  await store.put("configuration", id, OWNER, bytes);
  writeFileSync(join(directory, "configurations", `${id}.${hex(OWNER)}`), "other");
  await assert.rejects(store.read(id), { code: "blob_corrupt" });
});

test("what the disk lost or changed is not here any more: it is fetched again, and compiled", async (t) => {
  for (const spoil of [(path: string): void => writeFileSync(path, "other"), (path: string): void => rmSync(path)]) {
    const directory = folder(t);
    let changes = 0;
    await (await open(directory)).put("component", id, OWNER, bytes);
    const store = await open(directory, { onChange: () => void (changes += 1) });
    spoil(join(directory, "components", `${id}.${hex(OWNER)}`));
    await assert.rejects(store.compile(id));
    assert(!store.has(id) && changes > 0);
    await store.put("component", id, STRANGER, bytes);
    await store.compile(id);
    assert.deepEqual(await store.read(id), bytes);
  }
});

test("what a deployment names is taken though uploads have used the quota up", async (t) => {
  const named = new Set<Hex>();
  const store = await open(folder(t), { named: () => named });
  assert.throws(() => store.admit(OWNER, id, UPLOAD_ACCOUNT_BYTES_MAX + 1), { code: "upload_quota" });
  named.add(id);
  assert.doesNotThrow(() => store.admit(OWNER, id, UPLOAD_ACCOUNT_BYTES_MAX + 1));
});

test("what no deployment names counts against its account, what one names does not; drop() gives room", async (t) => {
  const named = new Set<Hex>();
  let now = 1_000_000;
  const store = await open(folder(t), { named: () => named, now: () => now });
  const large = new Uint8Array(UPLOAD_BYTES_MIN);
  await store.put("configuration", hex(sha256(large)), OWNER, large);
  const almost = UPLOAD_ACCOUNT_BYTES_MAX - UPLOAD_BYTES_MIN + 1;
  assert.throws(() => store.admit(OWNER, id, almost), { code: "upload_quota" });
  assert.doesNotThrow(() => store.admit(address(new Uint8Array(20).fill(2)), id, almost));
  named.add(hex(sha256(large)));
  assert.doesNotThrow(() => store.admit(OWNER, id, almost));
  named.clear();
  now += UPLOAD_EXPIRY_MS;
  await store.drop(hex(sha256(large)));
  assert(!store.has(hex(sha256(large))));
  assert.doesNotThrow(() => store.admit(OWNER, id, almost));
});

test("compiled code goes with its component, and what a crash left behind goes at the next start", async (t) => {
  const directory = folder(t);
  const compiledDirectory = join(directory, "code");
  mkdirSync(compiledDirectory);
  const other = "f".repeat(64);
  const names = (): string[] => readdirSync(compiledDirectory).toSorted();
  for (const name of [`${id}-engine.code`, `${other}-engine.code`, "key"]) writeFileSync(join(compiledDirectory, name), "");
  const first = await open(directory);
  await first.put("component", id, OWNER, bytes);
  let now = 1_000_000;
  const store = await open(directory, { compiledDirectory, now: () => now });
  assert.deepEqual(names(), [`${id}-engine.code`, "key"]);
  now += UPLOAD_EXPIRY_MS;
  await store.drop(id);
  assert.deepEqual(names(), ["key"]);
});

test("the same bytes from two accounts at once are one file, and one that a crash doubled is one again", async (t) => {
  const directory = folder(t);
  const store = await open(directory);
  await Promise.all([store.put("component", id, OWNER, bytes), store.put("component", id, STRANGER, bytes)]);
  assert.equal(readdirSync(join(directory, "components")).length, 1);
  for (const owner of [OWNER, STRANGER]) writeFileSync(join(directory, "components", `${id}.${hex(owner)}`), bytes);
  assert.deepEqual(await (await open(directory)).read(id), bytes);
  assert.equal(readdirSync(join(directory, "components")).length, 1);
});

test("the quota counts what is on its way, and a small upload like one of UPLOAD_BYTES_MIN", async (t) => {
  const directory = folder(t);
  mkdirSync(join(directory, "configurations"));
  const countMax = UPLOAD_ACCOUNT_BYTES_MAX / UPLOAD_BYTES_MIN;
  for (let n = 1; n < countMax; n += 1) writeFileSync(join(directory, "configurations", `${n.toString(16).padStart(64, "0")}.${hex(OWNER)}`), "");
  const store = await open(directory);
  const outcomes = await Promise.allSettled([1, 2].map((n) => store.put("configuration", hex(sha256(Uint8Array.of(n))), OWNER, Uint8Array.of(n))));
  assert.deepEqual(outcomes.map(({ status }) => status), ["fulfilled", "rejected"]);
});

test("bytes that come again mend a file that the disk lost, and outlive a drop that was planned before", async (t) => {
  const directory = folder(t);
  let now = 1_000_000;
  const store = await open(directory, { now: () => now });
  await store.put("component", id, OWNER, bytes);
  rmSync(join(directory, "components", `${id}.${hex(OWNER)}`));
  await store.put("component", id, OWNER, bytes);
  assert.deepEqual(await store.read(id), bytes);
  await state(store, id);
  now += UPLOAD_EXPIRY_MS;
  await Promise.all([store.drop(id), store.put("component", id, OWNER, bytes)]);
  assert.deepEqual(await store.read(id), bytes);
  await state(store, id);
  await store.drop(id);
  assert.deepEqual(await store.read(id), bytes, "not due any more");
});

test("a file from the future expires like one of now: a clock that was wrong keeps no upload for ever", async (t) => {
  const directory = folder(t);
  const path = join(directory, "components", `${id}.${hex(OWNER)}`);
  await (await open(directory)).put("component", id, OWNER, bytes);
  utimesSync(path, 4_000_000_000, 4_000_000_000);
  assert.equal((await open(directory)).observed().get(id)?.expiresAtMs, 1_000_000 + UPLOAD_EXPIRY_MS);
});
