//! The body of a request on its way to another machine, of which so much is kept that it can be sent again.
//!
//! What a peer says it did not begin, or what never reached one, may go to another: then the part that was read already must still be
//! there. A little is kept of each, and of all together.
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

/// Of one request, and of all that are under way: beyond it a request is sent once.
const KEPT_BYTES_MAX: usize = 64 << 10;
const KEPT_ALL_BYTES_MAX: usize = 16 << 20;
static KEPT_ALL: AtomicUsize = AtomicUsize::new(0);

/// Where the body comes from; the requests that carry it come and go.
pub struct Source {
    state: Arc<Mutex<State>>,
    is_empty: bool,
}

struct State {
    body: Option<Incoming>,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    /// All that was read is kept.
    is_whole: bool,
    is_broken: bool,
}

impl Source {
    pub fn new(body: Incoming) -> Source {
        let is_empty = body.is_end_stream();
        let state = State { body: Some(body), kept: Vec::new(), kept_bytes: 0, is_whole: true, is_broken: false };
        Source { state: Arc::new(Mutex::new(state)), is_empty }
    }

    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// From the beginning; none when that is not there any more.
    pub fn replay(&self) -> Option<Replay> {
        let state = self.state.lock().unwrap();
        let may = state.is_whole && !state.is_broken && state.body.is_some();
        may.then(|| Replay { state: self.state.clone(), at: 0 })
    }

    /// The client's own part was cut, or not as it was announced.
    pub fn is_broken(&self) -> bool {
        self.state.lock().unwrap().is_broken
    }

    /// As it came, when nothing of it was read.
    pub fn untouched(&self) -> Option<Incoming> {
        let mut state = self.state.lock().unwrap();
        if state.is_whole && state.kept.is_empty() && !state.is_broken { state.body.take() } else { None }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        KEPT_ALL.fetch_sub(self.kept_bytes, Relaxed);
    }
}

impl State {
    fn keep(&mut self, data: Option<&Bytes>) {
        if !self.is_whole {
            return;
        }
        let length = data.map_or(usize::MAX, Bytes::len);
        let fits = self.kept_bytes.saturating_add(length) <= KEPT_BYTES_MAX && KEPT_ALL.load(Relaxed) + length <= KEPT_ALL_BYTES_MAX;
        if let (true, Some(data)) = (fits, data) {
            KEPT_ALL.fetch_add(length, Relaxed);
            self.kept_bytes += length;
            self.kept.push(data.clone());
            return;
        }
        self.is_whole = false;
        self.kept.clear();
        KEPT_ALL.fetch_sub(std::mem::take(&mut self.kept_bytes), Relaxed);
    }
}

/// One sending of it.
pub struct Replay {
    state: Arc<Mutex<State>>,
    at: usize,
}

impl Body for Replay {
    type Data = Bytes;
    type Error = hyper::Error;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Replay { state, at } = &mut *self;
        let mut state = state.lock().unwrap();
        if let Some(data) = state.kept.get(*at) {
            *at += 1;
            return Poll::Ready(Some(Ok(Frame::data(data.clone()))));
        }
        let Some(body) = &mut state.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                state.keep(frame.data_ref());
                *at = state.kept.len();
            }
            Some(Err(_)) => state.is_broken = true,
            None => {}
        }
        Poll::Ready(frame)
    }
    fn is_end_stream(&self) -> bool {
        let state = self.state.lock().unwrap();
        self.at >= state.kept.len() && state.body.as_ref().is_none_or(Incoming::is_end_stream)
    }
    fn size_hint(&self) -> SizeHint {
        let state = self.state.lock().unwrap();
        let kept = state.kept.iter().skip(self.at).map(|data| data.len() as u64).sum::<u64>();
        let rest = state.body.as_ref().map_or(SizeHint::with_exact(0), Incoming::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + kept);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + kept);
        }
        hint
    }
}
