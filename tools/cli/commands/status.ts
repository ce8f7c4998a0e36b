/** `godwit status`: how a machine and its chain are. */
import type { ApiClient } from "../client.ts";
import type { Status } from "../answers.ts";
import { type Command, type Input, OPTIONS_API, type Shell } from "../command.ts";
import { openReader } from "../session.ts";
import { pairsText, print, warn } from "../table.ts";
import { OPTIONS_VERIFY, Verifier } from "../verified.ts";

export const status: Command = {
  name: "status",
  summary: "Show how a machine and its chain are",
  usage: ["[--verify [--chain ID] [--checkpoint TEXT]]"],
  options: { ...OPTIONS_API, ...OPTIONS_VERIFY },
  arguments: [0, 0],
  async run(input, shell) {
    await using client = await openReader(input, shell);
    const now = await client.status();
    const verified = input.flag("verify") ? await verify(client, input, shell, now.operator) : null;
    print(shell, input.json, { ...now, ...verified }, () => pairsText([
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
      ...(now.stateKept === null ? [] : [["state", `kept on disks of validators of weight ${now.stateKept.weight} of ${now.stateKept.weightAll}`]] as const),
      ["runner", `${now.runner.state}${now.runner.pid === null ? "" : `, process ${now.runner.pid}`}`],
      ...(verified === null ? [] : [["verified", `up to block ${verified.verifiedHeight}`], ["checkpoint", verified.checkpoint]] as const),
    ]));
    if (now.stateKept !== null) warnOfTooFewCopies(now.stateKept, shell);
  },
};

/** Where it is certain: who has not said may keep it. */
function warnOfTooFewCopies({ weight, weightKnown, weightMin, weightAll }: NonNullable<Status["stateKept"]>, shell: Shell): void {
  if (weight + (weightAll - weightKnown) >= weightMin) return;
  warn(shell, `too few validators keep the chain's state on a disk: weight ${weight} of ${weightAll}, and ${weightMin} is the least; were all switched off at once, the chain could be lost. Give more of them a disk`);
}

/** Any proof of now leads to the validators of now: the operator's account is one that there is. */
async function verify(client: ApiClient, input: Input, shell: Shell, operator: string): Promise<{ readonly verifiedHeight: number; readonly checkpoint: string }> {
  const verifier = await Verifier.open(client, input, shell);
  await verifier.account(operator, shell.nowMs());
  await verifier.keep();
  return { verifiedHeight: verifier.height, checkpoint: verifier.checkpoint };
}
