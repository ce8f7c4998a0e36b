/** `godwit netboot`: boots machines over the network from this computer; shows who booted. */
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type Ipv4, ipv4Number, parseIpv4 } from "#os/boot/addresses.ts";
import type { BootRow } from "#tools/netboot/booted.ts";
import type { PoolRange } from "#tools/netboot/pool.ts";
import { CliError, type Command, type Input, type Shell, UsageError } from "../command.ts";
import { jsonText, plain, tableText } from "../table.ts";

const HTTP_PORT_DEFAULT = 80;
const CMDLINE_FILE = "cmdline";

export const netboot: Command = {
  name: "netboot",
  summary: "Boot machines over the network from this computer",
  usage: ["--interface IF … [--image DIR] [--proxy-dhcp] [--machines FILE]"],
  options: {
    interface: { type: "string", multiple: true, value: "IF", summary: "the interface to serve, and no other; may be given several times" },
    image: { type: "string", value: "DIR", summary: "what godwit image build --target netboot made (.)" },
    "proxy-dhcp": { type: "boolean", summary: "another DHCP server gives the addresses; say only what to boot" },
    machines: { type: "string", value: "FILE", summary: "names, addresses and kernel words, for all and by hardware address (TOML)" },
    range: { type: "string", value: "FIRST-LAST", summary: "the addresses to give (up to a hundred of the interface's network)" },
    router: { type: "string", value: "ADDRESS", summary: "the way out for the machines (none)" },
    dns: { type: "string", multiple: true, value: "ADDRESS", summary: "a name server for the machines (none)" },
    port: { type: "string", value: "N", summary: `the port of HTTP (${HTTP_PORT_DEFAULT})` },
    tokens: { type: "boolean", summary: "give each machine a join token: good once, for ten minutes" },
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
    const [{ openCatalogue }, { startNetboot }, { NO_PARAMETERS, parseParameters }, { BootTable }, { JoinTokens }] = await Promise.all([
      import("#tools/netboot/catalogue.ts"), import("#tools/netboot/server.ts"), import("#tools/netboot/parameters.ts"), import("#tools/netboot/booted.ts"), import("#tools/netboot/tokens.ts"),
    ]);
    const catalogue = await openCatalogue(folder);
    const file = input.text("machines");
    const parameters = file === undefined ? NO_PARAMETERS : parseParameters(await readMachines(resolve(shell.currentDirectory, file)));
    const table = new BootTable((row) => show(shell, input.json, row, () => table.rows()));
    const server = await startNetboot({
      interfaces, catalogue, parameters, isProxy, range, router, dns, httpPort, table, kernelArguments: await kernelArgumentsIn(folder),
      givesTokens: input.flag("tokens"), tokens: new JoinTokens(), now: shell.nowMs, onLine: (line) => void shell.stderr.write(`${plain(line)}\n`),
    });
    try {
      await new Promise<void>((done) => (shell.signal.aborted ? done() : shell.signal.addEventListener("abort", () => done(), { once: true })));
    } finally {
      await server.stop();
    }
  },
};

async function readMachines(file: string): Promise<string> {
  return readFile(file, "utf8").catch((error: unknown) => {
    throw new CliError("parameters_unknown", `Cannot read the machines' parameters in ${file}: ${error instanceof Error ? error.message : String(error)}`, {}, error);
  });
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
function show(shell: Shell, json: boolean, row: BootRow, rows: () => readonly BootRow[]): void {
  if (json) return void shell.stdout.write(`${jsonText(row)}\n`);
  const time = (ms: number): string => new Date(ms).toISOString().slice(11, 19);
  const seconds = (one: BootRow): string => `${((one.seenMs - one.beganMs) / 1000).toFixed(1)} s`;
  if (shell.stdout.isTTY !== true) return void shell.stdout.write(`${time(row.seenMs)} ${row.mac} ${row.name ?? "-"} ${row.way} ${row.address ?? "-"} ${row.stage} ${seconds(row)} ${plain(row.note)}\n`);
  shell.stdout.write(`\u001b[2J\u001b[H${tableText(rows(), [
    { title: "machine", cell: (one) => one.mac }, { title: "name", cell: (one) => one.name ?? "" }, { title: "way", cell: ({ way }) => way }, { title: "address", cell: (one) => one.address ?? "" },
    { title: "stage", cell: ({ stage }) => stage }, { title: "after", align: "right", cell: seconds }, { title: "boots", align: "right", cell: ({ boots }) => String(boots) },
    { title: "seen", cell: ({ seenMs }) => time(seenMs) }, { title: "", cell: ({ note }) => note },
  ])}\n`);
}
