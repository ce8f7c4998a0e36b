/** The engine without native parts: components on V8, with a canonical ABI and a WASI of our own. It needs nothing but Node. */
import { compile, inspect } from "./v8/compiled.ts";
import type { Engine } from "./engine.ts";
import { listen, startRunner } from "./v8/service.ts";
import { runTask } from "./v8/task.ts";

export const v8: Engine = { name: "v8", inspect, compile, listen, startRunner, runTask };
