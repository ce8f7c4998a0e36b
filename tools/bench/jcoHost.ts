/**
 * The least host that a service needs which jco has transpiled: wasi:http in this process, the request's body empty, the answer
 * collected. For `bench:engines` only: with jco's own shim, which crosses threads for each call, the glue would not be what is measured.
 */
class InputStream {
  blockingRead(): never {
    throw { tag: "closed" };
  }
}
class OutputStream {
  blockingWriteAndFlush(): void {}
  checkWrite(): bigint {
    return 65_536n;
  }
  write(): void {}
  flush(): void {}
  blockingFlush(): void {}
}
type Entry = [name: string, value: Uint8Array];
class Fields {
  list: Entry[] = [];
  static fromList(list: Entry[]): Fields {
    const fields = new Fields();
    fields.list = list;
    return fields;
  }
  append(name: string, value: Uint8Array): void {
    this.list.push([name, value]);
  }
  set(name: string, values: Uint8Array[]): void {
    this.list = [...this.list.filter(([other]) => other !== name), ...values.map((value): Entry => [name, value])];
  }
  get(name: string): Uint8Array[] {
    return this.list.filter(([other]) => other === name).map(([, value]) => value);
  }
  entries(): Entry[] {
    return this.list;
  }
}
class IncomingBody {
  stream(): InputStream {
    return new InputStream();
  }
  static finish(): void {}
}
class IncomingRequest {
  readonly target: string;
  readonly fields: Fields;
  constructor(target: string, list: Entry[]) {
    this.target = target;
    this.fields = Fields.fromList(list);
  }
  method(): { tag: string } {
    return { tag: "get" };
  }
  pathWithQuery(): string {
    return this.target;
  }
  scheme(): { tag: string } {
    return { tag: "HTTP" };
  }
  authority(): string {
    return "localhost";
  }
  headers(): Fields {
    return this.fields;
  }
  consume(): IncomingBody {
    return new IncomingBody();
  }
}
class OutgoingBody {
  write(): OutputStream {
    return new OutputStream();
  }
  static finish(): void {}
}
class OutgoingResponse {
  status = 200;
  setStatusCode(status: number): void {
    this.status = status;
  }
  body(): OutgoingBody {
    return new OutgoingBody();
  }
}
class ResponseOutparam {
  response: OutgoingResponse | null = null;
  static set(out: ResponseOutparam, result: { val: OutgoingResponse }): void {
    out.response = result.val;
  }
}
class Pollable {
  block(): void {}
}

export const jcoImports: object = Object.fromEntries(Object.entries({
  "wasi:http/types": { Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam },
  "wasi:io/error": { Error: class {} }, "wasi:io/streams": { InputStream, OutputStream }, "wasi:io/poll": { Pollable, poll: () => [0] },
  "wasi:cli/stdout": { getStdout: () => new OutputStream() }, "wasi:cli/stderr": { getStderr: () => new OutputStream() }, "wasi:cli/environment": { getEnvironment: () => [], getArguments: () => [] },
  "wasi:random/random": { getRandomU64: () => 1n }, "wasi:clocks/wall-clock": { now: () => ({ seconds: 0n, nanoseconds: 0 }) }, "wasi:clocks/monotonic-clock": { now: () => 0n, subscribeDuration: () => new Pollable() },
}).flatMap(([name, functions]) => [[name, functions], [`${name}@0.2.12`, functions]]));

export function newJcoCall(target: string, list: Entry[]): { readonly request: object; readonly out: object; readonly status: () => number | undefined } {
  const out = new ResponseOutparam();
  return { request: new IncomingRequest(target, list), out, status: () => out.response?.status };
}
