import assert from "node:assert/strict";
import { test } from "node:test";
import { ANY_ADDRESS, type Ipv4, type Mac, ipv4Bytes, parseNetwork } from "#os/boot/addresses.ts";
import { type DhcpMessage, type MessageType, OPTION, addressOption, addressesOption, decodeDhcp, encodeDhcp, messageType, messageTypeOption, secondsOption, textBytes, textOption } from "#os/boot/dhcpMessage.ts";
import { type DhcpSite, addressTaken, answerBootQuestion, answerDhcp } from "./dhcpServer.ts";
import { DECLINED_MS, LEASE_SECONDS, OFFER_MS } from "./limits.ts";
import { AddressPool, defaultRange } from "./pool.ts";
import { wayOf } from "./way.ts";

const SELF = "10.0.0.1" as Ipv4;
const NETWORK = parseNetwork("10.0.0.1/24")!;
const mac = (index: number): Mac => `52:54:00:00:00:${index.toString(16).padStart(2, "0")}` as Mac;
const site = (change: Partial<DhcpSite> = {}): DhcpSite => ({
  network: NETWORK, place: { address: SELF, url: `http://${SELF}` }, pool: new AddressPool(NETWORK, defaultRange(NETWORK)), router: null, dns: [], ...change,
});
const architecture = (code: number): readonly [number, Uint8Array] => [OPTION.architecture, Uint8Array.of(0, code)];
const vendor = (text: string): readonly [number, Uint8Array] => [OPTION.vendorClass, textBytes(text)];
const CLIENTS = {
  "bios-pxe": [vendor("PXEClient:Arch:00000:UNDI:002001"), architecture(0)], "uefi-pxe": [vendor("PXEClient:Arch:00007:UNDI:003001"), architecture(7)],
  "uefi-http": [vendor("HTTPClient:Arch:00016:UNDI:003001"), architecture(16)], ipxe: [vendor("PXEClient:Arch:00000:UNDI:002001"), architecture(0), [OPTION.ipxe, Uint8Array.of(1, 1, 0)] as const],
  godwit: [vendor("godwit")], other: [vendor("MSFT 5.0")],
} as const;

function ask(type: MessageType, change: Partial<Omit<DhcpMessage, "options">> = {}, options: readonly (readonly [number, Uint8Array])[] = []): DhcpMessage {
  const message: DhcpMessage = {
    op: "request", xid: 0xabcdef01, seconds: 0, broadcast: true, client: ANY_ADDRESS, your: ANY_ADDRESS, next: ANY_ADDRESS, relay: ANY_ADDRESS, mac: mac(1), bootFile: "",
    options: new Map([messageTypeOption(type), ...options]), ...change,
  };
  return decodeDhcp(encodeDhcp(message))!;
}
const requested = (address: string): readonly [number, Uint8Array] => [OPTION.requestedAddress, ipv4Bytes(address as Ipv4)];
const server = (address: string): readonly [number, Uint8Array] => [OPTION.server, ipv4Bytes(address as Ipv4)];

test("each way of booting is told from what the client says of itself", () => {
  for (const [way, options] of Object.entries(CLIENTS)) assert.equal(wayOf(ask("discover", {}, options)), way);
  assert.equal(wayOf(ask("discover", {}, [vendor("PXEClient"), architecture(11)])), "other");
  assert.equal(wayOf(ask("discover", {}, [vendor("HTTPClient"), architecture(15)])), "other");
  assert.equal(wayOf(ask("discover", {}, [vendor("PXEClient")])), "other");
});

test("each way gets its file, with the quirks of its firmware", () => {
  const offer = (options: readonly (readonly [number, Uint8Array])[]) => answerDhcp(site(), ask("discover", {}, options), 0)!.message;
  const bios = offer(CLIENTS["bios-pxe"]);
  assert.deepEqual([bios.bootFile, bios.next, textOption(bios, OPTION.bootFile), textOption(bios, OPTION.vendorClass)], ["undionly.kpxe", SELF, "undionly.kpxe", null]);
  const uefi = offer(CLIENTS["uefi-pxe"]);
  assert.deepEqual([uefi.bootFile, textOption(uefi, OPTION.vendorClass), uefi.options.has(OPTION.vendor)], ["godwit.efi", null, false], "EDK2 refuses PXEClient without vendor options");
  const http = offer(CLIENTS["uefi-http"]);
  assert.deepEqual([textOption(http, OPTION.bootFile), textOption(http, OPTION.vendorClass)], [`http://${SELF}/godwit.efi`, "HTTPClient"]);
  const ipxe = offer(CLIENTS.ipxe);
  assert.equal(textOption(ipxe, OPTION.bootFile), `http://${SELF}/boot.ipxe?mac=52-54-00-00-00-01`);
  assert.deepEqual(ipxe.options.get(OPTION.ipxe), Uint8Array.of(176, 1, 1), "iPXE waits for no proxy");
  assert.equal(new TextDecoder().decode(offer(CLIENTS.godwit).options.get(OPTION.vendor)), `http://${SELF}`);
  const other = offer(CLIENTS.other);
  assert.deepEqual([other.bootFile, other.next], ["", ANY_ADDRESS]);
  const id = Uint8Array.of(0, ...Array.from({ length: 16 }, (_, index) => index));
  assert.deepEqual(offer([...CLIENTS["uefi-pxe"], [OPTION.machineId, id]]).options.get(OPTION.machineId), id);
});

test("an address is offered, taken, renewed and released; it has one holder", () => {
  const here = site({ router: "10.0.0.254" as Ipv4, dns: ["10.0.0.2" as Ipv4, "10.0.0.3" as Ipv4] });
  const offer = answerDhcp(here, ask("discover"), 0)!;
  assert.equal(messageType(offer.message), "offer");
  const { your } = offer.message;
  const ack = answerDhcp(here, ask("request", {}, [requested(your), server(SELF)]), 1)!;
  assert.equal(messageType(ack.message), "ack");
  assert.deepEqual([ack.message.your, addressOption(ack.message, OPTION.server), addressesOption(ack.message, OPTION.routers), addressesOption(ack.message, OPTION.dns), secondsOption(ack.message, OPTION.leaseSeconds)],
    [your, SELF, ["10.0.0.254"], ["10.0.0.2", "10.0.0.3"], LEASE_SECONDS]);
  const stolen = answerDhcp(here, ask("request", { mac: mac(2) }, [requested(your)]), 2)!;
  assert.equal(messageType(stolen.message), "nak");
  const renewed = answerDhcp(here, ask("request", { client: your, broadcast: false }), 1_800_000)!;
  assert.deepEqual([messageType(renewed.message), renewed.to], ["ack", your]);
  assert.equal(answerDhcp(here, ask("discover"), 1_900_000)!.message.your, your, "the holder is offered what it has");
  answerDhcp(here, ask("release", { client: your }), 1_900_001);
  assert.equal(messageType(answerDhcp(here, ask("request", { mac: mac(2) }, [requested(your)]), 1_900_002)!.message), "ack");
});

test("a server that was restarted gives the same machine the same address, and renews what it finds", () => {
  const first = answerDhcp(site(), ask("discover"), 0)!.message.your;
  assert.equal(answerDhcp(site(), ask("discover"), 0)!.message.your, first);
  assert.equal(messageType(answerDhcp(site(), ask("request", { client: first, broadcast: false }), 0)!.message), "ack");
});

test("a request to another server, or of an address that is not ours, is not granted", () => {
  const here = site();
  assert.equal(answerDhcp(here, ask("request", {}, [requested("10.0.0.100"), server("10.0.0.9")]), 0), null);
  for (const wrong of ["10.0.1.5", "10.0.0.1", "10.0.0.255", "10.0.0.0", "192.168.0.7"]) assert.equal(messageType(answerDhcp(here, ask("request", {}, [requested(wrong)]), 0)!.message), "nak", wrong);
  assert.equal(answerDhcp(here, ask("request"), 0), null);
});

test("what comes through a relay, or from another server, is not answered", () => {
  const here = site();
  assert.equal(answerDhcp(here, ask("discover", { relay: "10.9.0.1" as Ipv4 }), 0), null);
  assert.equal(answerDhcp(here, ask("offer"), 0), null);
  assert.equal(answerDhcp(here, { ...ask("discover"), op: "reply" }, 0), null);
  assert.equal(answerDhcp(here, { ...ask("discover"), options: new Map() }, 0), null);
});

test("a pool that is empty answers nobody new; offers that nobody takes are free again", () => {
  const pool = new AddressPool(NETWORK, { first: "10.0.0.10" as Ipv4, last: "10.0.0.13" as Ipv4 });
  const given = [1, 2, 3, 4].map((index) => pool.offer(mac(index), 0));
  assert.equal(new Set(given).size, 4);
  assert.equal(pool.offer(mac(5), OFFER_MS - 1), null);
  assert.equal(pool.take(mac(1), given[0]!, 10), true);
  const later = [5, 6, 7].map((index) => pool.offer(mac(index), OFFER_MS + 1));
  assert(later.every((address) => address !== null && address !== given[0]));
  assert.equal(pool.offer(mac(8), OFFER_MS + 1), null);
});

test("a declined address rests; only who was offered it can decline it", () => {
  const pool = new AddressPool(NETWORK, { first: "10.0.0.10" as Ipv4, last: "10.0.0.10" as Ipv4 });
  const address = pool.offer(mac(1), 0)!;
  pool.decline(mac(2), address, 1);
  assert.equal(pool.offer(mac(1), 1), address);
  pool.decline(mac(1), address, 2);
  assert.equal(pool.offer(mac(1), 3), null);
  assert.equal(pool.offer(mac(1), 3 + DECLINED_MS), address);
});

test("a fixed address is its machine's alone", () => {
  const fixed = "10.0.0.10" as Ipv4;
  const pool = new AddressPool(NETWORK, { first: fixed, last: "10.0.0.11" as Ipv4 }, () => new Map([[mac(9), fixed]]));
  assert.equal(pool.offer(mac(9), 0), fixed);
  assert.equal(pool.take(mac(9), "10.0.0.11" as Ipv4, 0), false);
  assert.equal(pool.offer(mac(1), 0), "10.0.0.11");
  assert.equal(pool.offer(mac(2), 0), null);
  assert.equal(pool.take(mac(2), fixed, 0), false);
});

test("the range that nobody told lies in the interface's network", () => {
  assert.deepEqual(defaultRange(NETWORK), { first: "10.0.0.100", last: "10.0.0.199" });
  assert.deepEqual(defaultRange(parseNetwork("192.168.7.9/28")!), { first: "192.168.7.8", last: "192.168.7.14" });
  assert.deepEqual(defaultRange(parseNetwork("172.16.3.1/16")!), { first: "172.16.0.100", last: "172.16.0.199" });
});

test("a proxy gives no address, and answers only who boots", () => {
  const proxy = site({ pool: null });
  for (const way of ["bios-pxe", "uefi-pxe", "uefi-http", "ipxe"] as const) {
    const offer = answerDhcp(proxy, ask("discover", {}, CLIENTS[way]), 0)!.message;
    assert.deepEqual([messageType(offer), offer.your, offer.options.has(OPTION.leaseSeconds)], ["offer", ANY_ADDRESS, false]);
    assert.equal(textOption(offer, OPTION.vendorClass), way === "uefi-http" ? "HTTPClient" : "PXEClient");
    assert.equal(offer.options.has(OPTION.vendor), way !== "uefi-http");
  }
  for (const way of ["godwit", "other"] as const) assert.equal(answerDhcp(proxy, ask("discover", {}, CLIENTS[way]), 0), null);
  assert.equal(answerDhcp(proxy, ask("request", {}, CLIENTS["uefi-pxe"]), 0), null);
  const answer = answerBootQuestion(proxy, ask("request", { client: "10.0.0.50" as Ipv4 }, CLIENTS["uefi-pxe"]))!;
  assert.deepEqual([messageType(answer), answer.bootFile, answer.client], ["ack", "godwit.efi", "10.0.0.50"]);
  assert.equal(answerBootQuestion(proxy, ask("request", {}, CLIENTS.other)), null);
  assert.equal(answerBootQuestion(proxy, ask("discover", {}, CLIENTS["uefi-pxe"])), null);
});

test("beside another DHCP server the address that a client takes there is known from what it says to all, and from nobody's relay", () => {
  assert.equal(addressTaken(ask("request", {}, [...CLIENTS["uefi-pxe"], requested("10.0.0.50")])), "10.0.0.50");
  assert.equal(addressTaken(ask("discover", {}, [...CLIENTS["uefi-pxe"], requested("10.0.0.50")])), null);
  assert.equal(addressTaken(ask("request", {}, CLIENTS["uefi-pxe"])), null);
  assert.equal(addressTaken(ask("request", { relay: "10.0.9.1" as Ipv4 }, [...CLIENTS["uefi-pxe"], requested("10.0.0.50")])), null);
});

test("no message makes the server throw", () => {
  const here = site();
  const good = encodeDhcp(ask("discover", {}, [...CLIENTS["uefi-pxe"], [OPTION.machineId, new Uint8Array(17)], requested("10.0.0.100"), server(SELF)]));
  let draw = 7;
  for (let round = 0; round < 5_000; round++) {
    const bytes = good.slice();
    for (let change = 0; change < 5; change++) {
      draw = (Math.imul(draw, 1_103_515_245) + 12_345) >>> 0;
      bytes[(draw >>> 10) % bytes.length] = draw >>> 3;
    }
    const message = decodeDhcp(bytes);
    if (message === null) continue;
    const answer = answerDhcp(here, message, round);
    if (answer !== null) assert.notEqual(decodeDhcp(encodeDhcp(answer.message)), null);
    answerBootQuestion(here, message);
  }
});
