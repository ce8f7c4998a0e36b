/** A CD image for machines that are managed from afar: El Torito with the EFI system partition as its boot image (UEFI only). */
import { mkdir, readFile, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { writeFat } from "./disk.ts";
import { run } from "./processes.ts";

const MIB = 1024 * 1024;
/** xorriso dates the volume: to this second. */
const TIME = "2026010100000000";

export async function writeIso(work: string, uki: Uint8Array): Promise<Uint8Array> {
  const fat = await writeFat(work, (Math.ceil(uki.length / MIB) + 34) * 2048, { "/EFI/BOOT/BOOTX64.EFI": uki });
  const tree = join(work, "iso");
  await mkdir(tree);
  await rename(fat, join(tree, "efi.img"));
  const out = join(work, "godwit.iso");
  await run("xorriso", ["-as", "mkisofs", "-quiet", "-V", "GODWIT", "-o", out, "-e", "efi.img", "-no-emul-boot", `--modification-date=${TIME}`, "--set_all_file_dates", "set_to_mtime", tree], { environment: { SOURCE_DATE_EPOCH: "1767225600" } });
  await stat(out);
  return await readFile(out);
}
