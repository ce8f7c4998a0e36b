// SHA-256 as FIPS 180-4 says, over whole blocks of 64 bytes. Whole numbers and bits.
const K: StaticArray<u32> = [
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];
const BLOCK_BYTES = 64;

/** Of so many pieces of 64 KiB, in hex. */
export function sha256(pieces: i32): string {
  const piece = new StaticArray<u8>(65536);
  for (let i = 0; i < piece.length; i++) unchecked((piece[i] = <u8>(i * 7)));
  const hash = new Sha256();
  for (let i = 0; i < pieces; i++) hash.update(piece);
  return hash.end();
}

class Sha256 {
  private state: StaticArray<u32> = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];
  private schedule: StaticArray<u32> = new StaticArray<u32>(64);

  private bytes: u64 = 0;

  update(bytes: StaticArray<u8>): void {
    this.bytes += bytes.length;
    const start = changetype<usize>(bytes);
    for (let at: i32 = 0; at < bytes.length; at += BLOCK_BYTES) this.block(start + at);
  }

  /** The last block is a one, zeros and the length in bits. */
  end(): string {
    const last = new StaticArray<u8>(BLOCK_BYTES);
    last[0] = 0x80;
    store<u64>(changetype<usize>(last) + 56, bswap<u64>(this.bytes << 3));
    this.block(changetype<usize>(last));
    let text = "";
    for (let i = 0; i < this.state.length; i++) text += this.state[i].toString(16).padStart(8, "0");
    return text;
  }

  private block(from: usize): void {
    const w = this.schedule;
    const h = this.state;
    for (let i = 0; i < 16; i++) unchecked((w[i] = bswap<u32>(load<u32>(from + (i << 2)))));
    for (let i = 16; i < 64; i++) {
      const x = unchecked(w[i - 15]);
      const y = unchecked(w[i - 2]);
      unchecked((w[i] = w[i - 16] + (rotr<u32>(x, 7) ^ rotr<u32>(x, 18) ^ (x >>> 3)) + w[i - 7] + (rotr<u32>(y, 17) ^ rotr<u32>(y, 19) ^ (y >>> 10))));
    }
    let a = unchecked(h[0]);
    let b = unchecked(h[1]);
    let c = unchecked(h[2]);
    let d = unchecked(h[3]);
    let e = unchecked(h[4]);
    let f = unchecked(h[5]);
    let g = unchecked(h[6]);
    let last = unchecked(h[7]);
    for (let i = 0; i < 64; i++) {
      const first = last + (rotr<u32>(e, 6) ^ rotr<u32>(e, 11) ^ rotr<u32>(e, 25)) + ((e & f) ^ (~e & g)) + unchecked(K[i]) + unchecked(w[i]);
      const second = (rotr<u32>(a, 2) ^ rotr<u32>(a, 13) ^ rotr<u32>(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      last = g;
      g = f;
      f = e;
      e = d + first;
      d = c;
      c = b;
      b = a;
      a = first + second;
    }
    unchecked((h[0] += a));
    unchecked((h[1] += b));
    unchecked((h[2] += c));
    unchecked((h[3] += d));
    unchecked((h[4] += e));
    unchecked((h[5] += f));
    unchecked((h[6] += g));
    unchecked((h[7] += last));
  }
}
