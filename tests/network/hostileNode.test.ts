/** A real node on real streams among peers that lie: what each sends costs it its connection, and the node nothing but the look at it. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { encode } from "#chain/codec/cbor.ts";
import { decodeCertificate, encodeMessage } from "#chain/codec/schema.ts";
import { frameOf } from "#chain/network/frames.ts";
import { type StreamTransport, openStreams } from "#chain/network/streams.ts";
import { peerId } from "#chain/network/transport.ts";
import { type ChainNode, openNode } from "#chain/node/node.ts";
import { type Rig, chainRig, transferOf } from "#tests/compliance/chainRig.ts";
import { Attacker } from "./attacker.ts";

let seeds = 150;

async function victim(t: TestContext): Promise<{ rig: Rig; node: ChainNode; transport: StreamTransport; attack: () => Promise<Attacker> }> {
  const directory = await mkdtemp(join(tmpdir(), "godwit-hostile-"));
  const rig = chainRig();
  const { seed } = rig.validators[0]!;
  const transport = await openStreams({ chainId: rig.chainId, machineSeed: new Uint8Array(32).fill(1), validatorSeed: seed, listen: ["/ip4/127.0.0.1/tcp/0"], peers: [], validators: [] });
  const node = await openNode({ directory, genesis: rig.genesis, validatorSeed: seed, transport, onHalt: (error) => { throw error; } });
  t.after(async () => {
    await node.stop();
    await rm(directory, { recursive: true, force: true });
  });
  node.start();
  const attack = async (): Promise<Attacker> => {
    const attacker = await Attacker.connect(transport.listening()[0]!, seeds++);
    t.after(() => attacker.close());
    await attacker.greet(rig.chainId);
    await until("it is a peer", () => transport.peers().includes(peerId(attacker.machineKey)));
    return attacker;
  };
  return { rig, node, transport, attack };
}
async function until(what: string, holds: () => boolean, timeoutMs = 60_000): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!holds()) {
    assert.ok(performance.now() < endMs, what);
    await sleep(5);
  }
}
const final = async (node: ChainNode, bytes: Uint8Array): Promise<boolean> => (await node.whenFinal((await node.submit(bytes)).txid, { timeoutMs: 10_000 })).ok;

test("nonsense, a forged signature and a forged certificate from a peer: disconnected and counted, and the chain goes on", async (t) => {
  const { rig, node, transport, attack } = await victim(t);
  const [tenant, other] = rig.tenants;
  assert.equal(await final(node, transferOf(rig, tenant!, 0n)), true);
  const forgedTransaction = transferOf(rig, other!, 0n);
  forgedTransaction[forgedTransaction.length - 20]! ^= 1;
  const real = decodeCertificate(node.block(1)!.certificate);
  const forgedCertificate = { ...real, view: (real.view + 5) as typeof real.view, signatures: real.signatures.with(7, real.signatures[7]! ^ 1) };
  const cases: ["consensus" | "transactions" | "sync" | "blobs", Uint8Array, "malformed" | "forged"][] = [
    ["consensus", Uint8Array.of(0xff), "malformed"],
    ["transactions", encode([1, 2]), "malformed"],
    ["transactions", encode([Uint8Array.of(1, 2, 3)]), "malformed"],
    ["sync", encode([1, 11]), "malformed"],
    ["transactions", encode([forgedTransaction]), "forged"],
    ["consensus", encodeMessage({ kind: "certificate", certificate: forgedCertificate }), "forged"],
  ];
  for (const [index, [channel, message, offence]] of cases.entries()) {
    const before = transport.offences()[offence] ?? 0;
    const attacker = await attack();
    (await attacker.open(channel)).send(frameOf(message));
    await until(`case ${index} is noticed`, () => attacker.isClosed);
    assert.equal(transport.offences()[offence], before + 1, `case ${index}`);
  }
  assert.equal(await final(node, transferOf(rig, tenant!, 1n)), true);
  assert.deepEqual([node.status().halted, node.status().mempool.count], [null, 0]);
});

test("what was heard before is heard again a thousand times for nothing: no check, no memory, no second effect", async (t) => {
  const { rig, node, transport, attack } = await victim(t);
  const [tenant] = rig.tenants;
  const bytes = transferOf(rig, tenant!, 0n);
  assert.equal(await final(node, bytes), true);
  const attacker = await attack();
  const [transactions, consensus] = await Promise.all([attacker.open("transactions"), attacker.open("consensus")]);
  const certificate = encodeMessage({ kind: "certificate", certificate: decodeCertificate(node.block(1)!.certificate) });
  const cpuBefore = process.cpuUsage();
  for (let n = 0; n < 1_000; n++) {
    transactions.send(frameOf(encode([bytes])));
    consensus.send(frameOf(certificate));
  }
  assert.equal(await final(node, transferOf(rig, tenant!, 1n)), true);
  const { user, system } = process.cpuUsage(cpuBefore);
  // A signature each would be 0.27 s for the certificates and transactions alone, on top of sending, which is in this figure too.
  t.diagnostic(`${Math.round((user + system) / 1_000)} ms of CPU with the attacker's own`);
  assert.equal(node.view().account(tenant!.address)!.nonce, 2n);
  assert.deepEqual([node.status().mempool.count, transport.offences()], [0, {}]);
});
