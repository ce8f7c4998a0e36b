/** Header fields of requests and responses, as they were sent, with names in lower case. */
import { Fields } from "../wasi/http";

/** Header fields in order. Names are compared without case, and a name may come more than once. */
export class Headers {
  private names: string[] = [];
  private values: string[] = [];

  /** How many fields there are. */
  get length(): i32 {
    return this.names.length;
  }

  /** Name of the field at `index`, in lower case. */
  name(index: i32): string {
    return this.names[index];
  }

  /** Value of the field at `index`. */
  value(index: i32): string {
    return this.values[index];
  }

  /** Whether there is a field of that name, in any case of letters. */
  has(name: string): bool {
    return this.names.indexOf(lowerCase(name)) >= 0;
  }

  /** The first value under a name; null when there is none. */
  get(name: string): string | null {
    const index = this.names.indexOf(lowerCase(name));
    return index < 0 ? null : this.values[index];
  }

  /** Adds a field after those that are there. */
  append(name: string, value: string): void {
    this.names.push(lowerCase(name));
    this.values.push(value);
  }

  /** Replaces every field of that name by one. */
  set(name: string, value: string): void {
    this.delete(name);
    this.append(name, value);
  }

  /** Removes every field of that name. */
  delete(name: string): void {
    const lower = lowerCase(name);
    for (let i = this.names.length - 1; i >= 0; i--) {
      if (this.names[i] != lower) continue;
      this.names.splice(i, 1);
      this.values.splice(i, 1);
    }
  }

  /** For the SDK: what the host says that a message has. */
  static ofHost(fields: Fields): Headers {
    const headers = new Headers();
    fields.entriesInto(headers.names, headers.values);
    for (let i = 0; i < headers.names.length; i++) headers.names[i] = lowerCase(headers.names[i]);
    return headers;
  }

  /** For the SDK: as the host's, to be sent. A field that HTTP does not allow is the author's mistake, and ends the program. */
  toHost(): Fields {
    const fields = Fields.create();
    for (let i = 0; i < this.length; i++) {
      const refusal = fields.append(this.names[i], this.values[i]);
      assert(!refusal, "Cannot send header \"" + this.names[i] + "\": " + (refusal == 1 ? "bad syntax" : "it is the host's to set"));
    }
    return fields;
  }
}

/** Names of header fields are ASCII; String.toLowerCase would bring five kilobytes of Unicode tables into every service. */
function lowerCase(name: string): string {
  let first = 0;
  while (first < name.length && !isUpper(name.charCodeAt(first))) first++;
  if (first == name.length) return name;
  let lower = name.substring(0, first);
  for (let i = first; i < name.length; i++) {
    const code = name.charCodeAt(i);
    lower += String.fromCharCode(isUpper(code) ? code + 32 : code);
  }
  return lower;
}

function isUpper(code: i32): bool {
  return code >= 0x41 && code <= 0x5a;
}
