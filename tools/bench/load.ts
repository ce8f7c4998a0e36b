/**
 * A load generator for one HTTP/1.1 host over loopback: C keep-alive connections, one request in flight on each, for a time.
 * Raw sockets, no parser: it finds the end of a response by content-length (or the chunked terminator), so that it costs less
 * than what it measures. Prints one line of JSON: `{ requests, seconds, requestsPerSecond, p50Us, p99Us, errors }`.
 *
 *   node tools/bench/load.ts PORT HOST CONNECTIONS SECONDS
 */
import { connect } from "node:net";

const [port, host, connections, seconds] = process.argv.slice(2) as [string, string, string, string];
const REQUEST = Buffer.from(`GET / HTTP/1.1\r\nhost: ${host}\r\n\r\n`);
const HEAD_END = Buffer.from("\r\n\r\n");
const CHUNKED_END = Buffer.from("0\r\n\r\n");
const LATENCIES_MAX = 4_000_000; // samples kept, 8 bytes each

const latenciesUs = new Float64Array(LATENCIES_MAX);
let requests = 0;
let errors = 0;
let running = true;

/** Length of the first whole response in `bytes`, 0 when it is not complete. */
function responseLength(bytes: Buffer): number {
  const head = bytes.indexOf(HEAD_END);
  if (head < 0) return 0;
  const headText = bytes.toString("latin1", 0, head).toLowerCase();
  const at = headText.indexOf("content-length:");
  if (at >= 0) {
    const total = head + 4 + Number.parseInt(headText.slice(at + 15), 10);
    return bytes.length >= total ? total : 0;
  }
  const end = bytes.indexOf(CHUNKED_END, head);
  return end < 0 ? 0 : end + CHUNKED_END.length;
}

function connection(): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect({ port: Number(port), host: "127.0.0.1", noDelay: true });
    let pending: Buffer = Buffer.alloc(0);
    let sentAt = 0;
    const ask = (): void => {
      sentAt = performance.now();
      socket.write(REQUEST);
    };
    socket.on("connect", ask);
    socket.on("data", (chunk: Buffer) => {
      pending = pending.length > 0 ? Buffer.concat([pending, chunk]) : chunk;
      const length = responseLength(pending);
      if (length === 0) return;
      if (pending[9] !== 0x32) errors++; // "HTTP/1.1 2xx"
      pending = pending.subarray(length);
      latenciesUs[requests % LATENCIES_MAX] = (performance.now() - sentAt) * 1000;
      requests++;
      if (running) ask();
      else socket.destroy();
    });
    socket.on("error", () => errors++);
    socket.on("close", () => resolve());
  });
}

const startedAt = performance.now();
const all = Array.from({ length: Number(connections) }, connection);
setTimeout(() => (running = false), Number(seconds) * 1000);
await Promise.all(all);
const elapsed = (performance.now() - startedAt) / 1000;
const sorted = latenciesUs.subarray(0, Math.min(requests, LATENCIES_MAX)).toSorted();
const at = (fraction: number): number => Math.round(sorted[Math.floor(sorted.length * fraction)] ?? Number.NaN);
console.log(JSON.stringify({ requests, seconds: elapsed, requestsPerSecond: Math.round(requests / elapsed), p50Us: at(0.5), p99Us: at(0.99), errors }));
