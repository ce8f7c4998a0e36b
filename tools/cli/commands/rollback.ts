/** `godwit rollback`: takes the version back that is on its way, or rolls one out again that served before. */
import { type Digest, digest, fromHex } from "#chain/types.ts";
import type { Deployment, Version } from "../answers.ts";
import { updateOperation, waitForRollout } from "../bring.ts";
import { type Command, CliError, OPTIONS_ACCOUNT, OPTIONS_API } from "../command.ts";
import { WAIT_OPTIONS, revisionText, waitMs } from "../ready.ts";
import { deploymentAddress, findDeployment, openSession, send } from "../session.ts";
import { print } from "../table.ts";

const REVISION_MAX = 2 ** 31;
/** What served before is known to: it is promoted as soon as it is ready. */
const RULE = { weight: 1000, healthySeconds: 1, deadlineSeconds: 300, failuresMax: 2 } as const;

export const rollback: Command = {
  name: "rollback",
  summary: "Take back the version that is being rolled out, or go back to one that served before",
  usage: ["NAME|ID [--to REVISION]"],
  options: { ...OPTIONS_API, ...OPTIONS_ACCOUNT, ...WAIT_OPTIONS, to: { type: "string", value: "REVISION", summary: "which of the last eight; the newest when left out" } },
  arguments: [1, 1],
  async run(input, shell) {
    const timeoutMs = waitMs(input);
    const to = input.count("to", 1, REVISION_MAX);
    await using session = await openSession(input, shell);
    const deployment = await findDeployment(session.client, session.account.addressText, input.positionals[0] ?? "");
    const { id, name, rollout, history, revision } = deployment;
    const deploymentId = deploymentAddress(deployment);
    if (rollout !== null && to === undefined) {
      const done = await send(session, shell, [{ kind: "rollBack", deploymentId }], "rolling back");
      return print(shell, input.json, { id, name, revision, txid: done.txid, height: done.height }, () => `${name} is at revision ${revision}: revision ${rollout.revision} is taken back`);
    }
    const past = to === undefined ? history[0] : history.find((version) => version.revision === to);
    if (past === undefined) throw new CliError("revision_unknown", `Cannot roll ${name} back: ${to === undefined ? "no other version has served" : `revision ${to} is none of the last eight`}`, { id });
    const digests = { component: digestOf(past.component), configuration: past.configuration === null ? null : digestOf(past.configuration) };
    const ops = [...(rollout === null ? [] : [{ kind: "rollBack", deploymentId } as const]), updateOperation(deploymentId, digests, RULE)];
    const done = await send(session, shell, ops, "rolling back");
    const now = await waitForRollout(session, shell, id, timeoutMs);
    print(shell, input.json, { id, name, revision: now.revision, revisionNext: now.rollout?.revision ?? null, component: past.component, txid: done.txid, height: done.height }, () => goneBackText(past, now));
  },
};

/** Who did not wait is not told that it is done. */
export const goneBackText = (past: Pick<Version, "revision">, now: Pick<Deployment, "name" | "revision" | "rollout">): string => (now.rollout === null
  ? `${now.name} runs what was revision ${past.revision}, as revision ${now.revision}`
  : `${now.name} is at ${revisionText(now)}, which is what was revision ${past.revision}`);

const digestOf = (text: Version["component"]): Digest => digest(fromHex(text.slice("sha256:".length)));
