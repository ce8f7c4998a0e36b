//! A task's streams, joined to JavaScript's.
//!
//! What the guest writes goes to a callback, and it may be WINDOW_BYTES ahead of what JavaScript has acknowledged. What it reads
//! is asked for when it has nothing left, and pushed from JavaScript.
use bytes::Bytes;
use napi::{
    Status,
    bindgen_prelude::*,
    threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode},
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
};
use wasmtime_wasi::{
    async_trait,
    cli::{IsTerminal, StdinStream, StdoutStream},
    p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult},
};

const WINDOW_BYTES: usize = 256 << 10;
const WRITE_BYTES_MAX: usize = 64 << 10;
const STDIN: u32 = 0;

/// Does not keep the process alive: JavaScript does that as long as it waits. (0, nothing): stdin is wanted; (1 or 2, bytes): written to stdout or stderr.
pub type Output = ThreadsafeFunction<FnArgs<(u32, Buffer)>, (), FnArgs<(u32, Buffer)>, Status, false, true>;

pub struct Pipes {
    output: Output,
    state: Mutex<PipeState>,
    changed: Notify,
}
#[derive(Default)]
struct PipeState {
    unacknowledged: [usize; 2],
    written: usize,
    input: VecDeque<Bytes>,
    input_wanted: bool,
    input_ended: bool,
}

impl Pipes {
    pub fn new(output: Output) -> Arc<Pipes> {
        Arc::new(Pipes { output, state: Mutex::default(), changed: Notify::new() })
    }

    /// An empty chunk is the end of input.
    pub fn push_input(&self, chunk: &[u8]) {
        let mut state = self.state.lock().unwrap();
        state.input_wanted = false;
        if chunk.is_empty() {
            state.input_ended = true;
        } else {
            state.input.push_back(Bytes::copy_from_slice(chunk));
        }
        drop(state);
        self.changed.notify_waiters();
    }

    pub fn acknowledge(&self, stream: u32, bytes: usize) {
        if let Some(unacknowledged) = self.state.lock().unwrap().unacknowledged.get_mut(stream.wrapping_sub(1) as usize) {
            *unacknowledged = unacknowledged.saturating_sub(bytes);
        }
        self.changed.notify_waiters();
    }

    /// How much the guest has written to both streams.
    pub fn written(&self) -> usize {
        self.state.lock().unwrap().written
    }

    /// Waits until `ready` says so; it is asked again after every change.
    async fn until(&self, ready: impl Fn(&mut PipeState) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if ready(&mut self.state.lock().unwrap()) {
                return;
            }
            changed.await;
        }
    }
    fn call(&self, stream: u32, bytes: Vec<u8>) {
        self.output.call((stream, Buffer::from(bytes)).into(), ThreadsafeFunctionCallMode::NonBlocking);
    }
}

#[derive(Clone)]
pub struct Written(pub Arc<Pipes>, pub u32);

impl Written {
    fn room(&self, state: &PipeState) -> usize {
        WINDOW_BYTES.saturating_sub(state.unacknowledged[self.1 as usize - 1]).min(WRITE_BYTES_MAX)
    }
}
impl IsTerminal for Written {
    fn is_terminal(&self) -> bool {
        false
    }
}
impl StdoutStream for Written {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}
#[async_trait]
impl Pollable for Written {
    async fn ready(&mut self) {
        self.0.until(|state| self.room(state) > 0).await;
    }
}
#[async_trait]
impl OutputStream for Written {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut state = self.0.state.lock().unwrap();
        state.unacknowledged[self.1 as usize - 1] += bytes.len();
        state.written += bytes.len();
        drop(state);
        self.0.call(self.1, bytes.to_vec());
        Ok(())
    }
    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }
    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(self.room(&self.0.state.lock().unwrap()))
    }
}

#[derive(Clone)]
pub struct Input(pub Arc<Pipes>);

impl IsTerminal for Input {
    fn is_terminal(&self) -> bool {
        false
    }
}
impl StdinStream for Input {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(tokio::io::empty())
    }
    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}
#[async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        let pipes = &self.0;
        let ask = |state: &mut PipeState| {
            let have = !state.input.is_empty() || state.input_ended;
            if !have && !state.input_wanted {
                state.input_wanted = true;
                pipes.call(STDIN, Vec::new());
            }
            have
        };
        pipes.until(ask).await;
    }
}
#[async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut state = self.0.state.lock().unwrap();
        let Some(mut chunk) = state.input.pop_front() else {
            return if state.input_ended { Err(StreamError::Closed) } else { Ok(Bytes::new()) };
        };
        if chunk.len() > size {
            state.input.push_front(chunk.split_off(size));
        }
        Ok(chunk)
    }
}
