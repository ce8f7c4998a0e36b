/** What the routes see of the machine: the parts they read from and hand things to. */
import type { ChainNode } from "#chain/node/node.ts";
import { type Address, type Hex, fromHex, address as brand } from "#chain/types.ts";
import type { Inspection, Runner } from "#sandbox/sandbox.ts";
import type { BlobStore } from "../blobs.ts";
import type { HeldImage } from "../boot/carried.ts";
import type { Exchange } from "../exchange.ts";
import type { LogRelay } from "../logRelay.ts";
import type { LogStore } from "../logs.ts";
import type { MachineControl, MachineLog } from "../machineControl.ts";
import { refuseWith } from "./problems.ts";

export type Context = {
  readonly version: string;
  readonly node: ChainNode;
  readonly machine: Address;
  readonly operator: Address;
  readonly bootId: Hex;
  /** The domain under which this grid names its hosts. */
  readonly zone: string;
  readonly apiPort: number;
  readonly httpPort: number;
  readonly blobs: BlobStore;
  readonly logs: LogStore;
  /** The lines that other machines have. */
  readonly logRelay: Pick<LogRelay, "lines" | "follow" | "holders">;
  /** Who keeps a blob that a deployment names, and has it by now. */
  readonly copiesOf: Exchange["copiesOf"];
  readonly runner: Pick<Runner, "pid" | "usage" | "elsewhere">;
  /** Throws what is wrong with a component. */
  readonly inspect: (component: Uint8Array) => Promise<Inspection>;
  /** Deployments that the runner holds. */
  readonly routeCount: () => number;
  readonly now: () => number;
  /** Left out: this machine is an ordinary process. */
  readonly control?: MachineControl;
  readonly machineLog?: MachineLog;
  /** What other machines can be upgraded from. */
  readonly image?: HeldImage | null;
};

/** The owner of a deployment, of a closed one too as long as the ledger knows its bill. */
function ownerOf(context: Pick<Context, "node">, id: string): Address {
  const view = context.node.view();
  const deploymentId = brand(fromHex(id));
  return view.deployment(deploymentId)?.owner ?? view.bill(deploymentId, view.moneySecond)?.owner ?? deploymentUnknown(id);
}

export function checkOwner(context: Pick<Context, "node">, id: string, sender: Address): void {
  if (Buffer.compare(ownerOf(context, id), sender) !== 0) refuseWith("not_owner", `Cannot show this of deployment ${id} to anybody but its owner`);
}

export const deploymentUnknown = (id: string): never => refuseWith("deployment_unknown", `Cannot find deployment ${id} in the ledger`);
