/**
 * The machine itself, to its operator: how it is, what it said, and the commands that end or change it. Signed by the operator's account
 * for a minute at most: by a key with the scope `machine` to read, by one with the scope `account` to command. The boot server's key has `machine`.
 */
import { readFile } from "node:fs/promises";
import { freemem, loadavg, networkInterfaces, release, totalmem, uptime } from "node:os";
import { addressText } from "#chain/codec/address.ts";
import { IMAGE_PARTS, type ImagePartName } from "../boot/carried.ts";
import { COMMAND_BODY_BYTES_MAX, COMMAND_DELAY_MS, COMMAND_LIFETIME_MS_MAX, IMAGE_FETCH_MS_MAX, IMAGE_READERS_MAX, MACHINE_LINES_MAX, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX } from "../limits.ts";
import { CommandGate, type CommandRefusal, parseCommand } from "../machineControl.ts";
import type { Context } from "./context.ts";
import { refuseWith } from "./problems.ts";
import { type Json, type Route, json } from "./route.ts";
import { ref } from "./schemas.ts";
import { Seats } from "./seats.ts";

const REFUSALS: Readonly<Record<CommandRefusal, string>> = {
  wrong_boot: "Cannot carry the command out as it is for another boot of this machine: it has started again since",
  counter_used: "Cannot carry the command out as its counter is not above the last one's",
  upgrade_under_way: "Cannot upgrade as an upgrade is under way: the machine says in its log how it ends",
};

type Self = Pick<Context, "machine" | "operator" | "bootId" | "version" | "control" | "machineLog" | "image">;

export function machineRoutes(context: Self): Route[] {
  const gate = new CommandGate(context.bootId);
  const shared = { auth: "operator", lifetimeMsMax: COMMAND_LIFETIME_MS_MAX } as const;
  return [
    {
      ...shared, id: "getMachine", method: "GET", path: "/v1/machine", summary: "How this machine is, to its operator",
      answers: { 200: { description: "The machine", types: ["application/json"], schema: ref("MachineSelf") } }, run: async () => json(await selfJson(context, gate.counter)),
    },
    {
      ...shared, id: "getMachineLog", method: "GET", path: "/v1/machine/log", summary: "What this machine said of itself, to its operator",
      query: {
        after: { type: "integer", minimum: 0, description: "Lines after this sequence number; `tail` is ignored." }, tail: { type: "integer", minimum: 0, maximum: MACHINE_LINES_MAX },
        limit: { type: "integer", minimum: 1, maximum: PAGE_ROWS_MAX, default: PAGE_ROWS_DEFAULT },
      },
      answers: { 200: { description: "Lines, the oldest first", types: ["application/json"], schema: ref("MachineLines") } },
      run: ({ query }) => {
        const after = query["after"] as number | undefined;
        const lines = (after === undefined ? context.machineLog?.tail((query["tail"] as number | undefined) ?? PAGE_ROWS_DEFAULT) : context.machineLog?.after(after, query["limit"] as number)) ?? [];
        return json({ lines: [...lines] });
      },
    },
    imageRoute(context),
    {
      ...shared, scope: "account", id: "postMachineCommand", method: "POST", path: "/v1/machine/commands", summary: "Have this machine reboot, power off, be wiped, or change to another image or key, as its operator",
      body: { type: "application/json", bytesMax: COMMAND_BODY_BYTES_MAX },
      answers: { 202: { description: "It begins now", types: ["application/json"], schema: { type: "object" } } },
      run: async ({ body }) => {
        const command = parseCommand(body) ?? refuseWith("body_invalid", "Cannot read the command: {command, bootId, counter} and for an upgrade {image}");
        const control = context.control ?? refuseWith("not_an_image", "Cannot carry the command out as this machine is an ordinary process of a computer that is not ours to end");
        if (!control.commands.includes(command.command)) refuseWith("command_missing", `Cannot ${command.command} as this machine's image does not know how`);
        const refusal = gate.admit(command) ?? control.reserve?.(command) ?? null;
        if (refusal !== null) return refuseWith(refusal, REFUSALS[refusal]);
        const told = await control.prepare?.(command);
        setTimeout(() => control.carryOut(command), COMMAND_DELAY_MS);
        return json({ accepted: command.command, ...told }, 202);
      },
    },
  ];
}

/** Public: what it gives is signed, and whoever takes it checks. */
function imageRoute({ image }: Self): Route {
  const seats = new Seats(IMAGE_READERS_MAX, 1);
  return {
    id: "getImage", method: "GET", path: "/v1/image/{part}", auth: "none", summary: "A part of the image that this machine was upgraded to, for another machine's upgrade: `godwit machine upgrade http://MACHINE:7480/v1/image`",
    parameters: { part: { type: "string", enum: [...IMAGE_PARTS] } }, answers: { 200: { description: "Its bytes", types: ["application/octet-stream"] } },
    run: ({ parameters, client, signal }) => {
      const part = parameters["part"] as ImagePartName;
      const held = image ?? refuseWith("image_unknown", "Cannot give the image as this machine was not started by an upgrade and has not got all of it");
      // Who has one takes no other's: an upgrade takes the parts one after the other, and is not to be cut off by the next.
      const giveBack = seats.take(client, null) ?? refuseWith("busy", `Cannot give the image to more than ${IMAGE_READERS_MAX} at once, one part to each`);
      signal.addEventListener("abort", giveBack, { once: true });
      return {
        kind: "stream", type: "application/octet-stream",
        write: async (response) => {
          // Who takes nothing keeps the others out: nobody has signed for the place.
          const late = setTimeout(() => response.destroy(), IMAGE_FETCH_MS_MAX);
          try {
            await held.write(part, response, signal);
          } finally {
            clearTimeout(late);
          }
        },
      };
    },
  };
}

async function selfJson({ machine, operator, bootId, version, control }: Self, counter: bigint): Promise<Json> {
  const statistics = await readFile("/proc/meminfo", "utf8").catch(() => "");
  const availableKib = /^MemAvailable:\s+(\d+) kB$/m.exec(statistics)?.[1];
  return {
    machine: addressText(machine), operator: addressText(operator), bootId, counter: String(counter), version, isImage: control !== undefined, node: process.version, kernel: release(), uptimeSeconds: Math.floor(uptime()),
    memory: { totalBytes: totalmem(), availableBytes: availableKib === undefined ? freemem() : Number(availableKib) * 1024, agentBytes: process.memoryUsage.rss() }, load: loadavg(),
    addresses: Object.entries(networkInterfaces()).flatMap(([name, all]) => (all ?? []).filter(({ internal }) => !internal).map(({ cidr }) => ({ name, address: cidr ?? "" }))),
  };
}
