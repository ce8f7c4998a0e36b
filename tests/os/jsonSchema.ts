/**
 * JSON Schema, as much of it as our own document uses, as a function that lists what is wrong. A keyword that it does not know
 * is an error, so that no promise of the document goes unchecked.
 */
type Schema = { readonly [keyword: string]: unknown };

const KNOWN: ReadonlySet<string> = new Set(["type", "properties", "required", "additionalProperties", "items", "pattern", "enum", "minimum", "maximum", "description", "contentEncoding", "$ref", "default"]);

export function validate(schema: Schema, value: unknown, definitions: Readonly<Record<string, Schema>>, path = "$"): string[] {
  const unknown = Object.keys(schema).filter((keyword) => !KNOWN.has(keyword));
  if (unknown.length > 0) return [`${path}: keyword ${unknown.join()} is not checked`];
  const reference = schema["$ref"];
  if (typeof reference === "string") {
    const target = definitions[reference.replace("#/components/schemas/", "")];
    return target === undefined ? [`${path}: ${reference} is not there`] : validate(target, value, definitions, path);
  }
  const wrong: string[] = [];
  const types = [schema["type"] ?? []].flat() as string[];
  if (types.length > 0 && !types.some((type) => isOf(type, value))) wrong.push(`${path}: ${JSON.stringify(value)} is not ${types.join(" or ")}`);
  const values = schema["enum"];
  if (Array.isArray(values) && !values.includes(value)) wrong.push(`${path}: ${JSON.stringify(value)} is none of ${values.join()}`);
  if (typeof value === "string" && typeof schema["pattern"] === "string" && !new RegExp(schema["pattern"]).test(value)) wrong.push(`${path}: ${value} is not ${schema["pattern"]}`);
  if (typeof value === "number" && typeof schema["minimum"] === "number" && value < schema["minimum"]) wrong.push(`${path}: ${value} is too small`);
  if (Array.isArray(value)) return [...wrong, ...value.flatMap((item, index) => validate((schema["items"] ?? {}) as Schema, item, definitions, `${path}[${index}]`))];
  if (typeof value !== "object" || value === null) return wrong;
  const properties = (schema["properties"] ?? {}) as Readonly<Record<string, Schema>>;
  const required = (schema["required"] ?? []) as readonly string[];
  for (const name of required) if (!(name in value)) wrong.push(`${path}.${name} is missing`);
  for (const [name, field] of Object.entries(value)) {
    const property = properties[name];
    if (property !== undefined) wrong.push(...validate(property, field, definitions, `${path}.${name}`));
    else if (schema["additionalProperties"] === false) wrong.push(`${path}.${name} is not documented`);
  }
  return wrong;
}

function isOf(type: string, value: unknown): boolean {
  if (type === "integer") return Number.isSafeInteger(value);
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  if (type === "object") return typeof value === "object" && value !== null && !Array.isArray(value);
  return typeof value === type;
}
