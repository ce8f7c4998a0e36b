// Programs that only compute, one named by the first argument: what fuel costs is measured on them. Each ends in a sum that is
// printed, so that nothing of it can be left out.
import { stderr } from "godwit/cli";
import { Sha256 } from "./sha256";

export function main(args: string[]): i32 {
  const name = args[0];
  if (name == "sha256") return show(sha256(120));
  if (name == "nbody") return show(nbody(400_000));
  if (name == "json") return show(json(4_000));
  if (name == "sieve") return show(sieve(12_000_000));
  if (name == "mandelbrot") return show(mandelbrot(360));
  return 1;
}

function show(sum: f64): i32 {
  stderr.writeLine(sum.toString());
  return 0;
}

function sha256(rounds: i32): f64 {
  const text = new StaticArray<u8>(65536);
  for (let i = 0; i < text.length; i++) unchecked((text[i] = <u8>(i * 7)));
  const hash = new Sha256();
  for (let round = 0; round < rounds; round++) hash.update(text);
  return <f64>hash.word(0);
}

// Five bodies; each has a place, a speed and a mass.
const FIELDS = 7;
function nbody(steps: i32): f64 {
  const count = 5;
  const at = new StaticArray<f64>(count * FIELDS);
  for (let i = 0; i < at.length; i++) unchecked((at[i] = <f64>((i * 7919) % 100) / 10.0 + 0.1));
  for (let step = 0; step < steps; step++) {
    for (let a = 0; a < at.length; a += FIELDS)
      for (let b = a + FIELDS; b < at.length; b += FIELDS) pull(at, a, b);
    for (let a = 0; a < at.length; a += FIELDS) {
      unchecked((at[a] += 0.001 * at[a + 3]));
      unchecked((at[a + 1] += 0.001 * at[a + 4]));
      unchecked((at[a + 2] += 0.001 * at[a + 5]));
    }
  }
  return unchecked(at[0]);
}

function pull(at: StaticArray<f64>, a: i32, b: i32): void {
  const x = unchecked(at[a] - at[b]);
  const y = unchecked(at[a + 1] - at[b + 1]);
  const z = unchecked(at[a + 2] - at[b + 2]);
  const square = x * x + y * y + z * z + 0.01;
  const force = 0.001 / (square * Math.sqrt(square));
  const massA = unchecked(at[a + 6]) * force;
  const massB = unchecked(at[b + 6]) * force;
  unchecked((at[a + 3] -= x * massB));
  unchecked((at[a + 4] -= y * massB));
  unchecked((at[a + 5] -= z * massB));
  unchecked((at[b + 3] += x * massA));
  unchecked((at[b + 4] += y * massA));
  unchecked((at[b + 5] += z * massA));
}

// Text of an object is made and read back into a map: strings, memory, collection of garbage.
function json(rounds: i32): f64 {
  let sum: f64 = 0;
  for (let round = 0; round < rounds; round++) {
    const parts: string[] = [];
    for (let i = 0; i < 50; i++) parts.push('"k' + i.toString() + '":' + (i * round).toString());
    const numbers = read("{" + parts.join(",") + "}");
    sum += <f64>numbers.get("k7") + <f64>numbers.size;
  }
  return sum;
}

function read(text: string): Map<string, i32> {
  const numbers = new Map<string, i32>();
  for (let i = 1; i < text.length; i++) {
    if (text.charCodeAt(i) != 0x22) continue;
    const end = text.indexOf('"', i + 1);
    const name = text.substring(i + 1, end);
    let value = 0;
    for (i = end + 2; ; i++) {
      const digit = text.charCodeAt(i) - 0x30;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
    }
    numbers.set(name, value);
  }
  return numbers;
}

function sieve(limit: i32): f64 {
  const composite = new StaticArray<u8>(limit);
  let primes = 0;
  for (let i = 2; i < limit; i++) {
    if (unchecked(composite[i])) continue;
    primes++;
    for (let j = i + i; j < limit; j += i) unchecked((composite[j] = 1));
  }
  return <f64>primes;
}

function mandelbrot(side: i32): f64 {
  let inside = 0;
  for (let row = 0; row < side; row++)
    for (let column = 0; column < side; column++) {
      const a = <f64>column * 3.0 / <f64>side - 2.0;
      const b = <f64>row * 2.0 / <f64>side - 1.0;
      let x = 0.0;
      let y = 0.0;
      let step = 0;
      for (; step < 300 && x * x + y * y < 4.0; step++) {
        const next = x * x - y * y + a;
        y = 2.0 * x * y + b;
        x = next;
      }
      if (step == 300) inside++;
    }
  return <f64>inside;
}
