/**
 * A function of the host as a typed function: lower the arguments, call, let go of what was lowered, lift the result.
 *
 * The static area for results is read before another import can be called: lifting calls none.
 */
import { Lowering, lift } from "./flat.ts";
import { FLAT_PARAMETERS_MAX, FLAT_RESULTS_MAX, coreName, flatten, flattenAll, offsetsOf, signatureOf, sizeOf } from "./layout.ts";
import { load, store } from "./memory.ts";
import type { Func } from "./model.ts";
import { methodName, valueName } from "./names.ts";
import { typeText } from "./type-text.ts";
import { docComment, indented, type ModuleWriter } from "./writer.ts";

/** The text of a function, method, static method or constructor. */
export function importedFunction(func: Func, module: string, writer: ModuleWriter): string {
  const isMethod = func.how === "method";
  const isConstructor = func.how === "constructor" && func.result?.kind === "own";
  const parameters = func.parameters.slice(isMethod ? 1 : 0).map(({ name, type }) => `${valueName(name)}: ${typeText(type, writer)}`).join(", ");
  const result = func.result === null ? "void" : typeText(func.result, writer);
  const body = isConstructor ? ["super();", ...callLines(func, module, writer, (call) => [`this.handle = ${call};`])] : callLines(func, module, writer, null);
  return `${docComment(func.docs)}${headText(func, parameters, result)} {\n${indented(body)}\n}`;
}

function headText(func: Func, parameters: string, result: string): string {
  switch (func.how) {
    case "free": return `export function ${valueName(func.name)}(${parameters}): ${result}`;
    case "method": return `${methodName(func.name)}(${parameters}): ${result}`;
    case "static": return `static ${methodName(func.name)}(${parameters}): ${result}`;
    case "constructor": return func.result?.kind === "own" ? `constructor(${parameters})` : `static create(${parameters}): ${result}`;
  }
}

/** `finish` takes the call of a constructor; without one the result is returned. */
function callLines(func: Func, module: string, writer: ModuleWriter, finish: ((call: string) => string[]) | null): string[] {
  const raw = writer.external(module, coreName(func), signatureOf(func, "import"));
  const types = func.parameters.map(({ type }) => type);
  const values = func.parameters.map(({ name }, i) => (i === 0 && func.how === "method" ? "this" : valueName(name)));
  const isIndirect = flattenAll(types).length > FLAT_PARAMETERS_MAX;
  const isHolding = isIndirect || types.some((type) => type.ownsMemory);
  const lowering = new Lowering(writer);
  const lines = isHolding ? [`const _mark = ${writer.abi}mark();`] : [];
  const flat: string[] = [];
  if (isIndirect) {
    const { offsets, end } = offsetsOf(types);
    lines.push(`const _p = ${writer.abi}alloc(${end});`, ...types.map((type, i) => store(type, "_p", offsets[i] ?? 0, values[i] ?? "", writer)));
    flat.push("<i32>_p");
  } else {
    flat.push(...types.flatMap((type, i) => lowering.lower(type, values[i] ?? "")));
    lines.push(...lowering.statements);
  }
  const letGo = isHolding ? [`${writer.abi}unmark(_mark);`] : [];
  const { result } = func;
  if (result === null) return [...lines, `${raw}(${flat.join(", ")});`, ...letGo];
  if (flatten(result).length > FLAT_RESULTS_MAX) {
    const area = writer.returnArea(sizeOf(result).bytes);
    return [...lines, `${raw}(${[...flat, `<i32>${area}`].join(", ")});`, ...letGo, `return ${load(result, area, 0, writer)};`];
  }
  const call = `${raw}(${flat.join(", ")})`;
  if (finish !== null) return [...lines, ...finish(call), ...letGo];
  return [...lines, `const _result = ${call};`, ...letGo, `return ${lift(result, ["_result"], writer)};`];
}
