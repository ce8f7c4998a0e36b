/**
 * What 10,000 idle connections cost the runner: `npm run bench:idle [-- --short] [--save]`. The clients are a process of their own, as each
 * connection takes a descriptor on both sides, and come from many loopback addresses, as one has a bound. Every other connection
 * has been served once.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compile, listen, startRunner } from "#sandbox/sandbox.ts";
import { buildComponent } from "#workloads/sdk/build.ts";
import { computer, report, rounded } from "./report.ts";

const MIB = 1024 * 1024;
const COUNT = process.argv.includes("--short") ? 1_000 : 10_000;
const PER_ADDRESS = 500;

async function hold(port: number): Promise<void> {
  for (let index = 0; index < COUNT; index += 1) {
    const socket = connect({ port, host: "127.0.0.1", localAddress: `127.0.0.${2 + Math.floor(index / PER_ADDRESS)}` });
    socket.on("error", () => {});
    await once(socket, "connect");
    if (index % 2 === 1) continue;
    socket.write("GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n");
    await once(socket, "data");
  }
  process.send?.("open");
}

async function measure(): Promise<void> {
  const on = await computer();
  const cacheDirectory = mkdtempSync(join(tmpdir(), "godwit-idle-"));
  const listener = await listen("127.0.0.1", 0);
  const runner = await startRunner({ listener, cacheDirectory, ingress: { headMsMax: 600_000 } });
  try {
    const { component } = await buildComponent(import.meta.dirname, "assembly/plain.ts", "service");
    await runner.load({ id: "a", hosts: ["a.localhost"], compiled: await compile(component, { cacheDirectory }) });
    const residentBytes = (): number => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${String(runner.pid)}/status`, "utf8"))?.[1]) * 1024;
    const before = residentBytes();
    const clients = fork(import.meta.filename, [...process.argv.slice(2), `--hold=${listener.port}`]);
    await once(clients, "message");
    const bytes = residentBytes() - before;
    clients.kill("SIGKILL");
    report("idle", { ...on, connections: COUNT, residentMibBefore: rounded(before / MIB), mib: rounded(bytes / MIB), bytesEach: Math.round(bytes / COUNT) }, process.argv.includes("--save"));
    if (bytes > (COUNT / 10_000) * 200 * MIB) process.exitCode = 1;
  } finally {
    await runner.stop();
    listener.close();
    rmSync(cacheDirectory, { recursive: true, force: true });
  }
}

const held = process.argv.find((argument) => argument.startsWith("--hold="));
await (held === undefined ? measure() : hold(Number(held.slice("--hold=".length))));
