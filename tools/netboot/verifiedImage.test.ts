import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { publicKeyOf } from "#chain/crypto.ts";
import { type Manifest, partOf, signManifest } from "#os/boot/manifest.ts";
import { codeOf } from "#os/error.ts";
import { type Catalogue, openCatalogue, openUnchanged } from "./catalogue.ts";
import { admitRelease } from "./releases.ts";
import { signerOf, verifyImage } from "./verifiedImage.ts";

const [SEED, OTHER_SEED] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
const SIGNERS = [publicKeyOf(SEED)];
const NOW_MS = Date.parse("2027-01-01T00:00:00Z");
const FILES: readonly (readonly [string, string])[] = [["godwit.efi", "efi"], ["vmlinuz", "kernel"], ["initramfs", "root"], ["cmdline", "panic=10"]];

async function place(t: TestContext, change: Partial<Manifest> = {}, seed: Uint8Array | null = SEED): Promise<{ folder: string; catalogue: Catalogue }> {
  const folder = mkdtempSync(join(tmpdir(), "godwit-image-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  for (const [name, text] of FILES) writeFileSync(join(folder, name), text);
  const manifest: Manifest = { format: 1, name: "godwit", version: "0.1.0", release: 7, expiresAt: "2027-12-31T00:00:00Z", parts: FILES.map(([name, text]) => partOf(name, new TextEncoder().encode(text))), pcr11: "", ...change };
  if (seed !== null) writeFileSync(join(folder, "manifest"), signManifest(manifest, seed));
  return { folder, catalogue: await openCatalogue(folder) };
}
const refuses = (code: string) => (error: unknown): boolean => codeOf(error) === code;

test("an image is served when its manifest is by a key that was named and each file is the one that it names", async (t) => {
  const { catalogue } = await place(t);
  assert.equal((await verifyImage(catalogue, SIGNERS, NOW_MS)).manifest.release, 7);
});

test("an image without a manifest, by another key, expired, or with a byte changed is refused", async (t) => {
  await assert.rejects(verifyImage((await place(t, {}, null)).catalogue, SIGNERS, NOW_MS), refuses("image_unsigned"));
  await assert.rejects(verifyImage((await place(t, {}, OTHER_SEED)).catalogue, SIGNERS, NOW_MS), refuses("image_refused"));
  await assert.rejects(verifyImage((await place(t, { expiresAt: "2026-12-31T00:00:00Z" })).catalogue, SIGNERS, NOW_MS), refuses("image_refused"));
  await assert.rejects(verifyImage((await place(t, { parts: [] })).catalogue, SIGNERS, NOW_MS), refuses("image_wrong"));
  for (const [name, text] of FILES) {
    const { folder } = await place(t);
    writeFileSync(join(folder, name), text.toUpperCase());
    await assert.rejects(verifyImage(await openCatalogue(folder), SIGNERS, NOW_MS), refuses("image_wrong"), name);
  }
});

test("a server that has served a release serves no older one of its signer after a restart, unless it is told to; and goes on knowing the newest", async (t) => {
  const { folder } = await place(t);
  const file = join(folder, "state", "releases.json");
  const admit = async (release: number, mayBeOlder = false, seed = SEED): Promise<void> => {
    const image = await place(t, { release }, seed);
    await admitRelease(file, await verifyImage(image.catalogue, [publicKeyOf(seed)], NOW_MS), mayBeOlder);
  };
  await admit(7);
  await admit(7);
  await admit(9);
  await assert.rejects(admit(8), refuses("image_older"));
  await admit(8, true);
  await assert.rejects(admit(8), refuses("image_older"), "it was told for that once");
  await admit(1, false, OTHER_SEED);
  await admit(9);
  for (const release of [-1, 1.5, "9" as unknown as number]) await assert.rejects(admit(release), (error: unknown) => ["image_refused", "image_older"].includes(String(codeOf(error))), String(release));
  for (const text of ["", "{}", "null", '{"format":"godwit-releases-1","releases":{"x":1}}']) {
    writeFileSync(file, text);
    await assert.rejects(admit(9), refuses("releases_invalid"), text);
  }
});

test("a file that was changed since it was checked is not served", async (t) => {
  const { folder, catalogue } = await place(t);
  const file = catalogue.get("vmlinuz")!;
  await (await openUnchanged(file)).close();
  writeFileSync(join(folder, "vmlinuz"), "another kernel");
  await assert.rejects(openUnchanged(file), refuses("image_changed"));
});

test("a signer is 64 hex digits", () => {
  assert.deepEqual(signerOf("ab".repeat(32)), new Uint8Array(32).fill(0xab));
  for (const text of ["", "ab", "AB".repeat(32), "ab".repeat(33)]) assert.throws(() => signerOf(text), refuses("signer_invalid"));
});
