/** System calls against the kernel of this computer, in network namespaces where they change something. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { needs } from "#tests/require.ts";
import { SystemCallError, checkCalls } from "./calls.ts";
import { mount } from "./mount.ts";
import { LINK_ETHERNET, LINK_LOOPBACK, readLinks } from "./netlink.ts";
import { ipv4Bytes, udpOnInterface } from "./sockets.ts";

test("every signature of the table fits this libc", () => {
  checkCalls();
});

test("the interfaces that the kernel lists are the ones that Node sees", () => {
  const links = readLinks();
  const loopback = links.find(({ name }) => name === "lo");
  assert.equal(loopback?.type, LINK_LOOPBACK);
  for (const [name, addresses] of Object.entries(networkInterfaces())) assert.equal(links.find((link) => link.name === name)?.mac, addresses?.[0]?.mac);
});

test("a refused call is an error with the kernel's code, and says what was tried", () => {
  assert.throws(() => mount({ source: "none", target: "/proc/self", type: "no-such-file-system" }), (error) => error instanceof SystemCallError && error.code.startsWith("E") && /mount no-such-file-system/.test(error.message));
  assert.throws(() => udpOnInterface("none-such0", 0), (error) => error instanceof SystemCallError && error.code === "ENODEV");
  assert.throws(() => udpOnInterface("a-name-that-is-too-long", 0), RangeError);
  for (const text of ["1.2.3", "1.2.3.256", "1.2.3.4.5", ""]) assert.throws(() => ipv4Bytes(text), RangeError);
});

test("an interface gets its address and default route over netlink, a second time as well, and loses them", (t) => {
  if (!needs(t, "root")) return;
  const name = `godwit-${randomBytes(4).toString("hex")}`;
  const ip = (...words: string[]): string => {
    const { status, stdout, stderr } = spawnSync("ip", words, { encoding: "utf8" });
    assert.equal(status, 0, stderr);
    return stdout;
  };
  ip("netns", "add", name);
  try {
    ip("-n", name, "link", "add", "left0", "type", "veth", "peer", "name", "right0");
    const code = `
      const { readLinks, setLinkUp, addAddress, removeAddress, setDefaultRoute, removeDefaultRoute, addVlan } = await import(${JSON.stringify(join(import.meta.dirname, "netlink.ts"))});
      const link = readLinks().find(({ name }) => name === "left0");
      for (const one of readLinks().filter(({ type }) => type === ${LINK_ETHERNET})) setLinkUp(one.index);
      for (let round = 0; round < 2; round++) { addAddress(link.index, "10.91.0.2", 24); setDefaultRoute(link.index, "10.91.0.1", 100); }
      let hasVlan = true;
      // A kernel may be without them; the image's is not.
      try { addVlan(link.index, "left0.7", 7); } catch (error) { if (error.code !== "EOPNOTSUPP" && error.code !== "EEXIST") throw error; hasVlan = error.code === "EEXIST"; }
      if (process.argv[1] === "remove") { removeDefaultRoute(link.index, "10.91.0.1", 100); removeAddress(link.index, "10.91.0.2", 24); }
      console.log(JSON.stringify({ hasVlan, links: readLinks() }));`;
    const run = (...words: string[]): string => {
      const { status, stdout, stderr } = spawnSync("ip", ["netns", "exec", name, process.execPath, "--input-type=module", "-e", code, ...words], { encoding: "utf8" });
      assert.equal(status, 0, stderr);
      return stdout;
    };
    const printed = run();
    assert.match(printed, /"isUp":true,"hasCarrier":true,"name":"left0"/);
    assert.match(ip("-n", name, "-4", "-o", "addr"), /left0\s+inet 10\.91\.0\.2\/24/);
    assert.match(ip("-n", name, "route"), /default via 10\.91\.0\.1 dev left0 .*metric 100/);
    if (printed.includes('"hasVlan":true')) assert.match(ip("-n", name, "-d", "link", "show", "left0.7"), /vlan protocol 802\.1Q id 7/);
    run("remove");
    assert.equal(ip("-n", name, "route").trim(), "");
  } finally {
    ip("netns", "del", name);
  }
});

test("a socket on one interface is bound to it before it is bound to a port", (t) => {
  if (!needs(t, "root")) return;
  const descriptor = udpOnInterface("lo", 0, "127.0.0.1");
  closeSync(descriptor);
  assert.ok(readFileSync("/proc/net/udp", "utf8").length > 0);
});
