// Five bodies; each has a place, a speed and a mass.
const FIELDS = 7;
export function nbody(steps: i32): f64 {
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
