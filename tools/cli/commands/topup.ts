/** `godwit topup`: more money into the escrow of a deployment; anybody's may be topped up. */
import { type Command, OPTIONS_ACCOUNT, OPTIONS_API, UsageError } from "../command.ts";
import { parseTokens, tokensText } from "../money.ts";
import { deploymentAddress, findDeployment, openSession, send } from "../session.ts";
import { print } from "../table.ts";
import { runwayPhrase } from "./bill.ts";

export const topup: Command = {
  name: "topup",
  summary: "Pay more into the escrow of a deployment",
  usage: ["NAME|ID TOKENS"],
  options: { ...OPTIONS_API, ...OPTIONS_ACCOUNT },
  arguments: [2, 2],
  async run(input, shell) {
    const [wanted = "", written = ""] = input.positionals;
    const amount = parseTokens("TOKENS", written);
    if (amount === 0n) throw new UsageError("TOKENS must be more than 0");
    await using session = await openSession(input, shell);
    const deployment = await findDeployment(session.client, session.account.addressText, wanted);
    const done = await send(session, shell, [{ kind: "topUp", deploymentId: deploymentAddress(deployment), amount }], "paying");
    const now = await session.client.bill(deployment.id);
    print(shell, input.json, { id: deployment.id, name: deployment.name, amount, balance: now.balance, runwaySeconds: now.runwaySeconds, txid: done.txid, height: done.height },
      () => `${tokensText(amount)} paid into ${deployment.name}: escrow ${tokensText(now.balance)}, ${runwayPhrase(now)}`);
  },
};
