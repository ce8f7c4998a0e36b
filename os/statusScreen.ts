/**
 * What a machine shows on its own screen: name, addresses, height, leases, load, and what it said last. Pure: facts in, lines of a fixed size out.
 *
 * It is read standing before a rack by somebody who cannot type at it: the first lines are who it is and where to reach it. Nothing of a stranger's is on it but
 * what `printable` let through.
 */
export type ScreenFacts = {
  readonly version: string;
  readonly name: string;
  readonly machine: string;
  readonly operator: string;
  /** `eth0 10.0.0.2/24` */
  readonly addresses: readonly string[];
  readonly api: string;
  readonly uptimeSeconds: number;
  readonly chain: { readonly height: number; readonly ageSeconds: number; readonly machines: number };
  readonly state: "up" | "down" | "unknown";
  readonly leases: { readonly count: number; readonly memoryMibUsed: number; readonly memoryMib: number; readonly cpuMillisUsed: number; readonly cpuMillis: number };
  readonly load: readonly number[];
  readonly memory: { readonly usedMib: number; readonly totalMib: number };
  /** The newest last. */
  readonly lines: readonly string[];
};
const LABEL_COLUMNS = 11;
/** Title, rule, eight facts, rule. */
const FIXED_ROWS = 11;

/** Exactly `rows` lines of exactly `columns` characters. */
export function statusScreen(facts: ScreenFacts, columns: number, rows: number): string[] {
  const fit = (text: string): string => text.slice(0, columns).padEnd(columns);
  const row = (label: string, text: string): string => fit(` ${label.padEnd(LABEL_COLUMNS - 1)}${text}`);
  const rule = fit("-".repeat(columns));
  const { chain, leases, memory } = facts;
  const title = ` ${facts.name}  godwit ${facts.version}`;
  const up = `up ${spanText(facts.uptimeSeconds)} `;
  const head = [
    fit(`${title.padEnd(Math.max(0, columns - up.length))}${up}`), rule,
    row("address", facts.addresses.join("   ") || "none yet"), row("api", facts.api), row("machine", `${facts.machine}  ${facts.state === "unknown" ? "not registered" : facts.state}`),
    row("operator", facts.operator), row("chain", `height ${chain.height}, ${spanText(chain.ageSeconds)} ago; ${chain.machines} machines are up`),
    row("leases", `${leases.count}; ${leases.memoryMibUsed} of ${leases.memoryMib} MiB, ${leases.cpuMillisUsed} of ${leases.cpuMillis} thousandths of a core`),
    row("load", facts.load.map((one) => one.toFixed(2)).join("  ")), row("memory", `${memory.usedMib} of ${memory.totalMib} MiB in use`), rule,
  ];
  const lines = facts.lines.slice(-Math.max(0, rows - FIXED_ROWS)).map((line) => fit(` ${line}`));
  return [...head, ...lines, ...Array.from({ length: rows }, () => fit(""))].slice(0, rows);
}

function spanText(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const [days, hours, minutes] = [Math.floor(whole / 86_400), Math.floor((whole % 86_400) / 3_600), Math.floor((whole % 3_600) / 60)];
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min` : `${whole} s`;
}
