/** The part of the grammar that interfaces and worlds share: gates, type expressions, type definitions, functions, `use`. */
import type { Reader } from "./reader.ts";
import { PRIMITIVES, type Attributes, type FunctionItem, type FunctionKind, type Gate, type Member, type PackageName, type Path, type Primitive, type TypeExpression, type TypeItem, type UseItem } from "./syntax.ts";
import { WitError } from "./wit-error.ts";

/** Doc comment and gates before an item. */
export function attributes(reader: Reader): Attributes {
  const docs = [reader.peek().docs];
  const gates: Gate[] = [];
  while (reader.isNext("@")) {
    gates.push(gate(reader));
    docs.push(reader.peek().docs);
  }
  return { docs: docs.filter((text) => text !== "").join("\n"), gates };
}

function gate(reader: Reader): Gate {
  const { at } = reader;
  reader.expect("@");
  const kind = reader.take().text;
  const argument = (name: string): void => {
    reader.expect("(");
    reader.expect(name);
    reader.expect("=");
  };
  if (kind === "unstable") {
    argument("feature");
    const feature = reader.name("the name of a feature").text;
    reader.expect(")");
    return { kind, feature, at };
  }
  if (kind === "since" || kind === "deprecated") {
    argument("version");
    const version = reader.version();
    reader.expect(")");
    return { kind, version, at };
  }
  throw new WitError("wit_gate_invalid", at, `there is no gate "@${kind}", only @since, @unstable and @deprecated`);
}

/** `namespace:name@version`. */
export function packageName(reader: Reader): PackageName {
  const namespace = reader.name("the namespace of a package").text;
  reader.expect(":");
  const name = reader.name("the name of a package").text;
  return { namespace, name, version: reader.skip("@") ? reader.version() : null };
}

/** `name` or `namespace:package/name@version`. */
export function path(reader: Reader): Path {
  const first = reader.name("the name of an interface or world");
  if (!reader.skip(":")) return { package: null, name: first };
  const name = reader.name("the name of a package").text;
  reader.expect("/");
  const last = reader.name("the name of an interface or world");
  return { package: { namespace: first.text, name, version: reader.skip("@") ? reader.version() : null }, name: last };
}

/** `use path.{a, b as c};` inside an interface or world. */
export function use(reader: Reader, before: Attributes): UseItem {
  reader.expect("use");
  const from = path(reader);
  reader.expect(".");
  reader.expect("{");
  const names = reader.list("}", () => {
    const name = reader.name("the name of a type");
    return { name, as: reader.skip("as") ? reader.name("a name") : name };
  });
  reader.expect(";");
  return { kind: "use", from, names, attributes: before };
}

const isPrimitive = (text: string): text is Primitive => (PRIMITIVES as readonly string[]).includes(text);

export function typeExpression(reader: Reader): TypeExpression {
  return reader.deeper(() => {
    const { at } = reader;
    const { text, kind } = reader.peek();
    if (kind !== "word") throw reader.unexpected("a type");
    if (isPrimitive(text)) {
      reader.take();
      return { kind: text, at };
    }
    switch (text) {
      case "list": return listType(reader);
      case "option": {
        reader.take();
        return { kind: "option", of: angled(reader, () => typeExpression(reader)), at };
      }
      case "tuple": {
        reader.take();
        reader.expect("<");
        return { kind: "tuple", parts: reader.list(">", () => typeExpression(reader)), at };
      }
      case "result": return resultType(reader);
      case "own": case "borrow": {
        reader.take();
        return { kind: text, name: angled(reader, () => reader.name("the name of a resource")), at };
      }
      case "stream": case "future": case "map": case "error-context": {
        if (text === "map" && !reader.isNext("<", 1)) break;
        reader.take();
        if (reader.skip("<")) reader.list(">", () => typeExpression(reader));
        return { kind: "unsupported", what: text, at };
      }
      default:
    }
    return { kind: "name", name: reader.name("a type"), at };
  });
}

function angled<T>(reader: Reader, read: () => T): T {
  reader.expect("<");
  const result = read();
  reader.expect(">");
  return result;
}

function listType(reader: Reader): TypeExpression {
  const { at } = reader;
  reader.take();
  reader.expect("<");
  const of = typeExpression(reader);
  const isFixed = reader.skip(",");
  if (isFixed && reader.take().kind !== "number") throw reader.unexpected("the length of the list");
  reader.expect(">");
  return isFixed ? { kind: "unsupported", what: "list of a fixed length", at } : { kind: "list", of, at };
}

/** `result`, `result<T>`, `result<_, E>`, `result<T, E>`. */
function resultType(reader: Reader): TypeExpression {
  const { at } = reader;
  reader.take();
  if (!reader.skip("<")) return { kind: "result", ok: null, error: null, at };
  const isUnit = reader.skip("_");
  const ok = isUnit ? null : typeExpression(reader);
  if (isUnit) reader.expect(",");
  const error = isUnit || reader.skip(",") ? typeExpression(reader) : null;
  reader.expect(">");
  return { kind: "result", ok, error, at };
}

/** A definition, if one comes. A function may have the name of a keyword that is none here: `type: func()` needs its `%`. */
export function typeItem(reader: Reader, before: Attributes): TypeItem | null {
  const kind = reader.peek().text;
  switch (kind) {
    case "type": {
      reader.take();
      const name = reader.name("a name for the type");
      reader.expect("=");
      const of = typeExpression(reader);
      reader.expect(";");
      return { kind: "alias", name, of, attributes: before };
    }
    case "record": case "variant": case "enum": case "flags": {
      reader.take();
      const name = reader.name(`a name for the ${kind}`);
      reader.expect("{");
      return { kind, name, members: reader.list("}", () => member(reader, kind)), attributes: before };
    }
    case "resource": return resource(reader, before);
    default: return null;
  }
}

function member(reader: Reader, kind: "record" | "variant" | "enum" | "flags"): Member {
  const before = attributes(reader);
  const name = reader.name(kind === "record" ? "a field" : kind === "flags" ? "a flag" : "a case");
  let type: TypeExpression | null = null;
  if (kind === "record") {
    reader.expect(":");
    type = typeExpression(reader);
  } else if (kind === "variant" && reader.skip("(")) {
    type = typeExpression(reader);
    reader.expect(")");
  }
  return { name, type, attributes: before };
}

function resource(reader: Reader, before: Attributes): TypeItem {
  reader.expect("resource");
  const name = reader.name("a name for the resource");
  const functions: FunctionItem[] = [];
  if (!reader.skip(";")) {
    reader.expect("{");
    while (!reader.skip("}")) functions.push(resourceFunction(reader));
  }
  return { kind: "resource", name, functions, attributes: before };
}

function resourceFunction(reader: Reader): FunctionItem {
  const before = attributes(reader);
  const { at } = reader;
  if (reader.isNext("constructor") && reader.isNext("(", 1)) {
    reader.take();
    const parameters = parameterList(reader);
    const result = reader.skip("->") ? typeExpression(reader) : null;
    reader.expect(";");
    return { kind: "function", name: { text: "constructor", at }, how: "constructor", isAsync: false, parameters, result, attributes: before };
  }
  const name = reader.name("a method, or \"}\"");
  reader.expect(":");
  const isStatic = reader.skip("static");
  return functionRest(reader, name, isStatic ? "static" : "method", before);
}

/** `async? func(…) -> …;` after the name and its colon. */
export function functionRest(reader: Reader, name: FunctionItem["name"], how: FunctionKind, before: Attributes): FunctionItem {
  const isAsync = reader.skip("async");
  reader.expect("func");
  const parameters = parameterList(reader);
  const result = reader.skip("->") ? typeExpression(reader) : null;
  reader.expect(";");
  return { kind: "function", name, how, isAsync, parameters, result, attributes: before };
}

function parameterList(reader: Reader): FunctionItem["parameters"] {
  reader.expect("(");
  return reader.list(")", () => {
    const name = reader.name("a parameter");
    reader.expect(":");
    return { name, type: typeExpression(reader) };
  });
}
