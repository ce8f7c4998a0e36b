import assert from "node:assert/strict";
import { test } from "node:test";
import { TFTP_RETRIES_MAX } from "./limits.ts";
import { type Transfer, type TransferEffect, beginTransfer, blockCount, decodeTftp, encodeBlock, stepTransfer } from "./tftp.ts";

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text);
const read = (...texts: string[]): Uint8Array => Uint8Array.of(0, 1, ...ascii(`${texts.join("\0")}\0`));
const options = (given: Readonly<Record<string, string>>): ReadonlyMap<string, string> => new Map(Object.entries(given));

/** A reader that loses what `lose` says, and what it has at the end. */
function play(given: Readonly<Record<string, string>>, fileBytes: number, lose: (packet: number) => boolean = () => false): { arrived: number; packets: number; why: string; transfer: Transfer } {
  let nowMs = 0;
  let [transfer, effects] = beginTransfer(options(given), fileBytes, nowMs);
  let [arrived, packets, expectsOptions] = [0, 0, transfer.accepted !== null];
  for (let turn = 0; turn < 1_000_000; turn++) {
    let acknowledged: number | null = null;
    for (const effect of effects) {
      if (effect.kind === "end") return { arrived, packets, why: effect.why, transfer };
      if (effect.kind === "options" && !lose(++packets)) {
        expectsOptions = false;
        acknowledged = 0;
      }
      if (effect.kind !== "blocks") continue;
      assert(effect.last - effect.first < transfer.windowBlocks);
      for (let block = effect.first; block <= effect.last; block++) {
        if (lose(++packets) || expectsOptions) continue;
        if (block === arrived + 1) arrived = block;
        acknowledged = arrived;
      }
    }
    if (acknowledged !== null && !lose(++packets)) [transfer, effects] = stepTransfer(transfer, { kind: "acknowledge", block: acknowledged & 0xffff }, nowMs);
    else effects = [];
    if (effects.length === 0) {
      nowMs = transfer.wakeMs;
      [transfer, effects] = stepTransfer(transfer, { kind: "time" }, nowMs);
    }
  }
  throw new Error("the transfer has no end");
}

test("a question with its options; what is no read of octets is none", () => {
  assert.deepEqual(decodeTftp(read("/godwit.efi", "octet", "blksize", "1468", "TSIZE", "0")), { kind: "read", file: "godwit.efi", options: new Map([["blksize", "1468"], ["tsize", "0"]]) });
  for (const bytes of [read("x", "netascii"), read("", "octet"), read("x"), Uint8Array.of(0, 2, ...ascii("x\0octet\0")), Uint8Array.of(0, 1, ...ascii("x\0octet")), read(`x\u0007`, "octet"), new Uint8Array(3), read("x".repeat(600), "octet")]) assert.equal(decodeTftp(bytes), null);
  assert.deepEqual(decodeTftp(Uint8Array.of(0, 4, 0xff, 0xfe)), { kind: "acknowledge", block: 0xfffe });
  assert.deepEqual(decodeTftp(Uint8Array.of(0, 5, 0, 8, ...ascii("User aborted\0"))), { kind: "error", code: 8, text: "User aborted" });
});

test("options are taken within their bounds, and only those that were asked for are answered", () => {
  const [transfer, effects] = beginTransfer(options({ blksize: "9000", windowsize: "64", tsize: "0", timeout: "3", colour: "blue" }), 43_000_000, 0);
  assert.deepEqual([transfer.blockBytes, transfer.windowBlocks, transfer.retryMs], [1468, 32, 3000]);
  assert.deepEqual(effects, [{ kind: "options", packet: Uint8Array.of(0, 6, ...ascii("blksize\u00001468\0tsize\u000043000000\0timeout\u00003\0windowsize\u000032\0")) }]);
  for (const given of [{}, { blksize: "7" }, { blksize: "1e3" }, { blksize: "-1" }, { windowsize: "0" }, { timeout: "256" }, { timeout: "11" }] as Record<string, string>[]) {
    const [plain, sent] = beginTransfer(options(given), 100, 0);
    assert.equal(plain.accepted, null, JSON.stringify(given));
    assert.deepEqual(sent, [{ kind: "blocks", first: 1, last: 1 }]);
  }
});

test("a file arrives whole, of whatever size: empty, a whole number of blocks, more than 65,535 blocks", () => {
  for (const [bytes, given] of [[0, {}], [1, {}], [511, {}], [512, {}], [1468 * 4, { blksize: "1468", windowsize: "4" }], [70_000 * 8, { blksize: "8", windowsize: "16" }], [66_000 * 8 + 3, { blksize: "8" }]] as const) {
    const { arrived, why, transfer } = play(given, bytes);
    assert.equal(why, "done");
    assert.equal(arrived, blockCount(transfer));
  }
});

test("lost packets are sent again, in both directions, and never doubled for ever", () => {
  for (let seed = 1; seed <= 40; seed++) {
    let draw = seed;
    const { arrived, packets, why, transfer } = play({ blksize: "512", windowsize: String((seed % 8) + 1), tsize: "0" }, 200 * 512 + seed, () => {
      draw = (Math.imul(draw, 1_103_515_245) + 12_345) >>> 0;
      return (draw >>> 16) % 100 < 12;
    });
    assert.equal(why, "done", `seed ${seed}`);
    assert.equal(arrived, blockCount(transfer));
    assert(packets < 201 * 8, `seed ${seed}: ${packets} packets`);
  }
});

test("an acknowledgement that comes twice is not answered; one from nowhere neither", () => {
  let [transfer] = beginTransfer(options({}), 5_000, 0);
  let effects: readonly TransferEffect[];
  [transfer, effects] = stepTransfer(transfer, { kind: "acknowledge", block: 1 }, 1);
  assert.deepEqual(effects, [{ kind: "blocks", first: 2, last: 2 }]);
  for (const block of [1, 0, 3, 0xffff, 9]) assert.deepEqual(stepTransfer(transfer, { kind: "acknowledge", block }, 2)[1], []);
});

test("a client that asks for the size only and aborts, as EDK2 does, ends that transfer", () => {
  const [transfer] = beginTransfer(options({ tsize: "0" }), 5_000, 0);
  assert.deepEqual(stepTransfer(transfer, { kind: "error", code: 8, text: "" }, 1)[1], [{ kind: "end", why: "aborted" }]);
});

test("a client that falls silent is asked a few times with longer and longer waits, then left", () => {
  let [transfer, effects] = beginTransfer(options({}), 5_000, 0);
  const waits: number[] = [];
  let nowMs = 0;
  while (effects[0]?.kind !== "end") {
    assert.deepEqual(stepTransfer(transfer, { kind: "time" }, transfer.wakeMs - 1)[1], []);
    waits.push(transfer.wakeMs - nowMs);
    nowMs = transfer.wakeMs;
    [transfer, effects] = stepTransfer(transfer, { kind: "time" }, nowMs);
  }
  assert.equal(waits.length, TFTP_RETRIES_MAX + 1);
  for (const [index, wait] of waits.entries()) assert.equal(wait, (waits[0] ?? 0) * 2 ** index);
});

test("a wait that the client asked for is kept as it is: who asks for the longest and falls silent is left after 70 s", () => {
  let [transfer, effects] = beginTransfer(options({ timeout: "10" }), 5_000, 0);
  while (effects[0]?.kind !== "end") [transfer, effects] = stepTransfer(transfer, { kind: "time" }, transfer.wakeMs);
  assert.equal(transfer.wakeMs, 10_000 * (TFTP_RETRIES_MAX + 1));
});

test("a block is its number's low 16 bits and its bytes", () => {
  assert.deepEqual(encodeBlock(65_537, Uint8Array.of(9)), Uint8Array.of(0, 3, 0, 1, 9));
});
