/**
 * One node of a chain in this process, without a machine around it: the data folder, its keys, libp2p, consensus. It votes when its
 * consensus key is among the chain's validators and follows otherwise. `godwit chain validator` runs it, and so do the tests and
 * the benchmark of several real validators.
 *
 *     DIRECTORY/  keys/{machine,validator}  chain/
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { chainIdOf, decodeGenesis } from "#chain/codec/genesis.ts";
import { CERTIFICATE_FLOOD_VALIDATORS_MAX } from "#chain/constants.ts";
import { isLoopback } from "#chain/network/addresses.ts";
import type { Checkpoint } from "#chain/light/checkpoint.ts";
import { type Clock, systemClock } from "#chain/network/clock.ts";
import { type StreamTransport, openStreams } from "#chain/network/streams.ts";
import { peerId } from "#chain/network/transport.ts";
import { type ChainNode, type NodeError, openNode } from "#chain/node/node.ts";
import { giveSpareMemoryBack } from "#chain/node/spareMemory.ts";
import { Hops } from "#os/hops.ts";
import { openKey } from "#os/keys.ts";

export type ValidatorOptions = {
  readonly directory: string;
  readonly genesis: Uint8Array;
  /** Multiaddresses. */
  readonly listen: readonly string[];
  readonly peers: readonly string[];
  /** How far this node's clock is off, for tests. */
  readonly clockOffsetMs?: number;
  readonly snapshotBlocks?: number;
  /** Where a join begins to believe, instead of at genesis. */
  readonly checkpoint?: Checkpoint;
  /** Keeps every block. */
  readonly archive?: boolean;
  /** R12: this key may have voted, and its vote log is gone. */
  readonly votesLost?: boolean;
  /** Hears of every step of consensus, a line each. */
  readonly trace?: (line: string) => void;
  readonly onHalt?: (error: NodeError) => void;
  /** Away for longer than others keep blocks: it is to be stopped and started again, and begins with a snapshot. */
  readonly onLeftBehind?: () => void;
};
export type RunningValidator = { readonly node: ChainNode; readonly transport: StreamTransport; stop(): Promise<void> };

export async function startValidator({ directory, genesis, listen, peers, clockOffsetMs = 0, snapshotBlocks, checkpoint, archive = false, votesLost = false, trace, onHalt, onLeftBehind }: ValidatorOptions): Promise<RunningValidator> {
  await mkdir(join(directory, "chain"), { recursive: true, mode: 0o700 });
  const [machine, validator] = await Promise.all(["machine", "validator"].map((name) => openKey(join(directory, "keys", name))));
  const validators = decodeGenesis(genesis).validators.map(({ publicKey }) => peerId(publicKey));
  const votes = validators.includes(peerId(validator!.publicKey));
  const transport = await openStreams({ chainId: chainIdOf(genesis), machineSeed: machine!.seed, validatorSeed: validator!.seed, listen, peers, validators,
    mdns: listen.some((address) => !isLoopback(address)), floods: validators.length > CERTIFICATE_FLOOD_VALIDATORS_MAX });
  const clock: Clock = clockOffsetMs === 0 ? systemClock : { ...systemClock, nowMs: () => Date.now() + clockOffsetMs };
  try {
    const node = await openNode({
      directory: join(directory, "chain"), genesis, validatorSeed: validator!.seed, transport, clock, votesLost, joins: !votes || votesLost || checkpoint !== undefined, archive,
      ...(checkpoint === undefined ? {} : { checkpoint }),
      ...(snapshotBlocks === undefined ? {} : { snapshotBlocks }), ...(trace === undefined ? {} : { trace }), ...(onHalt === undefined ? {} : { onHalt }), ...(onLeftBehind === undefined ? {} : { onLeftBehind }),
    });
    // Machines that know each other by this node alone find each other to hop.
    const hops = new Hops({ node, transport, own: null });
    node.onFinal((block) => hops.onFinal(block));
    node.start();
    const keepMemory = giveSpareMemoryBack(node);
    return { node, transport, stop: () => {
      keepMemory();
      hops.stop();
      return node.stop();
    } };
  } catch (error) {
    await transport.close();
    throw error;
  }
}
