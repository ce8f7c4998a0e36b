/**
 * The worlds a program is built for, as one WIT text: Godwit's two worlds and the WASI packages they name.
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

/** What each kind may import and must export. No files, no sockets, no terminal: a workload has none. */
const WORLDS: Readonly<Record<WorkloadKind, string>> = {
  service: `world service {
    include wasi:http/proxy@${WASI_VERSION};
    import wasi:cli/environment@${WASI_VERSION};
  }`,
  task: `world task {
    import wasi:cli/environment@${WASI_VERSION};
    import wasi:cli/exit@${WASI_VERSION};
    import wasi:cli/stdin@${WASI_VERSION};
    import wasi:cli/stdout@${WASI_VERSION};
    import wasi:cli/stderr@${WASI_VERSION};
    import wasi:clocks/wall-clock@${WASI_VERSION};
    import wasi:clocks/monotonic-clock@${WASI_VERSION};
    import wasi:random/random@${WASI_VERSION};
    import wasi:http/outgoing-handler@${WASI_VERSION};
    export wasi:cli/run@${WASI_VERSION};
  }`,
};

/** The source text for componentEmbed; its world has the name of the kind. */
export async function witSource(kind: WorkloadKind): Promise<string> {
  const packages = await Promise.all(PACKAGES.map(async (name) => nested(await readFile(witFile(name), "utf8"))));
  return `package godwit:workload;\n${WORLDS[kind]}\n${packages.join("\n")}`;
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
