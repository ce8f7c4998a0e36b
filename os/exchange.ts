/**
 * Blobs between machines: what a lease here needs is fetched from whoever has it, and others get from here what they may have.
 *
 * A component is public. A configuration goes to a machine that holds a lease of a deployment that names it, and to nobody else.
 */
import { addressOf } from "#chain/codec/address.ts";
import { BlobExchange } from "#chain/network/blobs.ts";
import type { PeerId, Transport } from "#chain/network/transport.ts";
import type { ChainNode } from "#chain/node/node.ts";
import { type Address, type Hex, digest as digestOf, fromHex, hex } from "#chain/types.ts";
import { LIMITS_DEFAULT } from "#sandbox/limits.ts";
import type { BlobStore } from "./blobs.ts";
import { CONFIGURATION_BYTES_MAX } from "./limits.ts";
import { versionsOf } from "./supervisor/desired.ts";

export type ExchangeOptions = { readonly node: ChainNode; readonly blobs: BlobStore; readonly transport: Transport; readonly machine: Address };
export type Exchange = {
  /** Fetches, checks and keeps the blob. Throws with a stable code: `blob_missing`, `blob_too_large`, … */
  bring(digest: Hex): Promise<void>;
  stop(): void;
};

export function openExchange({ node, blobs, transport, machine }: ExchangeOptions): Exchange {
  /** Whether a lease of that machine needs this configuration. */
  const isConfigurationOf = (holder: Address, digest: Hex): boolean => node.view().leasesOfMachine(holder).some(({ deploymentId }) => {
    const deployment = node.view().deployment(deploymentId);
    return deployment !== null && versionsOf(deployment).some(({ configurationDigest }) => configurationDigest !== null && hex(configurationDigest) === digest);
  });
  const mayHave = (peer: PeerId, digest: Hex): boolean => {
    if (blobs.kindOf(digest) === "component") return true;
    const key = transport.machineOf(peer);
    return key !== null && isConfigurationOf(addressOf(key), digest);
  };
  const exchange = new BlobExchange({ transport, read: async (digest, peer) => (blobs.has(digest) && mayHave(peer, digest) ? blobs.read(digest) : null) });
  return {
    bring: async (digest) => {
      const kind = isConfigurationOf(machine, digest) ? "configuration" : "component";
      const bytesMax = kind === "component" ? LIMITS_DEFAULT.componentBytesMax : CONFIGURATION_BYTES_MAX;
      await blobs.put(kind, digest, machine, await exchange.fetch(digestOf(fromHex(digest)), { bytesMax }));
    },
    stop: () => exchange.stop(),
  };
}
