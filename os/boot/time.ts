/**
 * What time it is, for a machine whose clock may be off by years: `decideTime` weighs what is known; the rest asks NTP servers.
 *
 * Who is believed: no clock is before the image was made. The time in a final block's header is signed by a quorum of validators: it has passed, whatever
 * anybody else says; and while new blocks keep coming it is also not long ago. NTP is signed by nobody, so it counts within these bounds
 * only. So a machine joins with any clock at all (certificates of blocks hold without one), and then has the chain's time to a few seconds
 * where no NTP server is to be had.
 */
import { webcrypto } from "node:crypto";
import { createSocket } from "node:dgram";
import { lookup } from "node:dns/promises";
import { NTP_DELAY_MS_MAX, NTP_PORT, type NtpSample, agreed, encodeQuestion, parseAnswer } from "./ntp.ts";

/** An idle chain makes a block every 5 s, and headers may be that much apart from the clocks of others. */
const CHAIN_SLACK_MS = 15_000;
/** What a clock may be off by without being set: consensus does not mind. */
const STEP_MS_MIN = 500;
const SERVERS_MAX = 4;

export type TimeKnown = {
  readonly clockMs: number;
  /** When the image was made. */
  readonly builtMs: number;
  readonly ntp: NtpSample | null;
  /** The newest final block: its header's time, how long ago (monotonic) it came, and whether blocks keep coming. */
  readonly chain: { readonly headerMs: number; readonly ageMs: number; readonly isLive: boolean } | null;
};
export type TimeDecision = { readonly kind: "keep" } | { readonly kind: "set"; readonly toMs: number; readonly source: "ntp" | "chain" | "image" };

export function decideTime({ clockMs, builtMs, ntp, chain }: TimeKnown): TimeDecision {
  const chainMs = chain === null ? null : chain.headerMs + chain.ageMs;
  const earliestMs = Math.max(builtMs, chainMs === null ? builtMs : chainMs - CHAIN_SLACK_MS);
  const latestMs = chain?.isLive === true && chainMs !== null ? chainMs + CHAIN_SLACK_MS : Number.POSITIVE_INFINITY;
  const isPossible = (ms: number): boolean => ms >= earliestMs && ms <= latestMs;
  const ntpMs = ntp === null ? null : clockMs + ntp.offsetMs;
  if (ntpMs !== null && isPossible(ntpMs)) return Math.abs(ntpMs - clockMs) < STEP_MS_MIN ? { kind: "keep" } : { kind: "set", toMs: ntpMs, source: "ntp" };
  if (isPossible(clockMs)) return { kind: "keep" };
  return chainMs !== null && chainMs >= builtMs ? { kind: "set", toMs: chainMs, source: "chain" } : { kind: "set", toMs: builtMs, source: "image" };
}

/** Asks every server at once and gives what they agree on; null when nobody answers in time. */
export async function askNtp(servers: readonly string[], port: number = NTP_PORT): Promise<NtpSample | null> {
  const samples = await Promise.all(servers.slice(0, SERVERS_MAX).map((server) => askOne(server, port).catch(() => null)));
  return agreed(samples.filter((sample) => sample !== null));
}

async function askOne(server: string, port: number): Promise<NtpSample | null> {
  const { address } = await lookup(server, { family: 4 });
  const [nonce = 1n] = webcrypto.getRandomValues(new BigUint64Array(1));
  const socket = createSocket("udp4");
  try {
    return await new Promise((resolve, reject) => {
      let [clockMs, sentMs] = [0, 0];
      const timer = setTimeout(() => resolve(null), NTP_DELAY_MS_MAX);
      socket.once("close", () => clearTimeout(timer));
      socket.once("error", reject);
      // Connected: what comes from another address or port is not heard.
      socket.on("message", (bytes) => {
        const sample = parseAnswer(bytes, nonce, clockMs, performance.now() - sentMs);
        if (sample !== null) resolve(sample);
      });
      socket.connect(port, address, () => {
        [clockMs, sentMs] = [Date.now(), performance.now()];
        socket.send(encodeQuestion(nonce));
      });
    });
  } finally {
    socket.close();
  }
}
