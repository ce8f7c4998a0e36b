/**
 * The unified kernel image: kernel, initramfs and command line as sections of one EFI program (UAPI specification "UKI"), so that
 * one signature and one measurement cover all of it. Our own writer of PE sections: `objcopy` puts the time of day into its output.
 */
import { createHash } from "node:crypto";
import { ImageError } from "./errors.ts";

export type UkiSection = { readonly name: string; readonly content: Uint8Array };

const SECTION_BYTES = 40;
const READABLE_DATA = 0x40000040;
const PAGE_BYTES = 4096;
/** What the stub measures into PCR 11, in this order, where it is there (systemd-stub 252). */
const MEASURED = [".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrpkey"];

const up = (value: number, to: number): number => Math.ceil(value / to) * to;

export function writeUki(stub: Uint8Array, sections: readonly UkiSection[]): Uint8Array {
  const head = headerOf(stub);
  const tableEnd = head.tableAt + SECTION_BYTES * (head.count + sections.length);
  if (tableEnd > head.headerBytes) throw new ImageError("stub_unknown", "Cannot add sections to the EFI stub: its header has no room");
  let address = 0;
  let fileEnd = 0;
  for (const section of head.sections) {
    address = Math.max(address, section.address + Math.max(section.virtualBytes, section.rawBytes));
    fileEnd = Math.max(fileEnd, section.rawAt + section.rawBytes);
  }
  const first = up(fileEnd, head.fileAlignment);
  const start = new Uint8Array(first);
  start.set(stub.subarray(0, fileEnd));
  const view = new DataView(start.buffer);
  const parts: Uint8Array[] = [start];
  const alignment = Math.max(head.sectionAlignment, PAGE_BYTES);
  let at = first;
  address = up(address, alignment);
  for (const [index, { name, content }] of sections.entries()) {
    const entry = head.tableAt + SECTION_BYTES * (head.count + index);
    const rawBytes = up(content.length, head.fileAlignment);
    start.fill(0, entry, entry + SECTION_BYTES);
    start.set(new TextEncoder().encode(name), entry);
    for (const [offset, value] of [[8, content.length], [12, address], [16, rawBytes], [20, at], [36, READABLE_DATA]] as const) view.setUint32(entry + offset, value, true);
    parts.push(content, new Uint8Array(rawBytes - content.length));
    at += rawBytes;
    address = up(address + content.length, alignment);
  }
  view.setUint16(head.peAt + 6, head.count + sections.length, true);
  // No time, no checksum (nobody checks it), the new size in memory.
  view.setUint32(head.peAt + 8, 0, true);
  view.setUint32(head.optionalAt + 56, up(address, head.sectionAlignment), true);
  view.setUint32(head.optionalAt + 64, 0, true);
  return Buffer.concat(parts);
}

/** PCR 11 (SHA-256) of a machine that booted this very file: for each section, its name with a zero and then its bytes. */
export function predictPcr11(uki: Uint8Array): string {
  const found = new Map(headerOf(uki).sections.map((section) => [section.name, section]));
  let register: Uint8Array = new Uint8Array(32);
  const sha256 = (...parts: readonly Uint8Array[]): Uint8Array => parts.reduce((hash, part) => hash.update(part), createHash("sha256")).digest();
  for (const name of MEASURED) {
    const section = found.get(name);
    if (section === undefined) continue;
    register = sha256(register, sha256(new TextEncoder().encode(`${name}\0`)));
    register = sha256(register, sha256(uki.subarray(section.rawAt, section.rawAt + section.virtualBytes)));
  }
  return Buffer.from(register).toString("hex");
}

type Section = { readonly name: string; readonly virtualBytes: number; readonly address: number; readonly rawBytes: number; readonly rawAt: number };
type Header = { readonly peAt: number; readonly optionalAt: number; readonly tableAt: number; readonly count: number; readonly sectionAlignment: number; readonly fileAlignment: number; readonly headerBytes: number; readonly sections: readonly Section[] };

function headerOf(file: Uint8Array): Header {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const u32 = (at: number): number => view.getUint32(at, true);
  const peAt = file.length > 64 ? u32(0x3c) : 0;
  if (peAt === 0 || peAt + 24 > file.length || u32(peAt) !== 0x4550) throw new ImageError("stub_unknown", "Cannot read a file as an EFI program: it has no PE header");
  const optionalAt = peAt + 24;
  const tableAt = optionalAt + view.getUint16(peAt + 20, true);
  const count = view.getUint16(peAt + 6, true);
  if (tableAt + SECTION_BYTES * count > file.length) throw new ImageError("stub_unknown", "Cannot read an EFI program: its table of sections is cut off");
  const sections = Array.from({ length: count }, (_, index): Section => {
    const at = tableAt + SECTION_BYTES * index;
    const name = new TextDecoder().decode(file.subarray(at, at + 8)).replace(/\0.*$/s, "");
    return { name, virtualBytes: u32(at + 8), address: u32(at + 12), rawBytes: u32(at + 16), rawAt: u32(at + 20) };
  });
  return { peAt, optionalAt, tableAt, count, sectionAlignment: u32(optionalAt + 32), fileAlignment: u32(optionalAt + 36), headerBytes: u32(optionalAt + 60), sections };
}
