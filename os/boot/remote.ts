/** Commands of the operator from afar, carried out on a machine that runs the image: through the one door out. */
import { rm } from "node:fs/promises";
import { messageOf } from "../error.ts";
import type { MachineControl } from "../machineControl.ts";
import type { Way } from "./ending.ts";

export function remoteControl(way: Way, directory: string, say: (line: string) => void): MachineControl {
  return {
    commands: ["reboot", "powerOff", "wipe"],
    carryOut: ({ command }) => {
      switch (command) {
        case "reboot": return void way.leave("restart", "the operator's reboot");
        case "powerOff": return void way.leave("powerOff", "the operator's power-off");
        case "wipe": return void way.leave("restart", "the operator's wipe", () => rm(directory, { recursive: true, force: true }).catch((error: unknown) => say(`stopping  the data are not wiped: ${messageOf(error)}`)));
        case "upgrade": return say("upgrade is not there yet");
        default: return command satisfies never;
      }
    },
  };
}
