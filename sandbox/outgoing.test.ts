import assert from "node:assert/strict";
import { test } from "node:test";
import { outgoingText, parseOutgoing } from "./outgoing.ts";

test("a place that requests may go to is scheme, host and port, and has one text", () => {
  const table: readonly [string, string | null][] = [
    ["https://api.example.com", "https://api.example.com:443"], ["http://10.0.0.1:8080", "http://10.0.0.1:8080"], ["HTTP://Api.Example.com/", "http://api.example.com:80"],
    ["http://localhost:1", "http://localhost:1"], ["http://[::1]:80", "http://[::1]:80"], ["http://[0:0::1]", "http://[::1]:80"], ["https://1.2.3.example", "https://1.2.3.example:443"],
    ["api.example.com", null], ["ftp://a.b", null], ["https://", null], ["https://a.b/path", null], ["https://a.b?q", null], ["https://a.b#f", null], ["https://user@a.b", null],
    ["https://*.example.com", null], ["https://a..b", null], ["https://-a.b", null], ["https://a.b.", null], ["https://a_b.c", null], ["https://ä.example", null],
    ["http://a:0", null], ["http://a:65536", null], ["http://a:", null], ["http://a:080000", null], [`http://${"a".repeat(64)}.b`, null], [`http://${"a.".repeat(130)}b`, null],
    ["http://0x7f.1", null], ["http://2130706433", null], ["http://010.0.0.1", null], ["http://10.1", null], ["http://256.1.1.1", null], ["http://[::1", null], ["http://[1:2]", null], ["", null],
  ];
  for (const [text, expected] of table) {
    const place = parseOutgoing(text);
    assert.equal(place === null ? null : outgoingText(place), expected, text);
    if (place !== null) assert.deepEqual(parseOutgoing(outgoingText(place)), place, text);
  }
});
