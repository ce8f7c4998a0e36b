/**
 * A mistake in WIT text: what was expected, where. The code is permanent, the message is not.
 *
 * Codes: wit_character, wit_syntax, wit_name_invalid, wit_name_duplicate, wit_name_unknown, wit_version_invalid,
 * wit_gate_invalid, wit_package_missing, wit_package_unknown, wit_interface_unknown, wit_world_unknown, wit_world_ambiguous,
 * wit_type_unknown, wit_type_cycle, wit_type_empty, wit_type_invalid, wit_use_cycle, wit_include_cycle, wit_flags_too_many,
 * wit_too_large, wit_too_deep, wit_unsupported.
 */

/** One file of WIT; `name` is what errors call it. */
export type SourceFile = { readonly name: string; readonly text: string };

/** A place in a source, as an offset; line and column are worked out when somebody asks. */
export type Place = { readonly file: SourceFile; readonly offset: number };

export class WitError extends Error {
  readonly code: string;
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** From 1, in UTF-16 units as editors count. */
  readonly column: number;

  constructor(code: string, place: Place, message: string) {
    const { line, column } = lineAndColumn(place);
    super(`${place.file.name}:${line}:${column}: ${message}`);
    this.name = "WitError";
    this.code = code;
    this.file = place.file.name;
    this.line = line;
    this.column = column;
  }
}

export function lineAndColumn({ file, offset }: Place): { line: number; column: number } {
  const before = file.text.slice(0, offset);
  const start = before.lastIndexOf("\n") + 1;
  let line = 1;
  for (let i = 0; i < start; i++) if (before.charCodeAt(i) === 0x0a) line++;
  return { line, column: offset - start + 1 };
}
