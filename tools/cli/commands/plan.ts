/** `godwit plan`: what `godwit deploy` would do, where and at which price, and what cannot be met; spends nothing and sends nothing. */
import { type Command, OPTIONS_ACCOUNT, OPTIONS_API } from "../command.ts";
import { ENVIRONMENT_OPTION, appPlanText, buildApp, loadApp, planApp } from "../app.ts";
import { loadComponent } from "../component.ts";
import { makePlan, planText } from "../plan.ts";
import { openSession } from "../session.ts";
import { print, warn } from "../table.ts";
import { DEPLOY_OPTIONS, SINGLE_OPTIONS, wantedOf } from "./deploy.ts";

export const plan: Command = {
  name: "plan",
  summary: "Show what deploy would change, where it would run and what it would cost; nothing is spent",
  usage: ["[DIR] [--env NAME]", "FILE [--manifest FILE]"],
  options: { ...OPTIONS_API, ...OPTIONS_ACCOUNT, ...DEPLOY_OPTIONS, ...ENVIRONMENT_OPTION },
  arguments: [0, 1],
  details: "Rates are those that machines ask now. Exit code 1 when something of it cannot be met.",
  async run(input, shell) {
    const path = input.positionals[0] ?? ".";
    const app = await loadApp(input, shell, path, SINGLE_OPTIONS);
    if (app !== null) {
      const built = await buildApp(app, path, shell);
      await using session = await openSession(input, shell);
      const planned = await planApp(session, app, built);
      print(shell, input.json, { ...planned, members: planned.members.map((member) => ({ ...member, forecast: { ...member.forecast, obstacles: Object.fromEntries(member.forecast.obstacles) } })) }, () => appPlanText(shell, planned));
      return planned.problems.length === 0 ? 0 : 1;
    }
    const wanted = await wantedOf(input, shell, path);
    const { component, digest, build } = await loadComponent(path, shell);
    for (const warning of build?.warnings ?? []) warn(shell, `${warning.file}:${warning.line}:${warning.column}: ${warning.message}`);
    await using session = await openSession(input, shell);
    const planned = await makePlan(session, wanted, digest);
    const { placed, unplaced, obstacles, cheapest } = planned.forecast;
    print(shell, input.json, { ...planned, bytes: component.length, forecast: { placed, unplaced, obstacles: Object.fromEntries(obstacles), cheapest } }, () => planText(shell, planned));
    return planned.problems.length === 0 ? 0 : 1;
  },
};
