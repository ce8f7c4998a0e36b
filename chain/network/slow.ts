/**
 * A transport whose messages leave later than they are sent: a machine behind a long line, for devnets. The order and the bound on what waits
 * stay those of the transport beneath: what is under way to one peer on one channel counts against QUEUE_BYTES_MAX.
 */
import { MESSAGE_BYTES_MAX } from "#chain/constants.ts";
import { type Clock, systemClock } from "./clock.ts";
import { QUEUE_BYTES_MAX } from "./limits.ts";
import type { Channel, PeerId, Transport } from "./transport.ts";

/** A line to the other side of the earth, many times over. */
export const DELAY_MS_MAX = 10_000;

export function slowTransport(transport: Transport, delayMs: number, clock: Clock = systemClock): Transport {
  const underWay = new Map<string, number>();
  let isClosed = false;
  const send = (to: PeerId, channel: Channel, bytes: Uint8Array): boolean => {
    if (isClosed || bytes.length > MESSAGE_BYTES_MAX || !transport.peers().includes(to)) return false;
    const lane = `${channel} ${to}`;
    const bytesThen = underWay.get(lane) ?? 0;
    if (bytesThen + bytes.length > QUEUE_BYTES_MAX) return false;
    underWay.set(lane, bytesThen + bytes.length);
    const copy = bytes.slice();
    clock.setTimer(() => {
      const left = (underWay.get(lane) ?? 0) - copy.length;
      if (left > 0) underWay.set(lane, left);
      else underWay.delete(lane);
      if (!isClosed) transport.send(to, channel, copy);
    }, delayMs);
    return true;
  };
  const { flood } = transport;
  return {
    self: transport.self, peers: () => transport.peers(), send, addresses: () => transport.addresses(),
    broadcast: (channel, bytes) => transport.peers().reduce((count, peer) => count + (send(peer, channel, bytes) ? 1 : 0), 0),
    onMessage: (listener) => transport.onMessage(listener), onPeer: (listener) => transport.onPeer(listener), machineOf: (peer) => transport.machineOf(peer),
    setValidators: (names) => transport.setValidators(names), seek: (machine) => transport.seek(machine), report: (peer, offence) => transport.report(peer, offence),
    ...(flood === undefined ? {} : { flood: { publish: (bytes) => void clock.setTimer(() => { if (!isClosed) flood.publish(bytes); }, delayMs), onMessage: (listener) => flood.onMessage(listener) } }),
    close: async () => {
      isClosed = true;
      await transport.close();
    },
  };
}
