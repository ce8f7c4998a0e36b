// The sieve of Eratosthenes: how many primes lie below a limit. Much memory, few sums.
export function sieve(limit: i32): f64 {
  const composite = new StaticArray<u8>(limit);
  let primes = 0;
  for (let i = 2; i < limit; i++) {
    if (unchecked(composite[i])) continue;
    primes++;
    for (let j = i + i; j < limit; j += i) unchecked((composite[j] = 1));
  }
  return <f64>primes;
}
