/**
 * A machine that boots, in a network namespace, over real sockets: what firmware does, by the names of its steps on standard input (one JSON a line),
 * with the answers on standard output. The test has the sentences.
 */
import { createHash } from "node:crypto";
import { createSocket } from "node:dgram";
import { createConnection } from "node:net";
import { createInterface } from "node:readline";
import { ANY_ADDRESS, type Mac } from "#os/boot/addresses.ts";
import { DHCP_SERVER_PORT, type DhcpMessage, OPTION, decodeDhcp, encodeDhcp, messageType, messageTypeOption, textBytes, textOption } from "#os/boot/dhcpMessage.ts";
import { startNetwork } from "#os/boot/network.ts";
import { udpOnInterface } from "#os/linux/sockets.ts";

/** For what must come: a busy computer is no error. Who expects that nothing comes says how long to wait for it. */
const WAIT_MS = 60_000;
const waitOf = (value: unknown): number => Number(value ?? WAIT_MS);
/** A datagram that finds the server's queue full is gone: firmware asks again, too. */
const ASK_AGAIN_MS = 1_000;
/** A stream that says nothing more: the server would keep it for a minute. */
const NOISE_STREAM_MS = 300;
const textOf = (value: unknown): string | null => (typeof value === "string" ? value : null);
type Step = (given: Readonly<Record<string, unknown>>) => Promise<unknown>;

const steps: Readonly<Record<string, Step>> = {
  /** The client of the image: its address, with everything that came along. */
  async lease({ hostName }) {
    const network = startNetwork({ settings: { addressing: [], dns: [], hostName: textOf(hostName) ?? "guest" }, onLine: (line) => void process.stderr.write(`${line}\n`), resolverFile: "/dev/null" });
    await Promise.race([network.ready, new Promise((resolve) => setTimeout(resolve, WAIT_MS))]);
    const current = network.current();
    network.stop();
    return current;
  },
  /** One DISCOVER as a firmware of that kind sends it, and the first offer. */
  async discover({ on, mac, vendor, architecture, ipxe, waitMs }) {
    const socket = createSocket("udp4");
    await new Promise<void>((resolve) => socket.bind({ fd: udpOnInterface(String(on), 68) }, resolve));
    socket.setBroadcast(true);
    const message: DhcpMessage = {
      op: "request", xid: 77, seconds: 0, broadcast: true, client: ANY_ADDRESS, your: ANY_ADDRESS, next: ANY_ADDRESS, relay: ANY_ADDRESS, mac: String(mac) as Mac, bootFile: "",
      options: new Map([messageTypeOption("discover"), ...(textOf(vendor) === null ? [] : [[OPTION.vendorClass, textBytes(textOf(vendor) ?? "")] as const]), ...(architecture === undefined ? [] : [[OPTION.architecture, Uint8Array.of(0, Number(architecture))] as const]), ...(ipxe === true ? [[OPTION.ipxe, Uint8Array.of(1, 1, 0)] as const] : [])]),
    };
    let again: NodeJS.Timeout | undefined;
    try {
      return await new Promise((resolve) => {
        const timer = setTimeout(() => resolve(null), waitOf(waitMs));
        socket.on("message", (bytes) => {
          const answer = decodeDhcp(bytes);
          if (answer?.op !== "reply" || answer.mac !== mac || messageType(answer) !== "offer") return;
          clearTimeout(timer);
          resolve({ address: answer.your, file: textOption(answer, OPTION.bootFile), vendorClass: textOption(answer, OPTION.vendorClass) });
        });
        const ask = (): void => socket.send(encodeDhcp(message), DHCP_SERVER_PORT, "255.255.255.255");
        ask();
        again = setInterval(ask, ASK_AGAIN_MS);
      });
    } finally {
      clearInterval(again);
      socket.close();
    }
  },
  tftp: ({ host, file, options, abort, lose, waitMs }) => readTftp(String(host), String(file), (options ?? {}) as Record<string, string>, abort === true, Number(lose ?? 0), waitOf(waitMs)),
  async http({ url, method, headers, body, waitMs }) {
    try {
      const response = await fetch(String(url), { method: textOf(method) ?? "GET", headers: (headers ?? {}) as Record<string, string>, ...(body === undefined ? {} : { body: JSON.stringify(body) }), signal: AbortSignal.timeout(waitOf(waitMs)) });
      const bytes = new Uint8Array(await response.arrayBuffer());
      return { status: response.status, length: response.headers.get("content-length"), range: response.headers.get("content-range"), sha256: createHash("sha256").update(bytes).digest("hex"), text: bytes.length < 2_000 ? new TextDecoder().decode(bytes) : null };
    } catch {
      return null;
    }
  },
  /** Whether that host is there at all: its kernel refuses a port where nobody listens. */
  reach: ({ host }) => new Promise((resolve) => {
    const stream = createConnection(9, String(host));
    stream.on("error", (error: NodeJS.ErrnoException) => resolve(error.code === "ECONNREFUSED"));
    stream.setTimeout(WAIT_MS, () => stream.destroy(new Error("no answer")));
  }),
  /** Packets of chance to every port, some of them a good one that was damaged, and streams that are no HTTP. */
  async noise({ on, host, seed, count }) {
    let draw = Number(seed);
    const chance = (below: number): number => {
      draw = (Math.imul(draw, 1_103_515_245) + 12_345) >>> 0;
      return (draw >>> 8) % below;
    };
    const socket = createSocket("udp4");
    await new Promise<void>((resolve) => socket.bind({ fd: udpOnInterface(String(on), 0) }, resolve));
    socket.setBroadcast(true);
    const goods = [
      encodeDhcp({ op: "request", xid: 1, seconds: 0, broadcast: true, client: ANY_ADDRESS, your: ANY_ADDRESS, next: ANY_ADDRESS, relay: ANY_ADDRESS, mac: "52:54:00:00:00:77" as Mac, bootFile: "x", options: new Map([messageTypeOption("discover"), [OPTION.vendorClass, textBytes("PXEClient")]]) }),
      new TextEncoder().encode("\0\x01godwit.efi\0octet\0blksize\x001468\0windowsize\x0032\0"), Uint8Array.of(0, 4, 0, 1), Uint8Array.of(0, 5, 0, 0, 0),
    ];
    for (let sent = 0; sent < Number(count); sent++) {
      const packet = (goods[chance(goods.length)] ?? new Uint8Array()).slice();
      for (let change = chance(6); change > 0; change--) packet[chance(packet.length)] = chance(256);
      const cut = chance(4) === 0 ? packet.slice(0, chance(packet.length)) : packet;
      await new Promise<void>((resolve) => socket.send(cut, chance(2) === 0 ? 67 : 69, chance(3) === 0 ? "255.255.255.255" : String(host), () => resolve()));
    }
    socket.close();
    for (const text of ["GET", "GET / HTTP/9\r\n\r\n", "\0\0\0\0", `GET /${"x".repeat(20_000)} HTTP/1.1\r\n\r\n`, "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", "POST /boot.ipxe HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"]) {
      await new Promise<void>((resolve) => {
        const stream = createConnection(80, String(host), () => stream.end(text));
        stream.on("error", () => resolve()).on("close", () => resolve()).resume();
        setTimeout(() => stream.destroy(), NOISE_STREAM_MS);
      });
    }
    return "sent";
  },
};

/** Reads as a firmware does; `lose` of a hundred blocks are thought lost. */
async function readTftp(host: string, file: string, options: Readonly<Record<string, string>>, abort: boolean, lose: number, waitMs: number): Promise<unknown> {
  const socket = createSocket("udp4");
  await new Promise<void>((resolve) => socket.bind(0, resolve));
  const parts: Uint8Array[] = [];
  const text = [file, "octet", ...Object.entries(options).flat(), ""].join("\0");
  let [blockBytes, windowBlocks, arrived, sinceAck, draw] = [512, 1, 0, 0, 5];
  let agreed: Record<string, string> | null = null;
  const ask = (): void => socket.send(Buffer.from(`\0\x01${text}`, "latin1"), 69, host);
  const again = setInterval(ask, ASK_AGAIN_MS);
  try {
    return await new Promise((resolve) => {
      let timer = setTimeout(() => resolve(null), waitMs);
      socket.on("message", (bytes, from) => {
        clearInterval(again);
        clearTimeout(timer);
        timer = setTimeout(() => resolve(null), waitMs);
        const done = (answer: unknown): void => {
          clearTimeout(timer);
          resolve(answer);
        };
        const acknowledge = (): void => {
          sinceAck = 0;
          socket.send(Uint8Array.of(0, 4, (arrived >> 8) & 255, arrived & 255), from.port, from.address);
        };
        const code = bytes.readUInt16BE(0);
        if (code === 5) return done({ error: bytes.readUInt16BE(2) });
        if (code === 6) {
          const texts = bytes.toString("latin1", 2).split("\0");
          agreed = Object.fromEntries(Array.from({ length: (texts.length - 1) / 2 }, (_, index) => [texts[index * 2], texts[index * 2 + 1]]));
          blockBytes = Number(agreed!["blksize"] ?? 512);
          windowBlocks = Number(agreed!["windowsize"] ?? 1);
          if (!abort) return acknowledge();
          return socket.send(Uint8Array.of(0, 5, 0, 8, 0), from.port, from.address, () => done({ agreed }));
        }
        draw = (Math.imul(draw, 1_103_515_245) + 12_345) >>> 0;
        if ((draw >>> 8) % 100 < lose) return;
        const block = bytes.readUInt16BE(2);
        if (block !== ((arrived + 1) & 0xffff)) return acknowledge();
        arrived += 1;
        parts.push(bytes.subarray(4));
        const isLast = bytes.length < 4 + blockBytes;
        if (++sinceAck >= windowBlocks || isLast) acknowledge();
        if (isLast) done({ agreed, bytes: parts.reduce((sum, { length }) => sum + length, 0), sha256: createHash("sha256").update(Buffer.concat(parts)).digest("hex") });
      });
      ask();
    });
  } finally {
    clearInterval(again);
    socket.close();
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { step, ...given } = JSON.parse(line) as { step: string };
  process.stdout.write(`${JSON.stringify((await steps[step]?.(given)) ?? null)}\n`);
}
process.exit(0);
