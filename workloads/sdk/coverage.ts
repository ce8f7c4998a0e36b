/**
 * Which lines of an author's functions tests have run: statements get a call before them that tells of the first time.
 *
 * What is counted are lines on which a statement of a function begins; what stands at the top of a module runs always, and an arrow that is an
 * expression is part of its line. A program tells by lines on stderr, which `taken` takes out again before anybody sees them.
 */

export type Line = { readonly file: string; readonly line: number };
/** By file: all lines that count, and those that ran. */
export type Coverage = Map<string, Map<number, boolean>>;

/** As much of asc's tree as is looked at; every node has these three. */
type AscNode = { kind: number; range: { start: number; source: AscSource } };
type AscSource = { normalizedPath: string; sourceKind: number; lineAt(position: number): number; statements: AscNode[] };
type AscFactory = {
  createExpressionStatement(expression: AscNode): AscNode;
  createCallExpression(of: AscNode, types: null, args: AscNode[], range: AscNode["range"]): AscNode;
  createIdentifierExpression(name: string, range: AscNode["range"]): AscNode;
  createFloatLiteralExpression(value: number, range: AscNode["range"]): AscNode;
  createBlockStatement(statements: AscNode[], range: AscNode["range"]): AscNode;
};

const TOLD = /^godwit:line (\d{1,9})$/;
/** asc's NodeKind. */
const KIND = { function: 15, block: 31, empty: 35, functionDeclaration: 56, methodDeclaration: 59, switchCase: 65 };
const BRANCHES = ["ifTrue", "ifFalse", "body"];
/** They lead up, out, or to what is no part of a function. */
const NOT_WALKED = new Set(["range", "parent", "source", "kind", "signature", "decorators", "typeParameters"]);

/** A transform of asc that instruments the project's own modules among what was parsed, and adds to `lines` what each number means. */
export async function coverageTransform(lines: Line[], isOwn: (file: string) => boolean): Promise<object> {
  const specifier = "assemblyscript"; // Its declarations would put i32, max and all its globals into our scope.
  const { Node: factory } = (await import(specifier)) as { Node: AscFactory };
  return {
    afterParse({ sources }: { sources: AscSource[] }): void {
      for (const source of sources) if (isOwn(source.normalizedPath)) for (const statement of source.statements) walk(statement, new Marker(factory, source, lines), false);
    },
  };
}

class Marker {
  readonly #factory: AscFactory;
  readonly #source: AscSource;
  readonly #lines: Line[];
  readonly #numbers = new Map<number, number>();

  constructor(factory: AscFactory, source: AscSource, lines: Line[]) {
    [this.#factory, this.#source, this.#lines] = [factory, source, lines];
  }

  lineOf(node: AscNode): number {
    return this.#source.lineAt(node.range.start);
  }

  marked(statements: readonly AscNode[]): AscNode[] {
    return statements.flatMap((statement) => (statement.kind === KIND.empty ? [statement] : [this.#call(statement), statement]));
  }

  /** A branch without braces gets some. */
  block(statement: AscNode): AscNode {
    return this.#factory.createBlockStatement([this.#call(statement), statement], statement.range);
  }

  #call({ range }: AscNode): AscNode {
    const line = this.#source.lineAt(range.start);
    let number = this.#numbers.get(line);
    if (number === undefined) this.#numbers.set(line, (number = this.#lines.push({ file: this.#source.normalizedPath, line }) - 1));
    const { createCallExpression, createExpressionStatement, createFloatLiteralExpression, createIdentifierExpression } = this.#factory;
    return createExpressionStatement(createCallExpression(createIdentifierExpression("__godwit_line", range), null, [createFloatLiteralExpression(number, range)], range));
  }
}

function walk(node: AscNode, marker: Marker, isInFunction: boolean): void {
  const isFunction = node.kind === KIND.functionDeclaration || node.kind === KIND.methodDeclaration;
  const inside = isInFunction || isFunction;
  const fields = node as unknown as Record<string, unknown>; // The children have other names in each kind of node.
  for (const [name, value] of Object.entries(fields)) {
    if (NOT_WALKED.has(name)) continue;
    if (Array.isArray(value)) for (const child of value) if (isNode(child)) walk(child, marker, inside);
    if (isNode(value)) walk(value, marker, inside);
  }
  if (!inside) return;
  if (node.kind === KIND.block || node.kind === KIND.switchCase) fields["statements"] = marker.marked(fields["statements"] as AscNode[]);
  if (isFunction) return;
  for (const name of BRANCHES) {
    const branch = fields[name];
    if (isNode(branch) && branch.kind !== KIND.block && branch.kind !== KIND.empty && marker.lineOf(branch) !== marker.lineOf(node)) fields[name] = marker.block(branch);
  }
}

const isNode = (value: unknown): value is AscNode => typeof value === "object" && value !== null && "kind" in value && "range" in value;

/** The lines of a build, none of which ran, added to what is known. */
export function expectLines(coverage: Coverage, lines: readonly Line[]): void {
  for (const { file, line } of lines) {
    const ofFile = coverage.get(file) ?? new Map<number, boolean>();
    coverage.set(file, ofFile);
    if (!ofFile.has(line)) ofFile.set(line, false);
  }
}

/** Whether a line of stderr tells of a line that ran; then `told` is called with its number. */
export function isTold(text: string, told: (number: number) => void): boolean {
  const number = TOLD.exec(text)?.[1];
  if (number !== undefined) told(Number(number));
  return number !== undefined;
}

/** stderr without what was told in it. */
export const taken = (stderr: string, told: (number: number) => void): string => stderr.split("\n").filter((line) => !isTold(line, told)).join("\n");

/** Notes that a line of a build ran. */
export function note(coverage: Coverage, lines: readonly Line[], number: number): void {
  const found = lines[number];
  if (found !== undefined) coverage.get(found.file)?.set(found.line, true);
}
