/** What is on an image, by name, version and hash, in CycloneDX's form: for whoever looks for a version that has a known fault. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { ImagePart } from "#os/boot/manifest.ts";
import { KERNEL_SOURCE, LIBRARIES, LOADERS, STATIC } from "./pins.ts";
import type { Part } from "./root.ts";

type Component = Readonly<Record<string, unknown>>;
const REPOSITORY = join(import.meta.dirname, "..", "..");

export function sbomOf(version: string, parts: readonly ImagePart[], rootParts: readonly Part[], init: Uint8Array, kernelCompiler: string | null): Uint8Array {
  const hashes = (content: string): Component[] => [{ alg: "SHA-256", content }];
  const components: Component[] = [
    ...[...LIBRARIES, ...STATIC, LOADERS[0]!, KERNEL_SOURCE].map((pin) => ({ type: "library", name: pin.name, version: pin.version, purl: `pkg:deb/debian/${pin.name}@${pin.version}`, hashes: hashes(pin.sha256), ...(pin === KERNEL_SOURCE && kernelCompiler !== null ? { properties: [{ name: "godwit:compiler", value: kernelCompiler }] } : {}) })),
    ...npmPackages().map(({ name, version: of }) => ({ type: "library", name, version: of, purl: `pkg:npm/${name}@${of}` })),
    ...crates().map(({ name, version: of }) => ({ type: "library", name, version: of, purl: `pkg:cargo/${name}@${of}` })),
    { type: "file", name: "/init", hashes: hashes(createHash("sha256").update(init).digest("hex")) },
    ...rootParts.map(({ path, sha256, origin }) => ({ type: "file", name: path, hashes: hashes(sha256), description: origin })),
    ...parts.map(({ name, sha256 }) => ({ type: "file", name, hashes: hashes(sha256) })),
  ];
  const document = { bomFormat: "CycloneDX", specVersion: "1.6", version: 1, metadata: { component: { type: "operating-system", name: "godwit", version } }, components };
  return new TextEncoder().encode(`${JSON.stringify(document, null, 1)}\n`);
}

/** Those that are not for development only. The bundle takes less of them; which functions is not a question of versions. */
function npmPackages(): { name: string; version: string }[] {
  const { packages } = JSON.parse(readFileSync(join(REPOSITORY, "package-lock.json"), "utf8")) as { packages: Record<string, { version?: string; dev?: boolean; optional?: boolean }> };
  return Object.entries(packages).flatMap(([path, { version, dev, optional }]) => (path === "" || dev === true || optional === true || version === undefined ? [] : [{ name: path.replace(/^.*node_modules\//, ""), version }]));
}

function crates(): { name: string; version: string }[] {
  const lock = readFileSync(join(REPOSITORY, "sandbox", "native", "Cargo.lock"), "utf8");
  return [...lock.matchAll(/^name = "([^"]+)"\nversion = "([^"]+)"/gm)].map(([, name, version]) => ({ name: name!, version: version! }));
}
