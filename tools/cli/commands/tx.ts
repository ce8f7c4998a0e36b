/** `godwit tx`: what became of a transaction. */
import { type Command, OPTIONS_API, UsageError } from "../command.ts";
import { refusalText } from "../refusals.ts";
import { openReader } from "../session.ts";
import { print } from "../table.ts";

export const tx: Command = {
  name: "tx",
  summary: "Show what became of a transaction",
  usage: ["TXID"],
  options: OPTIONS_API,
  arguments: [1, 1],
  async run(input, shell) {
    const [txid = ""] = input.positionals;
    if (!/^[0-9a-f]{64}$/.test(txid)) throw new UsageError(`A TXID is 64 hex digits, not "${txid}"`);
    await using client = await openReader(input, shell);
    const answer = await client.transaction(txid);
    print(shell, input.json, answer, () => `${answer.ok ? "applied" : `refused (${answer.code}: ${refusalText(answer.code ?? "")})`} in block ${answer.height}, place ${answer.index}`);
  },
};
