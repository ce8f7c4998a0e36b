// A task that misbehaves as its first argument says.
import { exit, stderr, stdin, stdout } from "godwit/cli";
import { variables } from "godwit/env";
import { sleep } from "godwit/clock";

let sink: u64 = 0;

export function main(args: string[]): i32 {
  const what = args.length ? args[0] : "";
  if (what == "arguments") stdout.write(args.join("|"));
  else if (what == "environment") printEnvironment();
  else if (what == "upper") for (let line = stdin.readLine(); line !== null; line = stdin.readLine()) stdout.writeLine(line.toUpperCase());
  else if (what == "count") stdout.write(stdin.readBytes().length.toString());
  else if (what == "both") both();
  else if (what == "fail") return 3;
  else if (what == "exit") leave();
  else if (what == "trap") throw new Error("as asked: trap");
  else if (what == "order") order();
  else if (what == "loop") while (true) sink++;
  else if (what == "hog") hog();
  else if (what == "spam") while (true) stdout.writeLine("a task that talks too much");
  else if (what == "random") stdout.write(Math.random().toString());
  else if (what == "date") stdout.write(new Date(Date.now()).toISOString());
  else if (what == "clocks") clocks();
  else if (what == "tick") tick();
  else return 2;
  return 0;
}

function printEnvironment(): void {
  const names = variables().keys().sort();
  for (let i = 0; i < names.length; i++) stdout.writeLine(names[i] + "=" + variables().get(names[i]));
}

function both(): void {
  stdout.writeLine("to stdout");
  stderr.writeLine("to stderr");
}

function order(): void {
  stdout.write("one\n");
  console.log("two");
  stdout.write("three\n");
  throw new Error("after three");
}

/** A line every 50 ms, without end. */
function tick(): void {
  while (true) {
    stdout.writeLine("tick");
    sleep(50);
  }
}

/** How many ms a sleep of 20 took by the monotonic clock, and how often of 1,000 readings it went back. */
function clocks(): void {
  const begunMs = performance.now();
  sleep(20);
  const slept = performance.now() - begunMs;
  let backwards = 0;
  let last = performance.now();
  for (let i = 0; i < 1000; i++) {
    const now = performance.now();
    if (now < last) backwards++;
    last = now;
  }
  stdout.writeLine(slept.toString() + " " + backwards.toString());
}

function leave(): void {
  stdout.writeLine("before");
  exit(1);
  stdout.writeLine("after");
}

function hog(): void {
  const blocks: Uint8Array[] = [];
  while (true) blocks.push(new Uint8Array(1024 * 1024));
}
