/** `godwit test` loads this first: it lets a test of any folder import "godwit/testing". */
import { registerHooks } from "node:module";

const url = new URL("./testing.ts", import.meta.url).href;

registerHooks({
  resolve: (specifier, context, next) => (specifier === "godwit/testing" ? { url, shortCircuit: true } : next(specifier, context)),
});
