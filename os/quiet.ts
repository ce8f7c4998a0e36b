/**
 * What a lease leaves behind when it has moved to another machine: its copy here answers those that do not know yet, until nobody has asked
 * for LEAVING_QUIET_MS. Then this machine says so (`left`), the ledger gives its capacity free, and the copy ends. If it never gets quiet the
 * ledger ends it after drainSecondsMax.
 */
import type { Operation } from "#chain/codec/transaction.ts";
import type { LeaseView, LedgerView } from "#chain/ledger/view.ts";
import { type Address, type Hex, hex } from "#chain/types.ts";
import type { Usage } from "#sandbox/sandbox.ts";
import { LEAVING_LOOK_MS, LEAVING_QUIET_MS, RETRY_MS_MAX } from "./limits.ts";
import { besideOf } from "./supervisor/plan.ts";

export type QuietOptions = {
  readonly view: () => Pick<LedgerView, "leasesOfMachine">;
  readonly machine: Address;
  readonly usage: () => Promise<Readonly<Record<string, Pick<Usage, "requests" | "running" | "waiting">>>>;
  readonly submit: (operation: Operation) => Promise<void>;
  readonly nowMs?: () => number;
};
type Seen = { requests: number; sinceMs: number };

export class QuietLeases {
  readonly #options: QuietOptions;
  readonly #nowMs: () => number;
  /** By deployment. */
  readonly #seen = new Map<Hex, Seen>();
  /** By lease: when it may be said again. */
  readonly #said = new Map<string, number>();
  #timer: NodeJS.Timeout | null = null;
  #isStopped = false;

  constructor(options: QuietOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? ((): number => performance.now());
  }

  /** After a block. */
  onFinal(): void {
    if (this.#timer === null && !this.#isStopped && this.#leaving().length > 0) this.#timer = setTimeout(() => void this.look(), LEAVING_LOOK_MS);
  }
  stop(): void {
    this.#isStopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #leaving(): readonly LeaseView[] {
    const { view, machine } = this.#options;
    return view().leasesOfMachine(machine).filter(({ state }) => state === "leaving");
  }

  async look(): Promise<void> {
    this.#timer = null;
    const usage = await this.#options.usage().catch(() => null);
    const leaving = this.#leaving();
    // One that is gone says nothing of the next that goes, of the same deployment.
    const [ids, names] = [new Set(leaving.map(({ deploymentId }) => hex(deploymentId))), new Set(leaving.map(nameOf))];
    for (const id of this.#seen.keys()) if (!ids.has(id)) this.#seen.delete(id);
    for (const name of this.#said.keys()) if (!names.has(name)) this.#said.delete(name);
    if (usage !== null && !this.#isStopped) for (const lease of leaving) this.#judge(lease, usage);
    this.onFinal();
  }

  #judge(lease: LeaseView, usage: Awaited<ReturnType<QuietOptions["usage"]>>): void {
    const { deploymentId, index } = lease;
    const { view, machine, submit } = this.#options;
    const id = hex(deploymentId);
    const nowMs = this.#nowMs();
    const here = [usage[id], usage[besideOf(id)]].filter((one) => one !== undefined);
    const requests = here.reduce((sum, one) => sum + one.requests, 0);
    const isBusy = here.some((one) => one.running + one.waiting > 0);
    const seen = this.#seen.get(id);
    if (seen === undefined || seen.requests !== requests || isBusy) this.#seen.set(id, { requests, sinceMs: nowMs });
    // Where another replica of it stays, its requests are that one's.
    const stays = view().leasesOfMachine(machine).some((other) => other.state !== "leaving" && hex(other.deploymentId) === id);
    if (!stays && nowMs - this.#seen.get(id)!.sinceMs < LEAVING_QUIET_MS) return;
    const name = nameOf(lease);
    if ((this.#said.get(name) ?? -Infinity) > nowMs) return;
    this.#said.set(name, nowMs + RETRY_MS_MAX);
    // Where it is not taken the ledger's own time ends it.
    submit({ kind: "left", deploymentId, index }).catch(() => {});
  }
}

const nameOf = ({ deploymentId, index }: Pick<LeaseView, "deploymentId" | "index">): string => `${hex(deploymentId)}/${index}`;
