/**
 * Digests of simulated worlds: of every step's time, node, event and effects, and of every committed block. A change of consensus'
 * or the ledger's behaviour changes them: print the new ones with `npm run simulate -- --pin`, and say in the commit what changed.
 */
export const DIGESTS: Readonly<Record<string, readonly string[]>> = {
  "honest": ["09cb1545", "296701ca"],
  "restarts": ["ed69b9e4", "72c7261b"],
  "equivocator": ["6e6f2205", "e33ccc18"],
  "twins": ["53b2b521", "5bdb87a6"],
  "no disk": ["e03324bf", "c904f0d9"],
  "epochs: four, seven, five": ["264db387", "d9d5c4ff"],
  "two liars of seven": ["c8b38da4", "67a77b2d"],
};
