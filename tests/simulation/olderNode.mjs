/** What Node 24 lacks and these sources use, for the one test that runs a world there: `node --import`. */

Uint8Array.prototype.toHex ??= function () {
  return Buffer.from(this.buffer, this.byteOffset, this.byteLength).toString("hex");
};
Uint8Array.fromHex ??= (text) => new Uint8Array(Buffer.from(text, "hex"));
Uint8Array.prototype.setFromHex ??= function (text) {
  const bytes = Buffer.from(text, "hex");
  this.set(bytes);
  return { read: 2 * bytes.length, written: bytes.length };
};
