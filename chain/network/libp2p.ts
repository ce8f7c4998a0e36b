/**
 * The libp2p node below the streams: TCP, noise, yamux, and nothing that dials, pings or prunes by itself.
 *
 * Its identity is the machine key (design §4: the consensus key signs votes and one binding, see codec/hello.ts, and never takes
 * part in a handshake). It runs on the main thread: a worker cost 5 % CPU and tens of MiB and gained nothing.
 */
import { generateKeyPairFromSeed } from "@libp2p/crypto/keys";
import type { Connection, Libp2p, PeerId as MachineId } from "@libp2p/interface";
import { mdns } from "@libp2p/mdns";
import { noise } from "@libp2p/noise";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { createLibp2p, type ServiceFactoryMap } from "libp2p";
import { type PublicKey, publicKey } from "#chain/types.ts";
import { FOLLOWERS_MAX, INBOUND_PER_HOST_PER_SECOND, MDNS_INTERVAL_MS, STREAM_WINDOW_BYTES, STREAM_WINDOW_BYTES_MAX, UNGREETED_MAX } from "./limits.ts";

/** Never reached: our own limits are lower, and libp2p's pruning does not know validators from strangers. */
const CONNECTIONS_MAX = 4 * (FOLLOWERS_MAX + UNGREETED_MAX) + 1_024;
/** libp2p closes a stream on which nothing moved for two minutes; beats of a machine that is no witness may be rarer. */
const INACTIVITY_MS_MAX = 0x7fff_ffff;

export type HostOptions = {
  readonly machineSeed: Uint8Array;
  /** Multiaddresses. */
  readonly listen: readonly string[];
  /** Whether a machine of that key may connect at all. */
  readonly isWelcome: (machineKey: PublicKey) => boolean;
  /** Call into the LAN for others with this name. */
  readonly mdnsName?: string;
  readonly services?: ServiceFactoryMap;
};

export async function openHost({ machineSeed, listen, isWelcome, mdnsName, services }: HostOptions): Promise<Libp2p> {
  const refuses = (machine: MachineId): boolean => {
    const key = machineKeyOf(machine);
    return key === null || !isWelcome(key);
  };
  return createLibp2p({
    privateKey: await generateKeyPairFromSeed("Ed25519", machineSeed),
    addresses: { listen: [...listen] },
    transports: [tcp({ inboundSocketInactivityTimeout: INACTIVITY_MS_MAX, outboundSocketInactivityTimeout: INACTIVITY_MS_MAX })],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux({
      enableKeepAlive: false,
      streamOptions: { initialStreamWindowSize: STREAM_WINDOW_BYTES, maxStreamWindowSize: STREAM_WINDOW_BYTES_MAX, inactivityTimeout: INACTIVITY_MS_MAX },
    })],
    connectionManager: { maxConnections: CONNECTIONS_MAX, maxIncomingPendingConnections: UNGREETED_MAX, inboundConnectionThreshold: INBOUND_PER_HOST_PER_SECOND, reconnectRetries: 0 },
    ...(mdnsName === undefined ? {} : { peerDiscovery: [mdns({ serviceTag: `_${mdnsName}._tcp.local`, interval: MDNS_INTERVAL_MS })] }),
    ...(services === undefined ? {} : { services }),
    // It would cut links of a node whose event loop is starved, and speaks a protocol that nobody here answers.
    connectionMonitor: { enabled: false },
    connectionGater: { denyInboundEncryptedConnection: refuses, denyOutboundEncryptedConnection: refuses },
  });
}

/** The machine key behind a connection, proved by its handshake; null when it is of another kind. */
export function machineKeyOf(machine: MachineId): PublicKey | null {
  const raw = machine.type === "Ed25519" ? machine.publicKey.raw : null;
  return raw?.length === 32 ? publicKey(Uint8Array.from(raw)) : null;
}
export const machineKeyAt = (connection: Connection): PublicKey | null => machineKeyOf(connection.remotePeer);
