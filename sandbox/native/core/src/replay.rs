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

/// What is served here: as it came, or after another machine was asked in vain.
pub enum Given {
    Fresh(Incoming),
    Again(Replay),
}

impl Body for Given {
    type Data = Bytes;
    type Error = hyper::Error;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Given::Fresh(body) => Pin::new(body).poll_frame(cx),
            Given::Again(body) => Pin::new(body).poll_frame(cx),
        }
    }
    fn is_end_stream(&self) -> bool {
        match self {
            Given::Fresh(body) => body.is_end_stream(),
            Given::Again(body) => body.is_end_stream(),
        }
    }
    fn size_hint(&self) -> SizeHint {
        match self {
            Given::Fresh(body) => body.size_hint(),
            Given::Again(body) => body.size_hint(),
        }
    }
}

/// Where the body comes from; the requests that carry it come and go.
pub struct Source {
    state: Arc<Mutex<State>>,
    is_empty: bool,
}

struct State {
    body: Option<Given>,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    /// All that was read is kept.
    is_whole: bool,
    is_broken: bool,
}

impl Source {
    pub fn new(body: Given) -> Source {
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

    /// For this machine itself: as it came, when nothing of it was read, else from the beginning if that is still there.
    pub fn given(&self) -> Option<Given> {
        self.untouched().or_else(|| self.replay().map(Given::Again))
    }

    fn untouched(&self) -> Option<Given> {
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
        self.at >= state.kept.len() && state.body.as_ref().is_none_or(Given::is_end_stream)
    }
    fn size_hint(&self) -> SizeHint {
        let state = self.state.lock().unwrap();
        let kept = state.kept.iter().skip(self.at).map(|data| data.len() as u64).sum::<u64>();
        let rest = state.body.as_ref().map_or(SizeHint::with_exact(0), Given::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + kept);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + kept);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Full};
    use hyper::{Request, Response};
    use std::convert::Infallible;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// What is given here of a body after somebody else has read it: its length, or none.
    fn given_after_a_reading(length: usize) -> Option<usize> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(1 << 20);
            let (tell, told) = tokio::sync::oneshot::channel();
            let tell = Mutex::new(Some(tell));
            let service = hyper::service::service_fn(|request: Request<Incoming>| async {
                let source = Source::new(Given::Fresh(request.into_body()));
                let read = source.replay().unwrap().collect().await.unwrap().to_bytes();
                assert_eq!(read.len(), length);
                let again = match source.given() {
                    Some(body) => Some(body.collect().await.unwrap().to_bytes()),
                    None => None,
                };
                assert!(again.as_ref().is_none_or(|again| *again == read));
                _ = tell.lock().unwrap().take().unwrap().send(again.map(|again| again.len()));
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
            });
            let serving = hyper::server::conn::http1::Builder::new().serve_connection(wasmtime_wasi_http::io::TokioIo::new(server), service);
            let asking = tokio::spawn(async move {
                client.write_all(format!("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n").as_bytes()).await.unwrap();
                client.write_all(&vec![b'x'; length]).await.unwrap();
                client.read_to_end(&mut Vec::new()).await.unwrap();
            });
            serving.await.unwrap();
            asking.await.unwrap();
            told.await.unwrap()
        })
    }

    #[test]
    fn what_another_machine_has_read_of_a_body_is_given_here_from_the_beginning_while_it_is_kept() {
        assert_eq!(given_after_a_reading(3), Some(3));
        assert_eq!(given_after_a_reading(KEPT_BYTES_MAX), Some(KEPT_BYTES_MAX));
        assert_eq!(given_after_a_reading(KEPT_BYTES_MAX + 1), None);
    }
}
