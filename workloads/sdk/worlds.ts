/**
 * The worlds a program is built for, as one WIT text: those of sandbox/wit, and the WASI packages they name.
 *
 * The WASI packages are read from the installed jco, by package path: they are not ours to copy. They are nested into one
 * source (`package wasi:io@0.2.12 { … }`) because componentEmbed's `witPath` needs a preopened folder that jco 1.35 does not
 * have. Imports that a program does not use are not in its component.
 */
import { readFile } from "node:fs/promises";
import { findPackageJSON } from "node:module";
import { dirname, join } from "node:path";

export type WorkloadKind = "service" | "task";

/** The WASI release whose interfaces the SDK is written against; any 0.2 host runs it. */
export const WASI_VERSION = "0.2.12";

const PACKAGES = ["io", "clocks", "random", "filesystem", "sockets", "cli", "http"] as const;

const WORLDS = new URL("../../sandbox/wit/worlds.wit", import.meta.url);

/** The source text for componentEmbed, with a world named after each kind. */
export async function witSource(): Promise<string> {
  const worlds = (await readFile(WORLDS, "utf8")).replaceAll("@0.2.0;", `@${WASI_VERSION};`);
  const packages = await Promise.all(PACKAGES.map(async (name) => nested(await readFile(witFile(name), "utf8"))));
  return [worlds, ...packages].join("\n");
}

function witFile(name: string): string {
  const manifest = findPackageJSON("@bytecodealliance/jco", import.meta.url);
  if (manifest === undefined) throw new Error("Cannot find the WIT of WASI as @bytecodealliance/jco is not installed");
  return join(dirname(manifest), "lib/wit/builtin", WASI_VERSION, `wasi-${name}`, "package.wit");
}

/** `package a:b@1; …` as `package a:b@1 { … }`. */
function nested(source: string): string {
  const header = /^\s*package\s+([^;\s]+)\s*;/m.exec(source);
  if (header === null) throw new Error("Cannot read a WIT package as it has no package header");
  return `package ${header[1]} {\n${source.slice(0, header.index)}${source.slice(header.index + header[0].length)}\n}`;
}
