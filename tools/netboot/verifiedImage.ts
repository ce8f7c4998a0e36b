/**
 * The image that the server is to serve, checked before anything is: its manifest is by a key that was named and not expired, and each of its files is what the manifest
 * says, byte for byte. What is served later is the same file, or nothing: one that was changed since is not.
 */
import { readFile } from "node:fs/promises";
import { type PublicKey, fromHex, publicKey } from "#chain/types.ts";
import { type SignedManifest, readManifest } from "#os/boot/manifest.ts";
import { messageOf } from "#os/error.ts";
import { CliError } from "../cli/command.ts";
import { sha256OfFile } from "../image/packages.ts";
import type { Catalogue } from "./catalogue.ts";
import { FILES } from "./way.ts";

const MANIFEST = "manifest";
const CMDLINE = "cmdline";
/** Whose bytes a machine runs, or is told. */
const SIGNED: readonly string[] = [FILES.uki, FILES.kernel, FILES.initramfs, CMDLINE];

/** Throws `image_unsigned`, `image_refused` or `image_wrong`. */
export async function verifyImage(catalogue: Catalogue, signers: readonly PublicKey[], nowMs: number): Promise<SignedManifest> {
  const file = catalogue.get(MANIFEST);
  if (file === undefined) throw new CliError("image_unsigned", "Cannot serve this image: it has no manifest (godwit image build signs one; --unsigned serves it all the same)");
  let signed: SignedManifest;
  try {
    signed = readManifest(await readFile(file.path), signers, nowMs);
  } catch (error) {
    throw new CliError("image_refused", messageOf(error), {}, error);
  }
  for (const name of SIGNED) {
    const served = catalogue.get(name);
    const part = signed.manifest.parts.find((one) => one.name === name);
    if (served === undefined) continue;
    if (part === undefined) throw new CliError("image_wrong", `Cannot serve this image: its manifest does not name ${name}`);
    if (served.bytes !== part.bytes || (await sha256OfFile(served.path)) !== part.sha256) throw new CliError("image_wrong", `Cannot serve this image: ${name} is not the one that its manifest names`);
  }
  return signed;
}

export function signerOf(text: string): PublicKey {
  if (!/^[0-9a-f]{64}$/.test(text)) throw new CliError("signer_invalid", `Cannot use "${text}" as a signer: it is 64 hex digits, as godwit image build prints`);
  return publicKey(fromHex(text));
}
