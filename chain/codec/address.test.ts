import assert from "node:assert";
import { test } from "node:test";
import { addressOf, addressText, parseAddress } from "#chain/codec/address.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import { address } from "#chain/types.ts";

test("addressText() and parseAddress() are each other's inverse", () => {
  for (let i = 0; i < 200; i++) {
    const id = addressOf(publicKeyOf(new Uint8Array(32).fill(i)));
    assert.deepStrictEqual(parseAddress(addressText(id)), id);
  }
});

test("the text form is bech32m: a fixed address has a fixed text", () => {
  assert.strictEqual(addressText(address(new Uint8Array(20))), "gw1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq3erd7");
});

test("parseAddress() refuses every single wrong character, another prefix, another length and upper case", () => {
  const text = addressText(addressOf(publicKeyOf(new Uint8Array(32).fill(7))));
  for (let i = 3; i < text.length; i++) {
    const wrong = text[i] === "q" ? "p" : "q";
    assert.strictEqual(parseAddress(text.slice(0, i) + wrong + text.slice(i + 1)), null);
  }
  for (const bad of ["", "gw1", text.toUpperCase(), `x${text.slice(1)}`, `${text}q`, text.slice(0, -1), `${text.slice(0, -1)}b`]) assert.strictEqual(parseAddress(bad), null);
});
