/** The TFTP server over real sockets of the loopback interface. */
import assert from "node:assert/strict";
import { type Socket, createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { Ipv4 } from "#os/boot/addresses.ts";
import { catalogueFile } from "./catalogue.ts";
import { type TftpServer, startTftp } from "./tftpServer.ts";

const BLOCK_BYTES = 512;
const FILE_BYTES = BLOCK_BYTES + 1;

async function openPlace(t: TestContext, now: () => number): Promise<{ server: TftpServer; client: Socket; ends: string[] }> {
  const folder = await mkdtemp(join(tmpdir(), "godwit-tftp-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, "image");
  await writeFile(path, new Uint8Array(FILE_BYTES).fill(7));
  const ends: string[] = [];
  const server = await startTftp({
    interfaceName: "lo", address: "127.0.0.1" as Ipv4, port: 0, catalogue: new Map([["image", (await catalogueFile("image", path))!]]), now,
    onEnd: (_client, _file, why) => ends.push(why), onFault: (error) => assert.fail(error),
  });
  t.after(() => server.stop());
  const client = createSocket("udp4");
  t.after(() => client.close());
  client.bind(0, "127.0.0.1");
  await once(client, "listening");
  client.send(`\0\x01image\0octet\0`, server.port, "127.0.0.1");
  return { server, client, ends };
}

type Block = { number: number; bytes: number; acknowledge(): void };
async function block(client: Socket): Promise<Block> {
  const [packet, from] = (await once(client, "message")) as [Buffer, { port: number; address: string }];
  assert.equal(packet.readUInt16BE(0), 3);
  return { number: packet.readUInt16BE(2), bytes: packet.length - 4, acknowledge: () => client.send(Uint8Array.of(0, 4, packet[2]!, packet[3]!), from.port, from.address) };
}

test("a block that is lost comes again though each timer comes before its time, as on a busy computer", { timeout: 60_000 }, async (t) => {
  // This clock is slow, so that every timer is early.
  const { client, ends, server } = await openPlace(t, () => performance.now() * 0.8);
  const arrived: number[] = [];
  for (let isLost = true, last = false; !last; isLost = !isLost) {
    const { number, bytes, acknowledge } = await block(client);
    if (isLost) continue;
    arrived.push(number);
    acknowledge();
    last = bytes < BLOCK_BYTES;
  }
  assert.deepEqual(arrived, [1, 2]);
  while (server.sessions() > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(ends, ["done"]);
});
