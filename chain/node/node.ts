/** Opens a chain node on a data folder. */
export type { BlockRecord, ChainNode, FinalBlock, Head, NodeStatus, Outcome, TransactionStatus } from "./chainNode.ts";
export { NodeError } from "./errors.ts";
