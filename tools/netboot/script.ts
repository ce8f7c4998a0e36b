/** The iPXE script of one machine. Pure. */
import { PREFIX } from "#os/boot/cmdline.ts";
import { FILES } from "./way.ts";

/** The image's own words, and those of the network that it does not have: as a machine decides that was loaded as one file (os/boot/words.ts). */
export function kernelLine(imageWords: string, words: readonly string[]): string {
  const keyOf = (word: string): string => word.split("=", 1)[0] ?? "";
  const own = imageWords.split(/\s+/).filter((word) => word !== "");
  const has = new Set(own.map(keyOf).filter((key) => key.startsWith(PREFIX)));
  return [...own, ...words.flatMap((text) => text.split(/\s+/)).filter((word) => word !== "" && !has.has(keyOf(word)))].join(" ");
}

/**
 * `initrd=` names what the next line loads: a kernel that iPXE starts by EFI finds it by this. When something fails the machine says so and
 * begins anew after a moment: a server that is restarted must not leave a rack standing.
 */
export function scriptText(url: string, kernelArguments: string): string {
  return [
    "#!ipxe", `kernel ${url}/${FILES.kernel} initrd=${FILES.initramfs} ${kernelArguments} || goto failed`, `initrd ${url}/${FILES.initramfs} || goto failed`, "boot || goto failed",
    ":failed", "echo The image could not be loaded: again in ten seconds", "sleep 10", "reboot", "",
  ].join("\n");
}

/** For one that is to boot nothing from here: the firmware goes on with its next way. */
export const REFUSAL_SCRIPT = "#!ipxe\necho This machine is not known here\nexit 1\n";
