/** `godwit status`: how a machine and its chain are. */
import { type Command, OPTIONS_API } from "../command.ts";
import { openReader } from "../session.ts";
import { pairsText, print } from "../table.ts";

export const status: Command = {
  name: "status",
  summary: "Show how a machine and its chain are",
  usage: [""],
  options: OPTIONS_API,
  arguments: [0, 0],
  async run(input, shell) {
    await using client = await openReader(input, shell);
    const now = await client.status();
    print(shell, input.json, now, () => pairsText([
      ["machine", now.machine],
      ["operator", now.operator],
      ["version", now.version],
      ["api", client.url],
      ["http", `port ${now.httpPort}, zone ${now.zone}`],
      ["chain", now.chainId],
      ["height", String(now.head.height)],
      ["block", now.head.id],
      ["block time", new Date(Number(now.head.timeMs)).toISOString()],
      ["money second", String(now.head.moneySecond)],
      ["runner", `${now.runner.state}${now.runner.pid === null ? "" : `, process ${now.runner.pid}`}`],
    ]));
  },
};
