/** The native engine: tasks in the addon, services in the jailed runner. */
import { compile, inspect, listen, runTask, startRunner } from "../sandbox.ts";
import type { Engine } from "./engine.ts";

export const wasmtime: Engine = { name: "wasmtime", inspect, compile, listen, startRunner, runTask };
