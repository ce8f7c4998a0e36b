/** `godwit move`: another machine takes a replica over; the one that has it serves until that is ready. */
import { type Command, CliError, OPTIONS_ACCOUNT, OPTIONS_API, parseCount } from "../command.ts";
import { pause } from "../pause.ts";
import { WAIT_OPTIONS, waitMs } from "../ready.ts";
import { deploymentAddress, findDeployment, openSession, send } from "../session.ts";
import { print, withProgress } from "../table.ts";

const INDEX_MAX = 511;
const POLL_INTERVAL_MS = 100;

export const move: Command = {
  name: "move",
  summary: "Move a replica to another machine, without a pause",
  usage: ["NAME|ID REPLICA"],
  options: { ...OPTIONS_API, ...OPTIONS_ACCOUNT, ...WAIT_OPTIONS },
  arguments: [2, 2],
  async run(input, shell) {
    const [wanted = "", written = ""] = input.positionals;
    const index = parseCount("REPLICA", written, 0, INDEX_MAX);
    const timeoutMs = waitMs(input);
    await using session = await openSession(input, shell);
    const { client } = session;
    const deployment = await findDeployment(client, session.account.addressText, wanted);
    const others = (await client.allMachines()).filter(({ id, state, draining }) => state === "up" && !draining && deployment.leases.every((lease) => lease.index !== index || lease.machine !== id));
    if (others.length === 0) throw new CliError("no_other_machine", `Cannot move replica ${index} of ${deployment.name}: no other machine is up (godwit status)`, { id: deployment.id });
    const done = await send(session, shell, [{ kind: "move", deploymentId: deploymentAddress(deployment), index }], "moving");
    const watch = async (): Promise<string | null> => {
      for (const endMs = performance.now() + timeoutMs; ;) {
        const lease = (await client.deployment(deployment.id)).leases.find((one) => one.index === index);
        if (lease?.state !== "moving" || timeoutMs === 0) return lease?.machine ?? null;
        if (performance.now() > endMs) throw new CliError("not_moved", `Replica ${index} of ${deployment.name} has not moved after ${timeoutMs / 1000} s: ${lease.next === null ? "no other machine takes it" : `${lease.next} is not ready`} (godwit ps --why ${deployment.name})`, { id: deployment.id });
        await pause(POLL_INTERVAL_MS, shell.signal);
      }
    };
    const machine = await withProgress(shell, "waiting for the other machine", watch());
    print(shell, input.json, { id: deployment.id, name: deployment.name, index, machine, txid: done.txid, height: done.height }, () => `replica ${index} of ${deployment.name} is on ${machine ?? "no machine"}`);
  },
};
