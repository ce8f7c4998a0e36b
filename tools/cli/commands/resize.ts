/** `godwit resize`: how much memory and CPU each replica has. The bill gets a new segment at the new rate in the same second. */
import { type Command, OPTIONS_ACCOUNT, OPTIONS_API, UsageError } from "../command.ts";
import { deploymentAddress, findDeployment, openSession, send } from "../session.ts";
import { print } from "../table.ts";
import { WAIT_OPTIONS, waitForReplicas, waitMs } from "../ready.ts";

const MEMORY_MIB_MAX = 1_048_576;
const CPU_MILLIS_MAX = 1_024_000;

export const resize: Command = {
  name: "resize",
  summary: "Change how much memory and CPU each replica has",
  usage: ["NAME|ID [--memory MIB] [--cpu MILLIS]"],
  options: {
    ...OPTIONS_API, ...OPTIONS_ACCOUNT, ...WAIT_OPTIONS,
    memory: { type: "string", value: "MIB", summary: "memory of a replica, all its instances together" },
    cpu: { type: "string", value: "MILLIS", summary: "CPU share of a replica in thousandths of a core" },
  },
  arguments: [1, 1],
  async run(input, shell) {
    const memory = input.count("memory", 1, MEMORY_MIB_MAX);
    const cpu = input.count("cpu", 1, CPU_MILLIS_MAX);
    if (memory === undefined && cpu === undefined) throw new UsageError("resize needs --memory, --cpu or both");
    const timeoutMs = waitMs(input);
    await using session = await openSession(input, shell);
    const deployment = await findDeployment(session.client, session.account.addressText, input.positionals[0] ?? "");
    const memoryMib = memory ?? deployment.memoryMib;
    const cpuMillis = cpu ?? deployment.cpuMillis;
    const done = await send(session, shell, [{ kind: "resize", deploymentId: deploymentAddress(deployment), memoryMib, cpuMillis }], "resizing");
    await waitForReplicas(session.client, deployment.id, shell, timeoutMs);
    print(shell, input.json, { id: deployment.id, name: deployment.name, memoryMib, cpuMillis, txid: done.txid, height: done.height },
      () => `${deployment.name} has ${memoryMib} MiB and ${cpuMillis} thousandths of a core a replica`);
  },
};
