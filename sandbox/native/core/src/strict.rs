//! What of HTTP/1 gets as far as the parser: only requests of which nobody could read another number or length.
//!
//! RFC 9112 lets a recipient be lenient in many places, and two recipients that are lenient in different ways see different requests
//! in the same bytes. So hyper gets a head when it is complete and has been looked at, and every body is followed to its end: what is
//! not plain is refused, and the connection with it. One pass over the head; bodies of known length cost nothing.

/// Of one head: above the largest headerBytesMax, so that what is over a deployment's limit gets an answer of its own.
const HEAD_BYTES_MAX: usize = 96 << 10;
const HEADERS_MAX: usize = 256;
const TRAILER_BYTES_MAX: usize = 8 << 10;
const CHUNK_DIGITS_MAX: u32 = 8;

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Refusal {
    Malformed,
    HeadTooLarge,
    ExpectationUnknown,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum State {
    /// Before a head; an empty line is allowed there, once.
    Start { skipped: usize },
    Head,
    Body { left: u64 },
    ChunkSize { value: u64, digits: u32 },
    ChunkSizeEnd { value: u64 },
    Chunk { left: u64 },
    ChunkEnd { seen: usize },
    Trailer,
}

const START: State = State::Start { skipped: 0 };
const LINE_END: &[u8] = b"\r\n";

/// What becomes of bytes that were taken.
enum Taken {
    /// They may go on.
    Passed(usize),
    /// They are in `part`, until the rest has come.
    Kept(usize),
    /// They are the rest.
    Completed(usize),
}

pub struct Strict {
    state: State,
    /// What has come of a head or trailer that is not complete.
    part: Vec<u8>,
    refusal: Option<Refusal>,
}

impl Strict {
    pub fn new() -> Strict {
        Strict { state: START, part: Vec::new(), refusal: None }
    }
    pub fn is_refused(&self) -> bool {
        self.refusal.is_some()
    }
    /// None of a body: its request is under way, and answered by whoever reads it.
    pub fn refusal_of_head(&self) -> Option<Refusal> {
        self.refusal.filter(|_| matches!(self.state, State::Start { .. } | State::Head))
    }

    /// How many of these bytes may go on as they are; what comes after them is in `held`. After a refusal nothing does.
    pub fn take(&mut self, bytes: &[u8], held: &mut Vec<u8>) -> usize {
        let (mut at, mut passed) = (0, 0);
        while at < bytes.len() && self.refusal.is_none() {
            match self.step(&bytes[at..]) {
                Ok(Taken::Passed(taken)) => {
                    if passed == at && held.is_empty() {
                        passed += taken;
                    } else {
                        held.extend_from_slice(&bytes[at..at + taken]);
                    }
                    at += taken;
                }
                Ok(Taken::Kept(taken)) => at += taken,
                Ok(Taken::Completed(taken)) => {
                    held.append(&mut self.part);
                    at += taken;
                }
                Err(refusal) => self.refusal = Some(refusal),
            }
        }
        passed
    }

    /// At least one byte, if it is not refused.
    fn step(&mut self, bytes: &[u8]) -> Result<Taken, Refusal> {
        let first = bytes[0];
        let taken = match self.state {
            State::Start { skipped } => {
                if first != b'\r' && first != b'\n' {
                    self.state = State::Head;
                    return Ok(Taken::Passed(0));
                }
                if LINE_END.get(skipped) != Some(&first) {
                    return Err(Refusal::Malformed);
                }
                self.state = State::Start { skipped: skipped + 1 };
                self.part.push(first);
                return Ok(Taken::Kept(1));
            }
            State::Head => return self.lines(bytes, HEAD_BYTES_MAX, check_head),
            State::Trailer => return self.lines(bytes, TRAILER_BYTES_MAX, check_trailer),
            State::Body { left } => {
                let taken = left.min(bytes.len() as u64);
                self.state = if left == taken { START } else { State::Body { left: left - taken } };
                taken as usize
            }
            State::ChunkSize { value, digits } => {
                self.state = match (first as char).to_digit(16) {
                    Some(digit) if digits < CHUNK_DIGITS_MAX => State::ChunkSize { value: value * 16 + u64::from(digit), digits: digits + 1 },
                    // No extensions: nobody uses them but to be read in two ways.
                    None if first == b'\r' && digits > 0 => State::ChunkSizeEnd { value },
                    _ => return Err(Refusal::Malformed),
                };
                1
            }
            State::ChunkSizeEnd { value } => {
                if first != b'\n' {
                    return Err(Refusal::Malformed);
                }
                self.state = if value == 0 { State::Trailer } else { State::Chunk { left: value } };
                1
            }
            State::Chunk { left } => {
                let taken = left.min(bytes.len() as u64);
                self.state = if left == taken { State::ChunkEnd { seen: 0 } } else { State::Chunk { left: left - taken } };
                taken as usize
            }
            State::ChunkEnd { seen } => {
                if LINE_END.get(seen) != Some(&first) {
                    return Err(Refusal::Malformed);
                }
                self.state = if seen == 1 { State::ChunkSize { value: 0, digits: 0 } } else { State::ChunkEnd { seen: 1 } };
                1
            }
        };
        Ok(Taken::Passed(taken))
    }

    /// Lines up to and with the empty one. `check` looks at all of them, and says what follows.
    fn lines(&mut self, bytes: &[u8], bytes_max: usize, check: fn(&[u8]) -> Result<State, Refusal>) -> Result<Taken, Refusal> {
        let end = end_of(&self.part, bytes)?;
        let taken = end.unwrap_or(bytes.len());
        if self.part.len() + taken > bytes_max {
            return Err(Refusal::HeadTooLarge);
        }
        if end.is_some() && self.part.is_empty() {
            self.state = check(&bytes[..taken])?;
            return Ok(Taken::Passed(taken));
        }
        self.part.extend_from_slice(&bytes[..taken]);
        if end.is_none() {
            return Ok(Taken::Kept(taken));
        }
        self.state = check(&self.part)?;
        Ok(Taken::Completed(taken))
    }
}

/// Behind the empty line. A line that ends without its carriage return is refused at once: some end a head with it.
fn end_of(part: &[u8], bytes: &[u8]) -> Result<Option<usize>, Refusal> {
    let at = |index: usize| if index < part.len() { part[index] } else { bytes[index - part.len()] };
    let mut from = 0;
    while let Some(found) = bytes[from..].iter().position(|byte| *byte == b'\n') {
        let index = part.len() + from + found;
        if index == 0 || at(index - 1) != b'\r' {
            return Err(Refusal::Malformed);
        }
        // An empty line: after another, or, of a trailer, all there is.
        if index == 1 || (index >= 3 && at(index - 2) == b'\n') {
            return Ok(Some(from + found + 1));
        }
        from += found + 1;
    }
    Ok(None)
}

fn check_head(head: &[u8]) -> Result<State, Refusal> {
    let mut lines = lines_of(head.strip_prefix(LINE_END).unwrap_or(head))?;
    let request = lines.next().ok_or(Refusal::Malformed)?;
    let is_http_11 = check_request_line(request)?;
    let (mut hosts, mut lengths, mut codings, mut count) = (0, 0, 0, 0);
    let mut length = 0;
    for line in lines {
        count += 1;
        if count > HEADERS_MAX {
            return Err(Refusal::HeadTooLarge);
        }
        let (name, value) = field_of(line)?;
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                hosts += 1;
                check_host(value)?;
            }
            6 if name.eq_ignore_ascii_case(b"expect") && !value.eq_ignore_ascii_case(b"100-continue") => return Err(Refusal::ExpectationUnknown),
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                lengths += 1;
                length = decimal(value)?;
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                codings += 1;
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::Malformed);
                }
            }
            _ => {}
        }
    }
    let is_plain = lengths + codings <= 1 && hosts <= 1 && (hosts == 1 || !is_http_11) && (codings == 0 || is_http_11);
    match (is_plain, codings, length) {
        (false, ..) => Err(Refusal::Malformed),
        (true, 1, _) => Ok(State::ChunkSize { value: 0, digits: 0 }),
        (true, _, 0) => Ok(START),
        (true, _, left) => Ok(State::Body { left }),
    }
}

fn check_trailer(trailer: &[u8]) -> Result<State, Refusal> {
    for line in lines_of(trailer)? {
        let (name, _) = field_of(line)?;
        if [b"host".as_slice(), b"content-length", b"transfer-encoding"].iter().any(|framing| name.eq_ignore_ascii_case(framing)) {
            return Err(Refusal::Malformed);
        }
    }
    Ok(START)
}

/// Without the empty line; every line ends with CR LF, and neither is anywhere else.
fn lines_of(head: &[u8]) -> Result<impl Iterator<Item = &[u8]>, Refusal> {
    let lines = head.strip_suffix(LINE_END).ok_or(Refusal::Malformed)?;
    Ok(lines.split(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\r")))
}

/// Whether it is HTTP/1.1.
fn check_request_line(line: &[u8]) -> Result<bool, Refusal> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(Refusal::Malformed);
    };
    let is_http_11 = version == b"HTTP/1.1";
    let is_method = !method.is_empty() && method.iter().all(|byte| is_token(*byte));
    let is_target = target.iter().all(|byte| (0x21..0x7f).contains(byte) && *byte != b'#');
    let has_form = match target {
        [b'/', ..] => true,
        b"*" => method == b"OPTIONS",
        _ if method == b"CONNECT" => !target.is_empty(),
        _ => ["http://", "https://"].iter().any(|scheme| {
            target.len() > scheme.len() && target[..scheme.len()].eq_ignore_ascii_case(scheme.as_bytes())
        }),
    };
    if is_method && is_target && has_form && (is_http_11 || version == b"HTTP/1.0") { Ok(is_http_11) } else { Err(Refusal::Malformed) }
}

/// A name and its value without the spaces around it.
fn field_of(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let colon = line.iter().position(|byte| !is_token(*byte)).filter(|at| *at > 0 && line[*at] == b':').ok_or(Refusal::Malformed)?;
    let value = &line[colon + 1..];
    if value.iter().any(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f) {
        return Err(Refusal::Malformed);
    }
    Ok((&line[..colon], value.trim_ascii()))
}

fn is_token(byte: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut token = [false; 256];
        let others = b"!#$%&'*+-.^_`|~";
        let mut byte = 0;
        while byte < 256 {
            token[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let mut index = 0;
        while index < others.len() {
            token[others[index] as usize] = true;
            index += 1;
        }
        token
    };
    TOKEN[byte as usize]
}

/// A name or an address, with a port or without.
fn check_host(host: &[u8]) -> Result<(), Refusal> {
    let (name, port) = match host.iter().rposition(|byte| *byte == b':') {
        Some(colon) if !host.ends_with(b"]") => (&host[..colon], &host[colon + 1..]),
        _ => (host, b"".as_slice()),
    };
    let is_name = match name.strip_prefix(b"[").and_then(|name| name.strip_suffix(b"]")) {
        Some(address) => address.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')),
        None => name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')),
    };
    if is_name && !name.is_empty() && port.len() <= 5 && port.iter().all(u8::is_ascii_digit) { Ok(()) } else { Err(Refusal::Malformed) }
}

fn decimal(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::Malformed);
    }
    Ok(value.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The outcome is the same however the bytes are cut.
    fn outcome(text: &str) -> (usize, Option<Refusal>) {
        let bytes = text.as_bytes();
        let outcomes: Vec<_> = [bytes.len(), 1, 2, 3, 7]
            .into_iter()
            .map(|size| {
                let (mut strict, mut out) = (Strict::new(), Vec::new());
                for piece in bytes.chunks(size) {
                    let mut held = Vec::new();
                    let passed = strict.take(piece, &mut held);
                    out.extend_from_slice(&piece[..passed]);
                    out.append(&mut held);
                }
                assert!(bytes.starts_with(&out), "{text:?} in pieces of {size}");
                (out.len(), strict.refusal)
            })
            .collect();
        outcomes.iter().for_each(|other| assert_eq!(other.1, outcomes[0].1, "{text:?}"));
        outcomes[0]
    }

    #[test]
    fn plain_requests_pass_to_their_last_byte() {
        for text in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\nGET /?q=%20 HTTP/1.1\r\nHost: a.b:80\r\nX:\r\nY: \t z\t\r\n\r\nGET / HTTP/1.0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0a\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            assert_eq!(outcome(text), (text.len(), None), "{text:?}");
        }
    }

    #[test]
    fn a_line_without_carriage_return_is_refused_before_it_can_end_a_head() {
        for text in ["GET / HTTP/1.1\n", "GET / HTTP/1.1\r\nHost: a\n", "GET / HTTP/1.1\r\nHost: a\r\n\n"] {
            assert_eq!(outcome(text), (0, Some(Refusal::Malformed)), "{text:?}");
        }
    }
}
