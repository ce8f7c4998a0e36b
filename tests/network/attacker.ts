/** A peer that can do what no honest one does: its own libp2p node, with the bytes of greetings and frames in its hands. */
import type { Connection, Libp2p, Stream } from "@libp2p/interface";
import { multiaddr } from "@multiformats/multiaddr";
import { type Hello, encodeHello } from "#chain/codec/hello.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import { frameOf } from "#chain/network/frames.ts";
import { openHost } from "#chain/network/libp2p.ts";
import { CHANNEL_BYTES_MAX } from "#chain/network/limits.ts";
import { type StreamName, protocolOf } from "#chain/network/link.ts";
import { type ChainId, type PublicKey } from "#chain/types.ts";

const NAMES = [...Object.keys(CHANNEL_BYTES_MAX), "control"] as StreamName[];

export class Attacker {
  readonly machineKey: PublicKey;
  readonly #host: Libp2p;
  readonly connection: Connection;
  isClosed = false;

  constructor(host: Libp2p, connection: Connection, machineKey: PublicKey) {
    this.#host = host;
    this.connection = connection;
    this.machineKey = machineKey;
    connection.addEventListener("close", () => { this.isClosed = true; });
  }
  /** Connected, and reading what comes only if `reads`. */
  static async connect(address: string, seed: number, reads = true): Promise<Attacker> {
    const machineSeed = new Uint8Array(32).fill(seed);
    const host = await openHost({ machineSeed, listen: [], isWelcome: () => true });
    for (const name of NAMES) await host.handle(protocolOf(name), (stream) => {
      if (reads) stream.addEventListener("message", () => undefined);
      else stream.pause();
    });
    try {
      return new Attacker(host, await host.dial(multiaddr(address)), publicKeyOf(machineSeed));
    } catch (error) {
      await host.stop();
      throw error;
    }
  }
  open(name: StreamName): Promise<Stream> {
    return this.connection.newStream(protocolOf(name));
  }
  /** Greets, properly unless told otherwise. */
  async greet(chain: ChainId, validator: Hello["validator"] = null): Promise<Stream> {
    const control = await this.open("control");
    control.send(frameOf(encodeHello({ chainId: chain, validator, addresses: [] })));
    return control;
  }
  async close(): Promise<void> {
    await this.#host.stop();
  }
}
