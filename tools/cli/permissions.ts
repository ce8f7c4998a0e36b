/** What each interface that a component imports allows it to do, in words for its author; by name, without the version. */
const ALLOWS: Readonly<Record<string, string>> = {
  "wasi:io/error": "read why a stream failed",
  "wasi:io/poll": "wait",
  "wasi:io/streams": "read and write streams that it was given",
  "wasi:clocks/monotonic-clock": "measure time, and wait",
  "wasi:clocks/wall-clock": "read the time of day",
  "wasi:random/random": "draw random numbers, fit for secrets",
  "wasi:random/insecure": "draw random numbers, not fit for secrets",
  "wasi:random/insecure-seed": "draw a seed, not fit for secrets",
  "wasi:cli/environment": "read the [environment] of its manifest, and its arguments",
  "wasi:cli/stdin": "read what it is given as input",
  "wasi:cli/stdout": "write lines: a service's go to its log",
  "wasi:cli/stderr": "write lines: a service's go to its log",
  "wasi:cli/exit": "end itself with an exit code",
  "wasi:http/types": "read requests and make responses",
  "wasi:http/outgoing-handler": "send requests to the places in outgoing of its manifest, and nowhere else",
  "wasi:http/incoming-handler": "answer requests",
  "wasi:cli/run": "run once, to its end",
};

/** What the sandbox links and has nothing behind it. */
const NOTHING: readonly (readonly [prefix: string, what: string])[] = [
  ["wasi:cli/terminal-", "nothing: there is no terminal"],
  ["wasi:filesystem/", "nothing: there are no files"],
  ["wasi:sockets/", "nothing: there are no sockets"],
];

/** `wasi:clocks/wall-clock@0.2.12` → "read the time of day". */
export function allowsText(interfaceName: string): string {
  const name = interfaceName.replace(/@.*$/, "");
  return ALLOWS[name] ?? NOTHING.find(([prefix]) => name.startsWith(prefix))?.[1] ?? "unknown";
}
