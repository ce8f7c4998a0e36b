import assert from "node:assert/strict";
import { test } from "node:test";
import { addressText } from "#chain/codec/address.ts";
import { address, fromHex } from "#chain/types.ts";
import { type CmdlineError, KEYS, PREFIX, parseCmdline } from "./cmdline.ts";

const DIGEST = "ab".repeat(32);
const OPERATOR = address(new Uint8Array(20).fill(7));
const settings = (line: string) => {
  const result = parseCmdline(line);
  assert(result.ok, result.ok ? "" : JSON.stringify(result));
  return result.settings;
};
const errors = (line: string): readonly CmdlineError[] => {
  const result = parseCmdline(line);
  assert(!result.ok, `nothing is wrong with ${line}`);
  return result.errors;
};

test("every word of the command line becomes a setting", () => {
  const got = settings(
    `console=tty0 console=ttyS0 panic=-1 quiet godwit.hostname=kitchen godwit.address=eth0,10.0.0.2/24,10.0.0.1 godwit.address=52:54:00:12:34:56,dhcp godwit.dns=10.0.0.1,9.9.9.9 ` +
    `godwit.ntp=10.0.0.1,time.example godwit.genesis=sha256:${DIGEST}@http://10.0.0.1/genesis godwit.checkpoint=7-1800000000-${DIGEST} godwit.peer=10.0.0.1:7482,seed.example:7000 godwit.peer=10.0.0.3:7482 ` +
    `godwit.operator=${addressText(OPERATOR)} godwit.region=oslo godwit.zone=grid.example godwit.boot=http://10.0.0.1:8080/ godwit.join=abcdefghijklmnop_-1 godwit.key=tpm godwit.api-port=80 godwit.http-port=8080 godwit.metrics=10.0.0.2:9100`,
  );
  assert.deepEqual(got, {
    hostName: "kitchen", dns: ["10.0.0.1", "9.9.9.9"], ntp: ["10.0.0.1", "time.example"],
    addressing: [
      { interface: { kind: "name", name: "eth0" }, kind: "static", network: { address: "10.0.0.2", prefix: 24 }, gateway: "10.0.0.1" },
      { interface: { kind: "mac", mac: "52:54:00:12:34:56" }, kind: "dhcp" },
    ],
    alone: null, isTrial: false, genesis: { sha256: DIGEST, url: "http://10.0.0.1/genesis" },
    checkpoint: { epoch: 7, timeMs: 1_800_000_000_000n, validatorsHash: fromHex(DIGEST) },
    peers: [{ host: "10.0.0.1", port: 7482 }, { host: "seed.example", port: 7000 }, { host: "10.0.0.3", port: 7482 }],
    operator: OPERATOR, region: "oslo", zone: "grid.example", bootServer: "http://10.0.0.1:8080", joinToken: "abcdefghijklmnop_-1", keyPlace: "tpm", apiPort: 80, httpPort: 8080, metrics: { address: "10.0.0.2", port: 9100 }, console: "ttyS0",
  });
});

test("a command line without words of ours is a machine by itself, with DHCP", () => {
  const got = settings("BOOT_IMAGE=vmlinuz initrd=initrd.zst ip=dhcp root=/dev/ram0 no_timer_check");
  assert.deepEqual(got.addressing, []);
  assert.equal(got.genesis, null);
  assert.equal(got.ntp, null);
  assert.deepEqual(settings("godwit.ntp=off").ntp, []);
  assert.deepEqual(settings("godwit.address=10.0.0.2/24").addressing, [{ interface: { kind: "any" }, kind: "static", network: { address: "10.0.0.2", prefix: 24 }, gateway: null }]);
  assert.deepEqual(settings('godwit.hostname="kitchen" dyndbg="file a +p; godwit.nonsense=1"').hostName, "kitchen");
});

test("an address can be on a VLAN of an interface, of the one with a hardware address, or of whichever has a link", () => {
  assert.deepEqual(settings("godwit.address=eth0.120,dhcp godwit.address=52:54:00:12:34:56.4094,10.0.0.2/24 godwit.address=.7,dhcp godwit.address=eth0,dhcp").addressing, [
    { interface: { kind: "name", name: "eth0" }, vlan: 120, kind: "dhcp" }, { interface: { kind: "mac", mac: "52:54:00:12:34:56" }, vlan: 4094, kind: "static", network: { address: "10.0.0.2", prefix: 24 }, gateway: null },
    { interface: { kind: "any" }, vlan: 7, kind: "dhcp" }, { interface: { kind: "name", name: "eth0" }, kind: "dhcp" },
  ]);
  for (const word of ["eth0.4095,dhcp", ".0,dhcp", ".,dhcp", "120,dhcp", "52:54:00:12:34:56.4095,dhcp", "eth0.120"]) assert.equal(errors(`godwit.address=${word}`)[0]?.code, "malformed", word);
  assert.equal(errors("godwit.address=eth0.5,dhcp godwit.address=eth0.5,10.0.0.2/24")[0]?.code, "contradiction");
});

test("what is wrong is told for every word at once, with its form", () => {
  const TABLE: readonly (readonly [line: string, code: CmdlineError["code"]])[] = [
    ["godwit.adress=10.0.0.2/24", "unknown"], ["godwit.=x", "unknown"], ["godwit.constructor=x", "unknown"],
    ["godwit.hostname=a godwit.hostname=a", "twice"], ["godwit.key=disk", "malformed"], ["godwit.address=eth0.4095,dhcp", "malformed"],
    ["godwit.hostname=-a", "malformed"], ["godwit.hostname", "malformed"], [`godwit.hostname=${"a".repeat(64)}`, "malformed"],
    ["godwit.address=10.0.0.256/24", "malformed"], ["godwit.address=10.0.0.2", "malformed"], ["godwit.address=10.0.0.2/33", "malformed"], ["godwit.address=010.0.0.2/24", "malformed"],
    ["godwit.address=127.0.0.1/8", "malformed"], ["godwit.address=224.0.0.1/8", "malformed"],
    ["godwit.address=10.0.0.2/24,10.0.1.1", "malformed"], ["godwit.address=10.0.0.2/24,10.0.0.2", "malformed"], ["godwit.address=eth0,dhcp,10.0.0.1", "malformed"],
    ["godwit.address=eth0,10.0.0.2/24,10.0.0.1,10.0.0.3", "malformed"], ["godwit.address=eth0", "malformed"], ["godwit.address=0123456789abcdef,dhcp", "malformed"],
    ["godwit.address=eth0,dhcp godwit.address=eth0,10.0.0.2/24", "contradiction"], ["godwit.address=dhcp godwit.address=dhcp", "contradiction"],
    ["godwit.dns=10.0.0.1,", "malformed"], ["godwit.dns=1.1.1.1,1.1.1.2,1.1.1.3,1.1.1.4", "malformed"], ["godwit.ntp=1.2.3", "malformed"],
    ["godwit.genesis=sha256:abcd@http://x/", "malformed"], ["godwit.checkpoint=7", "malformed"], [`godwit.genesis=sha256:${DIGEST}@ftp://x/`, "malformed"], [`godwit.genesis=sha256:${DIGEST}`, "contradiction"],
    [`godwit.boot=http://b godwit.genesis=sha256:${DIGEST} godwit.peer=10.0.0.1`, "malformed"], [`godwit.boot=http://b godwit.genesis=sha256:${DIGEST} godwit.peer=a:0`, "malformed"],
    [`godwit.boot=http://b godwit.genesis=sha256:${DIGEST} godwit.peer=${Array.from({ length: 17 }, () => "a:1").join(",")}`, "malformed"],
    [`godwit.alone=${addressText(OPERATOR)} godwit.genesis=sha256:${DIGEST}@http://x/`, "contradiction"],
    ["godwit.peer=10.0.0.1:7482", "contradiction"], ["godwit.join=abcdefghijklmnop", "contradiction"], ["godwit.boot=http://b godwit.join=short", "malformed"],
    [`godwit.operator=${addressText(OPERATOR).slice(0, -1)}q`, "malformed"], ["godwit.boot=http://b:65536", "malformed"], ["godwit.boot=http://u@b", "malformed"],
    ["godwit.api-port=0", "malformed"], ["godwit.http-port=70000", "malformed"], ["godwit.zone=a..b", "malformed"],
    ["godwit.metrics=9100", "malformed"], ["godwit.metrics=10.0.0.2", "malformed"], ["godwit.metrics=10.0.0.2:0", "malformed"], ["godwit.metrics=localhost:9100", "malformed"],
  ];
  for (const [line, code] of TABLE) assert(errors(line).some((error) => error.code === code), `${line}: ${JSON.stringify(errors(line))}`);
  assert.deepEqual(errors("godwit.hostname=_ godwit.dns=x godwit.nothing").map(({ code }) => code), ["malformed", "malformed", "unknown"]);
  for (const { message } of errors("godwit.hostname=_ godwit.api-port=x")) assert.match(message, /^godwit\.[a-z-]+ must be [A-Z]+, not /);
});

test("whatever is on the command line, it is parsed or refused", () => {
  const words = [...Object.keys(KEYS).map((key) => `${PREFIX}${key}=`), "godwit.", '"', "=", " ", ",", "@", "/", "10.0.0.1/24", "sha256:", "\u0000", "é", "x".repeat(3000)];
  let draw = 1;
  for (let round = 0; round < 5000; round++) {
    let line = "";
    for (let count = 0; count < 8; count++) {
      draw = (Math.imul(draw, 1_103_515_245) + 12_345) >>> 0;
      line += words[(draw >>> 8) % words.length];
    }
    const result = parseCmdline(line);
    assert(result.ok || result.errors.length > 0);
  }
});
