import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, readFile, readdir, readlink, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { publicKeyOf } from "#chain/crypto.ts";
import { hex } from "#chain/types.ts";
import { codeOf } from "../error.ts";
import { type Manifest, partOf, signManifest } from "./manifest.ts";
import { fetchImage, trialCommandLine } from "./upgrade.ts";

const SEED = new Uint8Array(32).fill(5);
const NOW = Date.parse("2029-01-01T00:00:00Z");
const KERNEL = new Uint8Array(70_000).fill(1);
const INITRAMFS = new Uint8Array(90_000).fill(2);
const manifest = (changes: Partial<Manifest> = {}): Manifest => ({
  format: 1, name: "godwit", version: "1.0.0", release: 5, expiresAt: "2030-01-01T00:00:00Z", parts: [partOf("vmlinuz", KERNEL), partOf("initramfs", INITRAMFS)], pcr11: "00", ...changes,
});

async function served(t: TestContext, files: Readonly<Record<string, Uint8Array>>): Promise<{ url: string; directory: string }> {
  const directory = await mkdtemp(join(tmpdir(), "godwit-upgrade-"));
  const server = createServer((request, response) => {
    const file = files[request.url ?? ""];
    response.writeHead(file === undefined ? 404 : 200).end(file);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(async () => {
    server.close();
    server.closeAllConnections();
    await rm(directory, { recursive: true, force: true });
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/image`, directory };
}
const identity = { signer: hex(publicKeyOf(SEED)), release: 4 };
const files = (changes: Readonly<Record<string, Uint8Array>> = {}): Record<string, Uint8Array> => ({ "/image/manifest": signManifest(manifest(), SEED), "/image/vmlinuz": KERNEL, "/image/initramfs": INITRAMFS, ...changes });

test("an image is taken when every byte is what its signed manifest names", async (t) => {
  const { url, directory } = await served(t, files());
  const next = await fetchImage(url, directory, identity, NOW);
  assert.equal(next.manifest.release, 5);
  assert.deepEqual(new Uint8Array(await next.kernel.readFile()), KERNEL);
  assert.deepEqual(new Uint8Array(await next.initramfs.readFile()), INITRAMFS);
  await next[Symbol.asyncDispose]();
});

test("what was checked has no name to be changed by and nobody has it open for writing; two fetches at once do not meet", async (t) => {
  const { url, directory } = await served(t, files());
  const other = await served(t, files({ "/image/manifest": signManifest(manifest({ parts: [partOf("vmlinuz", INITRAMFS), partOf("initramfs", KERNEL)] }), SEED), "/image/vmlinuz": INITRAMFS, "/image/initramfs": KERNEL }));
  const [one, two] = await Promise.all([fetchImage(url, directory, identity, NOW), fetchImage(other.url, directory, identity, NOW)]);
  assert.deepEqual(await readdir(directory), []);
  for (const file of await readdir("/proc/self/fd")) {
    const flags = await readFile(`/proc/self/fdinfo/${file}`, "utf8").catch(() => "");
    const isOurs = (await readlink(`/proc/self/fd/${file}`).catch(() => "")).startsWith(directory);
    if (isOurs) assert.equal(Number.parseInt(/^flags:\s+(\d+)/m.exec(flags)?.[1] ?? "", 8) & 3, 0, "read only");
  }
  assert.deepEqual([await one.kernel.readFile(), await two.kernel.readFile()].map((bytes) => bytes.length), [KERNEL.length, INITRAMFS.length]);
  await one[Symbol.asyncDispose]();
  await two[Symbol.asyncDispose]();
});

test("an image with a changed, longer, shorter or missing part, by another signer, older or expired is refused, and nothing of it is left", async (t) => {
  const other = new Uint8Array(32).fill(6);
  const CASES: readonly (readonly [string, Record<string, Uint8Array>, string])[] = [
    ["changed", files({ "/image/initramfs": INITRAMFS.with(80_000, 9) }), "image_wrong"],
    ["longer", files({ "/image/vmlinuz": new Uint8Array([...KERNEL, 1]) }), "image_wrong"],
    ["shorter", files({ "/image/vmlinuz": KERNEL.subarray(1) }), "image_wrong"],
    ["another signer", files({ "/image/manifest": signManifest(manifest(), other) }), "manifest_refused"],
    ["older", files({ "/image/manifest": signManifest(manifest({ release: 3 }), SEED) }), "manifest_refused"],
    ["expired", files({ "/image/manifest": signManifest(manifest({ expiresAt: "2028-01-01T00:00:00Z" }), SEED) }), "manifest_refused"],
    ["no kernel named", files({ "/image/manifest": signManifest(manifest({ parts: [] }), SEED) }), "manifest_refused"],
    ["nobody there", {}, "image_unreachable"],
  ];
  for (const [name, served_, code] of CASES) {
    const { url, directory } = await served(t, served_);
    await assert.rejects(fetchImage(url, directory, identity, NOW), (error) => codeOf(error) === code, name);
    assert.deepEqual(await readdir(directory), [], name);
  }
  const { url, directory } = await served(t, files());
  await assert.rejects(fetchImage(url, directory, { signer: null, release: 1 }, NOW), (error) => codeOf(error) === "image_unsigned");
});

test("the next kernel gets this machine's own words, and that it is on trial, once", () => {
  const line = trialCommandLine("BOOT_IMAGE=/VMLINUZ console=ttyS0 godwit.join=spent-already-this godwit.boot=http://10.0.0.1 godwit.region=oslo godwit.trial=1\n");
  assert.equal(line, "console=ttyS0 godwit.boot=http://10.0.0.1 godwit.region=oslo godwit.trial=1", "and not its join token, which is used up");
});
