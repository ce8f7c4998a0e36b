//! A guest's stdout and stderr, cut into lines of its deployment's log, and limited in bytes per second.
use crate::{account::Account, plane::LoadError};
use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Instant, SystemTime, UNIX_EPOCH},
};
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    async_trait,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamError, StreamResult},
};

/// Longer lines are cut into several.
const LINE_BYTES_MAX: usize = 8 << 10;
/// What a guest may write before it gives up the thread once: what the host does for it costs no fuel.
const WRITE_BYTES_MAX: usize = 64 << 10;
/// What a line counts beyond its text, so that empty lines are not free.
const LINE_OVERHEAD_BYTES: u64 = 64;

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Stream {
    Stdout,
    Stderr,
    System,
}

pub struct Line {
    pub id: Arc<str>,
    pub request_id: String,
    pub stream: Stream,
    pub time_ms: u64,
    pub text: String,
}

/// Where lines go. Must not block; false means that it has no room.
pub trait Sink: Send + Sync {
    fn take(&self, line: Line) -> bool;
    /// A deployment has no code any more, and so no route.
    fn lost(&self, id: &str, error: &LoadError);
}

/// One deployment's log.
pub struct Log {
    id: Arc<str>,
    account: Arc<Account>,
    sink: Arc<dyn Sink>,
    bytes_per_second: u64,
    bucket: Mutex<Bucket>,
}

struct Bucket {
    bytes: u64,
    at: Instant,
    dropped: u64,
}

impl Log {
    pub fn new(id: Arc<str>, account: Arc<Account>, sink: Arc<dyn Sink>, bytes_per_second: u64) -> Arc<Log> {
        let bucket = Mutex::new(Bucket { bytes: bytes_per_second, at: Instant::now(), dropped: 0 });
        Arc::new(Log { id, account, sink, bytes_per_second, bucket })
    }

    /// Text of several lines becomes several lines.
    pub fn write(&self, request_id: &str, stream: Stream, text: &str) {
        for line in text.lines() {
            self.line(request_id, stream, line[..line.floor_char_boundary(LINE_BYTES_MAX)].to_string());
        }
    }

    fn line(&self, request_id: &str, stream: Stream, text: String) {
        let cost = text.len() as u64 + LINE_OVERHEAD_BYTES;
        let dropped = {
            let mut bucket = self.bucket.lock().unwrap();
            self.refill(&mut bucket);
            if bucket.bytes < cost {
                bucket.dropped += 1;
                self.account.log_lines_dropped.fetch_add(1, Relaxed);
                return;
            }
            bucket.bytes -= cost;
            std::mem::take(&mut bucket.dropped)
        };
        if dropped > 0 {
            self.say_dropped(dropped);
        }
        self.send(request_id, stream, text);
    }

    /// Called now and then, so that the last burst's loss is told even if nothing is written after it.
    pub fn tick(&self) {
        let dropped = {
            let mut bucket = self.bucket.lock().unwrap();
            self.refill(&mut bucket);
            if bucket.dropped == 0 || bucket.bytes < LINE_OVERHEAD_BYTES {
                return;
            }
            std::mem::take(&mut bucket.dropped)
        };
        self.say_dropped(dropped);
    }

    fn refill(&self, bucket: &mut Bucket) {
        let now = Instant::now();
        let gained = now.duration_since(bucket.at).as_micros() as u64 * self.bytes_per_second / 1_000_000;
        if gained > 0 {
            bucket.bytes = (bucket.bytes + gained).min(self.bytes_per_second);
            bucket.at = now;
        }
    }

    fn say_dropped(&self, count: u64) {
        self.send("", Stream::System, format!("dropped {count} lines: over {} bytes per second", self.bytes_per_second));
    }

    fn send(&self, request_id: &str, stream: Stream, text: String) {
        let time_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64);
        let line = Line { id: self.id.clone(), request_id: request_id.to_string(), stream, time_ms, text };
        if !self.sink.take(line) {
            self.account.log_lines_dropped.fetch_add(1, Relaxed);
            self.bucket.lock().unwrap().dropped += 1;
        }
    }
}

/// The two output streams of one instance. Handles that the guest opens share the unfinished line.
pub struct Tap {
    log: Arc<Log>,
    request_id: String,
    parts: Mutex<[Vec<u8>; 2]>,
    /// Of WRITE_BYTES_MAX.
    room: AtomicUsize,
}

impl Tap {
    pub fn new(log: Arc<Log>, request_id: String) -> Arc<Tap> {
        Arc::new(Tap { log, request_id, parts: Mutex::default(), room: AtomicUsize::new(WRITE_BYTES_MAX) })
    }

    pub fn system(&self, text: &str) {
        self.log.write(&self.request_id, Stream::System, text);
    }

    /// The instance has ended: what has no newline is a line too.
    pub fn finish(&self) {
        let parts = std::mem::take(&mut *self.parts.lock().unwrap());
        for (part, stream) in parts.into_iter().zip([Stream::Stdout, Stream::Stderr]) {
            if !part.is_empty() {
                self.log.line(&self.request_id, stream, String::from_utf8_lossy(&part).into_owned());
            }
        }
    }

    fn write(&self, stream: Stream, bytes: &[u8]) {
        let mut parts = self.parts.lock().unwrap();
        let part = &mut parts[usize::from(stream == Stream::Stderr)];
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            for chunk in text.chunks(LINE_BYTES_MAX) {
                if part.len() + chunk.len() > LINE_BYTES_MAX {
                    self.log.line(&self.request_id, stream, String::from_utf8_lossy(part).into_owned());
                    part.clear();
                }
                part.extend_from_slice(chunk);
            }
            if ended {
                let line = part.strip_suffix(b"\r").unwrap_or(part);
                self.log.line(&self.request_id, stream, String::from_utf8_lossy(line).into_owned());
                part.clear();
            }
        }
    }
}

/// Where an instance's output goes: to the tap of the request that it serves now.
pub struct Outlet(Mutex<Arc<Tap>>);

impl Outlet {
    pub fn new(tap: Arc<Tap>) -> Arc<Outlet> {
        Arc::new(Outlet(Mutex::new(tap)))
    }
    pub fn aim(&self, tap: Arc<Tap>) {
        *self.0.lock().unwrap() = tap;
    }
    fn tap(&self) -> Arc<Tap> {
        self.0.lock().unwrap().clone()
    }
}

/// What a guest's `get-stdout` or `get-stderr` gives.
#[derive(Clone)]
pub struct TapStream(pub Arc<Outlet>, pub Stream);

impl IsTerminal for TapStream {
    fn is_terminal(&self) -> bool {
        false
    }
}
impl StdoutStream for TapStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}
impl AsyncWrite for TapStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.0.tap().write(self.1, bytes);
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
#[async_trait]
impl Pollable for TapStream {
    async fn ready(&mut self) {
        let tap = self.0.tap();
        if tap.room.load(Relaxed) == 0 {
            tokio::task::yield_now().await;
            tap.room.store(WRITE_BYTES_MAX, Relaxed);
        }
    }
}
#[async_trait]
impl OutputStream for TapStream {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        let tap = self.0.tap();
        let room = tap.room.load(Relaxed);
        if bytes.len() > room {
            return Err(StreamError::trap("write of more than check-write allows"));
        }
        tap.room.store(room - bytes.len(), Relaxed);
        tap.write(self.1, &bytes);
        Ok(())
    }
    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }
    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(self.0.tap().room.load(Relaxed))
    }
}
