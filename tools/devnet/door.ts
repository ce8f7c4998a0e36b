/**
 * A way into a network namespace without touching the computer's own network: `door.ts SOCKET HOST:PORT …` runs inside and passes each
 * connection to a Unix socket on to a port of its loopback, or of a guest; `openDoor` outside gives that a port of the computer's loopback.
 * The process inside ends when its stdin does, and so with whoever started it.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, type Server, type Socket, connect, createServer } from "node:net";

export type Door = { readonly ports: readonly number[]; close(): Promise<void> };

const READY_MS_MAX = 20_000;
const LOOPBACK = "127.0.0.1";

/** Both ends of a connection live and die together. */
function join(one: Socket, other: Socket): void {
  for (const [from, to] of [[one, other], [other, one]] as const) from.on("error", () => to.destroy()).on("close", () => to.destroy()).pipe(to);
}

async function listen(server: Server, ...where: [number, string] | [string]): Promise<Server> {
  server.listen(...(where as [number, string]));
  await once(server, "listening");
  return server;
}

/** `prefix` runs a program inside; each of `ways` is a socket that is made and the port behind it. */
export async function openDoor(prefix: readonly string[], ways: readonly { readonly socket: string; readonly port: number; readonly host?: string }[]): Promise<Door> {
  const [program, ...words] = [...prefix, process.execPath, import.meta.filename, ...ways.flatMap(({ socket, port, host = LOOPBACK }) => [socket, `${host}:${port}`])];
  const child = spawn(program!, words, { stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(child, "exit");
  const timer = setTimeout(() => child.kill("SIGKILL"), READY_MS_MAX);
  await Promise.race([once(child.stdout, "data"), ended.then(([code]) => Promise.reject(new Error(`The door into the namespace ended with ${code}`)))]);
  clearTimeout(timer);
  const open = new Set<Socket>();
  const servers = await Promise.all(ways.map(({ socket }) => listen(createServer((from) => {
    open.add(from.once("close", () => open.delete(from)));
    join(from, connect(socket));
  }), 0, LOOPBACK)));
  return {
    ports: servers.map((server) => (server.address() as AddressInfo).port),
    close: async () => {
      for (const server of servers) server.close();
      for (const socket of open) socket.destroy();
      child.stdin.end();
      await ended;
    },
  };
}

if (import.meta.main) {
  const words = process.argv.slice(2);
  for (let at = 0; at + 1 < words.length; at += 2) {
    const [host, port] = words[at + 1]!.split(":") as [string, string];
    await listen(createServer((from) => join(from, connect(Number(port), host))), words[at]!);
  }
  process.stdin.on("end", () => process.exit(0)).resume();
  process.stdout.write("ready\n");
}
