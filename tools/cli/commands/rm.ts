/** `godwit rm`: ends a deployment. Its streams end in this second; what is left of the deposit comes back with the last payment, a hold later. */
import { type Command, OPTIONS_ACCOUNT, OPTIONS_API } from "../command.ts";
import { tokensText } from "../money.ts";
import { deploymentAddress, findDeployment, openSession, send } from "../session.ts";
import { print } from "../table.ts";

export const rm: Command = {
  name: "rm",
  summary: "End a deployment and take the rest of its deposit back",
  usage: ["NAME|ID"],
  options: { ...OPTIONS_API, ...OPTIONS_ACCOUNT },
  arguments: [1, 1],
  async run(input, shell) {
    await using session = await openSession(input, shell);
    const { client, account } = session;
    const deployment = await findDeployment(client, account.addressText, input.positionals[0] ?? "");
    const done = await send(session, shell, [{ kind: "close", deploymentId: deploymentAddress(deployment) }], "closing");
    const [{ total, closed, balance: rest, refunded }, { balance }] = await Promise.all([client.bill(deployment.id), client.account(account.addressText)]);
    const back = closed ? `${tokensText(refunded)} came back` : `${tokensText(rest)} comes back when its last seconds are paid`;
    print(shell, input.json, { id: deployment.id, name: deployment.name, total, accountBalance: balance, txid: done.txid, height: done.height },
      () => `${deployment.name} is closed in block ${done.height}: it cost ${tokensText(total)}, and ${back}\nIts bill stays: godwit bill ${deployment.id}`);
  },
};
