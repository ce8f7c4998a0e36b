/** The writers of an image's files: their bytes, and what they refuse. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { publicKeyOf } from "#chain/crypto.ts";
import { AgentError } from "#os/error.ts";
import { type Manifest, partOf, readManifest, signManifest } from "#os/boot/manifest.ts";
import { writeCpio } from "#os/boot/cpio.ts";
import { bundle } from "./bundle.ts";
import { stripElf } from "./elf.ts";
import { ImageError } from "./errors.ts";
import { isoOf } from "./iso.ts";
import { openFolders } from "./root.ts";
import { trimNode } from "./trimNode.ts";
import { predictPcr11, writeUki } from "./uki.ts";
import { writeAndVerify } from "./write.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const refusedWith = (code: string) => (error: unknown): boolean => (error instanceof ImageError || error instanceof AgentError) && error.code === code;

test("an archive has the same bytes in whatever order its entries come, and folders before what is in them", () => {
  const entries = [
    { kind: "file", path: "init", content: bytes("#!"), executable: true }, { kind: "device", path: "dev/console", major: 5, minor: 1, mode: 0o600 }, { kind: "file", path: "a/b/c", content: bytes("x") },
  ] as const;
  const archive = writeCpio(entries);
  assert.deepEqual(writeCpio(entries.toReversed()), archive);
  const text = Buffer.from(archive).toString("latin1");
  assert.deepEqual([...text.matchAll(/070701[0-9a-f]{104}([^\0]+)\0/g)].map((match) => match[1]), ["a", "a/b", "a/b/c", "dev", "dev/console", "init", "TRAILER!!!"]);
  assert.equal(archive.length % 512, 0);
});

/** A PE file with one section and room for four more. */
function stub(): Uint8Array {
  const file = new Uint8Array(1024);
  const view = new DataView(file.buffer);
  view.setUint32(0x3c, 64, true);
  view.setUint32(64, 0x4550, true);
  view.setUint16(70, 1, true);
  view.setUint32(72, 0x12345678, true);
  view.setUint16(84, 112, true);
  for (const [at, value] of [[32, 4096], [36, 512], [56, 8192], [60, 512], [64, 99]] as const) view.setUint32(88 + at, value, true);
  for (const [at, value] of [[8, 512], [12, 4096], [16, 512], [20, 512]] as const) view.setUint32(200 + at, value, true);
  file.set(bytes(".text"), 200);
  return file;
}

test("a unified image holds its sections page-aligned, without time and checksum, the same at each writing", () => {
  const sections = [{ name: ".cmdline", content: bytes("panic=10") }, { name: ".linux", content: new Uint8Array(5000).fill(7) }];
  const image = writeUki(stub(), sections);
  assert.deepEqual(writeUki(stub(), sections), image);
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  assert.equal(view.getUint16(70, true), 3);
  assert.equal(view.getUint32(72, true), 0);
  const [address, at] = [view.getUint32(240 + 12, true), view.getUint32(240 + 20, true)];
  assert.equal(address % 4096, 0);
  assert.equal(Buffer.from(image.subarray(at, at + 8)).toString(), "panic=10");
  assert.throws(() => writeUki(stub(), Array.from({ length: 8 }, () => sections[0]!)), refusedWith("stub_unknown"));
  assert.throws(() => writeUki(bytes("MZ"), sections), refusedWith("stub_unknown"));
});

test("a CD names its partition as what UEFI starts, and as its one file", () => {
  const partition = new Uint8Array(5000).fill(7);
  const disc = isoOf(partition);
  const view = new DataView(disc.buffer);
  const catalogueAt = view.getUint32(17 * 2048 + 71, true) * 2048;
  let sum = 0;
  for (let at = 0; at < 32; at += 2) sum = (sum + view.getUint16(catalogueAt + at, true)) & 0xffff;
  assert.deepEqual([sum, disc[catalogueAt + 1], disc[catalogueAt + 32], view.getUint16(catalogueAt + 38, true)], [0, 0xef, 0x88, 0]);
  const startsAt = view.getUint32(catalogueAt + 40, true) * 2048;
  assert.deepEqual(disc.subarray(startsAt, startsAt + 5000), partition);
  const rootAt = view.getUint32(16 * 2048 + 156 + 2, true) * 2048;
  const fileAt = rootAt + 2 * disc[rootAt]!;
  assert.deepEqual([view.getUint32(fileAt + 2, true) * 2048, view.getUint32(fileAt + 6, false) * 2048, view.getUint32(fileAt + 10, true)], [startsAt, startsAt, 5000]);
  assert.equal(disc.length, view.getUint32(16 * 2048 + 80, true) * 2048);
  assert.deepEqual(isoOf(partition), disc);
});

test("PCR 11 changes with a byte of the command line, and with nothing outside of measured sections", () => {
  const of = (line: string, system = "a"): string => predictPcr11(writeUki(stub(), [{ name: ".uname", content: bytes(system) }, { name: ".cmdline", content: bytes(line) }]));
  assert.notEqual(of("panic=10"), of("panic=11"));
  assert.equal(of("panic=10", "a"), of("panic=10", "b"));
});

test("Node without what debuggers read and what no machine asks for is a third smaller, has every byte where it was, and runs", (t) => {
  const node = readFileSync(process.execPath);
  const stripped = stripElf(node);
  assert.ok(stripped.length < node.length * 0.9);
  assert.equal(new DataView(stripped.buffer).getBigUint64(40, true), 0n);
  assert.throws(() => stripElf(bytes("#!/bin/sh")), refusedWith("elf_unknown"));
  const trimmed = trimNode(stripped);
  assert.equal(trimmed.length, stripped.length);
  const looks = Array.from({ length: 100_000 }, (_, index) => Math.floor((index * stripped.length) / 100_000));
  const emptied = looks.filter((at) => trimmed[at] !== stripped[at]).length / looks.length;
  assert.ok(emptied > 0.2, `${emptied} of it`);
  assert.throws(() => trimNode(bytes("CmnD".repeat(9))), refusedWith("node_unknown"));
  const file = join(temporaryFolder(t), "node");
  writeFileSync(file, trimmed, { mode: 0o755 });
  // What our code and its packages ask of ICU; and a language that is gone is answered in English.
  const program = `const day = (language) => new Intl.DateTimeFormat(language, { dateStyle: "full", timeZone: "UTC" }).format(0);
    console.log(JSON.stringify([day("en"), day("de"), new URL("http://b\u00fccher.example/").host, new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array([0xc3, 0xa4])), "\ufb01".normalize("NFKD"), ["b", "a"].sort(new Intl.Collator().compare)]))`;
  const { status, stdout, stderr } = spawnSync(file, ["-e", program], { encoding: "utf8" });
  assert.equal(status, 0, stderr);
  assert.deepEqual(JSON.parse(stdout), ["Thursday, January 1, 1970", "Thursday, January 1, 1970", "xn--bcher-kva.example", "\u00e4", "fi", ["a", "b"]]);
});

test("what a machine reads before /healthz answers is a thirtieth of its code, with no cryptography, and takes Node's own modules as objects", async () => {
  const files = new Map((await bundle(join(import.meta.dirname, "..", ".."), "os/init.ts")).map(({ path, content }) => [path, new TextDecoder().decode(content)]));
  const read = new Set<string>();
  const look = (path: string): void => {
    if (read.has(path)) return;
    read.add(path);
    for (const [, file] of files.get(path)!.matchAll(/(?:from|import)"\.\/([^"]+)"/g)) look(`os/${file}`);
  };
  look("os/init.js");
  const length = (paths: Iterable<string>): number => [...paths].reduce((sum, path) => sum + files.get(path)!.length, 0);
  assert.ok(length(read) < length(files.keys()) / 30, `${length(read)} of ${length(files.keys())}`);
  for (const path of read) assert.doesNotMatch(files.get(path)!, /BuiltinModule\("node:(?:crypto|dns|fs\/promises|stream)/, path);
  for (const [path, text] of files) assert.doesNotMatch(text, /(?:from|import\(?)"node:/, path);
});

test("a manifest is taken by its signer's key only, whole, before its end, and not below the release that runs", () => {
  const seed = new Uint8Array(32).fill(3);
  const signer = publicKeyOf(seed);
  const manifest: Manifest = { format: 1, name: "godwit", version: "1.0.0", release: 5, expiresAt: "2030-01-01T00:00:00Z", parts: [partOf("vmlinuz", bytes("k"))], pcr11: "00" };
  const file = signManifest(manifest, seed);
  const now = Date.parse("2029-01-01T00:00:00Z");
  assert.deepEqual(readManifest(file, [signer], now, 5).manifest, manifest);
  const refused = refusedWith("manifest_refused");
  assert.throws(() => readManifest(file, [publicKeyOf(new Uint8Array(32).fill(4))], now), refused);
  assert.throws(() => readManifest(file, [signer], Date.parse("2030-01-01T00:00:00Z")), refused);
  assert.throws(() => readManifest(file, [signer], now, 6), refused);
  for (let at = 0; at < file.length; at += 7) {
    const changed = file.slice();
    changed[at]! ^= 1;
    assert.throws(() => readManifest(changed, [signer], now), refused, `byte ${at}`);
  }
});

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "godwit-image-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

test("a stick is read back after it was closed: one that kept something else is found out", async (t) => {
  const folder = temporaryFolder(t);
  const [image, stick, kept] = ["image", "stick", "kept"].map((name) => join(folder, name)) as [string, string, string];
  writeFileSync(image, new Uint8Array(5_000_000).fill(7));
  writeFileSync(stick, new Uint8Array(6_000_000));
  writeFileSync(kept, new Uint8Array(6_000_000).fill(7).fill(8, 4_999_999));
  const opened = (...files: string[]) => (flags: number) => open(files.shift() ?? "", flags);
  const sha256 = await writeAndVerify(image, 5_000_000, stick, opened(stick, stick), () => {});
  assert.match(sha256, /^[0-9a-f]{64}$/);
  assert.deepEqual(new Uint8Array(readFileSync(stick)).subarray(0, 5_000_000), new Uint8Array(readFileSync(image)));
  await assert.rejects(writeAndVerify(image, 5_000_000, stick, opened(stick, kept), () => {}), refusedWith("verification_failed"));
});

test("folders of the root file system are open to all, whoever's umask they were made under", async (t) => {
  const folder = temporaryFolder(t);
  for (const path of ["a", "a/b", "a/b/c"]) mkdirSync(join(folder, path), { mode: 0o700 });
  writeFileSync(join(folder, "a", "file"), "", { mode: 0o600 });
  await openFolders(folder);
  assert.deepEqual(["", "a", "a/b", "a/b/c", "a/file"].map((path) => statSync(join(folder, path)).mode & 0o777), [0o755, 0o755, 0o755, 0o755, 0o600]);
});
