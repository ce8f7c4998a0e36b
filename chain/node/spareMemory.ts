/**
 * Keeps the heap of a node small. Every transaction outlives the young generation, as it waits for its block, and V8 lets what is dead of
 * the old one grow to three times what lives before it looks: it looks at half as much, which is no more CPU in sum, as marking is cheap here.
 *
 * And gives back what a burst of work has left: V8 keeps pages that are mostly empty for as long as nothing happens, 100 MiB of them after
 * some seconds of full blocks. When nothing was in the blocks for a while, one collection that also moves what is left together.
 * It takes as long as an idle chain can wait, a tenth of a second, and comes once after each burst.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { ChainNode } from "./chainNode.ts";

const LOOK_MS = 2_000;
const IDLE_LOOKS_MIN = 4;

/** Of the heap that is alive, what may be dead besides before V8 collects. */
const HEAP_GROWING_PERCENT = 50;

/** Until the answer is called. */
export function giveSpareMemoryBack(node: ChainNode): () => void {
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWING_PERCENT}`);
  let [idleLooks, isDone] = [0, false];
  const forget = node.onFinal(({ outcomes }) => {
    if (outcomes.length > 0) [idleLooks, isDone] = [0, false];
  });
  const timer = setInterval(() => {
    idleLooks++;
    if (isDone || idleLooks < IDLE_LOOKS_MIN) return;
    isDone = true;
    collect();
  }, LOOK_MS);
  timer.unref();
  return () => {
    clearInterval(timer);
    forget();
  };
}

let collector: ((options: { type: "major"; flavor: "last-resort" }) => void) | null = null;
function collect(): void {
  if (collector === null) {
    setFlagsFromString("--expose-gc");
    collector = runInNewContext("gc") as typeof collector;
  }
  collector!({ type: "major", flavor: "last-resort" });
}
