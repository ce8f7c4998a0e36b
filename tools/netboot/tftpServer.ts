/**
 * The TFTP server on one interface: a socket for questions, and one for each transfer, which carries out what `stepTransfer` decides.
 * It serves the files of the catalogue by their exact names and no other: there is no path to climb out of.
 */
import { type RemoteInfo, type Socket, createSocket } from "node:dgram";
import type { FileHandle } from "node:fs/promises";
import type { Ipv4 } from "#os/boot/addresses.ts";
import { udpOnInterface } from "#os/linux/sockets.ts";
import { type Catalogue, type CatalogueFile, openUnchanged } from "./catalogue.ts";
import { TFTP_SESSIONS_MAX, TFTP_SESSIONS_OF_ONE_MAX } from "./limits.ts";
import { TFTP_ERROR, type TftpPacket, type Transfer, type TransferEffect, beginTransfer, decodeTftp, encodeBlock, encodeError, stepTransfer } from "./tftp.ts";

export type TftpOptions = {
  readonly interfaceName: string;
  readonly address: Ipv4;
  /** 0: any free one. */
  readonly port: number;
  readonly catalogue: Catalogue;
  /** Milliseconds that only grow; timers may run ahead of it or behind. */
  readonly now: () => number;
  readonly onEnd: (client: string, file: string, why: "done" | "aborted" | "silent" | "not_found") => void;
  readonly onFault: (error: Error) => void;
};
export type TftpServer = { readonly port: number; stop(): void; readonly sessions: () => number };

export async function startTftp(options: TftpOptions): Promise<TftpServer> {
  const sessions = new Set<Session>();
  const socket = await bound(options.interfaceName, options.port, options.address);
  socket.on("error", options.onFault);
  socket.on("message", (bytes, from) => {
    const packet = decodeTftp(bytes);
    if (packet?.kind !== "read") return;
    const file = options.catalogue.get(packet.file);
    if (file === undefined) {
      socket.send(encodeError(TFTP_ERROR.notFound, "no such file"), from.port, from.address);
      return options.onEnd(from.address, packet.file, "not_found");
    }
    const own = [...sessions].filter(({ client }) => client.address === from.address);
    // A question that is asked again is the same question.
    if (own.some(({ client }) => client.port === from.port) || own.length >= TFTP_SESSIONS_OF_ONE_MAX || sessions.size >= TFTP_SESSIONS_MAX) return;
    const session = new Session(options, file, from, () => sessions.delete(session));
    sessions.add(session);
    void session.run(packet);
  });
  return {
    port: socket.address().port,
    sessions: () => sessions.size,
    stop: () => {
      socket.close();
      for (const session of sessions) session.end();
    },
  };
}

class Session {
  readonly client: RemoteInfo;
  readonly #options: TftpOptions;
  readonly #file: CatalogueFile;
  readonly #onEnd: () => void;
  #socket: Socket | null = null;
  #handle: FileHandle | null = null;
  #transfer: Transfer | null = null;
  #timer: NodeJS.Timeout | undefined;
  #isEnded = false;
  /** Reads go one after the other. */
  #work: Promise<void> = Promise.resolve();

  constructor(options: TftpOptions, file: CatalogueFile, client: RemoteInfo, onEnd: () => void) {
    this.#options = options;
    this.#file = file;
    this.client = client;
    this.#onEnd = onEnd;
  }

  async run(question: TftpPacket & { kind: "read" }): Promise<void> {
    try {
      this.#handle = await openUnchanged(this.#file);
      this.#socket = await bound(this.#options.interfaceName, 0, this.#options.address);
      if (this.#isEnded) return this.#close();
      this.#socket.on("error", (error) => {
        this.#options.onFault(error);
        this.end();
      });
      this.#socket.on("message", (bytes, from) => {
        // Another's packet does not end somebody's transfer.
        const packet = from.address === this.client.address && from.port === this.client.port ? decodeTftp(bytes) : null;
        if (packet !== null && this.#transfer !== null) this.#go(stepTransfer(this.#transfer, packet, this.#options.now()));
      });
      this.#go(beginTransfer(question.options, this.#file.bytes, this.#options.now()));
    } catch (error) {
      this.#options.onFault(error instanceof Error ? error : new Error(String(error)));
      this.end();
    }
  }

  end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    clearTimeout(this.#timer);
    this.#onEnd();
    void this.#work.finally(() => this.#close());
  }

  #go([transfer, effects]: readonly [Transfer, readonly TransferEffect[]]): void {
    if (this.#isEnded) return;
    this.#transfer = transfer;
    for (const effect of effects) {
      if (effect.kind === "options") this.#send(effect.packet);
      else if (effect.kind === "blocks") this.#work = this.#work.then(() => this.#sendBlocks(effect.first, effect.last)).catch((error: Error) => { this.#options.onFault(error); this.end(); });
      else {
        this.#options.onEnd(this.client.address, this.#file.name, effect.why);
        return this.end();
      }
    }
    // After every step: a timer counts from the turn of the event loop in which it was made, so that on a busy computer it comes before its time, and its step does nothing.
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => { if (this.#transfer !== null) this.#go(stepTransfer(this.#transfer, { kind: "time" }, this.#options.now())); }, Math.max(1, Math.ceil(transfer.wakeMs - this.#options.now())));
  }

  /** One read for a whole window. */
  async #sendBlocks(first: number, last: number): Promise<void> {
    const [handle, blockBytes] = [this.#handle, this.#transfer?.blockBytes];
    if (this.#isEnded || handle === null || blockBytes === undefined) return;
    const content = new Uint8Array((last - first + 1) * blockBytes);
    const { bytesRead } = await handle.read(content, 0, content.length, (first - 1) * blockBytes);
    if (this.#isEnded) return;
    for (let block = first; block <= last; block++) {
      const at = (block - first) * blockBytes;
      this.#send(encodeBlock(block, content.subarray(at, Math.max(at, Math.min(at + blockBytes, bytesRead)))));
    }
  }

  #send(packet: Uint8Array): void {
    this.#socket?.send(packet, this.client.port, this.client.address);
  }

  #close(): void {
    this.#socket?.close();
    this.#socket = null;
    void this.#handle?.close();
    this.#handle = null;
  }
}

/** A UDP socket of this interface that hears nothing of others. */
export async function bound(interfaceName: string, port: number, address?: string): Promise<Socket> {
  const socket = createSocket("udp4");
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.bind({ fd: udpOnInterface(interfaceName, port, address) }, () => {
      socket.off("error", reject);
      resolve();
    });
  });
  return socket;
}
