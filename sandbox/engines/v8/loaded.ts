/** What is loaded, and what one request needs of the runner that it came to. */
import type { LogStream, Usage } from "../../control.ts";
import type { Limits } from "../../limits.ts";
import type { OutgoingPlace } from "../../outgoing.ts";
import type { Lane } from "./lane.ts";
import type { Mock } from "./mock.ts";
import type { Dialler } from "./outgoing.ts";
import type { Program, Setting } from "./protocol.ts";

/** One deployment as it is loaded now. */
export type Loaded = {
  readonly id: string;
  readonly hosts: readonly string[];
  readonly program: Program;
  readonly setting: Setting;
  readonly limits: Limits;
  readonly concurrency: number;
  readonly outgoing: readonly OutgoingPlace[];
  readonly mock: Mock | undefined;
  readonly usage: { -readonly [K in keyof Usage]: Usage[K] };
  readonly queue: (() => void)[];
};

export type Lanes = {
  readonly dialler: Dialler;
  route(host: string): Loaded | undefined;
  /** A lane with the program in it; null when there are as many as there may be. */
  lane(program: Program): Lane | null;
  /** Back, for the next request; or away, when the guest in it has not ended. */
  release(lane: Lane, isFree: boolean): void;
  log(id: string, requestId: string, stream: LogStream, line: string): void;
};
