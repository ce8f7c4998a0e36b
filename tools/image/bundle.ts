/**
 * Our TypeScript and the third-party packages that it uses as a few JavaScript files: types stripped, unused code left out.
 *
 * A machine has no `node_modules`: hundreds of small files would be opened one by one, and stripping types at boot costs 30 MB and
 * half a second. Split where the code says `import()`, so that `/healthz` answers before chain and libp2p are read.
 */
import { relative } from "node:path";
import { build } from "esbuild";

/** Packages of CommonJS call `require`, which a module has not. */
const BANNER = 'import { createRequire as createRequireOfBundle } from "node:module"; const require = createRequireOfBundle(import.meta.url);';

/** The program is `os/init.js`, whatever its source is called. */
export async function bundle(repository: string, entryPoint: string): Promise<{ path: string; content: Uint8Array }[]> {
  const { outputFiles } = await build({
    entryPoints: [{ in: entryPoint, out: "init" }], absWorkingDir: repository, outdir: "os", write: false,
    bundle: true, splitting: true, format: "esm", platform: "node", target: "node26", minifyWhitespace: true, minifySyntax: true,
    legalComments: "none", banner: { js: BANNER }, logLevel: "error", external: ["*.node"],
  });
  return outputFiles.map(({ path, contents }) => ({ path: relative(repository, path), content: contents })).toSorted((a, b) => (a.path < b.path ? -1 : 1));
}
