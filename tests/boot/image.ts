/** The image that the boot tests start: built of these very sources, with the kernel from the cache. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { cacheDirectory } from "#sandbox/native/directory.mjs";
import { type ImageOptions, buildImage } from "#tools/image/build.ts";
import { kernelInCache } from "#tools/image/kernel.ts";
import { needs } from "#tests/require.ts";

/** Null and a skip where the computer lacks something; a kernel is never built by a test, it takes ten minutes. */
export async function imageForTests(t: TestContext, options: Partial<ImageOptions> = {}): Promise<string | null> {
  if (!needs(t, "qemu", "cargo")) return null;
  if ((await kernelInCache(cacheDirectory())) === null) {
    t.skip("needs the image's kernel in the cache: godwit image build makes it, in ten minutes");
    return null;
  }
  const out = join(cacheDirectory(), "image", options.target ?? "uki");
  mkdirSync(out, { recursive: true });
  await buildImage({ target: "uki", effort: "quick", out, ...options });
  return out;
}
