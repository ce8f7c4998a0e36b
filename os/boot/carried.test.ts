import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { PassThrough } from "node:stream";
import { buffer } from "node:stream/consumers";
import test, { type TestContext } from "node:test";
import { type ImagePartName, carriedArchive, heldImage, takeKeys } from "./carried.ts";
import { initramfsEntries, writeCpio } from "./cpio.ts";

async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "godwit-carried-"));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** As the kernel does: files by path. */
function unpack(archive: Uint8Array): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  const text = (from: number, to: number): string => new TextDecoder().decode(archive.subarray(from, to));
  const up = (value: number): number => (value + 3) & ~3;
  for (let at = 0; text(at, at + 6) === "070701";) {
    const field = (index: number): number => Number.parseInt(text(at + 6 + index * 8, at + 14 + index * 8), 16);
    const nameEnd = at + 110 + field(11);
    const contentAt = up(nameEnd);
    const name = text(at + 110, nameEnd - 1);
    if (name === "TRAILER!!!") return files;
    if ((field(1) & 0o170000) === 0o100000) files.set(name, archive.slice(contentAt, contentAt + field(6)));
    at = up(contentAt + field(6));
  }
  throw new Error("the archive has no end");
}
async function write(path: string, content: Uint8Array | string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
}

test("a machine that was upgraded has the keys of before, and holds the image for others byte for byte", async (t) => {
  const [before, rootOfNext] = [await folder(t), await folder(t)];
  await write(join(before, "machine"), `${"ab".repeat(32)}\n`);
  await write(join(before, "machine.part"), "half");
  await write(join(before, "huge"), new Uint8Array(5_000));
  const [manifest, kernel] = [new Uint8Array([1, 2, 3]), new Uint8Array(70_001).fill(7)];
  for (const [path, content] of unpack(await carriedArchive(before, { manifest, kernel }))) await write(join(rootOfNext, path), content);
  const carried = join(rootOfNext, "carried");
  const keys = join(rootOfNext, "var", "keys");
  assert.deepEqual(await takeKeys(keys, carried), ["machine"]);
  assert.equal(await readFile(join(keys, "machine"), "utf8"), `${"ab".repeat(32)}\n`);
  assert.deepEqual(await readdir(join(carried, "keys")), [], "and nowhere else");
  assert.deepEqual(await takeKeys(keys, carried), [], "a second start changes nothing");

  const [init, root] = [new Uint8Array(1_001).fill(3), new Uint8Array(200_704).fill(4)];
  const running = { init: join(rootOfNext, "init"), root: join(rootOfNext, "root.squashfs") };
  await write(running.init, init);
  await write(running.root, root);
  const held = await heldImage(carried, running);
  assert.ok(held);
  const given = async (part: ImagePartName): Promise<Uint8Array> => {
    const through = new PassThrough();
    const all = buffer(through);
    await held.write(part, through, new AbortController().signal);
    through.end();
    return new Uint8Array(await all);
  };
  assert.deepEqual(await given("manifest"), manifest);
  assert.deepEqual(await given("vmlinuz"), kernel);
  assert.deepEqual(await given("initramfs"), new Uint8Array(writeCpio(initramfsEntries(init, root))));
});

test("a machine that the firmware started has nothing of before, and gives no image", async (t) => {
  const empty = await folder(t);
  assert.deepEqual(await takeKeys(join(empty, "keys"), join(empty, "carried")), []);
  assert.equal(await heldImage(join(empty, "carried")), null);
});
