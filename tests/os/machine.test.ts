/** The machine itself over the API: only its operator is answered, a command holds for one boot, one minute and once. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { type TestContext, test } from "node:test";
import { addressText, parseAddress } from "#chain/codec/address.ts";
import { SCOPES, SCOPES_ALL, type Scope, keysThatMay } from "#chain/codec/scopes.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import { type Address, type Hex, type PublicKey, chainId, hex } from "#chain/types.ts";
import { bindDoor } from "#os/api/door.ts";
import { machineRoutes } from "#os/api/machine.ts";
import { type Route, json } from "#os/api/route.ts";
import { SCHEMAS } from "#os/api/schemas.ts";
import { serveApi } from "#os/api/server.ts";
import type { HeldImage } from "#os/boot/carried.ts";
import { Way } from "#os/boot/ending.ts";
import { remoteControl } from "#os/boot/remote.ts";
import { COMMAND_DELAY_MS, IMAGE_FETCH_MS_MAX, IMAGE_READERS_MAX, MACHINE_LINES_MAX } from "#os/limits.ts";
import { COMMANDS as COMMANDS_ALL, type MachineCommand, type MachineControl, MachineLog, parseCommand } from "#os/machineControl.ts";
import { openTerminal } from "../cli/terminal.ts";
import { accountOf, seedOf } from "./fakeNode.ts";
import { validate } from "./jsonSchema.ts";
import { type HttpAnswer, type Signer, authorization, http, temporaryFolder } from "./stage.ts";

const [OPERATOR, STRANGER, MACHINE_KEY, READER, BOOT_SERVER] = [2, 3, 4, 5, 6];
const CHAIN = chainId(Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]));
const BOOT = "b0".repeat(16) as Hex;
const COMMANDS = "/v1/machine/commands";

type World = { readonly port: number; readonly done: MachineCommand[]; readonly log: MachineLog; readonly as: (n: number) => Signer; call(signer: Signer, path: string, body?: object, changes?: Parameters<typeof authorization>[2]): Promise<HttpAnswer> };

async function world(t: TestContext, options: { operator?: Address; isImage?: boolean; bootId?: Hex; control?: MachineControl; image?: HeldImage } = {}): Promise<World> {
  const { operator = accountOf(OPERATOR), isImage = true, bootId = BOOT } = options;
  const done: MachineCommand[] = [];
  const log = new MachineLog();
  const door = await bindDoor("127.0.0.1", 0);
  const machine = accountOf(MACHINE_KEY);
  const status: Route = {
    id: "getStatus", method: "GET", path: "/v1/status", auth: "none", summary: "", answers: {},
    run: () => json({
      version: "1", chainId: hex(CHAIN), machine: addressText(machine), operator: addressText(operator), bootId, zone: "z", apiPort: 1, httpPort: 1,
      head: { height: 1, id: "00", timeMs: "1", moneySecond: "1", stateRoot: "00" }, runner: { state: "running", pid: 1 }, fees: { base: "0", perByte: "0" },
    }),
  };
  /** READER and BOOT_SERVER are keys of the operator's account: for reading only, and with the scope `machine` only. */
  const keysOf = (sender: Address, scope: Scope): readonly PublicKey[] | null => {
    const keys = [{ n: OPERATOR, scopes: SCOPES_ALL }, { n: READER, scopes: SCOPES.read }, { n: BOOT_SERVER, scopes: SCOPES.machine }].map(({ n, scopes }) => ({ key: publicKeyOf(seedOf(n)), scopes, expiryMs: BigInt(Date.now() + 60_000) }));
    return hex(sender) === hex(accountOf(OPERATOR)) ? keysThatMay(keys, scope, BigInt(Date.now())) : null;
  };
  const server = await serveApi({
    door, chainId: CHAIN, machine, operator, now: Date.now, keysOf, checkOwner: () => {},
    routes: [status, ...machineRoutes({ machine, operator, bootId, version: "1", machineLog: log, image: options.image ?? null, ...(isImage ? { control: options.control ?? { commands: COMMANDS_ALL, carryOut: (command: MachineCommand) => void done.push(command) } } : {}) })],
  });
  t.after(() => server.stop());
  const as = (n: number): Signer => ({ seed: seedOf(n), chainId: CHAIN, machine });
  return {
    port: door.port, done, log, as,
    call: (signer, path, body, changes) => {
      const bytes = body === undefined ? undefined : new TextEncoder().encode(JSON.stringify(body));
      const call = { method: body === undefined ? "GET" : "POST", path, ...(bytes === undefined ? {} : { body: bytes }) };
      return http({ ...call, port: door.port, headers: { authorization: authorization(signer, call, { expiryMs: Date.now() + 30_000, ...changes }), ...(body === undefined ? {} : { "content-type": "application/json" }) } });
    },
  };
}

const command = (counter: number, change: object = {}): object => ({ command: "reboot", bootId: BOOT, counter: String(counter), ...change });
const outcome = (answer: HttpAnswer): readonly unknown[] => [answer.status, answer.json?.code];
const settled = (): Promise<unknown> => new Promise((resolve) => setTimeout(resolve, COMMAND_DELAY_MS * 2));

test("the operator reads how the machine is and what it said; nobody else does", async (t) => {
  const { as, call, log, port } = await world(t);
  for (let line = 1; line <= MACHINE_LINES_MAX + 5; line++) log.add(`line ${line}`, line);
  const self = await call(as(OPERATOR), "/v1/machine");
  assert.equal(self.status, 200);
  assert.deepEqual(validate(SCHEMAS["MachineSelf"]!, self.json, SCHEMAS), []);
  const tail = await call(as(OPERATOR), "/v1/machine/log?tail=2");
  assert.deepEqual(tail.json.lines.map(({ line }: { line: string }) => line), [`line ${MACHINE_LINES_MAX + 4}`, `line ${MACHINE_LINES_MAX + 5}`]);
  assert.deepEqual(validate(SCHEMAS["MachineLines"]!, tail.json, SCHEMAS), []);
  assert.deepEqual((await call(as(OPERATOR), "/v1/machine/log?after=0&limit=1")).json.lines[0].sequence, 6);
  for (const path of ["/v1/machine", "/v1/machine/log"]) {
    assert.deepEqual(outcome(await call(as(STRANGER), path)), [403, "not_operator"]);
    assert.deepEqual(outcome(await http({ port, path })), [401, "unsigned"]);
    assert.deepEqual(outcome(await call(as(READER), path, undefined, { sender: accountOf(OPERATOR) })), [401, "bad_signature"], "a key of the account that may only read");
  }
});

test("a signed command is carried out once: a repeated one, an older one and one for another boot are refused", async (t) => {
  const { as, call, done } = await world(t);
  const operator = as(OPERATOR);
  assert.equal((await call(operator, COMMANDS, command(7))).status, 202);
  assert.deepEqual(outcome(await call(operator, COMMANDS, command(7))), [422, "counter_used"]);
  assert.deepEqual(outcome(await call(operator, COMMANDS, command(6))), [422, "counter_used"]);
  assert.deepEqual(outcome(await call(operator, COMMANDS, command(9, { bootId: "b1".repeat(16) }))), [422, "wrong_boot"]);
  assert.equal((await call(operator, COMMANDS, command(8, { command: "upgrade", image: "http://10.0.0.1/next" }))).status, 202);
  await settled();
  assert.deepEqual(done.map(({ command: name, image }) => [name, image]), [["reboot", null], ["upgrade", "http://10.0.0.1/next"]]);
});

test("a command is refused that holds for more than a minute, is over, is another machine's, a stranger's, or was changed on its way", async (t) => {
  const { as, call, done, port } = await world(t);
  const operator = as(OPERATOR);
  assert.deepEqual(outcome(await call(operator, COMMANDS, command(1), { expiryMs: Date.now() + 90_000 })), [401, "expiry_too_far"]);
  assert.deepEqual(outcome(await call(operator, COMMANDS, command(1), { expiryMs: Date.now() - 1 })), [401, "expired"]);
  assert.deepEqual(outcome(await call(operator, COMMANDS, command(1), { machine: accountOf(9) })), [401, "wrong_machine"]);
  assert.deepEqual(outcome(await call(as(STRANGER), COMMANDS, command(1))), [403, "not_operator"]);
  const body = new TextEncoder().encode(JSON.stringify(command(1)));
  const changed = new TextEncoder().encode(JSON.stringify(command(1, { command: "wipe" })));
  const headers = { authorization: authorization(operator, { method: "POST", path: COMMANDS, body }, { expiryMs: Date.now() + 30_000 }), "content-type": "application/json" };
  assert.deepEqual(outcome(await http({ port, method: "POST", path: COMMANDS, body: changed, headers })), [401, "digest_mismatch"]);
  await settled();
  assert.deepEqual(done, []);
  assert.equal((await call(operator, COMMANDS, command(1))).status, 202, "a refused command uses no counter");
});

test("the boot server's key, whose scope is machine, reads how the machine is and commands nothing", async (t) => {
  const { as, call, done } = await world(t);
  const asAccount = { sender: accountOf(OPERATOR) };
  assert.equal((await call(as(BOOT_SERVER), "/v1/machine", undefined, asAccount)).status, 200);
  for (const name of COMMANDS_ALL) {
    const answer = await call(as(BOOT_SERVER), COMMANDS, command(1, { command: name, ...(name === "upgrade" ? { image: "http://10.0.0.1/next" } : {}) }), asAccount);
    assert.deepEqual(outcome(answer), [401, "bad_signature"], name);
  }
  await settled();
  assert.deepEqual(done, []);
});

test("while one upgrade is under way another is refused; after it has failed one is taken again", async (t) => {
  const ends: ((error: Error) => void)[] = [];
  const begun: string[] = [];
  const way = new Way([], () => {}, () => {});
  const control = remoteControl(way, "/nowhere", () => {}, null, (_way, _directory, url) => {
    begun.push(url);
    return new Promise((_resolve, reject) => void ends.push(reject));
  });
  const { as, call } = await world(t, { control });
  const upgrade = (counter: number): Promise<HttpAnswer> => call(as(OPERATOR), COMMANDS, command(counter, { command: "upgrade", image: `http://10.0.0.1/${counter}` }));
  assert.equal((await upgrade(1)).status, 202);
  assert.deepEqual(outcome(await upgrade(2)), [422, "upgrade_under_way"], "though it has not begun yet");
  await settled();
  assert.deepEqual(outcome(await upgrade(3)), [422, "upgrade_under_way"]);
  ends[0]?.(new Error("as the test says"));
  await settled();
  assert.equal((await upgrade(4)).status, 202);
  await settled();
  assert.deepEqual(begun, ["http://10.0.0.1/1", "http://10.0.0.1/4"]);
});

test("a rekey is answered with the machine's next key and its proof; an image that cannot refuses", async (t) => {
  const way = new Way([], () => {}, () => {});
  const next = { machineKey: "ab".repeat(32), proof: "cd".repeat(64) };
  const { as, call } = await world(t, { control: remoteControl(way, "/nowhere", () => {}, { prepare: async () => next }) });
  const answer = await call(as(OPERATOR), COMMANDS, command(1, { command: "rekey" }));
  assert.deepEqual([answer.status, answer.json], [202, { accepted: "rekey", ...next }]);
  const { call: callOther } = await world(t, { control: remoteControl(way, "/nowhere", () => {}) });
  assert.deepEqual(outcome(await callOther(as(OPERATOR), COMMANDS, command(1, { command: "rekey" }))), [422, "command_missing"]);
});

test("a machine gives the image that it was upgraded to, unsigned, to two at once, one part to each; one that has none says so", async (t) => {
  assert.deepEqual(outcome(await http({ port: (await world(t)).port, path: "/v1/image/vmlinuz" })), [404, "image_unknown"]);
  const held = Promise.withResolvers<void>();
  const image: HeldImage = {
    write: async (part, to) => {
      if (part === "initramfs") await held.promise;
      to.write(part);
    },
  };
  const { port } = await world(t, { image });
  assert.equal((await http({ port, path: "/v1/image/manifest" })).text, "manifest");
  assert.deepEqual(outcome(await http({ port, path: "/v1/image/passwd" })), [400, "parameter_invalid"]);
  const from = (localAddress: string, part: string): ReturnType<typeof http> => http({ port, path: `/v1/image/${part}`, localAddress });
  const busy = async (who = "127.0.0.4"): Promise<boolean> => (await from(who, "vmlinuz")).status === 503;
  const slow = [from("127.0.0.2", "initramfs")];
  while (!(await busy("127.0.0.2")));
  assert.equal(await busy(), false, "one client does not keep the other place, too");
  slow.push(from("127.0.0.3", "initramfs"));
  while (!(await busy()));
  held.resolve();
  for (const answer of await Promise.all(slow)) assert.equal(answer.text, "initramfs");
  while (await busy());
});

test("what is no command is refused, whatever is in it", () => {
  const parse = (value: unknown): MachineCommand | null => parseCommand(new TextEncoder().encode(JSON.stringify(value)));
  assert.deepEqual(parse(command(5)), { command: "reboot", bootId: BOOT, counter: 5n, image: null });
  for (const wrong of [
    null, [], "reboot", {}, command(0), command(5, { command: "format" }), command(5, { counter: 5 }), command(5, { counter: "05" }), command(5, { counter: "1".repeat(20) }), command(5, { bootId: "b0" }),
    command(5, { more: 1 }), command(5, { image: "http://x/" }), command(5, { command: "upgrade" }), command(5, { command: "upgrade", image: "file:///x" }), command(5, { command: "upgrade", image: "http://x/ y" }), command(5, { command: "constructor" }),
  ]) assert.equal(parse(wrong), null, JSON.stringify(wrong));
  assert.equal(parseCommand(Uint8Array.of(0xff, 0xfe)), null);
});

test("an ordinary process, which is not ours to end, takes no command", async (t) => {
  const { as, call } = await world(t, { isImage: false });
  assert.deepEqual(outcome(await call(as(OPERATOR), COMMANDS, command(1))), [422, "not_an_image"]);
});

test("godwit machine status, logs and reboot work from afar for the operator's account", async (t) => {
  const terminal = openTerminal(t, { GODWIT_DATA: temporaryFolder(t) });
  const made = await terminal.run("account", "new", "olga", "--json");
  const operator = parseAddress((JSON.parse(made.stdout) as { address: string }).address)!;
  const { port, done, log } = await world(t, { operator });
  log.add("eth0: 10.0.0.5/24", 0);
  const api = ["--api", `http://127.0.0.1:${port}`, "--account", "olga"];
  const status = await terminal.run("machine", "status", ...api);
  assert.equal(status.code, 0, status.stderr);
  assert.match(status.stdout, /^boot +b0b0/m);
  assert.match((await terminal.run("machine", "logs", ...api)).stdout, /^1970-01-01T00:00:00\.000Z eth0: 10\.0\.0\.5\/24$/m);
  for (const [words, name] of [[["reboot"], "reboot"], [["poweroff"], "powerOff"], [["upgrade", "http://10.0.0.1/next"], "upgrade"], [["wipe", "--yes"], "wipe"]] as const) {
    const { code, stderr } = await terminal.run("machine", ...words, ...api);
    assert.equal(code, 0, stderr);
    await settled();
    assert.equal(done.at(-1)?.command, name);
  }
  assert.equal((await terminal.run("machine", "wipe", ...api)).code, 2);
  assert.equal((await terminal.run("machine", "upgrade", ...api)).code, 2);
  await terminal.run("account", "new", "mallory");
  const refused = await terminal.errorOf("machine", "reboot", "--api", `http://127.0.0.1:${port}`, "--account", "mallory");
  assert.deepEqual(refused, { exit: 1, code: "not_operator" });
});

test("who takes nothing of an image does not keep others from it for ever", async (t) => {
  const image: HeldImage = { write: (_part, to, signal) => new Promise((_, reject) => {
    to.write("x");
    signal.addEventListener("abort", () => reject(new Error("gone")), { once: true });
  }) };
  const one = await world(t, { image });
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const statusOf = (n: number): Promise<number> => new Promise((resolve) => {
    const socket = connect({ port: one.port, host: "127.0.0.1", localAddress: `127.0.0.${n}` }, () => socket.write("GET /v1/image/manifest HTTP/1.1\r\nhost: h\r\n\r\n")).on("error", () => {});
    t.after(() => socket.destroy());
    socket.once("data", (bytes: Buffer) => resolve(Number(bytes.toString().split(" ")[1])));
  });
  for (let n = 0; n < IMAGE_READERS_MAX; n += 1) assert.equal(await statusOf(10 + n), 200);
  assert.equal(await statusOf(9), 503);
  t.mock.timers.tick(IMAGE_FETCH_MS_MAX);
  let status = 503;
  for (let n = 0; n < 1_000 && status === 503; n += 1) status = await statusOf(9);
  assert.equal(status, 200);
});
