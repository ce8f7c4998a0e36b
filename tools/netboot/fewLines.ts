/**
 * Lines for the operator at a bounded rate: whoever is on the wire can make the server say something with every packet, and what it says may be
 * kept in a file. What is left out is counted, and told with the next line that is not.
 */
import { LINES_PER_SECOND_MAX } from "./limits.ts";

export function fewLines(say: (line: string) => void, now: () => number, perSecondMax: number = LINES_PER_SECOND_MAX): (line: string) => void {
  let [beganMs, count, leftOut] = [-Infinity, 0, 0];
  return (line) => {
    const nowMs = now();
    // A clock that was set back begins anew, too.
    if (nowMs - beganMs >= 1_000 || nowMs < beganMs) {
      if (leftOut > 0) say(`${leftOut} lines left out: more than ${perSecondMax} in a second`);
      [beganMs, count, leftOut] = [nowMs, 0, 0];
    }
    if (count >= perSecondMax) leftOut += 1;
    else {
      count += 1;
      say(line);
    }
  };
}
