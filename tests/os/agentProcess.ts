/**
 * An agent in a process of its own, for tests that kill it: `node agentProcess.ts DIRECTORY`. It prints one line of JSON when it is
 * up, and stops when its standard input ends.
 */
import { startDevelopment } from "#os/development.ts";

const agent = await startDevelopment({ directory: process.argv[2] ?? "", apiPort: 0, httpPort: 0, parameters: "minimal", onLog: (line) => process.stderr.write(`${line}\n`) });
process.stdout.write(`${JSON.stringify({ api: agent.api, apiPort: agent.apiPort, httpPort: agent.httpPort, runnerPid: agent.runnerPid(), bootId: agent.bootId })}\n`);
process.stdin.resume();
process.stdin.on("end", () => void agent.stop().then(() => process.exit(0)));
