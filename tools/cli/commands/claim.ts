/** `godwit claim`: pays an operator what running leases owe by now, ahead of their end. */
import { type Command, OPTIONS_ACCOUNT, OPTIONS_API, parseCount } from "../command.ts";
import { deploymentAddress, findDeployment, openSession, send } from "../session.ts";
import { print } from "../table.ts";

const INDEX_MAX = 255;

export const claim: Command = {
  name: "claim",
  summary: "Pay out what a running replica has earned so far",
  usage: ["NAME|ID REPLICA"],
  options: { ...OPTIONS_API, ...OPTIONS_ACCOUNT },
  arguments: [2, 2],
  async run(input, shell) {
    const [wanted = "", written = ""] = input.positionals;
    const index = parseCount("REPLICA", written, 0, INDEX_MAX);
    await using session = await openSession(input, shell);
    const deployment = await findDeployment(session.client, session.account.addressText, wanted);
    const done = await send(session, shell, [{ kind: "claim", deploymentId: deploymentAddress(deployment), index }], "claiming");
    print(shell, input.json, { id: deployment.id, index, txid: done.txid, height: done.height }, () => `Replica ${index} of ${deployment.name} is paid out in block ${done.height}`);
  },
};
