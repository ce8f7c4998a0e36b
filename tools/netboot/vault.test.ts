/** A machine's files at its boot server, over real HTTP: the machine's own code on one side, the vault on the other. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Hex, hex } from "#chain/types.ts";
import { VaultKeeper, type VaultOptions, restoreFromVault } from "#os/boot/vault.ts";
import { encodeIndex, openFile, openIndex, putSignature, readIndex, sealFile, vaultKey } from "#os/boot/vaultFormat.ts";
import { type KeyPair, keyPair } from "#os/keys.ts";
import { Vault } from "./vault.ts";

const [MACHINE, OTHER] = [keyPair(new Uint8Array(32).fill(1)), keyPair(new Uint8Array(32).fill(2))];
const NAMES = ["a", "b"].map((digit) => `${digit.repeat(64)}.${"c".repeat(40)}`) as [string, string];

type Place = { readonly url: string; readonly folder: string; readonly members: Set<Hex>; readonly vault: Vault; readonly lines: string[]; machine(name: string, key?: KeyPair): VaultOptions; kept(key?: KeyPair): string[] };
async function place(t: TestContext, bytesMax?: number): Promise<Place> {
  const folder = mkdtempSync(join(tmpdir(), "godwit-vault-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const members = new Set<Hex>([hex(MACHINE.publicKey)]);
  const vault = new Vault({ directory: join(folder, "vault"), isMember: (key) => members.has(key), ...(bytesMax === undefined ? {} : { bytesMax }) });
  const server = createServer((request, response) => void vault.answer(request, response, new URL(request.url ?? "", "http://x").pathname).then((has) => { if (!has) response.writeHead(418).end(); }, () => response.destroy()));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const lines: string[] = [];
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url, folder, members, vault, lines,
    machine: (name, machine = MACHINE) => ({ bootServer: url, machine, directory: join(folder, name), onLine: (line) => void lines.push(line), lookMs: 3_600_000 }),
    kept: (machine = MACHINE) => (existsSync(join(folder, "vault", hex(machine.publicKey))) ? readdirSync(join(folder, "vault", hex(machine.publicKey))) : []),
  };
}
const write = ({ directory }: VaultOptions, path: string, text: string): void => {
  mkdirSync(join(directory, path, ".."), { recursive: true });
  writeFileSync(join(directory, path), text);
};

type Signed = ReturnType<typeof putSignature>;
const headersOf = (signed?: Signed): Record<string, string> => (signed === undefined ? {} : { "godwit-sha256": signed.sha256, "godwit-signature": signed.signature });
const putTo = async ({ url }: Place, path: string, body: Uint8Array, signed?: Signed): Promise<number> => (await fetch(`${url}/v1/vault/${path}`, { method: "PUT", body: new Uint8Array(body), headers: headersOf(signed) })).status;

/** Sends the head of a request, and of its body nothing: what is answered then was judged without. */
async function headOnly(t: TestContext, { url }: Place, path: string, length: number | null, signed?: Signed): Promise<{ readonly answered: Promise<number>; end(): void }> {
  const sent = request(`${url}/v1/vault/${path}`, { method: "PUT", headers: { ...headersOf(signed), ...(length === null ? { "transfer-encoding": "chunked" } : { "content-length": length }) } });
  t.after(() => sent.destroy());
  const answered = new Promise<number>((resolve, reject) => sent.on("response", ({ statusCode = 0 }) => resolve(statusCode)).on("error", reject));
  answered.catch(() => {});
  sent.flushHeaders();
  await once(sent, "socket");
  return { answered, end: () => void sent.destroy() };
}

test("who sends, for whom and how much is judged before a byte of a body is read: a stranger has the server take in nothing", async (t) => {
  const one = await place(t, 4_096);
  const [mine, others] = [hex(MACHINE.publicKey), hex(OTHER.publicKey)];
  const bytes = new Uint8Array(1_000);
  const [object, index] = [putSignature(MACHINE.seed, "object", bytes), putSignature(MACHINE.seed, "index", bytes)];
  const [wrongObject, wrongIndex] = [putSignature(OTHER.seed, "object", bytes), putSignature(OTHER.seed, "index", bytes)];
  const cases: readonly (readonly [path: string, length: number | null, signed: Signed | undefined, status: number])[] = [
    [`${mine}/index`, 1_000, undefined, 403], [`${mine}/index`, 1_000, wrongIndex, 403], [`${mine}/index`, 1_000, object, 403], [`${others}/index`, 1_000, wrongIndex, 403],
    [`${mine}/object/${object.sha256}`, 1_000, undefined, 403], [`${mine}/object/${object.sha256}`, 1_000, wrongObject, 403], [`${mine}/object/${object.sha256}`, 1_000, index, 403],
    [`${mine}/index`, 1024 * 1024 + 1, index, 413], [`${mine}/index`, null, index, 413], [`${mine}/object/${object.sha256}`, null, object, 413], [`${mine}/object/${object.sha256}`, 64 * 1024 * 1024 + 65, object, 413],
    [`${mine}/object/${object.sha256}`, 4_097, object, 507],
  ];
  for (const [path, length, signed, status] of cases) assert.equal(await (await headOnly(t, one, path, length, signed)).answered, status, `${path} ${length}`);
  assert.deepEqual(one.kept(OTHER), []);
  assert.deepEqual(one.kept(), []);
});

test("a machine that sends slowly, or somebody who sends again what it sent, keeps no other machine out", async (t) => {
  const one = await place(t);
  one.members.add(hex(OTHER.publicKey));
  const index = encodeIndex(MACHINE.seed, { count: 1, files: [] });
  const slow = await Promise.all(Array.from({ length: 40 }, () => headOnly(t, one, `${hex(MACHINE.publicKey)}/index`, index.length, putSignature(MACHINE.seed, "index", index))));
  assert.equal(await Promise.any(slow.map(async ({ answered }) => await answered)), 503);
  const theirs = encodeIndex(OTHER.seed, { count: 1, files: [] });
  assert.equal(await putTo(one, `${hex(OTHER.publicKey)}/index`, theirs, putSignature(OTHER.seed, "index", theirs)), 204);
  for (const { end } of slow) end();
  let status = 0;
  for (let tried = 0; tried < 600 && status !== 204; tried++) {
    status = await putTo(one, `${hex(MACHINE.publicKey)}/index`, index, putSignature(MACHINE.seed, "index", index));
    if (status !== 204) await sleep(50);
  }
  assert.equal(status, 204, "and itself neither, once that is over");
});

test("a machine that lost everything but its key has its components and configurations back; the server has read none of it", async (t) => {
  const one = await place(t);
  const before = one.machine("before");
  write(before, `components/${NAMES[0]}`, "a component");
  write(before, `configurations/${NAMES[1]}`, "PASSWORD=secret");
  write(before, "keys/machine", "not for anybody");
  await new VaultKeeper(before).stop();
  assert.equal(one.kept().length, 3);
  for (const name of one.kept()) assert.doesNotMatch(readFileSync(join(one.folder, "vault", hex(MACHINE.publicKey), name), "latin1"), /a component|PASSWORD|not for/);
  const after = one.machine("after");
  assert.equal(await restoreFromVault(after), "2 files are back");
  assert.equal(readFileSync(join(after.directory, "components", NAMES[0]), "utf8"), "a component");
  assert.equal(readFileSync(join(after.directory, "configurations", NAMES[1]), "utf8"), "PASSWORD=secret");
  assert.equal(existsSync(join(after.directory, "keys")), false);
});

test("what changed is sent and what went is dropped; what is there is not sent again", async (t) => {
  const one = await place(t);
  const machine = one.machine("one");
  write(machine, `components/${NAMES[0]}`, "first");
  await new VaultKeeper(machine).stop();
  const sent = new Set(one.kept());
  write(machine, `components/${NAMES[1]}`, "second");
  await new VaultKeeper(machine).stop();
  assert.equal(one.kept().filter((name) => sent.has(name)).length, 2);
  rmSync(join(machine.directory, "components", NAMES[0]));
  await new VaultKeeper(machine).stop();
  assert.equal(one.kept().length, 2);
  assert.equal(await restoreFromVault(one.machine("two")), "1 files are back");
});

test("the chain's state is left there too, the newest only; it stays while the machine has none, and is left again where the server lost it", async (t) => {
  const one = await place(t);
  const machine = one.machine("one");
  write(machine, `components/${NAMES[0]}`, "a component");
  let height = 100;
  const kept = (): string[] => openIndex(new Uint8Array(readFileSync(join(one.folder, "vault", hex(MACHINE.publicKey), "index"))), MACHINE.seed)!.files.map(({ path }) => path.split("/")[0] === "snapshots" ? path : "file");
  const keeper = (): VaultKeeper => {
    const made = new VaultKeeper(machine);
    made.keepSnapshots(async () => (height === 0 ? null : { height, bytes: new TextEncoder().encode(`state of ${height}`) }));
    return made;
  };
  const first = keeper();
  await first.look();
  assert.deepEqual(kept(), ["snapshots/100", "file"]);
  height = 200;
  await first.look();
  assert.deepEqual(kept(), ["snapshots/100", "file"], "not with each look");
  await first.stop();
  assert.deepEqual(kept(), ["snapshots/200", "file"]);
  assert.equal(one.kept().length, 3, "what was replaced is gone");
  const after = one.machine("after");
  assert.equal(await restoreFromVault(after), "2 files are back");
  assert.equal(readFileSync(join(after.directory, "snapshots", "200"), "utf8"), "state of 200");
  mkdirSync(join(after.directory, "chain", "blocks"), { recursive: true });
  rmSync(join(after.directory, "snapshots"), { recursive: true });
  assert.equal(await restoreFromVault(after), "0 files are back", "its agent crashed: there is a chain");
  height = 0;
  const second = keeper();
  await second.look();
  assert.deepEqual(kept(), ["snapshots/200", "file"], "a machine that has no chain yet takes nothing away");
  height = 300;
  for (const name of one.kept()) if (name !== "index") rmSync(join(one.folder, "vault", hex(MACHINE.publicKey), name));
  write(machine, `components/${NAMES[1]}`, "another");
  await second.look();
  await second.look();
  await second.stop();
  assert.deepEqual(kept(), ["snapshots/300", "file", "file"]);
  assert.equal(await restoreFromVault(one.machine("last")), "3 files are back");
});

test("a file that was changed on the server, or is another's, is not taken; the others are", async (t) => {
  const one = await place(t);
  const machine = one.machine("one");
  for (const name of NAMES) write(machine, `components/${name}`, `of ${name}`);
  await new VaultKeeper(machine).stop();
  const folder = join(one.folder, "vault", hex(MACHINE.publicKey));
  const index = openIndex(new Uint8Array(readFileSync(join(folder, "index"))), MACHINE.seed)!;
  // The second file's bytes under the first one's name.
  writeFileSync(join(folder, index.files[0]!.sha256), readFileSync(join(folder, index.files[1]!.sha256)));
  assert.equal(await restoreFromVault(one.machine("two")), "1 files are back, 1 are not as they were left");
  assert.equal(await restoreFromVault(one.machine("three", OTHER)), "the boot server keeps nothing of this machine");
  const key = vaultKey(MACHINE.seed);
  const sealed = sealFile(key, "components/x", new Uint8Array(3));
  assert.deepEqual(openFile(key, "components/x", sealed), new Uint8Array(3));
  assert.equal(openFile(key, "components/y", sealed), null);
  assert.equal(openFile(vaultKey(OTHER.seed), "components/x", sealed), null);
  assert.equal(openFile(key, "components/x", new Uint8Array(5)), null);
});

test("only a machine that was registered leaves anything, under its own key, within its quota, and no older index", async (t) => {
  const one = await place(t, 4_096);
  const put = async (path: string, body: Uint8Array, signed?: Signed): Promise<number> => await putTo(one, path, body, signed);
  const [mine, others] = [hex(MACHINE.publicKey), hex(OTHER.publicKey)];
  const content = new Uint8Array(1_000).fill(7);
  const good = putSignature(MACHINE.seed, "object", content);
  assert.equal(await put(`${others}/object/${good.sha256}`, content, putSignature(OTHER.seed, "object", content)), 403);
  assert.equal(await put(`${mine}/object/${good.sha256}`, content, putSignature(OTHER.seed, "object", content)), 403);
  assert.equal(await put(`${mine}/object/${good.sha256}`, content), 403);
  assert.equal(await put(`${mine}/object/${good.sha256}`, content.subarray(1), good), 400);
  assert.equal(await put(`${mine}/object/${good.sha256}`, content, good), 204);
  const large = new Uint8Array(4_000);
  const largeOne = putSignature(MACHINE.seed, "object", large);
  assert.equal(await put(`${mine}/object/${largeOne.sha256}`, large, largeOne), 507);
  const putIndex = async (count: number, sha256: Hex, seed = MACHINE.seed, sender = seed): Promise<number> => {
    const bytes = encodeIndex(seed, { count, files: [{ path: `components/${NAMES[0]}`, sha256, bytes: 1_000 }] });
    return await put(`${mine}/index`, bytes, putSignature(sender, "index", bytes));
  };
  assert.equal(await putIndex(2, good.sha256, OTHER.seed), 403);
  assert.equal(await putIndex(2, good.sha256, OTHER.seed, MACHINE.seed), 403, "its bytes are another's");
  assert.equal(await put(`${mine}/index`, content, good), 403, "what was signed is an object");
  assert.equal(await putIndex(2, largeOne.sha256), 409, "it names what is not here");
  assert.equal(await putIndex(2, good.sha256), 204);
  for (const count of [1, 2]) assert.equal(await putIndex(count, good.sha256), 409);
  for (const [path, status] of [[`${mine}/object/../index`, 404], [`${mine}`, 404], ["x/index", 404]] as const) assert.equal((await fetch(`${one.url}/v1/vault/${path}`, { method: "DELETE" })).status === status || path.includes(".."), true, path);
  await one.vault.forget(mine);
  assert.deepEqual(one.kept(), []);
});

test("what a server that was ended left half received costs no quota for ever", async (t) => {
  const one = await place(t);
  const machine = one.machine("one");
  const folder = join(one.folder, "vault", hex(MACHINE.publicKey));
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${"a".repeat(64)}.12.5.part`), "half of it");
  write(machine, `components/${NAMES[0]}`, "x");
  await new VaultKeeper(machine).stop();
  assert.equal(one.kept().length, 2, one.kept().join(" "));
});

test("what the server lost of it a machine leaves there once more", async (t) => {
  const one = await place(t);
  const machine = one.machine("one");
  write(machine, `components/${NAMES[0]}`, "first");
  const keeper = new VaultKeeper(machine);
  await keeper.look();
  for (const name of one.kept()) if (name !== "index") rmSync(join(one.folder, "vault", hex(MACHINE.publicKey), name));
  write(machine, `components/${NAMES[1]}`, "second");
  await keeper.look();
  await keeper.look();
  await keeper.stop();
  assert.equal(await restoreFromVault(one.machine("two")), "2 files are back");
});

test("of indices that come at once the one that counts highest stays, whichever is slower", async (t) => {
  const one = await place(t);
  const put = async (count: number): Promise<number> => {
    const bytes = encodeIndex(MACHINE.seed, { count, files: [] });
    return await putTo(one, `${hex(MACHINE.publicKey)}/index`, bytes, putSignature(MACHINE.seed, "index", bytes));
  };
  for (let round = 0; round < 10; round += 1) {
    await Promise.all([put(round * 10 + 9), ...Array.from({ length: 7 }, (_, n) => put(round * 10 + n + 1))]);
    assert.equal(readIndex(new Uint8Array(readFileSync(join(one.folder, "vault", hex(MACHINE.publicKey), "index"))), MACHINE.publicKey)?.count, round * 10 + 9);
  }
});

test("whatever an index is, it is read or it is none", () => {
  const good = encodeIndex(MACHINE.seed, { count: 1, files: [] });
  assert.equal(readIndex(good, MACHINE.publicKey)?.count, 1);
  for (let at = 0; at < good.length; at += 7) {
    const bad = good.slice();
    bad[at]! ^= 1;
    assert.equal(readIndex(bad, MACHINE.publicKey), null);
    assert.equal(readIndex(good.subarray(0, at), MACHINE.publicKey), null);
  }
});

test("a server that does not answer, or keeps nothing, costs a line", async (t) => {
  const one = await place(t);
  const machine = { ...one.machine("one"), bootServer: `${one.url}/nothing` };
  write(machine, `components/${NAMES[0]}`, "x");
  await new VaultKeeper(machine).stop();
  assert.equal(one.lines.length, 1);
  one.members.clear();
  const keeper = new VaultKeeper(one.machine("one"));
  await keeper.look();
  await keeper.stop();
  assert.match(one.lines.at(-1)!, /403/);
  assert.equal(one.lines.length, 2, "once");
});
