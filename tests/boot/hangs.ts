/** What a boot test starts in the place of the agent: one that comes up, and a second later never gives its thread back. */
import "#os/init.ts";

setTimeout(() => {
  for (;;) Atomics.load(new Int32Array(1), 0);
}, 1_000);
