/**
 * The netboot server: DHCP (or proxy DHCP), TFTP and HTTP on each interface that it was told, one table of machines for all.
 *
 * Rules: every socket is bound to its interface, so nothing of another network is heard or answered; the site's address is read from the
 * interface, never guessed; a fault of one exchange is a line, and the server goes on.
 */
import { closeSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { BROADCAST_ADDRESS, type Ipv4, type Mac, type Network, parseIpv4, parseMac, parseNetwork } from "#os/boot/addresses.ts";
import { DHCP_CLIENT_PORT, DHCP_SERVER_PORT, type DhcpMessage, decodeDhcp, encodeDhcp } from "#os/boot/dhcpMessage.ts";
import { readAddresses, readLinks } from "#os/linux/netlink.ts";
import { announceNoRouter, icmp6OnInterface } from "#os/linux/sockets.ts";
import { JOIN_PATH, parseJoinRequest } from "#os/boot/joinRequest.ts";
import { CliError } from "../cli/command.ts";
import type { BootTable } from "./booted.ts";
import type { Catalogue } from "./catalogue.ts";
import { type DhcpSite, addressTaken, answerBootQuestion, answerDhcp } from "./dhcpServer.ts";
import type { Enrolment } from "./enrolment.ts";
import { type HttpAnswer, type HttpCall, startHttp } from "./httpServer.ts";
import { type Parameters, wordsFor } from "./parameters.ts";
import { AddressPool, type PoolRange, defaultRange } from "./pool.ts";
import { REFUSAL_SCRIPT, kernelLine, scriptText } from "./script.ts";
import { TFTP_PORT } from "./tftp.ts";
import { bound, startTftp } from "./tftpServer.ts";
import type { JoinTokens } from "./tokens.ts";
import type { Vault } from "./vault.ts";
import { FILES, wayOf } from "./way.ts";

export type NetbootOptions = {
  readonly interfaces: readonly string[];
  readonly catalogue: Catalogue;
  /** The image's own words for the kernel. */
  readonly kernelArguments: string;
  /** Asked for each machine, so that a file that is changed counts at once. */
  readonly parameters: () => Parameters;
  /** Null: machines do not join through this server. */
  readonly enrolment: Enrolment | null;
  /** Null: machines leave nothing here. */
  readonly vault: Vault | null;
  /** Words that the server adds for all. */
  readonly serverWords: string;
  readonly isProxy: boolean;
  readonly range: PoolRange | null;
  readonly router: Ipv4 | null;
  readonly dns: readonly Ipv4[];
  readonly httpPort: number;
  readonly table: BootTable;
  /** Null: machines get none. */
  readonly tokens: JoinTokens | null;
  readonly onLine: (line: string) => void;
  readonly now: () => number;
};
/** Where firmware asks again for the file that a proxy offered. */
const BOOT_QUESTION_PORT = 4011;

export async function startNetboot(options: NetbootOptions): Promise<{ stop(): Promise<void> }> {
  await using started = new AsyncDisposableStack();
  for (const name of options.interfaces) await startOn(name, options, started);
  const up = started.move();
  return { stop: () => up.disposeAsync() };
}

/** The interface's first IPv4 address. */
export function networkOf(name: string): Network {
  const index = readLinks().find((link) => link.name === name)?.index;
  const found = readAddresses().find((address) => address.index === index);
  const network = found === undefined ? null : parseNetwork(`${found.address}/${found.prefix}`);
  if (network === null) throw new CliError("interface_unknown", `Cannot serve on ${name} as it is no interface with an IPv4 address (ip address add 10.0.0.1/24 dev ${name})`);
  return network;
}

async function startOn(name: string, options: NetbootOptions, started: AsyncDisposableStack): Promise<void> {
  const { table, tokens, vault, now } = options;
  const network = networkOf(name);
  const url = `http://${network.address}${options.httpPort === 80 ? "" : `:${options.httpPort}`}`;
  const fixed = fixedOf(options.parameters);
  const site: DhcpSite = {
    network, place: { address: network.address, url }, router: options.router, dns: options.dns,
    pool: options.isProxy ? null : new AddressPool(network, options.range ?? defaultRange(network), fixed),
  };
  const onFault = (error: Error): void => options.onLine(`${name}: ${error.message}`);
  const isServed = (mac: Mac): boolean => options.parameters().unknown === "serve" || options.parameters().machines.has(mac);
  const heard = (message: DhcpMessage, address: Ipv4 | null): void => {
    const way = wayOf(message);
    if (way !== "other" && isServed(message.mac)) table.asked(message.mac, way, options.parameters().machines.get(message.mac)?.name ?? null, address, now());
  };

  // iPXE asks for an IPv6 router beside DHCP, and waits sixteen seconds where there is none.
  const solicited = site.pool === null ? null : openAnnouncer(name, started, onFault);
  const dhcp = await bound(name, DHCP_SERVER_PORT);
  started.defer(() => void dhcp.close());
  dhcp.setBroadcast(true);
  dhcp.on("error", onFault);
  dhcp.on("message", (bytes) => {
    const message = decodeDhcp(bytes);
    if (message === null || (!isServed(message.mac) && site.pool === null)) return;
    const answer = answerDhcp(site, isServed(message.mac) ? message : withoutBoot(message), now());
    const given = site.pool === null ? addressTaken(message) : answer === null || answer.message.your === "0.0.0.0" ? null : answer.message.your;
    heard(message, given);
    if (solicited !== null && wayOf(message) === "ipxe" && isServed(message.mac)) solicited();
    if (answer !== null) dhcp.send(encodeDhcp(answer.message), DHCP_CLIENT_PORT, answer.to ?? BROADCAST_ADDRESS, (error) => { if (error !== null) onFault(error); });
  });
  if (site.pool === null) {
    const questions = await bound(name, BOOT_QUESTION_PORT);
    started.defer(() => void questions.close());
    questions.on("error", onFault);
    questions.on("message", (bytes, from) => {
      const message = decodeDhcp(bytes);
      const answer = message === null || !isServed(message.mac) ? null : answerBootQuestion(site, message);
      if (message === null || answer === null) return;
      heard(message, parseIpv4(from.address));
      questions.send(encodeDhcp(answer), from.port, from.address);
    });
  }

  const reached = (client: string, file: string, isWhole: boolean): void => {
    const mac = table.macOf(client);
    const isLast = file === FILES.uki || file === FILES.initramfs;
    if (mac !== null) table.reached(mac, isWhole && isLast ? "loaded" : "loading", now(), file);
  };
  const tftp = await startTftp({
    interfaceName: name, address: network.address, port: TFTP_PORT, catalogue: options.catalogue, now: () => performance.now(), onFault,
    onEnd: (client, file, why) => {
      if (why === "done") reached(client, file, true);
      else if (why !== "aborted") options.onLine(`${name}: TFTP of ${file} to ${client}: ${why}`);
    },
  });
  started.defer(() => tftp.stop());
  const http = await startHttp({ interfaceName: name, address: network.address, port: options.httpPort, catalogue: options.catalogue, route: (call) => routed(call), ...(vault === null ? {} : { upload: (request: IncomingMessage, response: ServerResponse, path: string) => vault.answer(request, response, path) }), onFile: reached, onFault });
  started.defer(() => http.stop());

  /** Where this server gives the addresses it knows them; who asks over HTTP may name any machine as its own. */
  const told = (call: HttpCall): Ipv4 | null => (site.pool === null ? parseIpv4(call.client) : null);
  const join = async (call: HttpCall): Promise<HttpAnswer> => {
    const request = call.method === "POST" ? parseJoinRequest(call.body) : null;
    if (request === null || options.enrolment === null) return { status: 400, type: "text/plain", body: "no join request\n" };
    const answer = await options.enrolment.join(request);
    if (answer.state === "registered") table.reached(request.mac, "joined", now(), "", told(call));
    else table.reached(request.mac, "running", now(), answer.state === "refused" ? answer.code : "waits to be named", told(call));
    return { status: 200, type: "application/json", body: JSON.stringify(answer) };
  };
  const routed = async (call: HttpCall): Promise<HttpAnswer | null> => {
    if (call.path === JOIN_PATH && options.enrolment !== null) return await join(call);
    if (call.path !== "/boot.ipxe" && call.path !== "/v1/arguments") return null;
    const mac = parseMac(call.query.get("mac") ?? "");
    if (mac === null) return { status: 400, type: "text/plain", body: "mac=… is missing\n" };
    const isScript = call.path === "/boot.ipxe";
    if (!isServed(mac)) return { status: isScript ? 200 : 403, type: "text/plain", body: isScript ? REFUSAL_SCRIPT : "this machine is not known here\n" };
    // Where this server gives the addresses, a token goes to nobody but the machine that it is for.
    const isItself = site.pool === null || site.pool.holder(call.client, now()) === mac;
    table.reached(mac, isScript ? "loading" : "running", now(), "", told(call));
    const words = wordsFor(options.parameters(), mac, url, tokens !== null && isItself ? await tokens.make(mac, now()) : null);
    return { status: 200, type: "text/plain", body: isScript ? scriptText(url, kernelLine(options.kernelArguments, [options.serverWords, words])) : `${[options.serverWords, words].filter((one) => one !== "").join(" ")}\n` };
  };
  options.onLine(`${name}: ${site.pool === null ? "proxy DHCP" : "DHCP"}, TFTP and HTTP on ${url}`);
}

/** The machines' fixed addresses, made anew when the parameters are others. */
function fixedOf(parameters: () => Parameters): () => ReadonlyMap<Mac, Ipv4> {
  let [of, fixed]: [Parameters | null, ReadonlyMap<Mac, Ipv4>] = [null, new Map()];
  return () => {
    const now = parameters();
    if (now !== of) [of, fixed] = [now, new Map([...now.machines].flatMap(([mac, { address }]) => (address === null ? [] : [[mac, address] as const])))];
    return fixed;
  };
}

/** Null where the computer has no IPv6. */
function openAnnouncer(name: string, started: AsyncDisposableStack, onFault: (error: Error) => void): (() => void) | null {
  let descriptor: number;
  try {
    descriptor = icmp6OnInterface(name);
  } catch {
    return null;
  }
  started.defer(() => closeSync(descriptor));
  return () => {
    try {
      announceNoRouter(descriptor);
    } catch (error) {
      onFault(error instanceof Error ? error : new Error(String(error)));
    }
  };
}

/** An unnamed machine gets an address, as anybody does, and nothing to boot. */
function withoutBoot(message: DhcpMessage): DhcpMessage {
  const options = new Map(message.options);
  for (const code of [60, 77, 93, 175]) options.delete(code);
  return { ...message, options };
}
