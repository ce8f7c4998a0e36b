/**
 * Addresses as text, `gw1…`: bech32m (BIP 350) with the prefix `gw`: lower case, no mixed case, six characters of checksum that find any four wrong ones.
 *
 * Hashes nothing: a machine that reads its command line does not read the protocol's cryptography for it.
 */
import { type Address, address } from "#chain/types.ts";

const PREFIX = "gw";
const ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const GENERATOR = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3];
const BECH32M = 0x2bc830a3;
const TEXT_LENGTH = PREFIX.length + 1 + 32 + 6;

export function addressText(bytes: Uint8Array): string {
  const words = regrouped(address(bytes), 8, 5);
  const residue = checksum([...prefixWords(), ...words, 0, 0, 0, 0, 0, 0]) ^ BECH32M;
  for (let i = 0; i < 6; i++) words.push((residue >>> (5 * (5 - i))) & 31);
  return `${PREFIX}1${words.map((word) => ALPHABET[word]).join("")}`;
}

/** The address that a text names, or null when it is not one, whatever is wrong with it. */
export function parseAddress(text: string): Address | null {
  if (text.length !== TEXT_LENGTH || !text.startsWith(`${PREFIX}1`)) return null;
  const words: number[] = [];
  for (const character of text.slice(PREFIX.length + 1)) {
    const word = ALPHABET.indexOf(character);
    if (word < 0) return null;
    words.push(word);
  }
  if (checksum([...prefixWords(), ...words]) !== BECH32M) return null;
  return address(Uint8Array.from(regrouped(words.slice(0, -6), 5, 8)));
}

const prefixWords = (): number[] => {
  const codes = Array.from(PREFIX, (character) => character.charCodeAt(0));
  return [...codes.map((code) => code >>> 5), 0, ...codes.map((code) => code & 31)];
};

function checksum(words: readonly number[]): number {
  let residue = 1;
  for (const word of words) {
    const top = residue >>> 25;
    residue = ((residue & 0x1ffffff) << 5) ^ word;
    for (const [i, value] of GENERATOR.entries()) if ((top >>> i) & 1) residue ^= value;
  }
  return residue;
}

/** The same bits in items of another size, highest first. 20 bytes are 32 words of 5 bits exactly: nothing is padded. */
function regrouped(items: Iterable<number>, bitsIn: number, bitsOut: number): number[] {
  const out: number[] = [];
  let [held, bits] = [0, 0];
  for (const item of items) {
    held = ((held << bitsIn) | item) & 0xfff;
    bits += bitsIn;
    for (; bits >= bitsOut; bits -= bitsOut) out.push((held >>> (bits - bitsOut)) & ((1 << bitsOut) - 1));
  }
  return out;
}
