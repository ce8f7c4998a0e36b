/** Who is alive, on real nodes in simulated time: beats over the transport, acknowledgements, suspicions in blocks. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { signBinding } from "#chain/codec/hello.ts";
import { type Operation, signMachineProof, signTransaction } from "#chain/codec/transaction.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import { GRACE_MS } from "#chain/liveness/rules.ts";
import { MemoryNetwork } from "#chain/network/memory.ts";
import { type PeerId, peerId } from "#chain/network/transport.ts";
import { type Hex, fromHex, hex } from "#chain/types.ts";
import { FEE, type Key, type Rig, TOKEN, chainRig, keyOf } from "#tests/compliance/chainRig.ts";
import { ManualClock } from "#tests/compliance/manualClock.ts";
import { type ChainNode, openNode, peerIdOf } from "./node.ts";

const STEP_MS = 10;
/** Simulated time waits for the disk, which is the computer's: with a slow one seconds passed between two blocks. */
const isDiskBusy = (): boolean => process.getActiveResourcesInfo().some((name) => name.startsWith("FSReq"));
type Here = { readonly node: ChainNode; readonly peer: PeerId; readonly machine: Key; readonly halts: string[] };

/** Four machines with a validator each; `start` adds others. All are registered; each says up when its witnesses let it. */
class Site {
  readonly clock = new ManualClock(Date.now());
  readonly network: MemoryNetwork = new MemoryNetwork({ clock: this.clock, delayMsMin: 1, delayMsMax: 5 });
  readonly rig: Rig = chainRig({ validators: 4, startMs: this.clock.nowMs() });
  readonly here: Here[] = [];
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  async start(machine: Key, boot: number, validator: Key | null, peer: PeerId = validator === null ? peerId(publicKeyOf(machine.seed)) : peerIdOf(validator.seed)): Promise<Here> {
    const bootId = new Uint8Array(16).fill(boot);
    const halts: string[] = [];
    const node: ChainNode = await openNode({
      directory: join(this.#root, `${boot}`), genesis: this.rig.genesis, ...(validator === null ? {} : { validatorSeed: validator.seed }), clock: this.clock,
      transport: this.network.join(peer, publicKeyOf(machine.seed)), onHalt: (error) => { throw error; },
      machine: {
        seed: machine.seed, bootId: hex(bootId), leases: () => [], onLease: () => {}, onHalt: (code) => halts.push(code),
        onAcknowledged: (acknowledgements) => {
          const consensusKey = validator === null ? null : publicKeyOf(validator.seed);
          const binding = validator === null ? null : signBinding(validator.seed, this.rig.chainId, publicKeyOf(machine.seed));
          // As the agent does: again with every beat until it is final.
          void this.#submit(node, machine, { kind: "up", bootId, consensusKey, binding, acknowledgements }, 0n).catch(() => {});
        },
      },
    });
    node.start();
    const started = { node, peer, machine, halts };
    this.here.push(started);
    return started;
  }
  async register(machines: readonly Key[]): Promise<void> {
    const { node } = this.here[0]!;
    for (const machine of machines) {
      await this.#submit(node, this.rig.operator, {
        kind: "registerMachine", ...signMachineProof(machine.seed, this.rig.chainId, this.rig.operator.address), memoryMib: 1024, cpuMillis: 1000, pricePerGibSecond: 1n, pricePerCoreSecond: 1n, region: "", bond: 20n * TOKEN,
      }, FEE);
      await this.run(() => this.state(machine) !== "unknown");
    }
  }
  /** Lets time pass until something holds, and says how much did. */
  async run(until: () => boolean, msMax: number = 60_000): Promise<number> {
    let ms = 0;
    for (; !until(); ms += STEP_MS) {
      assert(ms < msMax, this.here.map(({ node }) => JSON.stringify({ ...node.status(), height: node.head().height })).join("\n"));
      this.clock.advance(STEP_MS);
      do await sleep(0); while (isDiskBusy());
    }
    return ms;
  }
  async pass(ms: number): Promise<void> {
    const end = this.clock.nowMs() + ms;
    await this.run(() => this.clock.nowMs() >= end);
  }
  state({ address }: Key): string {
    return this.here[0]!.node.view().machine(address)?.state ?? "unknown";
  }
  bootOf({ address }: Key): Hex {
    return hex(this.here[0]!.node.view().machine(address)!.bootId);
  }
  async stop(): Promise<void> {
    for (const { node } of this.here) await node.stop();
  }

  #submit(node: ChainNode, from: Key, op: Operation, fee: bigint): Promise<unknown> {
    const { nonce } = node.view().account(from.address)!;
    return node.submit(signTransaction({ chainId: this.rig.chainId, sender: from.address, nonce, validUntilMs: BigInt(this.clock.nowMs() + 60_000), fee, ops: [op] }, [from.seed]));
  }
}

async function openSite(t: TestContext): Promise<{ site: Site; machines: Key[]; follower: Key }> {
  const root = await mkdtemp(join(tmpdir(), "godwit-beats-"));
  const site = new Site(root);
  t.after(async () => {
    await site.stop();
    await rm(root, { recursive: true, force: true });
  });
  const machines = site.rig.validators.map((_, index) => keyOf(`machine ${index}`));
  for (const [index, machine] of machines.entries()) await site.start(machine, index + 1, site.rig.validators[index]!);
  const follower = keyOf("machine of a follower");
  await site.start(follower, 9, null);
  await site.register([...machines, follower]);
  await site.run(() => [...machines, follower].every((one) => site.state(one) === "up"));
  return { site, machines, follower };
}

test("machines come up by the word of their witnesses, with a validator or without; one that falls silent is down within 2.5 s, and up again by another boot id", async (t) => {
  const { site, machines, follower } = await openSite(t);
  const { node } = site.here[0]!;
  assert.equal(node.view().liveness().machines.get(hex(machines[1]!.address))!.validator, hex(site.rig.validators[1]!.address));
  // Who has just started says of nobody that it is silent (L8).
  await site.pass(GRACE_MS);
  assert(site.here.every(({ machine }) => site.state(machine) === "up"), "nobody is taken down who beats");
  const gone = site.here[4]!;
  await gone.node.stop();
  const downMs = await site.run(() => site.state(follower) === "down");
  assert(downMs <= 2_500, `${downMs} ms`);
  const again = await site.start(follower, 10, null);
  await site.run(() => site.state(follower) === "up");
  assert.equal(site.bootOf(follower), hex(new Uint8Array(16).fill(10)));
  assert.deepEqual(again.halts, []);
});

test("a machine whose key another one has taken over while it was cut off stops everything: machine_key_in_use", async (t) => {
  const { site, follower } = await openSite(t);
  const first = site.here[4]!;
  // Both beat: who is registered is heard, so that nobody speaks for the other.
  const second = await site.start(follower, 10, null, "other" as PeerId);
  site.network.cut(first.peer, second.peer);
  await site.pass(4_000);
  assert.equal(site.bootOf(follower), hex(new Uint8Array(16).fill(9)));
  const others = site.here.slice(0, 4).map(({ peer }) => peer);
  for (const peer of others) site.network.cut(first.peer, peer);
  await site.run(() => site.bootOf(follower) === hex(new Uint8Array(16).fill(10)));
  assert.deepEqual(first.halts, []);
  for (const peer of others) site.network.heal(first.peer, peer);
  await site.run(() => first.halts.length > 0);
  assert.deepEqual([first.halts, second.halts], [["machine_key_in_use"], []]);
});

test("bytes on the channel of beats that are none cost their sender the connection", async (t) => {
  const { site } = await openSite(t);
  const stranger = site.network.join("stranger" as PeerId, publicKeyOf(keyOf("stranger").seed));
  await site.pass(100);
  stranger.send(site.here[0]!.peer, "beats", fromHex("8301186300"));
  await site.pass(100);
  assert.equal(site.network.connected("stranger" as PeerId, site.here[0]!.peer), false);
});
