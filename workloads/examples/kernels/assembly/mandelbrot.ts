// The Mandelbrot set: how many points of a square grid are still inside after 300 steps. Sums of floats, no memory.
export function mandelbrot(side: i32): f64 {
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
