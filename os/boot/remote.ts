/** Commands of the operator from afar, carried out on a machine that runs the image: through the one door out. */
import { type FileHandle, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../error.ts";
import type { MachineControl } from "../machineControl.ts";
import { carriedArchive } from "./carried.ts";
import type { Way } from "./ending.ts";
import { IDENTITY_FILE, readIdentity } from "./identity.ts";
import type { KeyChange } from "./rekey.ts";

const DOWNLOADS = "/tmp";

export function remoteControl(way: Way, directory: string, say: (line: string) => void, keys: Pick<KeyChange, "prepare"> | null = null, begin: typeof upgrade = upgrade): MachineControl {
  /** Until it fails, or the machine ends by it. */
  let isUpgrading = false;
  return {
    reserve: ({ command }) => {
      if (command !== "upgrade") return null;
      if (isUpgrading) return "upgrade_under_way";
      isUpgrading = true;
      return null;
    },
    commands: ["reboot", "powerOff", "wipe", "upgrade", ...(keys === null ? [] : ["rekey" as const])],
    prepare: async ({ command }) => (command === "rekey" && keys !== null ? await keys.prepare() : {}),
    carryOut: ({ command, image }) => {
      switch (command) {
        case "reboot": return void way.leave("restart", "the operator's reboot");
        case "powerOff": return void way.leave("powerOff", "the operator's power-off");
        case "wipe": return void way.leave("restart", "the operator's wipe", () => rm(directory, { recursive: true, force: true }).catch((error: unknown) => say(`stopping  the data are not wiped: ${messageOf(error)}`)));
        case "upgrade": return void begin(way, directory, image ?? "", say).catch((error: unknown) => {
          isUpgrading = false;
          say(`upgrade   FAILED ${messageOf(error)}`);
        });
        // The ledger says when.
        case "rekey": return;
        default: return command satisfies never;
      }
    },
  };
}

/** The machine goes on as it was when anything is wrong with the image. */
async function upgrade(way: Way, directory: string, url: string, say: (line: string) => void): Promise<void> {
  say(`upgrade   fetching ${url}`);
  const [{ fetchImage, trialCommandLine }, { loadNextKernel }] = await Promise.all([import("./upgrade.ts"), import("../linux/power.ts")]);
  await using next = await fetchImage(url, DOWNLOADS, readIdentity(IDENTITY_FILE), Date.now(), async (manifest, kernel) => await carriedArchive(join(directory, "keys"), { manifest, kernel: await readWhole(kernel) }));
  loadNextKernel(next.kernel.fd, next.initramfs.fd, trialCommandLine(await readFile("/proc/cmdline", "utf8")));
  await way.leave("kexec", `upgrade to ${next.manifest.version}, release ${next.manifest.release}`);
}

/** From its beginning: the handle stays where it is, for the kernel to read. */
async function readWhole(file: FileHandle): Promise<Uint8Array> {
  const bytes = new Uint8Array((await file.stat()).size);
  await file.read(bytes, 0, bytes.length, 0);
  return bytes;
}
