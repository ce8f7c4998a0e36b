/**
 * Our TypeScript and the third-party packages that it uses as a few JavaScript files: types stripped, unused code left out.
 *
 * A machine has no `node_modules`: hundreds of small files would be opened one by one, and stripping types at boot costs 30 MB and
 * half a second. Split where the code says `import()`, so that `/healthz` answers before chain and libp2p are read.
 */
import { isBuiltin } from "node:module";
import { relative } from "node:path";
import { type Plugin, build } from "esbuild";

/** Packages of CommonJS may call `require`, which a module has not; making one takes milliseconds, and few do. */
const BANNER = 'const require = (id) => process.getBuiltinModule("node:module").createRequire(import.meta.url)(id);';

/** Reading `node:assert` takes an emulated boot 0.16 s, and an assertion that holds asks for nothing of it. */
function lateAssert(path: string): string {
  const module = `process.getBuiltinModule(${JSON.stringify(`node:${path}`)})`;
  const names = Object.keys(process.getBuiltinModule("node:assert")).filter((name) => name !== "strict");
  return `const late = (holds, ...why) => { if (!holds) ${module}(holds, ...why); };
    for (const name of ${JSON.stringify(names)}) Object.defineProperty(late, name, { enumerable: true, get: () => ${module}[name] });
    module.exports = Object.assign(late, { strict: late });`;
}

/**
 * Node's own modules are taken as objects. As modules of the ES kind each shows all that it has, and for that reads it: `node:http` loads the whole of undici so, a second of
 * an emulated boot, before `/healthz` has answered.
 */
const NODE_MODULES: Plugin = {
  name: "node modules as objects",
  setup: (builder) => {
    builder.onResolve({ filter: /./ }, ({ path, namespace }) => {
      const name = path.replace(/^node:/, "");
      return namespace !== "node" && isBuiltin(`node:${name}`) && (path.startsWith("node:") || isBuiltin(path)) ? { path: name, namespace: "node" } : null;
    });
    builder.onLoad({ filter: /^assert(\/strict)?$/, namespace: "node" }, ({ path }) => ({ contents: lateAssert(path), loader: "js" }));
    builder.onLoad({ filter: /./, namespace: "node" }, ({ path }) => ({ contents: `module.exports = process.getBuiltinModule(${JSON.stringify(`node:${path}`)});`, loader: "js" }));
  },
};

/** The program is `os/init.js`, whatever its source is called. */
export async function bundle(repository: string, entryPoint: string): Promise<{ path: string; content: Uint8Array }[]> {
  const { outputFiles } = await build({
    entryPoints: [{ in: entryPoint, out: "init" }], absWorkingDir: repository, outdir: "os", write: false,
    bundle: true, splitting: true, format: "esm", platform: "node", target: "node26", minifyWhitespace: true, minifySyntax: true,
    legalComments: "none", banner: { js: BANNER }, logLevel: "error", external: ["*.node"], plugins: [NODE_MODULES],
  });
  return outputFiles.map(({ path, contents }) => ({ path: relative(repository, path), content: contents })).toSorted((a, b) => (a.path < b.path ? -1 : 1));
}
