/** The status screen, painted every two seconds from when the machine accepts work until it stops. */
import { freemem, hostname, loadavg, totalmem, uptime } from "node:os";
import { addressText } from "#chain/codec/address.ts";
import type { RunningAgent } from "../agent.ts";
import { messageOf } from "../error.ts";
import type { Screen } from "../linux/screen.ts";
import type { MachineLog } from "../machineControl.ts";
import { type ScreenFacts, statusScreen } from "../statusScreen.ts";
import type { Interface } from "./network.ts";

const PAINT_MS = 2_000;
/** Of a larger grid the screen tells the first thousand. */
const MACHINES_COUNTED_MAX = 1_000;
const MIB = 1024 * 1024;

export type StatusOptions = { readonly agent: RunningAgent; readonly screen: Screen; readonly log: MachineLog; readonly addresses: () => readonly Interface[]; readonly onFault: (line: string) => void };

export function showStatus(options: StatusOptions): { stop(): void } {
  const { screen, onFault } = options;
  const paint = (): void => {
    try {
      screen.paint(statusScreen(factsOf(options, screen.rows), screen.columns, screen.rows));
    } catch (error) {
      clearInterval(timer);
      onFault(`the status screen is not painted any more: ${messageOf(error)}`);
    }
  };
  const timer = setInterval(paint, PAINT_MS).unref();
  paint();
  return {
    stop: () => {
      clearInterval(timer);
      screen.stop();
    },
  };
}

function factsOf({ agent, log, addresses }: StatusOptions, rows: number): ScreenFacts {
  const { node, machine, operator, version } = agent;
  const view = node.view();
  const self = view.machine(machine);
  const head = node.head();
  const [first] = addresses();
  return {
    version, name: hostname(), machine: addressText(machine), operator: addressText(operator), addresses: addresses().map(({ name, address, prefix }) => `${name} ${address}/${prefix}`),
    api: `http://${first?.address ?? "…"}:${agent.apiPort}`, uptimeSeconds: uptime(), state: self?.state ?? "unknown",
    chain: { height: head.height, ageSeconds: Math.max(0, (Date.now() - Number(head.timeMs)) / 1000), machines: view.machines({ limit: MACHINES_COUNTED_MAX }).items.filter(({ state }) => state === "up").length },
    leases: { count: self?.leases ?? 0, memoryMibUsed: self?.memoryMibUsed ?? 0, memoryMib: self?.memoryMib ?? 0, cpuMillisUsed: self?.cpuMillisUsed ?? 0, cpuMillis: self?.cpuMillis ?? 0 },
    load: loadavg(), memory: { usedMib: Math.round((totalmem() - freemem()) / MIB), totalMib: Math.round(totalmem() / MIB) },
    lines: log.tail(rows).map(({ line }) => line),
  };
}
