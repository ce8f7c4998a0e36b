/** What the build puts in its place: the files of the folder that `assets` in godwit.toml names. */
import { Asset } from "./asset";

export function find(path: string): Asset | null {
  return null;
}
