import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { needs } from "#tests/require.ts";
import { type Settings, parseCmdline } from "./cmdline.ts";
import { addressingOf, vlansOf } from "./network.ts";

function addressing(line: string): Settings {
  const parsed = parseCmdline(line);
  assert.ok(parsed.ok);
  return parsed.settings;
}

test("a machine whose router is not within its network has its address and a way out by it; one whose router cannot be taken has its address, and the way out when it can", (t) => {
  if (!needs(t, "root")) return;
  const name = `godwit-${randomBytes(4).toString("hex")}`;
  const resolver = join(tmpdir(), `${name}.resolv`);
  const ip = (...words: string[]): string => {
    const { status, stdout, stderr } = spawnSync("ip", words, { encoding: "utf8" });
    assert.equal(status, 0, stderr);
    return stdout;
  };
  ip("netns", "add", name);
  t.after(() => {
    ip("netns", "del", name);
    rmSync(resolver, { force: true });
  });
  for (const [left, right] of [["left0", "right0"], ["left1", "right1"]] as const) ip("-n", name, "link", "add", left, "type", "veth", "peer", "name", right);
  const code = `
    const { startNetwork } = await import(${JSON.stringify(join(import.meta.dirname, "network.ts"))});
    const given = (name, address, gateway) => ({ interface: { kind: "name", name }, kind: "static", network: { address, prefix: 32 }, gateway });
    // The second router is this machine itself until that address is gone.
    const { spawnSync } = await import("node:child_process");
    spawnSync("ip", ["address", "add", "10.93.0.1/32", "dev", "lo"]);
    const addressing = [given("left0", "10.91.0.2", "172.31.1.1"), given("left1", "10.92.0.2", "10.93.0.1")];
    const network = startNetwork({ settings: { addressing, dns: [], hostName: null }, onLine: (line) => console.error(line), resolverFile: ${JSON.stringify(resolver)} });
    await network.ready;
    await new Promise((resolve) => setTimeout(resolve, 300));
    console.log(network.current().map(({ address }) => address).join(" "));
    const routes = () => spawnSync("ip", ["route"], { encoding: "utf8" }).stdout;
    if (routes().includes("via 10.93.0.1")) throw new Error("it is taken at once");
    spawnSync("ip", ["address", "delete", "10.93.0.1/32", "dev", "lo"]);
    while (!routes().includes("via 10.93.0.1")) await new Promise((resolve) => setTimeout(resolve, 100));
    network.stop();`;
  const { status, stdout, stderr } = spawnSync("ip", ["netns", "exec", name, process.execPath, "--input-type=module", "-e", code], { encoding: "utf8", timeout: 120_000 });
  assert.equal(status, 0, stderr);
  assert.deepEqual(stdout.trim().split(" ").toSorted(), ["10.91.0.2", "10.92.0.2"]);
  assert.match(ip("-n", name, "route"), /default via 172\.31\.1\.1 dev left0 .*onlink/);
});

test("a tagged interface is made on the one that is named, or on the first with a link, once, and never on itself", () => {
  const eth = (index: number, name: string, mac: string): { index: number; name: string; mac: string } => ({ index, name, mac });
  const [zero, one] = [eth(2, "eth0", "52:54:00:00:00:01"), eth(3, "eth1", "52:54:00:00:00:02")];
  const named = addressing("godwit.address=eth1.5,dhcp godwit.address=52:54:00:00:00:01.120,10.0.0.2/24 godwit.address=eth9.3,dhcp");
  const asked = [["eth1.5", 5, 3], ["eth0.120", 120, 2]];
  assert.deepEqual(vlansOf(named, [zero, one], null).map(({ name, tag, parent }) => [name, tag, parent]), asked);
  const there = [zero, one, eth(4, "eth1.5", one.mac), eth(5, "eth0.120", zero.mac)];
  assert.deepEqual(vlansOf(named, there, null).map(({ name, tag, parent }) => [name, tag, parent]), asked, "a VLAN has the hardware address of what it is on");
  assert.deepEqual(vlansOf(addressing("godwit.address=.7,dhcp"), [zero, one], null), []);
  assert.deepEqual(vlansOf(addressing("godwit.address=.7,dhcp"), [zero, one], 3).map(({ name }) => name), ["eth1.7"]);
  assert.equal(vlansOf(addressing("godwit.address=averylongname0.120,dhcp"), [eth(2, "averylongname0", zero.mac)], null)[0]?.name, "averylongna.120");
  assert.equal(addressingOf(named, zero, true), null, "the one below has no address of its own");
});
