/** `godwit netboot`: boots machines over the network from this computer; shows who booted. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { addressText, addressOf as machineAddress } from "#chain/codec/address.ts";
import { chainIdOf } from "#chain/codec/genesis.ts";
import { sha256Hex } from "#chain/crypto.ts";
import { chainId, fromHex, hex, publicKey, signature } from "#chain/types.ts";
import { type Ipv4, type Mac, ipv4Number, parseIpv4 } from "#os/boot/addresses.ts";
import { openKey } from "#os/keys.ts";
import type { BootRow } from "#tools/netboot/booted.ts";
import type { Catalogue } from "#tools/netboot/catalogue.ts";
import type { PoolRange } from "#tools/netboot/pool.ts";
import type { Enrolment } from "#tools/netboot/enrolment.ts";
import { MACHINES_ENROLLED_DEFAULT, MACHINES_ENROLLED_MAX } from "#tools/netboot/limits.ts";
import type { JoinTokens } from "#tools/netboot/tokens.ts";
import type { Vault } from "#tools/netboot/vault.ts";
import { type Command, type Input, OPTIONS_ACCOUNT, OPTIONS_API, type Shell, UsageError } from "../command.ts";
import { jsonText, plain, tableText } from "../table.ts";

const HTTP_PORT_DEFAULT = 80;
const CMDLINE_FILE = "cmdline";

export const netboot: Command = {
  name: "netboot",
  summary: "Boot machines over the network from this computer",
  usage: ["--interface IF … [--image DIR] [--signer KEY] [--proxy-dhcp] [--machines FILE] [--genesis FILE]", "--enrol --for OPERATOR --account ENROLMENT_KEY --api URL --interface IF …"],
  options: {
    interface: { type: "string", multiple: true, value: "IF", summary: "the interface to serve, and no other; may be given several times" },
    image: { type: "string", value: "DIR", summary: "what godwit image build --target netboot made (.)" },
    signer: { type: "string", multiple: true, value: "KEY", summary: "whose image it may be (that of ~/.godwit/image-key, as godwit image build prints)" },
    unsigned: { type: "boolean", summary: "serve an image that nobody signed" },
    "allow-older": { type: "boolean", summary: "serve an image although this server has served a newer release of its signer" },
    "proxy-dhcp": { type: "boolean", summary: "another DHCP server gives the addresses; say only what to boot" },
    machines: { type: "string", value: "FILE", summary: "names, addresses and kernel words, for all and by hardware address (TOML)" },
    range: { type: "string", value: "FIRST-LAST", summary: "the addresses to give (up to a hundred of the interface's network)" },
    router: { type: "string", value: "ADDRESS", summary: "the way out for the machines (none)" },
    dns: { type: "string", multiple: true, value: "ADDRESS", summary: "a name server for the machines (none)" },
    port: { type: "string", value: "N", summary: `the port of HTTP (${HTTP_PORT_DEFAULT})` },
    genesis: { type: "string", value: "FILE", summary: "the chain that the machines are told to join" },
    enrol: { type: "boolean", summary: "machines join through this server: those that are named in --machines, the others wait" },
    state: { type: "string", value: "DIR", summary: "the newest release served; with --enrol who has joined, and what machines leave here (~/.godwit/netboot)" },
    "machines-max": { type: "string", value: "N", summary: `enrol: register so many at most (${MACHINES_ENROLLED_DEFAULT})` },
    ...OPTIONS_API, ...OPTIONS_ACCOUNT,
    for: { type: "string", value: "ADDRESS", summary: "enrol: the operator's account, for which the key of --account may speak" },
  },
  arguments: [0, 0],
  details: "Serves BIOS PXE, iPXE, UEFI PXE and UEFI HTTP boot: DHCP, TFTP and HTTP, on the named interfaces only. Needs root.\n" +
    "How a machine comes on is shown as it happens: asked, loading, loaded, running, joined. Ctrl-C ends it.\n" +
    "Whoever is on that network can boot the image and read what it is told, the token too: see tools/netboot/README.md.",
  async run(input, shell) {
    const interfaces = input.texts("interface");
    if (interfaces.length === 0) throw new UsageError("netboot needs --interface IF: it answers on no network that it was not told");
    const httpPort = input.count("port", 1, 65_535) ?? HTTP_PORT_DEFAULT;
    const isProxy = input.flag("proxy-dhcp");
    const range = input.text("range") === undefined ? null : rangeOf(input.text("range") ?? "");
    const router = addressOption(input, "router");
    const dns = input.texts("dns").map((text) => addressOf("--dns", text));
    if (isProxy && (range !== null || router !== null || dns.length > 0)) throw new UsageError("with --proxy-dhcp the other DHCP server says range, router and dns");
    const folder = resolve(shell.currentDirectory, input.text("image") ?? ".");
    const [{ openCatalogue }, { startNetboot }, { openParameters }, { BootTable }, { fewLines }] = await Promise.all([
      import("#tools/netboot/catalogue.ts"), import("#tools/netboot/server.ts"), import("#tools/netboot/parametersFile.ts"), import("#tools/netboot/booted.ts"), import("#tools/netboot/fewLines.ts"),
    ]);
    const genesis = input.text("genesis");
    const catalogue = await openCatalogue(folder, genesis === undefined ? null : resolve(shell.currentDirectory, genesis));
    if (!input.flag("unsigned")) await verified(input, shell, catalogue);
    const file = input.text("machines");
    const say = fewLines((line) => void shell.stderr.write(`${plain(line)}\n`), shell.nowMs);
    const genesisBytes = genesis === undefined ? null : new Uint8Array(await readFile(resolve(shell.currentDirectory, genesis)));
    let isNamed = async (_mac: Mac): Promise<boolean> => false;
    await using joining = input.flag("enrol") ? await openEnrolment(input, shell, genesisBytes, (mac) => isNamed(mac), say) : null;
    const serverWords = [genesisBytes === null ? "" : `godwit.genesis=sha256:${sha256Hex(genesisBytes)}`, joining === null ? "" : `godwit.operator=${joining.operator}`].filter((word) => word !== "").join(" ");
    const parameters = await openParameters(file === undefined ? null : resolve(shell.currentDirectory, file), serverWords, say);
    isNamed = parameters.isNamed;
    const write = (text: string): void => void shell.stdout.write(`${text}\n`);
    // A program is told of every row.
    const tell = input.json ? write : fewLines(write, shell.nowMs);
    const table = new BootTable((row) => tell(shownAs(shell, input.json, row, () => table.rows())));
    const server = await startNetboot({
      interfaces, catalogue, parameters: parameters.current, isProxy, range, router, dns, httpPort, table, kernelArguments: await kernelArgumentsIn(folder),
      enrolment: joining?.enrolment ?? null, vault: joining?.vault ?? null, tokens: joining?.tokens ?? null, now: shell.nowMs, onLine: say,
      serverWords,
    });
    try {
      await new Promise<void>((done) => (shell.signal.aborted ? done() : shell.signal.addEventListener("abort", () => done(), { once: true })));
    } finally {
      await server.stop();
    }
  },
};

const stateFolder = (input: Input, shell: Shell): string => resolve(shell.currentDirectory, input.text("state") ?? join(shell.homeDirectory, ".godwit", "netboot"));

/** Says what is served; throws when it is not by somebody who was named. */
async function verified(input: Input, shell: Shell, catalogue: Catalogue): Promise<void> {
  const [{ signerOf, verifyImage }, { admitRelease }] = await Promise.all([import("#tools/netboot/verifiedImage.ts"), import("#tools/netboot/releases.ts")]);
  const own = join(shell.homeDirectory, ".godwit", "image-key");
  const named = input.texts("signer").map(signerOf);
  if (named.length === 0 && !existsSync(own)) throw new UsageError("netboot needs --signer KEY, which godwit image build prints, or --unsigned: this computer has no key of its own for images");
  const signers = named.length > 0 ? named : [(await openKey(own)).publicKey];
  const signed = await verifyImage(catalogue, signers, shell.nowMs());
  await admitRelease(join(stateFolder(input, shell), "releases.json"), signed, input.flag("allow-older"));
  const { version, release, expiresAt } = signed.manifest;
  if (shell.quiet !== true) shell.stderr.write(`image ${plain(version)}, release ${release}, signed, until ${plain(expiresAt)}\n`);
}

/**
 * The key of --account speaks for the account of --for, on the chain of --genesis, else the one behind --api: which may be a machine that is
 * about to boot from here.
 */
async function openEnrolment(input: Input, shell: Shell, genesis: Uint8Array | null, isNamed: (mac: Mac) => Promise<boolean>, onLine: (line: string) => void): Promise<AsyncDisposable & { readonly enrolment: Enrolment; readonly vault: Vault; readonly tokens: JoinTokens; readonly operator: string }> {
  if (input.text("for") === undefined) throw new UsageError("--enrol needs --for ADDRESS: the operator whose machines they become");
  const [{ openSession, send }, { Enrolment: Enrolling }, { JoinBook }, { JoinTokens: Tokens }, { Vault: Keeping }, { joinKeyBytes }, { DEVELOPMENT_OFFER }] = await Promise.all([
    import("../session.ts"), import("#tools/netboot/enrolment.ts"), import("#tools/netboot/book.ts"), import("#tools/netboot/tokens.ts"), import("#tools/netboot/vault.ts"), import("#os/boot/joinRequest.ts"), import("#os/development.ts"),
  ]);
  const session = await openSession(input, shell);
  const chain = genesis === null ? chainId(fromHex((await session.client.status()).chainId)) : chainIdOf(genesis);
  const state = stateFolder(input, shell);
  const book = await JoinBook.open(join(state, `joins-${hex(chain)}-${addressText(session.sender)}.json`));
  const vault = new Keeping({ directory: join(state, "vault"), isMember: (key) => [...book.registered.values()].some((one) => one.isSure && one.key === key) });
  const tokens = new Tokens(book);
  const { pricePerGibSecond, pricePerCoreSecond, bond } = DEVELOPMENT_OFFER;
  const enrolment = new Enrolling({
    operator: session.sender, chainId: chain, countMax: input.count("machines-max", 1, MACHINES_ENROLLED_MAX) ?? MACHINES_ENROLLED_DEFAULT, tokens, book, isNamed, onRetired: (key) => void vault.forget(key), now: shell.nowMs, onLine,
    hands: {
      register: async (request) => {
        const { machineKey, proof } = joinKeyBytes(request);
        const { memoryMib, cpuMillis, region } = request;
        await send(session, shell, [{ kind: "registerMachine", machineKey: publicKey(machineKey), proof: signature(proof), memoryMib, cpuMillis, region, pricePerGibSecond, pricePerCoreSecond, bond: bond({ memoryMib, cpuMillis, region, cpuModel: "" }) }], "registering");
      },
      retire: async (key) => void (await send(session, shell, [{ kind: "retire", machine: machineAddress(publicKey(fromHex(key))) }], "retiring")),
    },
  });
  return { enrolment, vault, tokens, operator: addressText(session.sender), [Symbol.asyncDispose]: () => session[Symbol.asyncDispose]() };
}

const kernelArgumentsIn = async (folder: string): Promise<string> => (await readFile(join(folder, CMDLINE_FILE), "utf8").catch(() => "")).trim();

function addressOf(option: string, text: string): Ipv4 {
  const address = parseIpv4(text);
  if (address === null) throw new UsageError(`${option} must be an IPv4 address, not "${text}"`);
  return address;
}

const addressOption = (input: Input, name: string): Ipv4 | null => {
  const text = input.text(name);
  return text === undefined ? null : addressOf(`--${name}`, text);
};

function rangeOf(text: string): PoolRange {
  const [from = "", to = "", ...rest] = text.split("-");
  const range = { first: addressOf("--range", from), last: addressOf("--range", to) };
  if (rest.length > 0 || ipv4Number(range.last) < ipv4Number(range.first)) throw new UsageError(`--range must be FIRST-LAST, not "${text}"`);
  return range;
}

/** A program reads one row as it changes, and so does a file; a person at a terminal sees the whole table. */
function shownAs(shell: Shell, json: boolean, row: BootRow, rows: () => readonly BootRow[]): string {
  if (json) return jsonText(row);
  const time = (ms: number): string => new Date(ms).toISOString().slice(11, 19);
  const seconds = (one: BootRow): string => `${((one.seenMs - one.beganMs) / 1000).toFixed(1)} s`;
  if (shell.stdout.isTTY !== true) return `${time(row.seenMs)} ${row.mac} ${row.name ?? "-"} ${row.way} ${row.address ?? "-"} ${row.stage} ${seconds(row)} ${plain(row.note)}`;
  return `\u001b[2J\u001b[H${tableText(rows(), [
    { title: "machine", cell: (one) => one.mac }, { title: "name", cell: (one) => one.name ?? "" }, { title: "way", cell: ({ way }) => way }, { title: "address", cell: (one) => one.address ?? "" },
    { title: "stage", cell: ({ stage }) => stage }, { title: "after", align: "right", cell: seconds }, { title: "boots", align: "right", cell: ({ boots }) => String(boots) },
    { title: "seen", cell: ({ seenMs }) => time(seenMs) }, { title: "", cell: ({ note }) => note },
  ])}`;
}
