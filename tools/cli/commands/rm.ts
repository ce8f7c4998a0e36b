/** `godwit rm`: ends a deployment. Its streams end in this second; what is left of the deposit comes back with the last payment, a hold later. */
import { ENVIRONMENT_OPTION, loadApp, refuseNeeded, removeApp } from "../app.ts";
import { type Command, CliError, type Input, OPTIONS_ACCOUNT, OPTIONS_API, type Shell, UsageError } from "../command.ts";
import { tokensText } from "../money.ts";
import { deploymentAddress, findDeployment, openSession, send } from "../session.ts";
import { print } from "../table.ts";

export const rm: Command = {
  name: "rm",
  summary: "End a deployment and take the rest of its deposit back",
  usage: ["NAME|ID", "--app [DIR] [--env NAME]"],
  options: { ...OPTIONS_API, ...OPTIONS_ACCOUNT, app: { type: "boolean", summary: "end all of the app in DIR, those that need others first" }, ...ENVIRONMENT_OPTION },
  arguments: [0, 1],
  details: "In the folder of an app, what another of its workloads needs while it runs is not removed.",
  async run(input, shell) {
    if (input.flag("app")) return removeAll(input, shell);
    if (input.text("env") !== undefined) throw new UsageError("--env goes with --app");
    const [wanted] = input.positionals;
    if (wanted === undefined) throw new UsageError("rm needs one argument, got 0");
    await using session = await openSession(input, shell);
    const { client, account } = session;
    const deployment = await findDeployment(client, account.addressText, wanted);
    await refuseNeeded(session, shell, deployment);
    const done = await send(session, shell, [{ kind: "close", deploymentId: deploymentAddress(deployment) }], "closing");
    const [{ total, closed, balance: rest, refunded }, { balance }] = await Promise.all([client.bill(deployment.id), client.account(account.addressText)]);
    const back = closed ? `${tokensText(refunded)} came back` : `${tokensText(rest)} comes back when its last seconds are paid`;
    print(shell, input.json, { id: deployment.id, name: deployment.name, total, accountBalance: balance, txid: done.txid, height: done.height },
      () => `${deployment.name} is closed in block ${done.height}: it cost ${tokensText(total)}, and ${back}\nIts bill stays: godwit bill ${deployment.id}`);
  },
};

async function removeAll(input: Input, shell: Shell): Promise<void> {
  const folder = input.positionals[0] ?? ".";
  const app = await loadApp(input, shell, folder);
  if (app === null) throw new CliError("app_missing", `Cannot remove the app of ${folder}: its godwit.toml describes none`);
  await using session = await openSession(input, shell);
  const removed = await removeApp(session, shell, app);
  print(shell, input.json, { app: app.name, environment: app.environment, removed: removed.map(({ name, id, done: { txid, height } }) => ({ name, id, txid, height })) },
    () => (removed.length === 0 ? `Nothing of ${app.name} runs` : removed.map(({ name, id, done: { height } }) => `${name} is closed in block ${height}; its bill stays: godwit bill ${id}`).join("\n")));
}
