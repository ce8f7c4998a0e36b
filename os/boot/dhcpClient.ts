/**
 * The DHCP client of one interface, living: carries out what `step` (dhcp.ts) decides, over a UDP socket that hears this interface only.
 * It holds its lease until `stop`; what becomes of the address on the interface is the caller's.
 */
import { type Socket, createSocket } from "node:dgram";
import { closeSync, openSync, readSync } from "node:fs";
import { udpOnInterface } from "../linux/sockets.ts";
import { BROADCAST_ADDRESS, type Mac } from "./addresses.ts";
import { type DhcpEffect, type DhcpEvent, type DhcpState, type Lease, dhcpState, leaseOf, step, wakeMs } from "./dhcp.ts";
import { DHCP_CLIENT_PORT, DHCP_SERVER_PORT, decodeDhcp, encodeDhcp } from "./dhcpMessage.ts";

export type DhcpClientOptions = {
  readonly interfaceName: string;
  readonly mac: Mac;
  readonly hostName: string | null;
  readonly onLease: (lease: Lease) => void;
  readonly onLost: (lease: Lease, why: "refused" | "over" | "replaced") => void;
  readonly onFault: (error: Error) => void;
};
type EventBody = { readonly kind: "link"; readonly up: boolean } | { readonly kind: "time" } | { readonly kind: "message"; readonly message: NonNullable<ReturnType<typeof decodeDhcp>> };

/** Longest time that one timer waits: a lease may last longer than Node can count. */
const TIMER_MS_MAX = 3_600_000;
const RANDOM_FILE = "/dev/urandom";

/** 32 bits of the kernel's: a machine that boots has not read `node:crypto` yet, which takes an emulated one a tenth of a second. */
function drawn(): number {
  const bits = new Uint32Array(1);
  const file = openSync(RANDOM_FILE, "r");
  readSync(file, bits);
  closeSync(file);
  return bits[0]!;
}

export class DhcpClient {
  readonly #options: DhcpClientOptions;
  readonly #socket: Socket;
  #state: DhcpState;
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;

  private constructor(options: DhcpClientOptions, socket: Socket) {
    this.#options = options;
    this.#socket = socket;
    this.#state = dhcpState(options.mac, options.hostName);
    socket.on("message", (bytes, from) => {
      const message = from.port === DHCP_SERVER_PORT ? decodeDhcp(bytes) : null;
      if (message !== null) this.#event({ kind: "message", message });
    });
    socket.on("error", options.onFault);
  }

  static async start(options: DhcpClientOptions): Promise<DhcpClient> {
    const socket = createSocket("udp4");
    const descriptor = udpOnInterface(options.interfaceName, DHCP_CLIENT_PORT);
    await new Promise<void>((resolve, reject) => {
      socket.once("error", reject);
      socket.bind({ fd: descriptor }, () => {
        socket.off("error", reject);
        resolve();
      });
    });
    socket.setBroadcast(true);
    return new DhcpClient(options, socket);
  }

  get lease(): Lease | null {
    return leaseOf(this.#state);
  }

  setLink(up: boolean): void {
    this.#event({ kind: "link", up });
  }

  stop(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    clearTimeout(this.#timer);
    this.#socket.close();
  }

  #event(body: EventBody): void {
    if (this.#isStopped) return;
    const event: DhcpEvent = { ...body, nowMs: Math.trunc(performance.now()), draw: drawn() };
    const [next, effects] = step(this.#state, event);
    this.#state = next;
    for (const effect of effects) this.#carryOut(effect);
    clearTimeout(this.#timer);
    const wake = wakeMs(this.#state);
    if (wake === null || this.#isStopped) return;
    this.#timer = setTimeout(() => this.#event({ kind: "time" }), Math.min(Math.max(wake - event.nowMs, 0) + 1, TIMER_MS_MAX));
    this.#timer.unref();
  }

  #carryOut(effect: DhcpEffect): void {
    switch (effect.kind) {
      case "configure": return this.#options.onLease(effect.lease);
      case "unconfigure": return this.#options.onLost(effect.lease, effect.why);
      // What cannot be sent now (the interface is going down) is asked again by the state's own timer.
      case "send": return this.#socket.send(encodeDhcp(effect.message), DHCP_SERVER_PORT, effect.to ?? BROADCAST_ADDRESS, (error) => { if (error !== null && !this.#isStopped) this.#options.onFault(error); });
      default: return effect satisfies never;
    }
  }
}
