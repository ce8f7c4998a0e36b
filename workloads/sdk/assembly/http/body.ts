/** Bodies that are made while they are sent. */
import { OutgoingBody } from "../wasi/http";
import { WRITE_BYTES_MAX } from "../wasi/io";

/** Takes a body's bytes as they are made, so that a large one never lies in memory as a whole. */
export class BodyWriter {
  private buffer: Uint8Array = new Uint8Array(<i32>WRITE_BYTES_MAX);
  private used: i32 = 0;
  private open: bool = true;

  constructor(private outgoing: OutgoingBody) {}

  /** False when the client has gone: the rest need not be made. */
  write(bytes: Uint8Array): bool {
    let offset = 0;
    while (this.open && offset < bytes.length) {
      const count = min(bytes.length - offset, this.buffer.length - this.used);
      memory.copy(this.buffer.dataStart + this.used, bytes.dataStart + offset, count);
      this.used += count;
      offset += count;
      if (this.used == this.buffer.length) this.flush();
    }
    return this.open;
  }

  /** Writes text as UTF-8; false when the client has gone. */
  writeText(text: string): bool {
    return this.write(Uint8Array.wrap(String.UTF8.encode(text)));
  }

  /** Sends what was written so far. */
  flush(): bool {
    if (this.open && this.used) this.open = this.outgoing.write(this.buffer.buffer, 0, this.used);
    this.used = 0;
    return this.open;
  }
}

/** A body that is made while it is sent: extend it, and give it to `Response.stream`. */
export abstract class Body {
  /** Writes the whole body. It is called once, when the head has gone out; when it returns, the body is complete. */
  abstract writeTo(writer: BodyWriter): void;
}
