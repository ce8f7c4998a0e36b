/** Hops between machines, as runners on ports of loopback: whoever is asked, whoever has it answers; hostile peers are refused and counted. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import test, { after } from "node:test";
import type { HopCounts } from "#sandbox/sandbox.ts";
import { HOST, type Peer, part, peers, place } from "./hops.ts";
import { nativeIsThere, sharedCache, until } from "./serving.ts";

const cache = sharedCache();
after(cache.remove);
const WAIT_MS = 60_000;
const isWell = ({ status }: { readonly status: number }): boolean => status === 200;

/** The first of them passes on to the others, which have it. */
async function stage(t: test.TestContext, count: number): Promise<[Peer, ...Peer[]]> {
  const all = await peers(t, cache.directory, count);
  const [front, ...others] = all as [Peer, ...Peer[]];
  await Promise.all(others.map((one) => one.load("a", "rogue")));
  await place(front, [part(others)]);
  return [front, ...others];
}
const counted = async (peer: Peer, name: keyof HopCounts): Promise<number> => (await peer.elsewhere.counts())[name];

test("a request for a host that runs elsewhere is answered there: method, path, body, client and host as they were, nothing of the hop's own", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const [front, back] = (await stage(t, 2)) as [Peer, Peer];
  const shown = await front.get("/headers", { headers: { "x-forwarded-for": "203.0.113.9", "godwit-hop-to": "b.localhost", "godwit-hop-load": "7", connection: "x-mine, close", "x-mine": "1", "x-other": "2" } });
  const seen = shown.text.toLowerCase();
  assert.equal(shown.status, 200);
  for (const there of ["x-forwarded-for: 127.0.0.1", "x-other: 2"]) assert(seen.includes(there), `${there} in ${seen}`);
  for (const gone of ["203.0.113.9", "godwit-", "x-mine"]) assert(!seen.includes(gone), `${gone} in ${seen}`);
  assert.equal(shown.headers.via, "1.1 godwit");
  assert.match(String(shown.headers["x-request-id"]), /^[0-9a-f]{16}$/);
  assert(!Object.keys(shown.headers).some((name) => name.startsWith("godwit-")));
  assert.equal((await front.get("/count", { body: new Uint8Array(300_000) })).text, "300000");
  assert.equal((await front.get("/count", { body: [new Uint8Array(10), new Uint8Array(20)] })).text, "30");
  const chunked = { method: "GET", headers: { "transfer-encoding": "chunked" }, body: [new Uint8Array(5), new Uint8Array(6)] };
  assert.equal((await front.get("/count", chunked)).text, "11", "a GET of unknown length has its body");
  assert.deepEqual((await front.get("/cookies")).headers["set-cookie"], ["a=1; Path=/; Secure", "b=2"], "cookies stay with their host");
  assert.equal((await front.get("/big?bytes=3000000")).text.length, 3_000_000);
  assert.deepEqual([(await front.get("/", { method: "HEAD" })).text, (await front.get("/status?code=404")).status, (await front.get("/trap")).code], ["", 404, "trap"]);
  assert.equal((await front.get("/", { host: "nothing.localhost" })).code, "host_unknown");
  assert.equal((await front.get("/", { method: "TRACE" })).code, "method_refused");
  const cut = await front.get("/cut");
  assert(!cut.complete || cut.status === 500, "what breaks off there breaks off here");
  assert((await counted(front, "passed")) >= 8 && (await counted(back, "served")) >= 8);
  const id = shown.headers["x-request-id"];
  const both = await front.get("/both");
  await until(() => back.logs.some(({ requestId }) => requestId === both.headers["x-request-id"]), "its lines are under the id that the client has");
  assert.notEqual(id, both.headers["x-request-id"]);
});

test("a replica of its own is asked first; one that is about to go only when nobody else can", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const [front, back] = (await stage(t, 2)) as [Peer, Peer];
  await front.load("a", "rogue");
  await place(front, [part([back], true)]);
  assert.equal((await front.get("/")).headers.via, undefined);
  await place(front, [part([back])], true);
  assert.equal((await front.get("/")).headers.via, "1.1 godwit");
  assert.equal((await front.get("/", { headers: { "godwit-here": "1" } })).headers.via, undefined, "who looks after this machine asks for its own");
  back.endpoints.length = 0;
  await back.runner.stop();
  const last = await front.get("/");
  assert.deepEqual([last.status, last.headers.via], [200, undefined]);
});

test("what came by a hop hops no further: two machines that each think the other has it send nothing round", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const [a, b] = (await peers(t, cache.directory, 2)) as [Peer, Peer];
  await Promise.all([place(a, [part([b])]), place(b, [part([a])])]);
  const asked = a.get("/");
  await until(async () => (await counted(a, "again")) > 1, "it was refused and waits");
  assert.deepEqual([await counted(b, "passed"), await counted(b, "served"), await counted(a, "served")], [0, 0, 0]);
  await b.load("a", "rogue");
  assert(isWell(await asked), "and is answered when it is there");
});

test("a request waits while there is no replica, and is answered when there is one; so many, and not longer", { timeout: 120_000 }, async (t) => {
  if (!(await nativeIsThere(t))) return;
  const [front, back] = (await stage(t, 2)) as [Peer, Peer];
  await place(front, [part([])]);
  const asked = [front.get("/"), front.get("/count", { body: new Uint8Array(100_000) })];
  await until(async () => (await counted(front, "waited")) === 2, "both wait");
  await place(front, [part([back])]);
  const answers = await Promise.all(asked);
  assert.deepEqual(answers.map(({ status, text }) => [status, text]), [[200, "ok\n"], [200, "100000"]]);
  await place(front, [part([])]);
  const sockets = Array.from({ length: 600 }, () => connect(front.port, "127.0.0.1"));
  t.after(() => { for (const socket of sockets) socket.destroy(); });
  let refused = 0;
  for (const socket of sockets) {
    socket.setEncoding("latin1").on("data", (text: string) => { if (text.includes("no_replica")) refused += 1; }).on("error", () => {});
    socket.write(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
  }
  await until(async () => refused >= 80, "who is too many is told so at once", WAIT_MS);
  await place(front, [part([back])]);
});

test("of two revisions each takes its weight of the requests, at a machine that has both, one or none of them", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const [front, one, two] = (await peers(t, cache.directory, 3)) as [Peer, Peer, Peer];
  await one.load("a", "rogue", { hosts: [HOST, `r1.${HOST}`], environment: {} });
  await two.load("b", "hello", { hosts: [`r2.${HOST}`] });
  const parts = (self: Peer): ReturnType<typeof part>[] => [part(self === one ? [] : [one], self === one, 750, `r1.${HOST}`), part(self === two ? [] : [two], self === two, 250, `r2.${HOST}`)];
  for (const self of [front, one, two]) {
    await place(self, parts(self), true);
    let second = 0;
    for (let n = 0; n < 200; n++) {
      const answer = await self.get("/");
      assert.equal(answer.status, 200);
      if (answer.text.startsWith("Hello")) second += 1;
    }
    // Five standard deviations.
    assert(second > 50 - 31 && second < 50 + 31, `${second} of 200`);
  }
});

test("of two replicas the less loaded one is asked", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const [front, one, two] = (await stage(t, 3)) as [Peer, Peer, Peer];
  // Whoever is asked by these is loaded from here; each new one goes to the other.
  const over = new AbortController();
  const slow = Array.from({ length: 8 }, () => front.get("/slow?ms=30000", { signal: over.signal, body: new Uint8Array(1) }));
  await until(async () => (await counted(one, "served")) + (await counted(two, "served")) === 8, "all are under way");
  assert.deepEqual([await counted(one, "served"), await counted(two, "served")], [4, 4]);
  over.abort();
  await Promise.all(slow);
});

test("a machine that stops without a word: who asks only is answered by another replica, what may have begun waits", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const [front, one, two] = (await stage(t, 3)) as [Peer, Peer, Peer];
  for (let n = 0; n < 10; n++) assert(isWell(await front.get("/")));
  const pid = one.runner.pid!;
  process.kill(pid, "SIGSTOP");
  try {
    assert((await Promise.all(Array.from({ length: 8 }, () => front.get("/")))).every(isWell));
    assert((await counted(front, "again")) >= 1);
    await place(front, [part([one])]);
    const writing = front.get("/count", { body: new Uint8Array(10) });
    await place(front, [part([one, two])]);
    const reading = Array.from({ length: 4 }, () => front.get("/"));
    assert((await Promise.all(reading)).every(isWell));
    process.kill(pid, "SIGCONT");
    assert.equal((await writing).text, "10", "and is answered once it goes on");
  } finally {
    process.kill(pid, "SIGCONT");
  }
});

test("kill of a machine: who asks only is answered by another replica, what may have begun is not begun again, and nothing new fails", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const [front, one, two] = (await stage(t, 3)) as [Peer, Peer, Peer];
  await place(front, [part([one])]);
  const writing = front.get("/slow?ms=30000", { body: new Uint8Array(10) });
  await until(async () => (await counted(one, "served")) === 1, "one with a body");
  await place(front, [part([one, two])]);
  const reading = Array.from({ length: 12 }, () => front.get("/slow?ms=1500"));
  await until(async () => (await counted(one, "served")) + (await counted(two, "served")) >= 13 && (await counted(one, "served")) >= 2, "all are under way");
  await one.runner.stop();
  one.endpoints.length = 0;
  assert((await Promise.all(reading)).every(isWell));
  const broken = await writing;
  assert.deepEqual([broken.status, broken.code], [502, "hop_broken"]);
  for (let n = 0; n < 20; n++) assert(isWell(await front.get("/count", { body: new Uint8Array(1_000) })));
  assert.equal(await counted(front, "broken"), 1);
});

test("a runner that is killed is back with its peers and places, and whoever asks meanwhile waits", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const [front, back] = (await stage(t, 2)) as [Peer, Peer];
  assert(isWell(await front.get("/")));
  for (const peer of [back, front]) {
    process.kill(peer.runner.pid!, "SIGKILL");
    await until(() => peer.exits.length === 1, "it has ended", WAIT_MS);
    for (let n = 0; n < 5; n++) assert(isWell(await front.get("/")));
  }
});

test("a peer with a wrong key, one that is not known any more, and whoever sends no handshake or none to its end is refused and counted", { timeout: 120_000 }, async (t) => {
  if (!(await nativeIsThere(t))) return;
  const [front, back] = (await stage(t, 2)) as [Peer, Peer];
  assert(isWell(await front.get("/")));
  const raw = (...chunks: Uint8Array[]): Promise<void> => new Promise((resolve) => {
    const socket = connect(back.port, "127.0.0.1").resume().on("error", () => {}).on("close", () => resolve());
    for (const chunk of chunks) socket.write(chunk);
  });
  // The beginning of a record, and nothing; a record of noise; a hundred more.
  const stalled = raw(new Uint8Array([22, 3, 1, 2, 0]));
  await raw(new Uint8Array([22, 3, 1, 0, 4, 9, 9, 9, 9]));
  await Promise.all(Array.from({ length: 100 }, () => raw(new Uint8Array([22, 3, 1, 0, 4, 1, 0, 0, 0]))));
  await stalled;
  assert((await counted(back, "malformed")) + (await counted(back, "tooMany")) >= 101);
  await until(async () => (await counted(back, "slow")) === 1, "who sends no handshake to its end is counted as slow", WAIT_MS);
  assert(isWell(await front.get("/")), "the connection that there is goes on");

  // Under another key than the one that `back` knows.
  await front.elsewhere.identify(new Uint8Array(32).fill(77));
  await front.elsewhere.peers([], [back.id]);
  await front.elsewhere.peers([{ id: back.id, key: (await import("#chain/crypto.ts")).publicKeyOf(back.seed).toHex() }], []);
  const asked = front.get("/");
  await until(async () => (await counted(back, "unknownKey")) >= 1, "it is refused", WAIT_MS);
  await front.elsewhere.identify(front.seed);
  assert(isWell(await asked), "and answered when it shows the right one");

  // Whoever listens there has not the key that `front` knows.
  await front.elsewhere.peers([{ id: back.id, key: "11".repeat(32) }], []);
  const before = await counted(front, "unreached");
  const waits = front.get("/");
  await until(async () => (await counted(front, "unreached")) > before, "it is not believed", WAIT_MS);
  await front.elsewhere.peers([{ id: back.id, key: (await import("#chain/crypto.ts")).publicKeyOf(back.seed).toHex() }], []);
  assert(isWell(await waits));

  // Whose certificate has ended is taken from the list: what it has begun ends as well.
  const slow = front.get("/slow?ms=20000", { body: new Uint8Array(1) });
  await until(async () => (await back.runner.usage())["a"]!.running === 1, "it is under way");
  await back.elsewhere.peers([], [front.id]);
  assert.equal((await slow).code, "hop_broken");
  await until(async () => (await back.runner.usage())["a"]!.running === 0, "its guest too", WAIT_MS);
});

test("a deployment with a runner of its own is reached by hops, and knows the client", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const [front, back] = (await peers(t, cache.directory, 2)) as [Peer, Peer];
  await back.load("a", "rogue", { isolation: "process" });
  await place(front, [part([back])]);
  for (const peer of [front, back]) {
    const shown = await peer.get("/headers", { headers: { "x-forwarded-for": "203.0.113.9" } });
    assert.equal(shown.status, 200);
    assert(shown.text.toLowerCase().includes("x-forwarded-for: 127.0.0.1"), shown.text);
    const both = await peer.get("/both");
    await until(() => back.logs.some(({ requestId }) => requestId === both.headers["x-request-id"]), "its lines are under the id that the client has");
  }
});
