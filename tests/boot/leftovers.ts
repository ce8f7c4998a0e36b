/** What a boot test started is gone when it ends, also by a signal: machines, their network. Only SIGKILL leaves it. */
const works = new Set<() => void>();
process.on("exit", () => {
  for (const work of works) work();
});

/** Called at the end of this process, unless it was disposed of before. */
export function atExit(work: () => void): Disposable {
  works.add(work);
  return { [Symbol.dispose]: () => void works.delete(work) };
}
