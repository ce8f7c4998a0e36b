// Programs that only compute, by name: what a machine, an engine or the counting of fuel costs is measured on them. Each ends in a
// number that is written, so that nothing of it can be left out.
import { stderr, stdout } from "godwit/cli";
import { elapsedNs } from "godwit/clock";
import { json } from "./json";
import { mandelbrot } from "./mandelbrot";
import { nbody } from "./nbody";
import { sha256 } from "./sha256";
import { sieve } from "./sieve";

const NAMES = ["sha256", "json", "nbody", "mandelbrot", "sieve"];
// Each takes about as long as the others.
const SIZES = [120, 4_000, 400_000, 360, 12_000_000];

export function main(args: string[]): i32 {
  const index = args.length > 0 ? NAMES.indexOf(args[0]) : -1;
  const size = args.length > 1 ? <i32>parseInt(args[1]) : index < 0 ? 0 : SIZES[index];
  if (args.length > 2 || (args.length > 0 && (index < 0 || size < 1))) {
    stderr.writeLine("usage: kernels [" + NAMES.join("|") + " [SIZE]]");
    return 1;
  }
  if (index >= 0) stdout.writeLine(result(index, size));
  else for (let i = 0; i < NAMES.length; i++) timed(i);
  return 0;
}

function timed(index: i32): void {
  const startedNs = elapsedNs();
  const found = result(index, SIZES[index]);
  const tookMs = (elapsedNs() - startedNs) / 1_000_000;
  stdout.writeLine(tookMs.toString().padStart(8) + " ms  " + NAMES[index] + " " + SIZES[index].toString() + ": " + found);
}

function result(index: i32, size: i32): string {
  switch (index) {
    case 0: return sha256(size);
    case 1: return json(size).toString();
    case 2: return nbody(size).toString();
    case 3: return mandelbrot(size).toString();
    default: return sieve(size).toString();
  }
}
