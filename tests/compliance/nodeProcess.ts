/**
 * A process to be killed: `nodeProcess.ts DIRECTORY VALIDATORS START_MS` runs that many validators of one chain in it, with
 * load, until it dies. Standard output, which outlives the process in the pipe, tells what left it, a line each:
 *   open INDEX HEIGHT ROOT          the state after opening
 *   final INDEX HEIGHT ROOT         a block became final
 *   vote INDEX VIEW KIND ID         a vote was handed to the network
 */
import { writeSync } from "node:fs";
import { join } from "node:path";
import { decodeMessage } from "#chain/codec/schema.ts";
import { MemoryNetwork } from "#chain/network/memory.ts";
import type { Transport } from "#chain/network/transport.ts";
import { type ChainNode, openNode, peerIdOf } from "#chain/node/node.ts";
import { hex } from "#chain/types.ts";
import { chainRig, transferOf } from "#tests/compliance/chainRig.ts";

const [directory, count, startMs] = process.argv.slice(2);
const rig = chainRig({ validators: Number(count), tenants: 8, startMs: Number(startMs) });
const network = new MemoryNetwork();
const say = (line: string): void => void writeSync(1, `${line}\n`);

/** Tells of every vote before it goes. */
function observed(transport: Transport, index: number): Transport {
  const broadcast = transport.broadcast.bind(transport);
  transport.broadcast = (channel, bytes) => {
    if (channel === "consensus") {
      const message = decodeMessage(bytes);
      if (message.kind === "vote") say(`vote ${index} ${message.vote.view} ${message.vote.kind} ${message.vote.id ? hex(message.vote.id) : "-"}`);
    }
    return broadcast(channel, bytes);
  };
  return transport;
}

function load(node: ChainNode): void {
  for (const tenant of rig.tenants) {
    const nonce = node.view().account(tenant.address)!.nonce;
    for (let ahead = 0n; ahead < 6n; ahead++) void node.submit(transferOf(rig, tenant, nonce + ahead)).catch(() => undefined);
  }
}

const nodes = await Promise.all(rig.validators.map(({ seed }, index) => openNode({
  directory: join(directory!, String(index)), genesis: rig.genesis, validatorSeed: seed, transport: observed(network.join(peerIdOf(seed)), index),
  snapshotBlocks: 3, onHalt: (error) => { say(`halt ${index} ${error.message}`); process.exit(3); },
})));
for (const [index, node] of nodes.entries()) {
  say(`open ${index} ${node.head().height} ${hex(node.head().stateRoot)}`);
  node.onFinal(({ height, header }) => {
    say(`final ${index} ${height} ${hex(header.stateRoot)}`);
    if (index === 0) load(node);
  });
}
load(nodes[0]!);
for (const node of nodes) node.start();
setInterval(() => undefined, 1_000);
