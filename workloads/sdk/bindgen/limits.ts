/**
 * What the generator takes: WIT may come from anybody, so that everything it makes us hold or recurse into has a maximum.
 * All of WASI 0.2 is 25 kB, 60 interfaces and types at most five deep: every number leaves room for two orders of magnitude.
 */

/** UTF-16 units of all sources together. */
export const SOURCE_LENGTH_MAX: number = 8 * 1024 * 1024;
/** Files of one folder with its deps. */
export const FILES_MAX = 1_000;
/** A name longer than this is nobody's; wasm-tools itself stops at 100,000. */
export const NAME_LENGTH_MAX = 256;
/** Type expressions inside each other, definitions that use each other, includes and packages inside each other: our recursion. */
export const DEPTH_MAX = 100;
/** Fields, cases, members and parameters of one thing: what wasm-tools validates. */
export const MEMBERS_MAX = 1_000;
/** Labels of one flags type: they are the bits of one i32. */
export const FLAGS_MAX = 32;
/** Parts of one anonymous type, so that aliases that double each other (`type b = tuple<a, a>`) end early. */
export const TYPE_PARTS_MAX = 2_000;
/** Bytes of one value in memory, without what its lists point to: it has to fit a static return area. */
export const TYPE_BYTES_MAX: number = 64 * 1024;
