/**
 * The signed description of an image: what it consists of, by hash, which version it is and until when it may be used.
 *
 * One JSON text and an Ed25519 signature over exactly these bytes, under a domain of its own. Machines and the netboot server take
 * an image only with a manifest by a key they were told, that is not expired, and not older than what they run.
 */
import { createHash } from "node:crypto";
import { publicKeyOf, sign, verify } from "#chain/crypto.ts";
import { type PublicKey, fromHex, hex } from "#chain/types.ts";
import { AgentError } from "../error.ts";

const MANIFEST_BYTES_MAX: number = 64 * 1024;

export type ImagePart = { readonly name: string; readonly sha256: string; readonly bytes: number };
export type Manifest = {
  readonly format: 1;
  readonly name: "godwit";
  readonly version: string;
  /** Rises with every release: a machine refuses a lower one. */
  readonly release: number;
  readonly expiresAt: string;
  readonly parts: readonly ImagePart[];
  readonly pcr11: string;
};
export type SignedManifest = { readonly manifest: Manifest; readonly signer: string };

export const partOf = (name: string, content: Uint8Array): ImagePart => ({ name, sha256: createHash("sha256").update(content).digest("hex"), bytes: content.length });

/** The file: the signature's line, the signer's line, and the JSON that is signed. */
export function signManifest(manifest: Manifest, seed: Uint8Array): Uint8Array {
  const text = `${JSON.stringify(manifest, null, 2)}\n`;
  const signature = sign(seed, "image", bytesOf(text));
  return new TextEncoder().encode(`${hex(signature)}\n${hex(publicKeyOf(seed))}\n${text}`);
}

/** Throws `manifest_refused` for everything that is not a manifest by one of `signers` that may be used at `nowMs`. */
export function readManifest(file: Uint8Array, signers: readonly PublicKey[], nowMs: number, releaseMin = 0): SignedManifest {
  const refuse = (why: string): never => {
    throw new AgentError("manifest_refused", `Cannot use the manifest of an image: ${why}`);
  };
  if (file.length > MANIFEST_BYTES_MAX) refuse("it is too long");
  const [, signature, signer, text] = /^([0-9a-f]{128})\n([0-9a-f]{64})\n(\{[\s\S]*\}\n)$/.exec(new TextDecoder().decode(file)) ?? refuse("it is not one");
  const key = signers.find((known) => hex(known) === signer) ?? refuse(`it is signed by ${signer}, which nobody named`);
  if (!verify("image", fromHex(signature!), bytesOf(text!), key)) refuse("its signature is wrong");
  const manifest = JSON.parse(text!) as Manifest;
  if (manifest.format !== 1 || manifest.name !== "godwit") refuse("it is of another format");
  if (!(Date.parse(manifest.expiresAt) > nowMs)) refuse(`it expired at ${manifest.expiresAt}`);
  if (!(manifest.release >= releaseMin)) refuse(`release ${manifest.release} is older than ${releaseMin}`);
  return { manifest, signer: signer! };
}

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
