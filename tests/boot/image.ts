/** The image that the boot tests start: built of these very sources, with the kernel from the cache, else Debian's. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { messageOf } from "#os/error.ts";
import { cacheDirectory } from "#sandbox/native/directory.mjs";
import { type ImageOptions, buildImage } from "#tools/image/build.ts";
import { kernelInCache } from "#tools/image/kernel.ts";
import { needs } from "#tests/require.ts";
import { type OtherKernel, debianKernel } from "./debianKernel.ts";

/** Where this is said, Debian's kernel is taken though ours is there. */
const KERNEL_WORD = "GODWIT_TEST_KERNEL";

/** Null and a skip where the computer lacks something; a kernel is never built by a test, it takes ten minutes: where ours is not in the cache Debian's is taken. */
export async function imageForTests(t: TestContext, options: Partial<ImageOptions> = {}): Promise<string | null> {
  if (!needs(t, "qemu", "cargo")) return null;
  const cache = cacheDirectory();
  const isOurs = process.env[KERNEL_WORD] !== "debian" && (await kernelInCache(cache)) !== null;
  let other: OtherKernel | null = null;
  if (!isOurs) {
    try {
      other = await debianKernel(cache);
      t.diagnostic("the kernel is Debian's: that of the image is not in the cache (godwit image build makes it, in ten minutes)");
    } catch (error) {
      const why = `a kernel: that of the image is not in the cache (godwit image build makes it, in ten minutes), and Debian's cannot be fetched: ${messageOf(error)}`;
      if ((process.env["GODWIT_REQUIRE"] ?? "").split(",").includes("kernel")) throw new Error(`This computer lacks ${why}`, { cause: error });
      t.skip(`needs ${why}`);
      return null;
    }
  }
  const out = join(cache, "image", `${options.target ?? "uki"}${other === null ? "" : "-debian"}`);
  mkdirSync(out, { recursive: true });
  await buildImage({ target: "uki", effort: "quick", out, ...(other === null ? {} : { otherKernel: other }), ...options });
  return out;
}
