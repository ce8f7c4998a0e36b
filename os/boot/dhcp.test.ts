import assert from "node:assert/strict";
import { test } from "node:test";
import { ANY_ADDRESS, type Ipv4, type Mac, ipv4Bytes } from "./addresses.ts";
import { type DhcpEffect, type DhcpState, type Lease, dhcpState, leaseOf, step, wakeMs } from "./dhcp.ts";
import { type DhcpMessage, type MessageType, OPTION, addressOption, decodeDhcp, encodeDhcp, messageType, messageTypeOption, textBytes, u32Bytes } from "./dhcpMessage.ts";

const MAC = "52:54:00:12:34:56" as Mac;
const SERVER = "10.0.0.1" as Ipv4;
const ADDRESS = "10.0.0.100" as Ipv4;

/** One interface, its clock, and what it said; answers are given by hand. */
class Story {
  state: DhcpState = dhcpState(MAC, "kitchen");
  nowMs = 1_000;
  #draw = 17;
  readonly sent: DhcpMessage[] = [];
  readonly lines: string[] = [];

  event(event: { kind: "link"; up: boolean } | { kind: "message"; message: DhcpMessage } | { kind: "time" }): readonly DhcpEffect[] {
    this.#draw = (Math.imul(this.#draw, 1_664_525) + 1_013_904_223) >>> 0;
    const [next, effects] = step(this.state, { ...event, nowMs: this.nowMs, draw: this.#draw });
    this.state = next;
    for (const effect of effects) {
      if (effect.kind === "send") this.sent.push(decodeDhcp(encodeDhcp(effect.message))!);
      this.lines.push(effect.kind === "send" ? `${messageType(effect.message)}→${effect.to ?? "all"}` : effect.kind === "configure" ? `+${effect.lease.address}/${effect.lease.prefix}` : `-${effect.lease.address} ${effect.why}`);
    }
    return effects;
  }
  up(): this { this.event({ kind: "link", up: true }); return this; }
  down(): this { this.event({ kind: "link", up: false }); return this; }
  /** To the next wake, or as far as told, through every wake between. */
  pass(ms?: number): this {
    const untilMs = ms === undefined ? (wakeMs(this.state) ?? this.nowMs) : this.nowMs + ms;
    for (;;) {
      const wake = wakeMs(this.state);
      if (wake === null || wake > untilMs) break;
      assert(wake >= this.nowMs, "a wake lies in the past for ever");
      this.nowMs = wake;
      this.event({ kind: "time" });
      if (ms === undefined) break;
    }
    this.nowMs = Math.max(this.nowMs, untilMs);
    return this;
  }
  answer(type: MessageType, change: Partial<DhcpMessage> = {}, options: readonly (readonly [number, Uint8Array])[] = []): this {
    const asked = this.sent.at(-1)!;
    const message: DhcpMessage = {
      op: "reply", xid: asked.xid, seconds: 0, broadcast: true, client: ANY_ADDRESS, your: type === "nak" ? ANY_ADDRESS : ADDRESS, next: SERVER, relay: ANY_ADDRESS, mac: MAC, bootFile: "",
      options: new Map([messageTypeOption(type), [OPTION.server, ipv4Bytes(SERVER)], [OPTION.mask, Uint8Array.of(255, 255, 255, 0)], [OPTION.routers, ipv4Bytes(SERVER)], [OPTION.dns, Uint8Array.of(10, 0, 0, 1, 9, 9, 9, 9)], [OPTION.leaseSeconds, u32Bytes(3600)], ...options]),
      ...change,
    };
    this.event({ kind: "message", message: decodeDhcp(encodeDhcp(message))! });
    return this;
  }
  bound(): this { return this.up().answer("offer").answer("ack"); }
  take(): string[] { return this.lines.splice(0); }
  get lease(): Lease { return leaseOf(this.state)!; }
}

test("discover, offer, request, ack: the interface has its address, router and name servers", () => {
  const story = new Story().bound();
  assert.deepEqual(story.take(), ["discover→all", "request→all", "+10.0.0.100/24"]);
  assert.deepEqual(story.lease, {
    address: ADDRESS, prefix: 24, routers: [SERVER], dns: ["10.0.0.1", "9.9.9.9"], ntp: [], domain: null, hostName: null, server: SERVER, bootServer: null,
    times: { renewMs: 1_000 + 1_800_000, rebindMs: 1_000 + 3_150_000, endMs: 1_000 + 3_600_000 },
  });
  const [discover, request] = story.sent as [DhcpMessage, DhcpMessage];
  assert.equal(discover.broadcast, true);
  assert.equal(addressOption(request, OPTION.server), SERVER);
  assert.equal(addressOption(request, OPTION.requestedAddress), ADDRESS);
  assert.equal(request.xid, discover.xid);
});

test("no link: nothing is sent until there is one", () => {
  const story = new Story().pass(60_000);
  assert.equal(wakeMs(story.state), null);
  assert.deepEqual(story.take(), []);
  assert.deepEqual(story.up().take(), ["discover→all"]);
});

test("no lease: it is asked for with a back-off, for ever", () => {
  const story = new Story().up().pass(3_600_000);
  const count = story.take().filter((line) => line === "discover→all").length;
  assert(count > 3_600 / 9 && count < 3_600 / 7 + 10, `${count} questions in an hour`);
  assert.equal(story.state.phase.kind, "selecting");
});

test("a switch that passes nothing for 30 s: the lease is there within 9 s after", () => {
  const story = new Story().up().pass(30_000);
  const before = story.sent.length;
  story.pass();
  assert.equal(story.sent.length, before + 1);
  assert(story.nowMs <= 40_000);
  assert.deepEqual(story.answer("offer").answer("ack").take().slice(-2), ["request→all", "+10.0.0.100/24"]);
});

test("a request that nobody answers goes back to looking for a server", () => {
  const story = new Story().up().answer("offer");
  story.take();
  story.pass().pass().pass().pass();
  assert.deepEqual(story.take(), ["request→all", "request→all", "request→all", "discover→all"]);
});

test("a refused request begins anew", () => {
  assert.deepEqual(new Story().up().answer("offer").answer("nak").take(), ["discover→all", "request→all", "discover→all"]);
});

test("at T1 the server is asked, at T2 everybody, at the end the address goes", () => {
  const story = new Story().bound();
  story.take();
  story.pass();
  assert.equal(story.nowMs, 1_000 + 1_800_000);
  assert.deepEqual(story.take(), [`request→${SERVER}`]);
  assert.equal(story.sent.at(-1)?.client, ADDRESS);
  assert.equal(story.sent.at(-1)?.broadcast, false);
  story.pass(1_350_000);
  assert.equal(story.take().at(-1), "request→all");
  assert.equal(story.state.phase.kind, "rebinding");
  story.pass(450_000);
  const lines = story.take();
  assert.deepEqual(lines.slice(-2), ["-10.0.0.100 over", "discover→all"]);
  assert(lines.length < 20, "no storm of renewals");
});

test("a renewal keeps the address and moves the end", () => {
  const story = new Story().bound().pass();
  story.take();
  assert.deepEqual(story.answer("ack").take(), ["+10.0.0.100/24"]);
  assert.equal(story.lease.times?.endMs, story.nowMs + 3_600_000);
  story.pass().pass(1_350_000);
  story.answer("ack");
  assert.equal(story.state.phase.kind, "bound");
});

test("a renewal that is refused takes the address away at once", () => {
  const story = new Story().bound().pass();
  story.take();
  assert.deepEqual(story.answer("nak").take(), ["-10.0.0.100 refused", "discover→all"]);
});

test("a link that was down: the same address is asked for first, and used on if nobody answers", () => {
  const story = new Story().bound().down().pass(10_000);
  story.take();
  assert.deepEqual(story.up().take(), ["request→all"]);
  assert.equal(addressOption(story.sent.at(-1)!, OPTION.requestedAddress), ADDRESS);
  assert.equal(story.sent.at(-1)?.options.has(OPTION.server), false);
  story.pass(20_000);
  assert.equal(story.state.phase.kind, "bound");
  assert.deepEqual(new Set(story.take()), new Set(["request→all"]));
  const moved = new Story().bound().down().up();
  moved.take();
  assert.deepEqual(moved.answer("nak").take(), ["-10.0.0.100 refused", "discover→all"]);
});

test("a lease that ends while the link is down is gone", () => {
  const story = new Story().bound().down().pass(3_600_001);
  assert.deepEqual(story.take().slice(-1), ["-10.0.0.100 over"]);
  assert.deepEqual(story.up().take(), ["discover→all"]);
});

test("a lease without an end is never asked for again", () => {
  const story = new Story().up().answer("offer").answer("ack", {}, [[OPTION.leaseSeconds, u32Bytes(0xffffffff)]]);
  assert.equal(story.lease.times, null);
  assert.equal(wakeMs(story.state), null);
});

test("answers that are not to this question change nothing", () => {
  const story = new Story().up();
  story.take();
  story.answer("offer", { xid: 1 }).answer("offer", { mac: "52:54:00:00:00:01" as Mac }).answer("offer", { op: "request" }).answer("offer", { your: ANY_ADDRESS }).answer("offer", { your: "224.0.0.1" as Ipv4 })
    .answer("ack").answer("offer", {}, [[OPTION.server, Uint8Array.of(1)]]);
  assert.deepEqual(story.take(), []);
  story.answer("offer");
  story.take();
  story.answer("ack", {}, [[OPTION.server, ipv4Bytes("10.0.0.9" as Ipv4)]]).answer("ack", { your: "10.0.0.101" as Ipv4 }).answer("ack", {}, [[OPTION.mask, Uint8Array.of(255, 0, 255, 0)]]);
  assert.deepEqual(story.take(), []);
  assert.equal(story.state.phase.kind, "requesting");
});

test("a server's nonsense about times is not followed", () => {
  const story = new Story().up().answer("offer").answer("ack", {}, [[OPTION.leaseSeconds, u32Bytes(0)], [58, u32Bytes(9)], [59, u32Bytes(3)]]);
  assert.deepEqual(story.lease.times, { renewMs: 6_000, rebindMs: 9_750, endMs: 11_000 });
  const told = new Story().up().answer("offer").answer("ack", {}, [[58, u32Bytes(100)], [59, u32Bytes(200)]]);
  assert.equal(told.lease.times?.renewMs, 101_000);
});

test("messages are bytes and back; long options go in parts; file and name fields may hold options", () => {
  const long = new Uint8Array(600).map((_, index) => index);
  const message: DhcpMessage = {
    op: "reply", xid: 0xfedcba98, seconds: 3, broadcast: true, client: ANY_ADDRESS, your: ADDRESS, next: SERVER, relay: "10.0.0.254" as Ipv4, mac: MAC, bootFile: "boot.efi",
    options: new Map([messageTypeOption("offer"), [OPTION.vendor, long], [OPTION.domain, textBytes("grid.example")], [OPTION.clientId, new Uint8Array(0)]]),
  };
  assert.deepEqual(decodeDhcp(encodeDhcp(message)), message);
  const overloaded = encodeDhcp({ ...message, bootFile: "", options: new Map([[OPTION.overload, Uint8Array.of(3)], messageTypeOption("offer")]) });
  overloaded.set([OPTION.domain, 3, 0x61, 0x62, 0x63, 255], 108);
  overloaded.set([OPTION.hostName, 1, 0x64, 255], 44);
  const { options } = decodeDhcp(overloaded)!;
  assert.equal(new TextDecoder().decode(options.get(OPTION.domain)), "abc");
  assert.equal(new TextDecoder().decode(options.get(OPTION.hostName)), "d");
});

test("no bytes stop the decoder, and cut ones are no message", () => {
  const good = encodeDhcp({
    op: "reply", xid: 1, seconds: 0, broadcast: false, client: ANY_ADDRESS, your: ADDRESS, next: SERVER, relay: ANY_ADDRESS, mac: MAC, bootFile: "x", options: new Map([messageTypeOption("ack"), [OPTION.dns, new Uint8Array(40)]]),
  });
  assert.equal(decodeDhcp(new Uint8Array(0)), null);
  for (const length of [1, 239]) assert.equal(decodeDhcp(good.slice(0, length)), null);
  const running = good.slice(0, 244);
  running.set([OPTION.domain, 200], 240);
  assert.equal(decodeDhcp(running), null);
  let draw = 42;
  for (let round = 0; round < 5_000; round++) {
    const bytes = good.slice();
    for (let change = 0; change < 6; change++) {
      draw = (Math.imul(draw, 1_103_515_245) + 12_345) >>> 0;
      bytes[(draw >>> 12) % bytes.length] = draw >>> 4;
    }
    const story = new Story().up();
    const message = decodeDhcp(bytes);
    if (message !== null) story.event({ kind: "message", message });
  }
});
