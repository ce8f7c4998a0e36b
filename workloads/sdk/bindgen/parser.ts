/**
 * WIT text → syntax: packages (also nested ones), interfaces, worlds. Recursive descent, one function a rule of the grammar.
 */
import { attributes, functionRest, packageName, path, typeItem, use } from "./parse-types.ts";
import { Reader } from "./reader.ts";
import type { Attributes, Chunk, FunctionItem, InterfaceItem, Name, PackageName, Path, TopUseItem, TypeItem, UseItem, WorldItem, WorldMember } from "./syntax.ts";
import { WitError, type SourceFile } from "./wit-error.ts";

/** A file as chunks: itself first (its name is null when no header says one), then the packages nested in it. */
export function parse(file: SourceFile): Chunk[] {
  const reader = new Reader(file);
  let { at } = reader;
  const nested: Chunk[] = [];
  const items: Chunk["items"][number][] = [];
  let name: PackageName | null = null;
  let docs = "";
  while (reader.peek().kind !== "end") {
    const before = attributes(reader);
    const place = reader.at;
    if (!reader.skip("package")) {
      items.push(packageItem(reader, before));
      continue;
    }
    const named = packageName(reader);
    if (reader.skip("{")) nested.push({ name: named, at: place, docs: before.docs, items: block(reader) });
    else {
      reader.expect(";");
      if (name !== null || items.length > 0 || nested.length > 0) throw new WitError("wit_syntax", place, "the name of the package comes once, before everything else");
      ({ docs } = before);
      at = place;
      name = named;
    }
  }
  return [{ name, at, docs, items }, ...nested];
}

/** The inside of `package … { }`. */
function block(reader: Reader): Chunk["items"][number][] {
  const items: Chunk["items"][number][] = [];
  while (!reader.skip("}")) items.push(packageItem(reader, attributes(reader)));
  return items;
}

function packageItem(reader: Reader, before: Attributes): InterfaceItem | WorldItem | TopUseItem {
  if (reader.skip("interface")) return interfaceBody(reader, reader.name("a name for the interface"), before);
  if (reader.skip("world")) return world(reader, before);
  if (reader.skip("use")) {
    const named = path(reader);
    const as = reader.skip("as") ? reader.name("a name") : named.name;
    reader.expect(";");
    return { kind: "top-use", path: named, as, attributes: before };
  }
  throw reader.unexpected('"interface", "world", "use" or "package"');
}

function interfaceBody(reader: Reader, name: Name, before: Attributes): InterfaceItem {
  reader.expect("{");
  const items: (TypeItem | UseItem | FunctionItem)[] = [];
  while (!reader.skip("}")) {
    const own = attributes(reader);
    if (reader.isNext("use")) items.push(use(reader, own));
    else items.push(typeItem(reader, own) ?? namedFunction(reader, own));
  }
  return { kind: "interface", name, items, attributes: before };
}

function namedFunction(reader: Reader, before: Attributes): FunctionItem {
  const name = reader.name('a type, a function or "}"');
  reader.expect(":");
  return functionRest(reader, name, "free", before);
}

function world(reader: Reader, before: Attributes): WorldItem {
  const name = reader.name("a name for the world");
  reader.expect("{");
  const items: WorldItem["items"][number][] = [];
  while (!reader.skip("}")) items.push(worldItem(reader, attributes(reader)));
  return { kind: "world", name, items, attributes: before };
}

function worldItem(reader: Reader, before: Attributes): WorldItem["items"][number] {
  if (reader.isNext("use")) return use(reader, before);
  if (reader.skip("include")) return include(reader, before);
  if (reader.isNext("import") || reader.isNext("export")) {
    const kind = reader.take().text === "import" ? "import" : "export";
    return { kind, what: imported(reader, before), attributes: before };
  }
  const type = typeItem(reader, before);
  if (type === null) throw reader.unexpected('"import", "export", "include", "use", a type or "}"');
  return type;
}

/** After `import` or `export`: a function or interface on the spot, or the path of an interface. */
function imported(reader: Reader, before: Attributes): FunctionItem | InterfaceItem | Path {
  const isInline = reader.isNext(":", 1) && ["func", "async", "interface"].some((word) => reader.isNext(word, 2));
  if (isInline) {
    const name = reader.name("a name");
    reader.expect(":");
    if (reader.skip("interface")) return interfaceBody(reader, name, before);
    return functionRest(reader, name, "free", before);
  }
  const found = path(reader);
  reader.expect(";");
  return found;
}

function include(reader: Reader, before: Attributes): WorldMember {
  const included = path(reader);
  if (!reader.skip("with")) {
    reader.expect(";");
    return { kind: "include", path: included, renames: [], attributes: before };
  }
  reader.expect("{");
  const renames = reader.list("}", () => {
    const name = reader.name("a name of the included world");
    reader.expect("as");
    return { name, as: reader.name("a name") };
  });
  return { kind: "include", path: included, renames, attributes: before };
}
