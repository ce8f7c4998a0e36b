/** Where the native products are. tools/native.mjs makes them. */
import { join } from "node:path";
import { nativeDirectory } from "./native/directory.mjs";

export type NativePaths = { readonly addon: string; readonly runner: string; readonly compiler: string };

export function nativePaths(): NativePaths {
  const directory = nativeDirectory();
  return {
    addon: join(directory, "godwit.node"),
    runner: join(directory, "godwit-runner"),
    compiler: join(directory, "godwit-compiler"),
  };
}
