/** `godwit chain`: what an operator does with a chain's folder while no machine runs on it. */
import { resolve } from "node:path";
import { hex } from "#chain/types.ts";
import { type Command, UsageError } from "../command.ts";
import { pairsText, print, withProgress } from "../table.ts";

export const chain: Command = {
  name: "chain",
  summary: "Check the chain in a data folder",
  usage: ["replay DIR"],
  options: {},
  arguments: [1, 2],
  details: "replay executes every block again from genesis and compares each state root with the one that was signed.",
  async run(input, shell) {
    const [verb = "", folder] = input.positionals;
    if (verb !== "replay") throw new UsageError(`chain does not know "${verb}": replay`);
    if (folder === undefined) throw new UsageError("chain replay needs a DIR");
    const { replay } = await import("#chain/node/replay.ts");
    const { height, id, stateRoot, transactions } = await withProgress(shell, "replaying", replay(resolve(shell.currentDirectory, folder)));
    print(shell, input.json, { height, id: hex(id), stateRoot: hex(stateRoot), transactions }, () => pairsText([
      ["height", String(height)], ["block", hex(id)], ["state root", hex(stateRoot)], ["transactions", String(transactions)], ["verdict", "every signature holds and every state root is as it was signed"],
    ]));
  },
};
