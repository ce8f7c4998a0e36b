/** The client of the API: what it repeats, how long it waits, and what it does not believe. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import test, { type TestContext } from "node:test";
import { addressOf } from "#chain/codec/address.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import { hex } from "#chain/types.ts";
import { SETTINGS_DEFAULT } from "#os/configuration.ts";
import { freePort } from "#tools/chain/machines.ts";
import { ApiClient, type Timeouts } from "#tools/cli/client.ts";
import { startFakeMachine } from "./fakeMachine.ts";

const seed = new Uint8Array(32).fill(3);
const signer = { seed, address: addressOf(publicKeyOf(seed)) };

async function serverWith(t: TestContext, answer: (request: IncomingMessage, response: ServerResponse) => void, port = 0): Promise<{ server: Server; url: string; port: number }> {
  const server = createServer(answer);
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const bound = (server.address() as AddressInfo).port;
  return { server, url: `http://127.0.0.1:${bound}`, port: bound };
}

function clientFor(t: TestContext, url: string, timeouts: Partial<Timeouts> = {}): ApiClient {
  const client = new ApiClient({ url, signer, timeouts });
  t.after(() => client.close());
  return client;
}

const account = (response: ServerResponse): void => void response.end('{"address":"gw1x","balance":"1","nonce":"2","threshold":1,"keys":[]}');

test("a read is repeated while nobody listens, and succeeds when the machine is back", async (t) => {
  const port = await freePort();
  const read = clientFor(t, `http://127.0.0.1:${port}`).account("gw1x");
  const [, { balance, nonce }] = await Promise.all([new Promise((resolve) => setTimeout(resolve, 150)).then(() => serverWith(t, (_, response) => account(response), port)), read]);
  assert.deepEqual([balance, nonce], [1n, 2n]);
});

test("a name that has several addresses, none of which listens, is a machine that is not there", async (t) => {
  await assert.rejects(clientFor(t, `http://localhost:${await freePort()}`).account("gw1x"), { code: "api_unreachable", message: /nobody listens/ });
});

test("a transaction is handed in once: a refused connection is an answer", async (t) => {
  const startedMs = performance.now();
  await assert.rejects(clientFor(t, `http://127.0.0.1:${await freePort()}`).submit(new Uint8Array(3)), { code: "api_unreachable" });
  assert(performance.now() - startedMs < 5_000);
});

test("a read that was taken and then cut is not repeated", async (t) => {
  let count = 0;
  const { url } = await serverWith(t, (request) => {
    count += 1;
    request.socket.destroy();
  });
  await assert.rejects(clientFor(t, url).account("gw1x"), { code: "api_unreachable" });
  assert.equal(count, 1);
});

test("every wait has an end with a name: for the head, for the body, for silence in a log", async (t) => {
  const silent = await serverWith(t, () => undefined);
  await assert.rejects(clientFor(t, silent.url, { readMs: 50 }).account("gw1x"), { code: "api_timeout" });
  await assert.rejects(clientFor(t, silent.url, { finalMs: 50 }).submit(new Uint8Array(1), { wait: "final" }), { code: "api_timeout" });
  const slow = await serverWith(t, (_, response) => void response.write('{"address":'));
  await assert.rejects(clientFor(t, slow.url, { readMs: 50 }).account("gw1x"), { code: "api_timeout" });
  const machine = await startFakeMachine(t);
  const log = await serverWith(t, (request, response) => {
    if (request.url === "/v1/status") void fetch(`${machine.url}/v1/status`).then(async (answer) => response.end(await answer.text()));
    else response.write(": here\n\n");
  });
  const lines = clientFor(t, log.url, { silenceMs: 50, readMs: 1_000 }).logs("ab".repeat(20), { follow: true });
  await assert.rejects(lines.next(), { code: "api_silent" });
});

test("a log that ends is told from one that breaks off", async (t) => {
  const machine = await startFakeMachine(t);
  const ends: string[] = [];
  for (const last of ["event: end\ndata: {}\n\n", ""]) {
    const log = await serverWith(t, (request, response) => {
      if (request.url === "/v1/status") void fetch(`${machine.url}/v1/status`).then(async (answer) => response.end(await answer.text()));
      else response.end(`: here\n\n${last}`);
    });
    assert.deepEqual(await Array.fromAsync(clientFor(t, log.url).logs("ab".repeat(20), { follow: true, onEnd: () => ends.push(last) })), []);
  }
  assert.deepEqual(ends.map((last) => last !== ""), [true]);
});

test("problem details become an error with their code and status; anything else is told by its status", async (t) => {
  const rows: [number, string, string][] = [
    [422, '{"code":"insufficient_funds","detail":"too little"}', "insufficient_funds"], [404, '{"code":"deployment_unknown"}', "deployment_unknown"],
    [500, "<html>", "http_500"], [503, '{"code":"<script>"}', "http_503"], [418, "", "http_418"], [400, "null", "http_400"],
  ];
  for (const [status, body, code] of rows) {
    const { url } = await serverWith(t, (_, response) => void response.writeHead(status).end(body));
    await assert.rejects(clientFor(t, url).account("gw1x"), { code, status });
  }
});

test("an answer that is not what the API promises is refused, and the message says where", async (t) => {
  const rows = [
    "", "nonsense", "[]", "null", '{"address":"gw1x","balance":1.5,"nonce":"0"}', '{"address":"gw1x","balance":"-1","nonce":"0"}', '{"address":"gw1x","balance":"1"}',
    '{"address":1,"balance":"1","nonce":"0"}', `{"address":"gw1x","balance":"${"9".repeat(21)}","nonce":"0"}`, '{"address":"gw1x","balance":9007199254740993,"nonce":"0"}',
  ];
  for (const body of rows) {
    const { url } = await serverWith(t, (_, response) => void response.end(body));
    await assert.rejects(clientFor(t, url).account("gw1x"), { code: "answer_malformed" }, body);
  }
});

test("an answer without end is cut at its limit", async (t) => {
  const { url } = await serverWith(t, (_, response) => {
    const more = (): void => {
      while (response.write("x".repeat(65_536)));
      response.once("drain", more);
    };
    more();
  });
  await assert.rejects(clientFor(t, url).account("gw1x"), { code: "answer_malformed" });
});

test("uploads go under their digest, signed over method, path and body", async (t) => {
  const machine = await startFakeMachine(t);
  const client = clientFor(t, machine.url);
  const { digest, kind } = await client.uploadComponent(Uint8Array.from([1, 2, 3]));
  assert.equal(hex(digest), "039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81");
  assert.equal(kind, "service");
  await client.uploadConfiguration({ ...SETTINGS_DEFAULT, environment: { B: "2", A: "1", a: "3" } });
  assert.deepEqual([...machine.configurations.values()][0]?.environment, { A: "1", B: "2", a: "3" });
  assert(machine.requests.filter(({ method }) => method === "PUT").every(({ sender }) => sender !== null));
});

test("without an account nothing is signed", async (t) => {
  const machine = await startFakeMachine(t);
  await using client = new ApiClient({ url: machine.url });
  await assert.rejects(client.uploadComponent(new Uint8Array(1)), { code: "account_missing" });
  assert.equal(machine.requests.length, 0);
});
