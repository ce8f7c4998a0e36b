/**
 * This machine takes another key while it runs: `godwit machine rekey`. It makes the next key and proves that it has it; the operator's transaction retires the machine
 * under the old key and registers it under the next one, both or neither; and when that is final the machine puts the next key where the old one is kept (machineKey.ts)
 * and starts its agent anew as the one that it is now.
 *
 * Rules: a command that is repeated finds the same next key; the ledger says when it is taken and nobody else; the old key is written over, in memory and where it is kept.
 */
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { signMachineProof } from "#chain/codec/transaction.ts";
import type { ChainNode } from "#chain/node/chainNode.ts";
import { hex } from "#chain/types.ts";
import { AgentError, codeOf, messageOf } from "../error.ts";
import { type KeyPair, openKey, writeWhole } from "../keys.ts";
import { replaceMachineKey } from "./machineKey.ts";

/** Beside `machine`, and carried over an upgrade as that is. */
const NEXT = "next";

export type KeyChangeOptions = {
  readonly keysFolder: string;
  readonly onLine: (line: string) => void;
  /** The next key is this machine's: its agent has to begin anew. */
  readonly onTaken: () => void;
  /** Where the key is kept besides; tests give another. */
  readonly replace?: (before: Uint8Array, next: Uint8Array) => Promise<string>;
};
type Chain = { readonly node: Pick<ChainNode, "chainId" | "view" | "onFinal">; readonly machine: KeyPair };

export class KeyChange {
  readonly #options: KeyChangeOptions;
  #chain: Chain | null = null;
  #next: KeyPair | null = null;
  #isTaking = false;

  constructor(options: KeyChangeOptions) {
    this.#options = options;
  }

  /** From now on, until it is taken. One that was made before a crash of the agent goes on. */
  async follow(chain: Chain): Promise<() => void> {
    this.#chain = chain;
    const file = join(this.#options.keysFolder, NEXT);
    if (existsSync(file)) this.#next = await openKey(file);
    this.#look();
    return chain.node.onFinal(() => this.#look());
  }

  /** What the operator's transaction needs. Throws `machine_unknown` where the ledger has no such machine. */
  async prepare(): Promise<{ readonly machineKey: string; readonly proof: string }> {
    const known = this.#chain?.node.view().machine(this.#chain.machine.address) ?? null;
    if (this.#chain === null || known === null) throw new AgentError("machine_unknown", "Cannot change the key of this machine as it is not registered yet");
    this.#next ??= await openKey(join(this.#options.keysFolder, NEXT));
    const { machineKey, proof } = signMachineProof(this.#next.seed, this.#chain.node.chainId, known.operator);
    return { machineKey: hex(machineKey), proof: hex(proof) };
  }

  #look(): void {
    const [chain, next] = [this.#chain, this.#next];
    if (chain === null || next === null || this.#isTaking) return;
    const view = chain.node.view();
    if (view.machine(next.address) === null || view.machine(chain.machine.address) !== null) return;
    this.#isTaking = true;
    this.#take(chain.machine, next).catch((error: unknown) => {
      this.#isTaking = false;
      this.#options.onLine(`FAILED ${codeOf(error)}: ${messageOf(error)}`);
    });
  }

  /** First where it outlives the power: a machine that ends in between comes back as what it is to the ledger. */
  async #take(before: KeyPair, next: KeyPair): Promise<void> {
    const { keysFolder, onLine, onTaken, replace = replaceMachineKey } = this.#options;
    const where = await replace(before.seed, next.seed);
    await writeWhole(join(keysFolder, "machine"), new TextEncoder().encode(`${hex(next.seed)}\n`));
    await rm(join(keysFolder, NEXT), { force: true });
    onLine(`this machine has another key now, ${where}`);
    onTaken();
  }
}
