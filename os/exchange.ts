/**
 * Blobs between machines: what a lease here needs, or this machine keeps for the grid, is fetched from whoever has it, and others get
 * from here what they may have.
 *
 * A component is public. A configuration goes to a machine that holds a lease of a deployment of its owner's that names it, or that keeps it for him
 * (supervisor/naming.ts), and to nobody else: its digest is public, so that others may name it too, as a component even. Which it is say its bytes. `blob_missing` is said only when every machine that the ledger calls up has been asked.
 */
import { addressOf } from "#chain/codec/address.ts";
import { BlobExchange } from "#chain/network/blobs.ts";
import type { PeerId, Transport } from "#chain/network/transport.ts";
import type { MachineView } from "#chain/ledger/view.ts";
import type { ChainNode } from "#chain/node/node.ts";
import { type Address, type Hex, digest as digestOf, fromHex, hex } from "#chain/types.ts";
import { LIMITS_DEFAULT } from "#sandbox/limits.ts";
import type { BlobKind, BlobStore } from "./blobs.ts";
import { parseConfiguration } from "./configuration.ts";
import { AgentError, codeOf } from "./error.ts";
import { CONFIGURATION_BYTES_MAX } from "./limits.ts";
import { type NamedBy, type Naming, versionsOf } from "./supervisor/naming.ts";

export type ExchangeOptions = { readonly node: ChainNode; readonly blobs: BlobStore; readonly transport: Transport; readonly machine: Address; readonly naming: Naming };
/** A blob, who keeps it, and which of those say that they have it by now. */
export type Copies = { readonly digest: Hex; readonly kind: BlobKind; readonly keepers: readonly Address[]; readonly holders: readonly Address[] };
export type Exchange = {
  /** Fetches, checks and keeps the blob. Throws with a stable code: `blob_missing`, `blob_unanswered`, `blob_too_large`, … */
  bring(digest: Hex): Promise<void>;
  /** Of a blob that a deployment names, as its owner's configuration or as a component. */
  copiesOf(digest: Hex, by: NamedBy): Promise<Copies>;
  stop(): void;
};

const WASM = Uint8Array.of(0, 0x61, 0x73, 0x6d);
const isWasm = (bytes: Uint8Array): boolean => WASM.every((byte, at) => bytes[at] === byte);
/** Of a configuration; null: it is none. */
function ownerOf(bytes: Uint8Array): Hex | null {
  try {
    return hex(parseConfiguration(bytes).owner);
  } catch {
    return null;
  }
}

export function openExchange({ node, blobs, transport, machine, naming }: ExchangeOptions): Exchange {
  const isKeeper = (who: Address, digest: Hex, owner: Hex): boolean => naming.keepersFor(digest, owner).some(({ id }) => hex(id) === hex(who));
  /** Whether a lease of that machine needs this configuration of its owner's. */
  const isNeededBy = (holder: Address, digest: Hex, owner: Hex): boolean => node.view().leasesOfMachine(holder).some(({ deploymentId }) => {
    const deployment = node.view().deployment(deploymentId);
    return deployment !== null && hex(deployment.owner) === owner && versionsOf(deployment).some(({ configurationDigest }) => configurationDigest !== null && hex(configurationDigest) === digest);
  });
  /** Somebody says that it is his configuration. */
  const isSecret = (digest: Hex): boolean => (naming.named.get(digest)?.configurations.size ?? 0) > 0;
  const mayHave = (peer: PeerId, digest: Hex, bytes: Uint8Array): boolean => {
    if (isWasm(bytes)) return true;
    const owner = ownerOf(bytes);
    // What is neither is nobody's secret: whoever runs it finds out that it is no component.
    if (owner === null) return !isSecret(digest) && blobs.kindOf(digest) === "component";
    const key = transport.machineOf(peer);
    return key !== null && (isNeededBy(addressOf(key), digest, owner) || isKeeper(addressOf(key), digest, owner));
  };
  const read = async (digest: Hex, peer: PeerId): Promise<Uint8Array | "withheld" | null> => {
    if (!blobs.has(digest)) return null;
    const bytes = await blobs.read(digest);
    return mayHave(peer, digest, bytes) ? bytes : "withheld";
  };
  /** Peers by their machine. */
  const connected = (): ReadonlyMap<Hex, PeerId> => new Map(transport.peers().flatMap((peer) => {
    const key = transport.machineOf(peer);
    return key === null ? [] : [[hex(addressOf(key)), peer] as const];
  }));
  /** Those that are not connected are looked for: they are by the next try. */
  const peersOf = (machines: readonly Pick<MachineView, "id" | "key">[]): PeerId[] => {
    const known = connected();
    for (const { id, key } of machines) if (hex(id) !== hex(machine) && !known.has(hex(id))) transport.seek(key);
    return machines.flatMap(({ id }) => known.get(hex(id)) ?? []);
  };
  const isCutOff = (): boolean => {
    const known = connected();
    return naming.machines.some(({ id, state }) => state === "up" && hex(id) !== hex(machine) && !known.has(hex(id)));
  };
  const exchange = new BlobExchange({ transport, holds: (digest) => blobs.has(digest), read });
  return {
    bring: async (digest) => {
      const named = naming.named.get(digest);
      const bytesMax = named?.isComponent === false ? CONFIGURATION_BYTES_MAX : LIMITS_DEFAULT.componentBytesMax;
      const bytes = await exchange.fetch(digestOf(fromHex(digest)), { bytesMax, peers: peersOf(naming.keepersOf(digest)) }).catch((error: unknown) => {
        if (codeOf(error) !== "blob_missing" || !isCutOff()) throw error;
        throw new AgentError("blob_unanswered", `Cannot fetch ${digest} now: no peer has it, and not every machine that is up is a peer`);
      });
      await blobs.put(isWasm(bytes) || (ownerOf(bytes) === null && !isSecret(digest)) ? "component" : "configuration", digest, machine, bytes);
    },
    copiesOf: async (digest, by) => {
      const views = naming.keepersFor(digest, by);
      const keepers = views.map(({ id }) => id);
      peersOf(views);
      const known = connected();
      const holds = async (id: Address): Promise<boolean> => {
        if (hex(id) === hex(machine)) return blobs.has(digest);
        const peer = known.get(hex(id));
        return peer !== undefined && (await exchange.isAt(peer, digestOf(fromHex(digest)))) === true;
      };
      const held = await Promise.all(keepers.map(holds));
      return { digest, kind: by === null ? "component" : "configuration", keepers, holders: keepers.filter((_, index) => held[index]) };
    },
    stop: () => exchange.stop(),
  };
}
