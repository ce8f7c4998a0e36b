/** Cookies that a response sets (RFC 6265); `Request.cookie` reads what comes back. */
import { encodePart } from "./escape";

/** What a client is to keep, with safe defaults: `new Cookie("basket", id).maxAge(3600)`. */
export class Cookie {
  /** Seconds until the client forgets it; below zero, when it closes. Zero ends a cookie. */
  maxAgeSeconds: i64 = -1;
  /** Paths that begin with this get it back. */
  path: string = "/";
  /** Scripts of the page cannot read it. */
  httpOnly: bool = true;
  /** Sent over TLS only. */
  secure: bool = true;
  /** `Lax`, `Strict` or `None`. */
  sameSite: string = "Lax";

  /** The value may be any text: it is sent percent-encoded, and comes back decoded. */
  constructor(public name: string, public value: string) {
    assert(isToken(name), "Cannot set a cookie of the name \"" + name + "\": letters, digits, - and _ only");
  }

  /** Seconds until the client forgets it, and returns the cookie so that calls can be chained. */
  maxAge(seconds: i64): Cookie {
    this.maxAgeSeconds = seconds;
    return this;
  }

  /** As a set-cookie header has it. */
  toString(): string {
    let text = this.name + "=" + encodePart(this.value) + "; Path=" + this.path;
    if (this.maxAgeSeconds >= 0) text += "; Max-Age=" + this.maxAgeSeconds.toString();
    if (this.httpOnly) text += "; HttpOnly";
    if (this.secure) text += "; Secure";
    return text + "; SameSite=" + this.sameSite;
  }
}

function isToken(name: string): bool {
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i);
    const lower = code | 0x20;
    if (!((code >= 0x30 && code <= 0x39) || (lower >= 0x61 && lower <= 0x7a) || code == 0x2d || code == 0x5f)) return false;
  }
  return name.length > 0;
}
