/** Commands of the operator from afar, carried out on a machine that runs the image: through the one door out. */
import { readFile, rm } from "node:fs/promises";
import { messageOf } from "../error.ts";
import type { MachineControl } from "../machineControl.ts";
import type { Way } from "./ending.ts";

const DOWNLOADS = "/tmp";
/** What the image knows of itself (tools/image/root.ts). */
const IDENTITY_FILE = "/godwit/image.json";

export function remoteControl(way: Way, directory: string, say: (line: string) => void): MachineControl {
  return {
    commands: ["reboot", "powerOff", "wipe", "upgrade"],
    carryOut: ({ command, image }) => {
      switch (command) {
        case "reboot": return void way.leave("restart", "the operator's reboot");
        case "powerOff": return void way.leave("powerOff", "the operator's power-off");
        case "wipe": return void way.leave("restart", "the operator's wipe", () => rm(directory, { recursive: true, force: true }).catch((error: unknown) => say(`stopping  the data are not wiped: ${messageOf(error)}`)));
        case "upgrade": return void upgrade(way, image ?? "", say).catch((error: unknown) => say(`upgrade   FAILED ${messageOf(error)}`));
        default: return command satisfies never;
      }
    },
  };
}

/** The machine goes on as it was when anything is wrong with the image. */
async function upgrade(way: Way, url: string, say: (line: string) => void): Promise<void> {
  say(`upgrade   fetching ${url}`);
  const [{ fetchImage, readIdentity, trialCommandLine }, { loadNextKernel }] = await Promise.all([import("./upgrade.ts"), import("../linux/power.ts")]);
  const { kernelFile, initramfsFile, manifest } = await fetchImage(url, DOWNLOADS, await readIdentity(IDENTITY_FILE), Date.now());
  loadNextKernel(kernelFile, initramfsFile, trialCommandLine(await readFile("/proc/cmdline", "utf8")));
  await way.leave("kexec", `upgrade to ${manifest.version}, release ${manifest.release}`);
}
