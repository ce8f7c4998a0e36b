/**
 * The machine's own screen (virtual terminals, console_ioctl(2)): the kernel's lines stay on the first one, and what is painted is on the second, which is shown.
 *
 * It takes no input: what is typed there is neither echoed nor read. Alt-F1 and Alt-F2 change between the two, which is the kernel's doing, as is Ctrl-Alt-Del.
 */
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { addressOfBytes, calls, checked } from "./calls.ts";

const IOCTL = 16n;
const VT_ACTIVATE = 0x5606n;
const TIOCLINUX = 0x541cn;
const REDIRECT_KERNEL_LINES = 11;
const TCGETS = 0x5401n;
const TCSETS = 0x5402n;
const TIOCGWINSZ = 0x5413n;
const TERMIOS_BYTES = 64;
const LOCAL_FLAGS_AT = 12;
/** Signals, lines, echo. */
const TYPED = 0o1 | 0o2 | 0o10;
const [LOG, SCREEN] = [1, 2];
const HIDE_CURSOR = "\u001b[?25l";
const HOME = "\u001b[H";

export type Screen = {
  readonly columns: number;
  readonly rows: number;
  /** Exactly as many lines as there are rows, each as long as the row. */
  paint(lines: readonly string[]): void;
  /** The kernel's lines are what is shown again. */
  stop(): void;
};

/** Throws where there is no screen. */
export function openScreen(): Screen {
  const descriptor = openSync(`/dev/tty${SCREEN}`, constants.O_RDWR | constants.O_NOCTTY);
  const control = (what: string, request: bigint, argument: bigint | Uint8Array): number =>
    checked(what, calls().syscall(IOCTL, BigInt(descriptor), request, typeof argument === "bigint" ? argument : addressOfBytes(argument), 0n, 0n, 0n));
  try {
    const settings = new Uint8Array(TERMIOS_BYTES);
    control("read the settings of the screen", TCGETS, settings);
    const view = new DataView(settings.buffer);
    view.setUint32(LOCAL_FLAGS_AT, view.getUint32(LOCAL_FLAGS_AT, true) & ~TYPED, true);
    control("switch typing off on the screen", TCSETS, settings);
    const size = new Uint8Array(8);
    control("read the size of the screen", TIOCGWINSZ, size);
    control("keep the kernel's lines on their own screen", TIOCLINUX, Uint8Array.of(REDIRECT_KERNEL_LINES, LOG));
    writeSync(descriptor, HIDE_CURSOR);
    control("show the screen", VT_ACTIVATE, BigInt(SCREEN));
    const [rows, columns] = [new DataView(size.buffer).getUint16(0, true), new DataView(size.buffer).getUint16(2, true)];
    return {
      rows, columns,
      // The last character of the last row would scroll.
      paint: (lines) => void writeSync(descriptor, `${HOME}${lines.join("").slice(0, rows * columns - 1)}`),
      stop: () => {
        control("show the kernel's lines", VT_ACTIVATE, BigInt(LOG));
        closeSync(descriptor);
      },
    };
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}
