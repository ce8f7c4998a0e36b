/**
 * Server-sent events (WHATWG HTML §9.2), as much as the API sends: name and `data` of each event, from a stream of bytes.
 *
 * Comments and other fields are skipped; a line has a size limit; silence for longer than the limit ends the stream with an error,
 * because the machine sends a comment every 15 s and a silent connection is a dead one.
 */
import type { Readable } from "node:stream";
import { CliError } from "./command.ts";

/** A log line is at most 8 KiB, and JSON escapes make six bytes of one at most. */
const EVENT_CHARACTERS_MAX = 256 * 1024;

export type ServerSentEvent = { readonly event: string; readonly data: string };

export async function* serverSentEvents(body: Readable, { silenceMs }: { silenceMs: number }): AsyncGenerator<ServerSentEvent, void, undefined> {
  const decoder = new TextDecoder();
  let buffered = "";
  let data: string[] = [];
  let event = "message";
  const watch = setTimeout(() => body.destroy(new CliError("api_silent", `The machine said nothing for ${silenceMs} ms`)), silenceMs);
  try {
    for await (const chunk of body as AsyncIterable<Uint8Array>) {
      watch.refresh();
      buffered += decoder.decode(chunk, { stream: true });
      const lines = buffered.split(/\r\n|\n|\r(?!$)/);
      buffered = lines.pop() ?? "";
      if (buffered.length > EVENT_CHARACTERS_MAX) throw new CliError("answer_malformed", "The machine sent an event that is too long");
      for (const line of lines) {
        if (line === "") {
          if (data.length > 0) yield { event, data: data.join("\n") };
          data = [];
          event = "message";
        } else if (line.startsWith("data:")) data.push(valueOf(line, 5));
        else if (line.startsWith("event:")) event = valueOf(line, 6);
      }
    }
  } finally {
    clearTimeout(watch);
  }
}

/** One space after the colon does not count. */
const valueOf = (line: string, at: number): string => line.slice(line[at] === " " ? at + 1 : at);
