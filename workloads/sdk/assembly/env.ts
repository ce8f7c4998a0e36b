/** `godwit/environment`: the [environment] table of godwit.toml, for services and tasks alike. */
import { getEnvironment } from "./wasi/cli";

let read: Map<string, string> | null = null;

/** Every variable. It is asked from the host once. */
export function variables(): Map<string, string> {
  let map = read;
  if (!map) {
    map = getEnvironment();
    read = map;
  }
  return map;
}

/** One variable; null when it is not set. */
export function variable(name: string): string | null {
  const map = variables();
  return map.has(name) ? map.get(name) : null;
}

/** One variable, or what to take when it is not set. */
export function variableOr(name: string, fallback: string): string {
  const value = variable(name);
  return value === null ? fallback : value;
}
