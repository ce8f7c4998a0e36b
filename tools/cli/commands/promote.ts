/** `godwit promote`: ends the wait for health. A canary gets all its replicas; what has them serves alone. */
import { type Command, OPTIONS_ACCOUNT, OPTIONS_API } from "../command.ts";
import { deploymentAddress, findDeployment, openSession, send } from "../session.ts";
import { print } from "../table.ts";

export const promote: Command = {
  name: "promote",
  summary: "Let the version that is being rolled out go on without waiting",
  usage: ["NAME|ID"],
  options: { ...OPTIONS_API, ...OPTIONS_ACCOUNT },
  arguments: [1, 1],
  async run(input, shell) {
    await using session = await openSession(input, shell);
    const deployment = await findDeployment(session.client, session.account.addressText, input.positionals[0] ?? "");
    const done = await send(session, shell, [{ kind: "promote", deploymentId: deploymentAddress(deployment) }], "promoting");
    const { id, name, revision, rollout } = await session.client.deployment(deployment.id);
    print(shell, input.json, { id, name, revision, rollout, txid: done.txid, height: done.height },
      () => rollout === null ? `${name} is at revision ${revision}` : `revision ${rollout.revision} of ${name} gets ${rollout.replicas} replicas`);
  },
};
