/** `godwit chain`: what an operator does with a chain itself: its genesis, the keys of those who agree on it, and a node that does. */
import { createWriteStream } from "node:fs";
import { readFile, rename, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { addressOf, addressText, parseAddress } from "#chain/codec/address.ts";
import { type Genesis, chainIdOf, encodeGenesis } from "#chain/codec/genesis.ts";
import { PRESETS, type PresetName } from "#chain/constants.ts";
import { multiaddressOf } from "#chain/network/addresses.ts";
import { CHECKPOINT_FORM, type Checkpoint, checkpointText, parseCheckpoint } from "#chain/light/checkpoint.ts";
import { fromHex, hex, publicKey, timeMs } from "#chain/types.ts";
import { openKey, writeWhole } from "#os/keys.ts";
import { CliError, type Command, type Input, type Shell, UsageError, parseCount } from "../command.ts";
import { parseTokens } from "../money.ts";
import { pairsText, print, withProgress } from "../table.ts";

const DELTA_MS_DEFAULT = 400;
const LISTEN_DEFAULT = "0.0.0.0:7482";
const STATUS_INTERVAL_MS = 10_000;

const VERBS: Readonly<Record<string, (input: Input, shell: Shell, target: string) => Promise<void>>> = { genesis, keys, replay: replayChain, restart, validator };

export const chain: Command = {
  name: "chain",
  summary: "Make a chain, run a validator, check a folder",
  usage: [
    "keys DIR", "genesis FILE --name NAME --validator KEY[=WEIGHT] … --account ADDRESS=TOKENS …",
    "validator DIR --genesis FILE [--listen HOST:PORT] [--peer HOST:PORT …] …", "replay DIR",
    "restart DIR --era N [--height H]",
  ],
  options: {
    name: { type: "string", value: "NAME", summary: "genesis: the chain's name" },
    validator: { type: "string", multiple: true, value: "KEY[=WEIGHT]", summary: "genesis: a consensus key, in hex, and its weight (1)" },
    account: { type: "string", multiple: true, value: "ADDRESS=TOKENS", summary: "genesis: who begins with how much" },
    parameters: { type: "string", value: "PRESET", summary: "genesis: protocol parameters: default, or minimal for tests" },
    "delta-ms": { type: "string", value: "N", summary: `genesis: the delay the network keeps (${DELTA_MS_DEFAULT}; on one LAN 100)` },
    genesis: { type: "string", value: "FILE", summary: "validator: the genesis file (else the one in DIR)" },
    listen: { type: "string", multiple: true, value: "HOST:PORT", summary: `validator: where to listen (${LISTEN_DEFAULT})` },
    era: { type: "string", value: "N", summary: "restart: the number of the era, above those of before; use it once" },
    height: { type: "string", value: "H", summary: "restart: the final block that all begin with (the newest one here)" },
    peer: { type: "string", multiple: true, value: "HOST:PORT", summary: "validator: nodes to begin with; they tell of the others" },
    "votes-lost": { type: "boolean", summary: "validator: its vote log is gone; signs nothing until the others told it where they are" },
    checkpoint: { type: "string", value: "TEXT", summary: `validator: an empty DIR begins with the state of peers, and believes these validators (${CHECKPOINT_FORM}; "godwit status --verify" prints the newest)` },
    archive: { type: "boolean", summary: "validator: keeps every block, for replay and audit" },
    trace: { type: "string", value: "FILE", summary: "validator: appends every step of consensus, for tools/trace.ts" },
  },
  arguments: [1, 2],
  details: "keys makes the keys of one machine in DIR/keys, and prints what others may know of them.\n" +
    "validator runs a node without a machine around it, until Ctrl-C. It votes if its key is in the genesis.\n" +
    "restart is for a site where everything was switched off at once and votes were\nlost: it begins era N at the newest final block, or at H. All operators must\n" +
    "name the same N and block; the folder of before stays beside it.\n" +
    "replay executes every block again from genesis and compares each state root with the one that was signed.",
  async run(input, shell) {
    const [verb = "", target] = input.positionals;
    const run = Object.hasOwn(VERBS, verb) ? VERBS[verb] : undefined;
    if (run === undefined) throw new UsageError(`chain does not know "${verb}": ${Object.keys(VERBS).toSorted().join(", ")}`);
    if (target === undefined) throw new UsageError(`chain ${verb} needs a ${verb === "genesis" ? "FILE" : "DIR"}`);
    await run(input, shell, resolve(shell.currentDirectory, target));
  },
};

async function keys(input: Input, shell: Shell, folder: string): Promise<void> {
  const [validatorKey, machineKey, operatorKey] = await Promise.all(["validator", "machine", "operator"].map((name) => openKey(join(folder, "keys", name))));
  const shown = { consensusKey: hex(validatorKey!.publicKey), machine: addressText(machineKey!.address), operator: addressText(operatorKey!.address), folder: join(folder, "keys") };
  print(shell, input.json, shown, () => pairsText([["consensus key", shown.consensusKey], ["machine", shown.machine], ["operator", shown.operator], ["folder", shown.folder]]));
}

async function genesis(input: Input, shell: Shell, file: string): Promise<void> {
  const parameters = input.text("parameters") ?? "default";
  if (!Object.hasOwn(PRESETS, parameters)) throw new UsageError(`--parameters must be one of ${Object.keys(PRESETS).join(", ")}, not "${parameters}"`);
  const made: Genesis = {
    version: 1, name: input.text("name") ?? "godwit", timeMs: timeMs(BigInt(shell.nowMs())), deltaMs: input.count("delta-ms", 1, 5_000) ?? DELTA_MS_DEFAULT,
    parameters: parameters as PresetName, validators: input.texts("validator").map(validatorFrom), accounts: input.texts("account").map(accountFrom),
  };
  if (made.validators.length === 0) throw new UsageError("chain genesis needs a --validator: godwit chain keys DIR prints its key");
  let bytes: Uint8Array;
  try {
    bytes = encodeGenesis(made);
  } catch (error) {
    throw new CliError("genesis_invalid", error instanceof Error ? error.message : String(error));
  }
  await writeWhole(file, bytes);
  const shown = { chainId: hex(chainIdOf(bytes)), file, validators: made.validators.length, accounts: made.accounts.length };
  print(shell, input.json, shown, () => pairsText([["chain id", shown.chainId], ["file", file], ["validators", String(shown.validators)], ["accounts", String(shown.accounts)]]));
}

function validatorFrom(text: string): Genesis["validators"][number] {
  const [key = "", weight = "1"] = text.split("=");
  if (!/^[0-9a-f]{64}$/.test(key)) throw new UsageError(`--validator must be 64 hex digits, and =WEIGHT if it is not 1, not "${text}"`);
  const consensusKey = publicKey(fromHex(key));
  return { publicKey: consensusKey, weight: parseCount("the weight of a validator", weight, 1, 0x7fff_ffff), operator: addressOf(consensusKey) };
}
function accountFrom(text: string): Genesis["accounts"][number] {
  const [who = "", amount = ""] = text.split("=");
  const address = parseAddress(who);
  if (address === null) throw new UsageError(`--account must be ADDRESS=TOKENS, not "${text}"`);
  return { address, balance: parseTokens("the balance of an account", amount) };
}

async function validator(input: Input, shell: Shell, folder: string): Promise<void> {
  const file = resolve(shell.currentDirectory, input.text("genesis") ?? join(folder, "chain", "genesis"));
  const bytes = await readFile(file).catch(() => { throw new CliError("genesis_missing", `Cannot read the genesis file ${file}`); });
  const listen = input.texts("listen").length > 0 ? input.texts("listen") : [LISTEN_DEFAULT];
  const checkpoint = checkpointFrom(input);
  const [{ startValidator }, { signaturesCheckedBy, verifyNatively }] = await Promise.all([import("#tools/chain/validator.ts"), import("#os/verification.ts")]);
  verifyNatively((line) => shell.stderr.write(`${line}\n`));
  const halted = Promise.withResolvers<never>();
  halted.promise.catch(() => {});
  const aborted = new Promise<"aborted">((done) => shell.signal.addEventListener("abort", () => done("aborted"), { once: true }));
  const traceFile = input.text("trace");
  const trace = traceFile === undefined ? null : createWriteStream(resolve(shell.currentDirectory, traceFile), { flags: "a" });
  try {
    // Away for longer than others keep blocks, it begins anew with a snapshot.
    for (let why = "first"; why !== "aborted";) {
      const leftBehind = Promise.withResolvers<"left_behind">();
      const { node, transport, stop } = await startValidator({
        votesLost: input.flag("votes-lost"), archive: input.flag("archive"), ...(checkpoint ? { checkpoint } : {}), ...(trace ? { trace: (line) => void trace.write(`${line}\n`) } : {}),
        directory: folder, genesis: bytes, listen: multiaddresses("--listen", listen), peers: multiaddresses("--peer", input.texts("peer")),
        onHalt: ({ code, message }) => halted.reject(new CliError(code, message)), onLeftBehind: () => leftBehind.resolve("left_behind"),
      });
      const role = node.status().validator === null ? "follows" : `votes as validator ${node.status().validator}`;
      shell.stderr.write(`chain ${hex(node.chainId)}: ${role}, listens on ${transport.listening().join(", ")}, signatures by ${signaturesCheckedBy()}\n`);
      const timer = setInterval(() => shell.stderr.write(`height ${node.head().height}, ${node.status().peers} peers\n`), STATUS_INTERVAL_MS);
      try {
        why = await Promise.race([halted.promise, leftBehind.promise, aborted]);
      } finally {
        clearInterval(timer);
        await stop();
      }
      if (why === "left_behind") shell.stderr.write("away for longer than others keep blocks: begins anew with a snapshot\n");
    }
  } finally {
    trace?.end();
  }
}
function checkpointFrom(input: Input): Checkpoint | null {
  const text = input.text("checkpoint");
  if (text === undefined) return null;
  const checkpoint = parseCheckpoint(text);
  if (checkpoint === null) throw new UsageError(`--checkpoint must be ${CHECKPOINT_FORM}, not "${text}"`);
  return checkpoint;
}
function multiaddresses(option: string, written: readonly string[]): string[] {
  return written.map((text) => {
    const found = multiaddressOf(text);
    if (found === null) throw new UsageError(`${option} must be HOST:PORT, not "${text}"`);
    return found;
  });
}

async function replayChain(input: Input, shell: Shell, folder: string): Promise<void> {
  const { replay } = await import("#chain/node/replay.ts");
  const { height, id, stateRoot, transactions } = await withProgress(shell, "replaying", replay(folder));
  print(shell, input.json, { height, id: hex(id), stateRoot: hex(stateRoot), transactions }, () => pairsText([
    ["height", String(height)], ["block", hex(id)], ["state root", hex(stateRoot)], ["transactions", String(transactions)], ["verdict", "every signature holds and every state root is as it was signed"],
  ]));
}

/** The folder of the chain changes its place only when the new one is whole. */
async function restart(input: Input, shell: Shell, folder: string): Promise<void> {
  const number = input.count("era", 1, 0xffff_ffff);
  if (number === undefined) throw new UsageError("chain restart needs --era N");
  const height = input.count("height", 1, 0xffff_ffff);
  const { beginEra } = await import("#chain/node/era.ts");
  const keyFile = join(folder, "keys", "validator");
  const isValidator = await stat(keyFile).then(() => true, () => false);
  const [chainFolder, made, kept] = [join(folder, "chain"), join(folder, `chain.era-${number}`), join(folder, `chain.before-${number}`)];
  for (const path of [made, kept]) if (await stat(path).then(() => true, () => false)) throw new CliError("folder_in_use", `Cannot begin era ${number}: ${path} is there already`);
  const begun = await withProgress(shell, "beginning the era", beginEra({
    from: chainFolder, to: made, number, ...(height === undefined ? {} : { height }), ...(isValidator ? { validatorKey: (await openKey(keyFile)).publicKey } : {}),
  }));
  await rename(chainFolder, kept);
  await rename(made, chainFolder);
  const shown = { chainId: hex(begun.chainId), checkpoint: checkpointText(begun.checkpoint), height: begun.height, id: hex(begun.id), stateRoot: hex(begun.stateRoot), before: kept };
  print(shell, input.json, shown, () => pairsText([
    ["chain id", shown.chainId], ["begins at", String(begun.height)], ["block", shown.id], ["state root", shown.stateRoot], ["checkpoint", shown.checkpoint], ["before", kept],
    ["now", "compare these with the other operators: who has the same chain id is on the same chain; who joins or verifies later begins at the checkpoint"],
  ]));
}
