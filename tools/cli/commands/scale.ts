/** `godwit scale`: how many replicas run. */
import { type Command, OPTIONS_ACCOUNT, OPTIONS_API, UsageError, parseCount } from "../command.ts";
import { deploymentAddress, findDeployment, openSession, send } from "../session.ts";
import { print } from "../table.ts";
import { WAIT_OPTIONS, waitForReplicas, waitMs } from "../ready.ts";

const REPLICAS_MAX = 256;

export const scale: Command = {
  name: "scale",
  summary: "Change how many replicas run",
  usage: ["NAME|ID REPLICAS"],
  options: { ...OPTIONS_API, ...OPTIONS_ACCOUNT, ...WAIT_OPTIONS },
  arguments: [2, 2],
  async run(input, shell) {
    const [wanted = "", written = ""] = input.positionals;
    const replicas = parseCount("REPLICAS", written, 0, REPLICAS_MAX);
    if (replicas === 0) throw new UsageError("REPLICAS must be at least 1: godwit rm ends a deployment");
    const timeoutMs = waitMs(input);
    await using session = await openSession(input, shell);
    const deployment = await findDeployment(session.client, session.account.addressText, wanted);
    const done = await send(session, shell, [{ kind: "scale", deploymentId: deploymentAddress(deployment), replicas }], "scaling");
    await waitForReplicas(session.client, deployment.id, shell, timeoutMs);
    print(shell, input.json, { id: deployment.id, name: deployment.name, replicas, txid: done.txid, height: done.height }, () => `${deployment.name} has ${replicas} ${replicas === 1 ? "replica" : "replicas"}`);
  },
};
