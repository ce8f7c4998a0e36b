/**
 * Transactions to everybody where there are too many to send each of them to each: gossipsub, over the same connections.
 *
 * A message is checked before it is passed on: what a node would not take itself goes no further, and who handed on a forgery is told of to
 * the scores like anybody else. Messages carry no signature of their own: a transaction has its sender's.
 */
import { gossipsub, type GossipSub, TopicValidatorResult } from "@libp2p/gossipsub";
import { identify } from "@libp2p/identify";
import type { Libp2p, PeerId as MachineId } from "@libp2p/interface";
import { sha256 } from "#chain/crypto.ts";
import { type ChainId, type PublicKey, hex } from "#chain/types.ts";
import { machineKeyOf } from "./libp2p.ts";
import { FLOOD_BYTES_MAX } from "./limits.ts";
import type { FloodVerdict } from "./transport.ts";

type Services = { pubsub: GossipSub };
const RESULTS: Readonly<Record<FloodVerdict, TopicValidatorResult>> = { accept: TopicValidatorResult.Accept, ignore: TopicValidatorResult.Ignore, reject: TopicValidatorResult.Reject };

/** What `createLibp2p` needs to know of it. */
export const floodServices = (): { readonly identify: ReturnType<typeof identify>; readonly pubsub: ReturnType<typeof gossipsub> } => ({
  identify: identify(),
  pubsub: gossipsub({
    globalSignaturePolicy: "StrictNoSign", emitSelf: false, floodPublish: true, allowPublishToZeroTopicPeers: true, doPX: false, maxInboundDataLength: 2 * FLOOD_BYTES_MAX,
    msgIdFn: ({ data }) => sha256(data).slice(0, 20),
  }),
});

export type FloodOptions = {
  readonly chainId: ChainId;
  /** Of a message that this neighbour handed on; decides whether it goes further. */
  readonly judge: (machineKey: PublicKey, bytes: Uint8Array) => Promise<FloodVerdict>;
};

/** Begins to take part; gives what publishes. */
export function openFlood(host: Libp2p, { chainId, judge }: FloodOptions): (bytes: Uint8Array) => void {
  const { pubsub } = host.services as unknown as Services;
  const topic = `godwit/${hex(chainId)}/transactions`;
  pubsub.topicValidators.set(topic, async (from: MachineId, { data }) => {
    const key = machineKeyOf(from);
    if (key === null || data.length > FLOOD_BYTES_MAX) return TopicValidatorResult.Reject;
    return RESULTS[await judge(key, Uint8Array.from(data))];
  });
  pubsub.subscribe(topic);
  return (bytes) => void pubsub.publish(topic, bytes).catch(() => undefined);
}
