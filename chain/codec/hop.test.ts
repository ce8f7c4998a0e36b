import assert from "node:assert/strict";
import test from "node:test";
import { HOP_ENDPOINTS_MAX } from "../constants.ts";
import { publicKeyOf, sign } from "../crypto.ts";
import { chainId, timeMs } from "../types.ts";
import { encode } from "./cbor.ts";
import { decodeHop, hopHolds, sealHop } from "./hop.ts";

const seed = (n: number): Uint8Array => new Uint8Array(32).fill(n);
const [machine, hop, other] = [seed(1), seed(2), seed(3)];
const plain = { chainId: chainId(new Uint8Array(8).fill(7)), bootId: new Uint8Array(16).fill(9), notAfterMs: timeMs(2n ** 53n + 1n), endpoints: [{ address: "192.0.2.1", port: 80 }, { address: "2001:db8::1", port: 8080 }] };

test("a certificate of a hop key comes back as it was sealed, and holds", () => {
  const read = decodeHop(sealHop(plain, machine, hop));
  assert.deepEqual(read.certificate, { ...plain, machineKey: publicKeyOf(machine), hopKey: publicKeyOf(hop) });
  assert(hopHolds(read));
});

test("a certificate that another machine signed, that was changed, or that names a key which is another's does not hold", () => {
  const { certificate, body, byMachine, byHopKey } = decodeHop(sealHop(plain, machine, hop));
  const stolen = encode([1, plain.chainId, publicKeyOf(other), plain.bootId, publicKeyOf(hop), plain.notAfterMs, []]);
  for (const wrong of [
    { certificate, body, byMachine: sign(other, "hop", body), byHopKey },
    { certificate, body, byMachine, byHopKey: sign(other, "hopKey", body) },
    { certificate, body: body.map((byte, at) => (at === body.length - 1 ? byte ^ 1 : byte)), byMachine, byHopKey },
    // Signed for another purpose.
    { certificate, body, byMachine: sign(machine, "peer", body), byHopKey },
    decodeHop(encode([stolen, sign(other, "hop", stolen), sign(other, "hopKey", stolen)])),
  ]) assert(!hopHolds(wrong));
});

test("what is no certificate is refused before a signature is looked at", () => {
  const body = (endpoints: readonly (readonly [string, number])[]): Uint8Array => encode([1, plain.chainId, publicKeyOf(machine), plain.bootId, publicKeyOf(hop), plain.notAfterMs, endpoints]);
  const sealed = (inner: Uint8Array): Uint8Array => encode([inner, new Uint8Array(64), new Uint8Array(64)]);
  assert.equal(decodeHop(sealed(body([["::1", 1]]))).certificate.endpoints.length, 1);
  for (const [wrong, code] of [
    [sealed(body([["example.org", 80]])), "codec_value"], [sealed(body([["192.0.2.1", 0]])), "codec_value"], [sealed(body([["192.0.2.1", 65_536]])), "codec_value"],
    [sealed(body(Array.from({ length: HOP_ENDPOINTS_MAX + 1 }, () => ["::1", 1] as const))), "codec_length"], [sealed(encode([1])), "codec_length"],
    [encode([body([])]), "codec_length"], [new Uint8Array(0), "codec_truncated"],
  ] as const) assert.throws(() => decodeHop(wrong), { code });
});
