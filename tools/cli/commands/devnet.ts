/** `godwit devnet`: several machines with validators on this computer, and faults for them. */
import { join, resolve } from "node:path";
import type { Row } from "#tools/devnet/devnet.ts";
import type { Request, Verb } from "#tools/devnet/control.ts";
import { type Command, CliError, type Input, type Shell, UsageError } from "../command.ts";
import { pause } from "../pause.ts";
import { jsonText, print, tableText, withProgress } from "../table.ts";

const COUNT_DEFAULT = 4;
const COUNT_MAX = 32;
const LOOK_MS = 1_000;
const OFFSET_MS_MAX = 86_400_000;
/** A machine stops within 2 s, or is killed after 10 (tools/chain/machines.ts). */
const STOP_MS = 15_000;
/** Verbs that act on a running devnet, and how many names each takes at least. */
const NAMES_MIN: Readonly<Record<Exclude<Verb, "heal" | "status" | "down">, number>> = { kill: 1, start: 1, pause: 1, resume: 1, partition: 1, skew: 1, slow: 1 };

export const devnet: Command = {
  name: "devnet",
  summary: "Run several machines on this computer, and break them",
  usage: ["up [-n N] [--vm [--image DIR]] [--data DIR]", "kill|start|pause|resume|partition NAME … [--data DIR]", "skew|slow NAME … --ms N [--data DIR]", "heal|status|down [--data DIR]"],
  options: {
    machines: { type: "string", short: "n", value: "N", summary: `up: how many machines, each with a validator (${COUNT_DEFAULT})` },
    data: { type: "string", value: "DIR", summary: "the devnet's folder (~/.godwit/devnet)" },
    ports: { type: "boolean", summary: "up: all on loopback, as root too; none can be cut off then" },
    vm: { type: "boolean", summary: "up: each as a guest of the real image, in QEMU; needs root" },
    image: { type: "string", value: "DIR", summary: "up --vm: the image to boot (else it is built, in the devnet's folder)" },
    ms: { type: "string", value: "N", summary: "skew: how far the clock is ahead; negative: behind (--ms=-5000); slow: how much later all leaves; 0: right again" },
  },
  arguments: [1, 1 + COUNT_MAX],
  details: "up starts them and shows them once a second, until Ctrl-C or devnet down, which stop all. As root each\n" +
    "machine has a network namespace of its own; partition needs that. The same folder goes on where it was.\n" +
    "kill is kill -9 and start brings back; pause stops a whole machine as it stands; partition cuts the named\n" +
    "off from the others until heal; skew starts them again with a clock that is off, slow behind a long line.\n" +
    "With --vm the chain's validator is a process beside the guests, which keep no disk; an emulated boot\ntakes a minute or more.",
  stopMs: STOP_MS,
  async run(input, shell) {
    const [verb = "", ...names] = input.positionals;
    const directory = resolve(shell.currentDirectory, input.text("data") ?? join(shell.homeDirectory, ".godwit", "devnet"));
    if (verb === "up") return up(input, shell, names, directory);
    const { VERBS, ask } = await import("#tools/devnet/control.ts");
    const known = VERBS.find((one) => one === verb);
    if (known === undefined) throw new UsageError(`devnet does not know "${verb}": up, ${VERBS.join(", ")}`);
    const request = requestOf(known, names, input);
    const { rows } = await withProgress(shell, `${verb} ${names.join(" ")}`.trim(), ask(directory, request));
    print(shell, input.json, { machines: rows }, () => tableOf(rows));
  },
};

function requestOf(verb: Verb, names: readonly string[], input: Input): Request {
  const takesNames = Object.hasOwn(NAMES_MIN, verb);
  if (takesNames && names.length === 0) throw new UsageError(`devnet ${verb} needs a NAME`);
  if (!takesNames && names.length > 0) throw new UsageError(`devnet ${verb} takes no NAME: unexpected "${names[0]}"`);
  const written = input.text("ms");
  if ((verb === "skew" || verb === "slow") !== (written !== undefined)) throw new UsageError("--ms belongs to devnet skew and slow, and they need it");
  const offsetMs = written === undefined ? 0 : Number(/^-?\d{1,8}$/.test(written) ? written : Number.NaN);
  if (!(Math.abs(offsetMs) <= OFFSET_MS_MAX)) throw new UsageError(`--ms must be a whole number from -${OFFSET_MS_MAX} to ${OFFSET_MS_MAX}, not "${written}"`);
  return { verb, names, offsetMs };
}

async function up(input: Input, shell: Shell, names: readonly string[], directory: string): Promise<void> {
  if (names.length > 0) throw new UsageError(`devnet up names its machines by itself: unexpected "${names[0]}"`);
  const count = input.count("machines", 1, COUNT_MAX) ?? COUNT_DEFAULT;
  const [{ Devnet }, { claim, serveControl }] = await Promise.all([import("#tools/devnet/devnet.ts"), import("#tools/devnet/control.ts")]);
  if (input.text("image") !== undefined && !input.flag("vm")) throw new UsageError("--image belongs to devnet up --vm");
  if (input.flag("vm") && input.flag("ports")) throw new UsageError("--vm and --ports exclude each other: guests have a network of their own");
  await claim(directory);
  const image = input.flag("vm") ? await imageOf(input, shell, directory) : undefined;
  const down = new AbortController();
  const stop = AbortSignal.any([shell.signal, down.signal]);
  let changed = new AbortController();
  const opening = Devnet.open({ directory, count, ...(input.flag("ports") ? { isIsolated: false } : {}), ...(image === undefined ? {} : { image }), onChange: () => changed.abort(), abort: shell.signal });
  const machines = await withProgress(shell, `starting ${count} machines`, opening);
  try {
    await using _control = await serveControl(directory, machines, () => down.abort());
    if (!shell.quiet) shell.stderr.write(`${image !== undefined ? "each a guest of the image" : machines.isIsolated ? "each in a network namespace" : "on loopback; none can be cut off"}; account ${join(directory, "0", "keys", "development")}; Ctrl-C stops all\n`);
    const shown = new Show(shell, input.json);
    while (!stop.aborted) {
      changed = new AbortController();
      shown.rows(await machines.rows());
      await pause(LOOK_MS, AbortSignal.any([stop, changed.signal]));
    }
  } finally {
    await machines[Symbol.asyncDispose]();
  }
  if (!shell.signal.aborted && !down.signal.aborted) throw new CliError("devnet_failed", "The devnet ended by itself");
}

/** The folder of an image that is there, or is built now. */
async function imageOf(input: Input, shell: Shell, directory: string): Promise<string> {
  const given = input.text("image");
  if (given !== undefined) return resolve(shell.currentDirectory, given);
  const out = join(directory, "image");
  const [{ mkdir }, { buildImage }] = await Promise.all([import("node:fs/promises"), import("#tools/image/build.ts")]);
  await mkdir(out, { recursive: true });
  await withProgress(shell, "building the image", buildImage({ target: "uki", effort: "quick", out }));
  return out;
}

/** A table that is drawn again in its place on a terminal; elsewhere, and with --json, again only when something but a height changed. */
class Show {
  readonly #shell: Shell;
  readonly #json: boolean;
  #lines = 0;
  #last = "";
  constructor(shell: Shell, json: boolean) {
    [this.#shell, this.#json] = [shell, json];
  }
  rows(rows: readonly Row[]): void {
    const { stdout } = this.#shell;
    if (this.#json) return void stdout.write(`${jsonText({ machines: rows })}\n`);
    const text = tableOf(rows);
    const key = jsonText(rows.map((row) => ({ ...row, height: row.height === null })));
    if (stdout.isTTY === true) {
      stdout.write(`${this.#lines === 0 ? "" : `\u001b[${this.#lines}A\u001b[0J`}${text}\n`);
      this.#lines = text.split("\n").length;
    } else if (key !== this.#last) stdout.write(`${text}\n\n`);
    this.#last = key;
  }
}

const stateOf = ({ state, isCut, clockOffsetMs, slowMs }: Row): string =>
  [state, ...(slowMs === 0 ? [] : [`slow ${slowMs} ms`]), ...(isCut ? ["cut off"] : []), ...(clockOffsetMs === 0 ? [] : [`clock ${clockOffsetMs > 0 ? "+" : ""}${clockOffsetMs} ms`])].join(", ");

function tableOf(rows: readonly Row[]): string {
  return tableText(rows, [
    { title: "NAME", cell: ({ name }) => name },
    { title: "API", cell: ({ api }) => api },
    { title: "INGRESS", cell: ({ httpPort }) => `port ${httpPort}` },
    { title: "HEIGHT", align: "right", cell: ({ height }) => (height === null ? "-" : String(height)) },
    { title: "LEASES", align: "right", cell: ({ leases }) => (leases === null ? "-" : String(leases)) },
    { title: "STATE", cell: stateOf },
  ]);
}
