/**
 * Counters of the machine for Prometheus, in a registry of its own so that two agents in one process do not add up. They tell how much tenants use
 * and what the door refuses, so they are on a listener of the operator's (design 7), and never among the routes that everybody reaches.
 */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Context } from "./context.ts";
import type { Route } from "./route.ts";

export type Metrics = {
  readonly onAnswer: (route: string, status: number, elapsedMs: number) => void;
  readonly route: (context: Context) => Route;
};
const SECONDS_BUCKETS = [0.001, 0.005, 0.02, 0.1, 0.5, 2];

export function createMetrics(): Metrics {
  const registers = [new Registry()];
  const registry = registers[0] as Registry;
  const answers = new Counter({ name: "godwit_api_answers_total", help: "Answers of the HTTP API", labelNames: ["route", "status"], registers });
  const seconds = new Histogram({ name: "godwit_api_answer_seconds", help: "Time to answer", labelNames: ["route"], buckets: SECONDS_BUCKETS, registers });
  const gauge = (name: string, help: string): Gauge => new Gauge({ name, help, registers });
  const gauges = {
    height: gauge("godwit_chain_height", "Height of the newest final block"),
    moneySecond: gauge("godwit_chain_money_second", "Money time of the newest final block"),
    routes: gauge("godwit_runner_routes", "Deployments that the runner holds"),
    requests: gauge("godwit_runner_requests_total", "Requests served by the runner, all deployments"),
    errors: gauge("godwit_runner_errors_total", "Requests that ended in a trap or a limit"),
    cpuSeconds: gauge("godwit_runner_cpu_seconds_total", "CPU time of tenants"),
    memoryBytes: gauge("godwit_runner_memory_bytes", "Memory of tenants now"),
    residentBytes: gauge("godwit_agent_resident_bytes", "Resident memory of the agent"),
  };
  const hops = new Gauge({ name: "godwit_hops_total", help: "Requests passed on to other machines and taken from them, since the runner started, and what was refused", labelNames: ["what"], registers });
  let collecting: Promise<void> | null = null;
  /** The runner is asked once at a time, however many look. */
  const collect = (context: Context): Promise<void> => (collecting ??= look(context).finally(() => (collecting = null)));
  const look = async (context: Context): Promise<void> => {
    const head = context.node.head();
    gauges.height.set(head.height);
    gauges.moneySecond.set(Number(head.moneySecond));
    gauges.routes.set(context.routeCount());
    gauges.residentBytes.set(process.memoryUsage.rss());
    const sums = { requests: 0, errors: 0, cpuNs: 0, memoryBytes: 0 };
    for (const usage of Object.values(await context.runner.usage().catch(() => ({})))) {
      for (const name of Object.keys(sums) as (keyof typeof sums)[]) sums[name] += usage[name];
    }
    const counts = await context.runner.elsewhere?.counts().catch(() => null);
    for (const [what, count] of Object.entries(counts ?? {})) hops.set({ what }, count);
    gauges.requests.set(sums.requests);
    gauges.errors.set(sums.errors);
    gauges.cpuSeconds.set(sums.cpuNs / 1e9);
    gauges.memoryBytes.set(sums.memoryBytes);
  };
  return {
    onAnswer: (route, status, elapsedMs) => {
      answers.inc({ route, status });
      seconds.observe({ route }, elapsedMs / 1000);
    },
    route: (context) => ({
      id: "getMetrics", method: "GET", path: "/metrics", auth: "none", summary: "Counters for Prometheus",
      answers: { 200: { description: "Text exposition", types: [registry.contentType] } },
      run: async () => {
        await collect(context);
        return { kind: "text", status: 200, type: registry.contentType, text: await registry.metrics() };
      },
    }),
  };
}
