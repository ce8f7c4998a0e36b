/** `godwit machine`: one machine, for its operator: how it is, what it said, emptied, ended, changed. */
import { addressOf as machineAddress, addressText, parseAddress } from "#chain/codec/address.ts";
import { fromHex, publicKey, signature } from "#chain/types.ts";
import type { CommandName } from "#os/machineControl.ts";
import type { Machine } from "../answers.ts";
import type { ApiClient } from "../client.ts";
import { CliError, type Command, type Input, OPTIONS_API, OPTIONS_SIGN, type Shell, UsageError } from "../command.ts";
import { pause } from "../pause.ts";
import { type Session, openSession, send } from "../session.ts";
import { pairsText, plain, print, withProgress } from "../table.ts";

const MIB = 1024 * 1024;
const TAIL_DEFAULT = 100;
const FOLLOW_MS = 1_000;
const LINES_MAX = 1_000;
/** Others fetch and compile what it ran; segments are paid 30 s after. */
const EMPTY_MS_MAX = 120_000;

type Verb = { readonly argument?: string; readonly run: (session: Session, input: Input, shell: Shell, argument: string) => Promise<void> };
const VERBS: Readonly<Record<string, Verb>> = {
  status: { run: showStatus }, logs: { run: showLogs },
  drain: { run: (session, input, shell) => setDraining(session, input, shell, true) }, undrain: { run: (session, input, shell) => setDraining(session, input, shell, false) }, retire: { run: retire },
  reboot: { run: (session, input, shell) => command(session, input, shell, "reboot", "it starts again") },
  poweroff: { run: (session, input, shell) => command(session, input, shell, "powerOff", "it goes off") },
  upgrade: { argument: "URL", run: (session, input, shell, url) => command(session, input, shell, "upgrade", "it takes the image, and starts it when its signature holds", url) },
  wipe: { run: wipe }, rekey: { run: rekey },
};

export const machine: Command = {
  name: "machine",
  summary: "Look after one machine from afar, as its operator",
  usage: ["status|logs [--follow] [--tail N]", "drain|undrain|retire", "reboot|poweroff", "upgrade URL", "rekey", "wipe --yes"],
  options: {
    ...OPTIONS_API, ...OPTIONS_SIGN,
    follow: { type: "boolean", short: "f", summary: "logs: go on with what comes" },
    tail: { type: "string", value: "N", summary: `logs: the newest so many lines (${TAIL_DEFAULT})` },
    yes: { type: "boolean", summary: "wipe: it is meant" },
  },
  arguments: [1, 2],
  details: "The machine is the one behind --api. Only its operator's account is answered; a key of it\n" +
    "for machines may read, and not reboot, power off, wipe, upgrade or rekey.\n" +
    "A command is signed for this machine and this boot of it, holds for less than a minute and is taken once.\n" +
    "drain: its leases move away and none come, by a transaction; undrain ends that.\n" +
    "retire: an empty machine leaves the grid, and its bond comes back.\n" +
    "reboot, poweroff, upgrade, wipe: machines that run our image; drain first, and nobody notices.\n" +
    "rekey: it makes another key; its leases move away, and then it is registered under that one, on\n" +
    "the same terms, and retired under the one before. It may be asked again where it stopped.",
  async run(input, shell) {
    const [word = "", argument] = input.positionals;
    const verb = Object.hasOwn(VERBS, word) ? VERBS[word] : undefined;
    if (verb === undefined) throw new UsageError(`machine does not know "${word}": ${Object.keys(VERBS).join(", ")}`);
    if ((verb.argument === undefined) !== (argument === undefined)) throw new UsageError(verb.argument === undefined ? `machine ${word} takes no argument` : `machine ${word} needs a ${verb.argument}`);
    await using session = await openSession(input, shell);
    await verb.run(session, input, shell, argument ?? "");
  },
};

async function showStatus({ client }: Session, input: Input, shell: Shell): Promise<void> {
  const self = await client.machineSelf();
  const mib = (bytes: number): string => String(Math.round(bytes / MIB));
  print(shell, input.json, self, () => pairsText([
    ["machine", self.machine], ["operator", self.operator], ["boot", self.bootId], ["runs", self.isImage ? "the image" : "an ordinary process"], ["version", `${self.version}, Node ${self.node}, Linux ${self.kernel}`],
    ["up", `${self.uptimeSeconds} s`], ["memory", `${mib(self.memory.availableBytes)} of ${mib(self.memory.totalBytes)} MiB free, agent ${mib(self.memory.agentBytes)} MiB`],
    ["addresses", self.addresses.map(({ name, address }) => `${name} ${address}`).join(", ")],
  ]));
}

async function showLogs({ client }: Session, input: Input, shell: Shell): Promise<void> {
  let after = 0;
  const show = (lines: Awaited<ReturnType<ApiClient["machineLines"]>>): void => {
    for (const line of lines) print(shell, input.json, line, () => `${new Date(line.timeMs).toISOString()} ${plain(line.line)}`);
    after = lines.at(-1)?.sequence ?? after;
  };
  show(await client.machineLines({ tail: input.count("tail", 0, LINES_MAX) ?? TAIL_DEFAULT }));
  while (input.flag("follow") && !shell.signal.aborted) {
    await pause(FOLLOW_MS, shell.signal);
    if (!shell.signal.aborted) show(await client.machineLines({ after }));
  }
}

async function machineOf({ client }: Session): Promise<NonNullable<ReturnType<typeof parseAddress>>> {
  const { machine: text } = await client.status();
  const address = parseAddress(text);
  if (address === null) throw new CliError("answer_malformed", `The machine's address is not one: ${text}`);
  return address;
}

async function setDraining(session: Session, input: Input, shell: Shell, isDraining: boolean): Promise<void> {
  const { machine: text } = await session.client.status();
  const { txid, height } = await send(session, shell, [{ kind: "drain", machine: await machineOf(session), draining: isDraining ? 1 : 0 }], isDraining ? "draining" : "opening");
  print(shell, input.json, { machine: text, draining: isDraining, txid, height }, () => (isDraining ? `${text} takes no more leases; those that it has move away` : `${text} takes leases again`));
}

async function retire(session: Session, input: Input, shell: Shell): Promise<void> {
  const { machine: text } = await session.client.status();
  const { txid, height } = await send(session, shell, [{ kind: "retire", machine: await machineOf(session) }], "retiring");
  print(shell, input.json, { machine: text, txid, height }, () => `${text} has left the grid; its bond is back`);
}

/** One transaction has both, so that the machine is registered under one key at any time; the machine sees it in the chain, and takes the key. */
async function rekey(session: Session, input: Input, shell: Shell): Promise<void> {
  const { client } = session;
  const before = await machineOf(session);
  const { machineKey, proof } = await client.command("rekey");
  if (machineKey === null || proof === null || !/^[0-9a-f]{64}$/.test(machineKey) || !/^[0-9a-f]{128}$/.test(proof)) throw new CliError("answer_malformed", "The machine's answer has no next key");
  const next = machineAddress(publicKey(fromHex(machineKey)));
  const known = async (): Promise<Machine> => (await client.allMachines()).find(({ id }) => id === addressText(before)) ?? raise(new CliError("machine_unknown", `The chain knows no machine ${addressText(before)}`));
  if (!(await known()).draining) await send(session, shell, [{ kind: "drain", machine: before, draining: 1 }], "draining");
  await withProgress(shell, "waiting until it is empty", (async () => {
    for (const deadline = performance.now() + EMPTY_MS_MAX; (await known()).leases > 0; await pause(FOLLOW_MS, shell.signal)) {
      if (performance.now() > deadline || shell.signal.aborted) throw new CliError("machine_in_use", `${addressText(before)} holds leases still, which no other machine takes: ask again when it is empty`);
    }
  })());
  const { memoryMib, cpuMillis, pricePerGibSecond, pricePerCoreSecond, region, bond, labels } = await known();
  const { txid, height } = await send(session, shell, [
    { kind: "retire", machine: before },
    { kind: "registerMachine", machineKey: publicKey(fromHex(machineKey)), proof: signature(fromHex(proof)), memoryMib, cpuMillis, pricePerGibSecond, pricePerCoreSecond, region, bond },
    ...(labels.length === 0 ? [] : [{ kind: "label", machine: next, labels } as const]),
  ], "changing the key");
  print(shell, input.json, { machine: addressText(before), next: addressText(next), txid, height }, () => `${addressText(before)} is ${addressText(next)} from now on; its agent begins anew`);
}

function raise(error: Error): never {
  throw error;
}

async function command({ client }: Session, input: Input, shell: Shell, name: CommandName, what: string, image?: string): Promise<void> {
  const { machine: text } = await client.status();
  await client.command(name, image);
  print(shell, input.json, { machine: text, command: name }, () => `${text}: ${what}`);
}

async function wipe(session: Session, input: Input, shell: Shell): Promise<void> {
  if (!input.flag("yes")) throw new UsageError("machine wipe forgets the machine's keys and all that it holds for good: say --yes");
  await command(session, input, shell, "wipe", "it forgets everything and starts again as a new machine");
}
