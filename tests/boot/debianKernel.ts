/**
 * Debian's own kernel under our image, for computers where the image's kernel has not been built (ten minutes): the boot tests run everywhere.
 *
 * It is another kernel: drivers that ours has built in are modules, which PID 1 loads from `/modules` in the order of a file; and the image is as it is otherwise. It
 * shows nothing about our fragment; `npm run test:boot` has a way for each.
 */
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import type { CpioEntry } from "#os/boot/cpio.ts";
import { unpacked } from "#tools/image/packages.ts";
import type { Pin } from "#tools/image/pins.ts";

const VERSION = "6.12.117+deb12-cloud-amd64";
const KERNEL: Pin = { name: `linux-image-${VERSION}`, version: "6.12.117-1~deb12u1", sha256: "5195b288dec79e2981d6b84457f38b7ce7310a2d702930ec7d07209c7f78ce37" };
/** The root's file system, the card of QEMU, the power button; what another needs stands before it. */
const MODULES: readonly string[] = ["drivers/block/loop.ko.xz", "fs/squashfs/squashfs.ko.xz", "net/core/failover.ko.xz", "drivers/net/net_failover.ko.xz", "drivers/net/virtio_net.ko.xz", "drivers/acpi/button.ko.xz"];

export type OtherKernel = { readonly kernel: Uint8Array; readonly entries: readonly CpioEntry[] };

/** Throws where apt does not have it. */
export async function debianKernel(cache: string): Promise<OtherKernel> {
  const folder = await unpacked(KERNEL, cache);
  const modules = await Promise.all(MODULES.map(async (path): Promise<CpioEntry> => ({ kind: "file", path: `modules/${basename(path)}`, content: await readFile(join(folder, "lib", "modules", VERSION, "kernel", path)) })));
  const order = new TextEncoder().encode(`${MODULES.map((path) => basename(path)).join("\n")}\n`);
  return { kernel: await readFile(join(folder, "boot", `vmlinuz-${VERSION}`)), entries: [{ kind: "file", path: "modules/order", content: order }, ...modules] };
}
