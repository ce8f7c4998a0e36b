/**
 * What an operator may have a machine do from afar, and the rule against doing it twice; the newest lines that the machine said of itself.
 *
 * A command names the boot that it is for and a counter that rises: who overheard one can repeat it neither now (the counter is used) nor after the
 * machine has started again (the boot is another), and not later either (it is signed for a minute at most).
 */
import type { Hex } from "#chain/types.ts";
import { MACHINE_LINES_MAX, MACHINE_LINE_LENGTH_MAX } from "./limits.ts";

export const COMMANDS = ["reboot", "powerOff", "wipe", "upgrade", "rekey"] as const;
export type CommandName = (typeof COMMANDS)[number];
export type MachineCommand = { readonly command: CommandName; readonly bootId: Hex; readonly counter: bigint; /** `upgrade`: the folder of the next image, as a URL. */ readonly image: string | null };
/** What carries commands out: an image has it, an ordinary process has not. */
export type MachineControl = {
  /** Those that it knows how to carry out. */
  readonly commands: readonly CommandName[];
  /** Takes what the command needs for itself, or says what is in its way. */
  reserve?(command: MachineCommand): "upgrade_under_way" | null;
  /** What the operator needs to know before it is carried out; throws an error with a code. */
  prepare?(command: MachineCommand): Promise<Readonly<Record<string, string>>>;
  carryOut(command: MachineCommand): void;
};
export type CommandRefusal = "wrong_boot" | "counter_used" | "upgrade_under_way";

export class CommandGate {
  readonly #bootId: Hex;
  #counter = 0n;

  constructor(bootId: Hex) {
    this.#bootId = bootId;
  }

  /** The last one's. */
  get counter(): bigint {
    return this.#counter;
  }

  /** Null: it may be done, this once. */
  admit({ bootId, counter }: Pick<MachineCommand, "bootId" | "counter">): CommandRefusal | null {
    if (bootId !== this.#bootId) return "wrong_boot";
    if (counter <= this.#counter) return "counter_used";
    this.#counter = counter;
    return null;
  }
}

const URL_LENGTH_MAX = 512;

/** The command in a body, or null when it is none: every field known, of its kind, and there. */
export function parseCommand(body: Uint8Array): MachineCommand | null {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch {
    return null;
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  const { command, bootId, counter, image, ...rest } = value as Record<string, unknown>;
  const name = COMMANDS.find((known) => known === command);
  if (name === undefined || Object.keys(rest).length > 0 || typeof bootId !== "string" || !/^[0-9a-f]{32}$/.test(bootId)) return null;
  if (typeof counter !== "string" || !/^[1-9]\d{0,18}$/.test(counter)) return null;
  const isUrl = typeof image === "string" && image.length <= URL_LENGTH_MAX && /^https?:\/\/[!-~]+$/.test(image);
  if (name === "upgrade" ? !isUrl : image !== undefined) return null;
  return { command: name, bootId: bootId as Hex, counter: BigInt(counter), image: isUrl ? image : null };
}

export type MachineLine = { readonly sequence: number; readonly timeMs: number; readonly line: string };

/** The newest lines, in memory. */
export class MachineLog {
  readonly #lines: MachineLine[] = [];
  #sequence = 0;

  add(line: string, timeMs: number): void {
    this.#lines.push({ sequence: ++this.#sequence, timeMs, line: line.slice(0, MACHINE_LINE_LENGTH_MAX) });
    if (this.#lines.length > MACHINE_LINES_MAX) this.#lines.shift();
  }

  after(sequence: number, countMax: number): readonly MachineLine[] {
    return this.#lines.filter((line) => line.sequence > sequence).slice(0, countMax);
  }

  tail(count: number): readonly MachineLine[] {
    return count === 0 ? [] : this.#lines.slice(-count);
  }
}
