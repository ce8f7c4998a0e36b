/**
 * Machines on a LAN of their own: network namespaces on one bridge, which lies in a namespace too, so that the computer's own network
 * is not touched. Needs root and `ip`; a cut between groups uses nft where it is there, else the links of all but the first group go down.
 */
import { spawnSync } from "node:child_process";

export type Lan = {
  /** What runs a program in the place of machine `index`. */
  prefix(index: number): readonly string[];
  address(index: number): string;
  /** The bridge's end of machine `index`; with taps, what a guest's card is plugged into. */
  port(index: number): string;
  /** Nothing goes between the groups any more. */
  cut(...groups: readonly (readonly number[])[]): void;
  heal(): void;
  /** Takes all of it away; what runs in it is the caller's to end. */
  close(): void;
};

function run(...command: readonly string[]): void {
  const { status, stderr, error } = spawnSync(command[0]!, command.slice(1), { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command.join(" ")} ended with ${status ?? String(error)}: ${stderr}`);
}
/** Of the bridge, where guests are on it. */
export const LAN_HOST = "10.77.0.254";
let opened = 0;
const has = (program: string): boolean => spawnSync(program, ["--version"]).status === 0;

/** With taps the machines are guests, and all is in the namespace of the bridge, which has an address then; else each has a namespace of its own. */
export function openLan(count: number, { taps = false }: { taps?: boolean } = {}): Lan {
  const own = `godwit-${process.pid}-${opened++}`;
  const made: string[] = [];
  const close = (): void => { for (const one of made.splice(0)) spawnSync("ip", ["netns", "delete", one]); };
  try {
    return { ...build(own, count, made, taps), close };
  } catch (error) {
    close();
    throw error;
  }
}

function build(prefix: string, count: number, made: string[], taps: boolean): Omit<Lan, "close"> {
  const name = (what: string | number): string => `${prefix}-${what}`;
  const hub = name("hub");
  const ofHub = ["ip", "-n", hub];
  const create = (one: string): void => {
    run("ip", "netns", "add", one);
    made.push(one);
    run("ip", "-n", one, "link", "set", "lo", "up");
  };
  create(hub);
  run(...ofHub, "link", "add", "bridge", "type", "bridge");
  run(...ofHub, "link", "set", "bridge", "up");
  if (taps) run(...ofHub, "address", "add", `${LAN_HOST}/24`, "dev", "bridge");
  for (let index = 0; taps && index < count; index++) {
    run(...ofHub, "tuntap", "add", "dev", `port${index}`, "mode", "tap");
    run(...ofHub, "link", "set", `port${index}`, "master", "bridge", "up");
  }
  for (let index = 0; !taps && index < count; index++) {
    const own = name(index);
    create(own);
    run(...ofHub, "link", "add", `port${index}`, "type", "veth", "peer", "name", "eth0", "netns", own);
    run(...ofHub, "link", "set", `port${index}`, "master", "bridge", "up");
    run("ip", "-n", own, "address", "add", `10.77.0.${index + 1}/24`, "dev", "eth0");
    run("ip", "-n", own, "link", "set", "eth0", "up");
    run("ip", "-n", own, "route", "add", "224.0.0.0/4", "dev", "eth0");
  }
  const nft = (...words: readonly string[]): void => run("ip", "netns", "exec", hub, "nft", ...words);
  const canFilter = has("nft") && spawnSync("ip", ["netns", "exec", hub, "nft", "add", "table", "bridge", "cuts"]).status === 0;
  if (canFilter) nft("add", "chain", "bridge", "cuts", "forward", "{ type filter hook forward priority 0 ; }");
  const ports = (group: readonly number[]): string => `{ ${group.map((index) => `"port${index}"`).join(", ")} }`;
  let down: number[] = [];
  return {
    prefix: (index) => ["ip", "netns", "exec", taps ? hub : name(index)],
    port: (index) => `port${index}`,
    address: (index) => `10.77.0.${index + 1}`,
    cut: (...groups) => {
      for (const [at, group] of groups.entries()) {
        for (const other of groups.slice(at + 1)) {
          if (!canFilter) continue;
          nft("add", "rule", "bridge", "cuts", "forward", "iifname", ports(group), "oifname", ports(other), "drop");
          nft("add", "rule", "bridge", "cuts", "forward", "iifname", ports(other), "oifname", ports(group), "drop");
        }
      }
      if (canFilter) return;
      down = groups.slice(1).flat();
      for (const index of down) run(...ofHub, "link", "set", `port${index}`, "down");
    },
    heal: () => {
      if (canFilter) nft("flush", "chain", "bridge", "cuts", "forward");
      for (const index of down) run(...ofHub, "link", "set", `port${index}`, "up");
      down = [];
    },
  };
}
