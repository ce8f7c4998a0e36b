import assert from "node:assert/strict";
import test from "node:test";
import { addressRefusal, isSameAddress } from "./address.ts";

const PUBLIC = ["1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "2000::", "2001:200::", "2606:4700::1111", "2a00:1450:4001::200e", "3ffe:ffff::", "2001:DB7::1", "2003::", "2606:4700::1.1.1.1"];

const REFUSED: readonly (readonly [string, readonly string[]])[] = [
  ["unspecified and this network", ["0.0.0.0", "0.1.2.3", "0.255.255.255", "::"]],
  ["private", ["10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255"]],
  ["carrier-grade NAT", ["100.64.0.0", "100.127.255.255"]],
  ["loopback", ["127.0.0.1", "127.255.255.255", "::1", "0:0:0:0:0:0:0:1"]],
  ["link-local", ["169.254.0.0", "169.254.169.254", "fe80::1", "febf::1"]],
  ["site-local and unique-local", ["fec0::1", "fc00::1", "fd00:ec2::254", "fdff::1"]],
  ["documentation, benchmarks, reserved", ["192.0.0.1", "192.0.2.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9", "240.0.0.1", "2001:db8::1", "3fff::1", "2001:2::1", "100::1", "5f00::1"]],
  ["multicast and broadcast", ["224.0.0.1", "239.255.255.255", "255.255.255.255", "ff02::1", "ff0e::1"]],
  ["mapped", ["::ffff:127.0.0.1", "::ffff:7f00:1", "::FFFF:8.8.8.8", "0:0:0:0:0:ffff:10.0.0.1"]],
  ["compatible", ["::127.0.0.1", "::8.8.8.8", "::7f00:1"]],
  ["translated", ["64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "::ffff:0:127.0.0.1"]],
  ["6to4 and its relays", ["2002:7f00:1::", "2002:a00:1::1", "192.88.99.1"]],
  ["Teredo and other protocol assignments", ["2001::1", "2001:0:7f00:1::", "2001:1ff:ffff::1", "2001:20::1"]],
];

/** Forms that some parser or other takes for an address. */
const ODD = ["", " ", "localhost", "127.1", "127.0.1", "0x7f.0.0.1", "0x7f000001", "2130706433", "0177.0.0.1", "017700000001", "127.0.0.01", "127.0.0.1.", " 8.8.8.8", "8.8.8.8 ", "8.8.8.8\n", "8.8.8", "8.8.8.8.8", "8.8.8.256", "8.8.8.-1", "8.8.8.1e1", "８.8.8.8", "8。8。8。8", "[::1]", "[2606:4700::1111]", "2606:4700::1111%eth0", "fe80::1%1", "2606:4700::1111/64", "2606:4700:::1111", "2606::4700::1111", "2606:4700", "1:2:3:4:5:6:7:8:9", ":1:2:3:4:5:6:7", "1:2:3:4:5:6:7:", "2606:47000::1", "2606:4700::1.1.1", "2606:4700::1.1.1.01", "2606:1.1.1.1::1", "2606:4700::g", "::ffff:0x7f.1"];

test("public addresses may be reached, to the edges of every range that may not", () => {
  for (const address of PUBLIC) assert.equal(addressRefusal(address), null, address);
});

for (const [what, addresses] of REFUSED) {
  test(`refused: ${what}`, () => {
    for (const address of addresses) assert.equal(typeof addressRefusal(address), "string", address);
  });
}

test("what is not an address in the usual notation is refused", () => {
  for (const text of ODD) assert.equal(addressRefusal(text), "no address", JSON.stringify(text));
});

test("no textual form of a private address passes (10,000 made at random)", () => {
  let seed = 42;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  const byte = (): number => random(256);
  const privates = [() => [10, byte(), byte(), byte()], () => [127, byte(), byte(), byte()], () => [172, 16 + random(16), byte(), byte()], () => [192, 168, byte(), byte()], () => [169, 254, byte(), byte()], () => [100, 64 + random(64), byte(), byte()], () => [224 + random(32), byte(), byte(), byte()]];
  const zeros = (hex: string): string => "0".repeat(random(5 - hex.length)) + hex;
  const cased = (text: string): string => text.replaceAll(/[a-f]/g, (letter) => (random(2) === 0 ? letter.toUpperCase() : letter));
  for (let round = 0; round < 10_000; round += 1) {
    const [a = 0, b = 0, c = 0, d = 0] = privates[random(privates.length)]?.() ?? [];
    const number = a * 2 ** 24 + b * 2 ** 16 + c * 2 ** 8 + d;
    const dotted = `${a}.${b}.${c}.${d}`;
    const hex = cased(`${zeros((a * 256 + b).toString(16))}:${zeros((c * 256 + d).toString(16))}`);
    const part = (value: number): string => [`${value}`, `0${value.toString(8)}`, `0x${value.toString(16)}`, `00${value}`][random(4)] ?? "";
    const prefix = ["::ffff:", "::", "0:0:0:0:0:ffff:", "64:ff9b::", "64:ff9b:1::", "::ffff:0:", "2002:7f00:1::", "2001:0:", "fe80::", "fd00::"][random(10)] ?? "";
    const forms = [dotted, `${part(a)}.${part(b)}.${part(c)}.${part(d)}`, `${number}`, `0x${number.toString(16)}`, `0${number.toString(8)}`, `${a}.${b * 65_536 + c * 256 + d}`, `${a}.${b}.${c * 256 + d}`, `${prefix}${dotted}`, `${prefix}${hex}`, `[${prefix}${hex}]`, `${prefix}${hex}%eth0`, `2002:${hex}::1`, `${dotted}.`];
    const form = forms[random(forms.length)] ?? "";
    assert.equal(typeof addressRefusal(form), "string", form);
  }
});

test("an address is the same however it is written, and mapped or not", () => {
  for (const [a, b] of [["::1", "0:0:0:0:0:0:0:1"], ["2606:4700::00AB", "2606:4700:0::ab"], ["1.2.3.4", "::ffff:102:304"]] as const) assert.ok(isSameAddress(a, b), `${a} ${b}`);
  for (const [a, b] of [["::1", "::2"], ["1.2.3.4", "1.2.3.5"], ["nothing", "nothing"]] as const) assert.ok(!isSameAddress(a, b), `${a} ${b}`);
});
