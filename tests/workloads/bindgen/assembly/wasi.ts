/** A task over generated bindings alone that calls into most of WASI, and prints what it saw: a line for each thing. */
import { getArguments, getEnvironment, initialCwd } from "../gen/imports/wasi-cli-environment";
import { getStdout } from "../gen/imports/wasi-cli-stdout";
import { getTerminalStdin } from "../gen/imports/wasi-cli-terminal-stdin";
import { poll } from "../gen/imports/wasi-io-poll";
import { StreamError } from "../gen/imports/wasi-io-streams";
import * as monotonic from "../gen/imports/wasi-clocks-monotonic-clock";
import * as wall from "../gen/imports/wasi-clocks-wall-clock";
import { getRandomBytes, getRandomU64 } from "../gen/imports/wasi-random-random";
import { insecureSeed } from "../gen/imports/wasi-random-insecure-seed";
import { getDirectories } from "../gen/imports/wasi-filesystem-preopens";
import { ErrorCode, Fields, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme } from "../gen/imports/wasi-http-types";
import { handle } from "../gen/imports/wasi-http-outgoing-handler";
import { Result, Some, Tuple2, Unit, ok } from "../gen/canonical";

const lines = new Array<string>();
function say(line: string): void { lines.push(line); }
function bytes(text: string): Uint8Array { return Uint8Array.wrap(String.UTF8.encode(text)); }
function text(value: Uint8Array): string { return String.UTF8.decodeUnsafe(value.dataStart, value.length); }

function environment(): void {
  say("arguments " + getArguments().join("|"));
  const all = getEnvironment();
  for (let i = 0; i < all.length; i++) say("variable " + all[i]._0 + "=" + all[i]._1);
  say("directory " + (initialCwd() === null ? "none" : "some"));
  say("directories " + getDirectories().length.toString());
  say("terminal " + (getTerminalStdin() === null ? "none" : "some"));
}

function clocks(): void {
  const now = wall.now();
  say("wall " + (now.seconds > 1_600_000_000 && now.nanoseconds < 1_000_000_000).toString());
  const before = monotonic.now();
  const short = monotonic.subscribeDuration(1_000_000);
  const long = monotonic.subscribeDuration(60_000_000_000);
  const ready = poll([long, short]);
  say("ready " + ready.length.toString() + " " + ready[0].toString() + " " + short.ready().toString() + " " + long.ready().toString());
  say("waited " + (monotonic.now() - before >= 1_000_000).toString());
  short.drop();
  long.drop();
  const seed = insecureSeed();
  say("random " + getRandomBytes(33).length.toString() + " " + (getRandomU64() != getRandomU64()).toString() + " " + (seed._0 != seed._1).toString());
}

function fields(): void {
  const made = Fields.fromList([new Tuple2("a", bytes("1")), new Tuple2("b", bytes("zwei")), new Tuple2("a", bytes("3"))]);
  say("made " + made.isOk.toString());
  const all = made.ok;
  say("has " + all.has("A").toString() + " " + all.has("c").toString());
  say("set " + all.set("b", [bytes("x"), bytes(""), bytes("yy")]).isOk.toString());
  say("append " + all.append("bad name", bytes("v")).err.isInvalidSyntax.toString());
  const entries = all.clone().entries();
  for (let i = 0; i < entries.length; i++) say("entry " + entries[i]._0 + "=" + text(entries[i]._1));
  say("deleted " + all.delete("a").isOk.toString() + " " + all.get("a").length.toString() + " " + all.get("b").length.toString());
  all.drop();
}

function requests(): void {
  const headers = new Fields();
  const request = new OutgoingRequest(headers);
  say("method " + request.method().isGet.toString());
  say("method " + request.setMethod(Method.other("BREW")).isOk.toString() + " " + request.method().asOther + " " + request.setMethod(Method.other("not a method")).isOk.toString());
  say("scheme " + (request.scheme() === null ? "none" : "some") + " " + request.setScheme(Scheme.https()).isOk.toString() + " " + request.scheme()!.isHttps.toString());
  say("path " + request.setPathWithQuery("/path?q=1").isOk.toString() + " " + request.pathWithQuery()! + " " + request.setPathWithQuery(null).isOk.toString() + " " + (request.pathWithQuery() === null).toString());
  request.setPathWithQuery("/");
  request.setMethod(Method.get());
  say("authority " + request.setAuthority("example.com:443").isOk.toString() + " " + request.authority()!);
  const options = new RequestOptions();
  say("timeout " + (options.connectTimeout() === null).toString() + " " + options.setConnectTimeout(new Some<u64>(5_000_000_000)).isOk.toString() + " " + options.connectTimeout()!.value.toString());
  const body = request.body().ok;
  say("body once " + request.body().isErr.toString());
  const stream = body.write().ok;
  say("stream " + stream.blockingWriteAndFlush(bytes("hello")).isOk.toString());
  stream.drop();
  const sent = handle(request, options);
  if (sent.isErr) {
    say("sent " + denied(sent.err));
  } else {
    const future = sent.ok;
    const pollable = future.subscribe();
    pollable.block();
    pollable.drop();
    const answer = future.get();
    say("sent " + (answer === null ? "nothing" : answer.ok.isErr ? denied(answer.ok.err) : "an answer"));
    future.drop();
  }
  const finished = OutgoingBody.finish(body, null);
  say("finished " + finished.isOk.toString());
}

function denied(code: ErrorCode): string {
  return code.isHttpRequestDenied ? "denied" : "code " + code.tag.toString();
}

export namespace run {
  export function run(): Result<Unit, Unit> {
    environment();
    clocks();
    fields();
    for (let i = 0; i < 50; i++) {
      requests();
      if (i < 49) lines.length -= 10;
    }
    const out = getStdout();
    const written = out.blockingWriteAndFlush(bytes(lines.join("\n") + "\n"));
    say(written.isErr && written.err.isClosed ? "closed" : "open");
    out.drop();
    return ok<Unit, Unit>(0);
  }
}
