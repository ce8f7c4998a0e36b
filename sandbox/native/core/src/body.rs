//! Bodies with a limit: a request's on its way into the guest, an answer's on its way out.
use crate::{batch::Handle, cause::Cause, line::Passing, plane::Call, replay::Given};
use bytes::{Bytes, BytesMut};
use hyper::{
    HeaderMap,
    body::{Body, Frame, SizeHint},
    header::CONTENT_LENGTH,
};
use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use tokio::time::{Sleep, sleep};
use wasmtime_wasi_http::{Error, p2::body::HyperOutgoingBody};

/// Frames of an answer that are gathered without waiting, to go out in one write.
const FRAMES_GATHERED_MAX: usize = 16;

/// How long all waits for one request's body may take together: so long, and a little longer for each byte that came.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub wait_ms_max: u64,
    pub bytes_per_second_min: u64,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { wait_ms_max: 30_000, bytes_per_second_min: 256 }
    }
}

impl Patience {
    fn left(self, bytes: u64, waited: Duration) -> Duration {
        let earned_ms = bytes.saturating_mul(1_000) / self.bytes_per_second_min.max(1);
        Duration::from_millis(self.wait_ms_max.saturating_add(earned_ms)).saturating_sub(waited)
    }
}

/// A request's body.
pub struct Counted {
    body: Given,
    left: u64,
    read: u64,
    patience: Patience,
    waited: Duration,
    /// Since when its guest waits for more, and until when it may.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
    call: Arc<Call>,
}

impl Counted {
    pub fn new(body: Given, bytes_max: u64, patience: Patience, call: Arc<Call>) -> Counted {
        Counted { body, left: bytes_max, read: 0, patience, waited: Duration::ZERO, waiting: None, call }
    }

    /// Nothing is there yet; an error when its client has had its time.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let left = self.patience.left(self.read, self.waited);
        let (_, late) = self.waiting.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
        if late.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.call.fail(Cause::BodyTooSlow);
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Error;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else { return self.poll_patience(cx) };
        if let Some((since, _)) = self.waiting.take() {
            self.waited += since.elapsed();
        }
        let bytes =
            frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(|frame| frame.data_ref()).map_or(0, |data| data.len() as u64);
        if bytes > self.left {
            self.left = 0;
            self.call.fail(Cause::BodyTooLarge);
            return Poll::Ready(Some(Err(Error::HttpRequestBodySize(None))));
        }
        self.left -= bytes;
        self.read += bytes;
        if frame.as_ref().is_some_and(Result::is_err) {
            // Cut, or not as it was announced. A client that has gone does not read the answer.
            self.call.fail(Cause::BodyMalformed);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Error::Hyper)))
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pub enum Answer {
    Whole(Option<Bytes>),
    Stream(Box<Stream>),
    /// Of a runner behind this one, or of another machine.
    Passed(Box<Passing>),
}

pub struct Stream {
    gathered: VecDeque<Frame<Bytes>>,
    body: HyperOutgoingBody,
    left: u64,
    call: Arc<Call>,
    /// Dropped with the body when the client has gone, and the guest with it.
    guest: Option<Handle>,
}

impl Answer {
    /// What the guest has written by now goes into one write; if that is all, with its length.
    pub fn gather(mut body: HyperOutgoingBody, guest: Option<Handle>, call: Arc<Call>, bytes_max: u64) -> Result<Answer, Cause> {
        let mut context = Context::from_waker(Waker::noop());
        let mut gathered = VecDeque::new();
        let (mut bytes, mut ended, mut plain) = (0, false, true);
        while gathered.len() < FRAMES_GATHERED_MAX {
            match Pin::new(&mut body).poll_frame(&mut context) {
                Poll::Ready(Some(Ok(frame))) => {
                    bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                    plain &= frame.is_data();
                    gathered.push_back(frame);
                }
                // The guest broke its answer off before anything of it was sent.
                Poll::Ready(Some(Err(_))) => return Err(call.cause().unwrap_or(Cause::GuestError)),
                Poll::Ready(None) => {
                    // wasi-http ends a body that was never finished as if it were complete: only we know that its guest failed.
                    if let Some(cause) = call.cause() {
                        return Err(cause);
                    }
                    ended = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        if bytes > bytes_max {
            return Err(Cause::AnswerTooLarge);
        }
        if !(ended && plain) {
            return Ok(Answer::Stream(Box::new(Stream { gathered, body, left: bytes_max - bytes, call, guest })));
        }
        // The answer is complete; what the guest still wants to do it may do, within its limits.
        guest.map(Handle::detach);
        Ok(Answer::Whole(join(gathered)))
    }

    /// hyper believes a content-length beside a body whose length it knows: what is too short would take the next answer's bytes.
    pub fn is_as_announced(&self, headers: &HeaderMap) -> bool {
        let Answer::Whole(bytes) = self else { return true };
        let length = bytes.as_ref().map_or(0, Bytes::len).to_string();
        headers.get_all(CONTENT_LENGTH).iter().all(|announced| announced.as_bytes() == length.as_bytes())
    }
}

fn join(mut frames: VecDeque<Frame<Bytes>>) -> Option<Bytes> {
    if frames.len() < 2 {
        return frames.pop_front().and_then(|frame| frame.into_data().ok());
    }
    let mut all = BytesMut::new();
    for frame in frames {
        if let Ok(data) = frame.into_data() {
            all.extend_from_slice(&data);
        }
    }
    Some(all.freeze())
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Error;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let stream = match &mut *self {
            Answer::Whole(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Answer::Passed(passed) => return Pin::new(&mut **passed).poll_frame(cx),
            Answer::Stream(stream) => stream,
        };
        if let Some(frame) = stream.gathered.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match std::task::ready!(Pin::new(&mut stream.body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                if bytes > stream.left {
                    stream.call.fail(Cause::AnswerTooLarge);
                    stream.guest.take();
                    return Poll::Ready(Some(Err(Error::HttpResponseBodySize(None))));
                }
                stream.left -= bytes;
                Poll::Ready(Some(Ok(frame)))
            }
            None if stream.call.cause().is_some() => Poll::Ready(Some(Err(Error::HttpResponseIncomplete))),
            None => {
                stream.guest.take().map(Handle::detach);
                Poll::Ready(None)
            }
            broken => Poll::Ready(broken),
        }
    }
    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Whole(bytes) => bytes.is_none(),
            Answer::Stream(_) => false,
            Answer::Passed(passed) => passed.is_end_stream(),
        }
    }
    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Answer::Stream(_) => SizeHint::default(),
            Answer::Passed(passed) => passed.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_may_be_slow_as_long_as_it_comes_and_silent_only_for_so_long_in_all() {
        let patience = Patience { wait_ms_max: 30_000, bytes_per_second_min: 256 };
        let seconds = Duration::from_secs;
        assert_eq!(patience.left(0, Duration::ZERO), seconds(30));
        assert_eq!(patience.left(0, seconds(12)), seconds(18));
        // A byte now and then does not help, however often.
        assert_eq!(patience.left(25, seconds(31)), Duration::ZERO);
        assert_eq!(patience.left(2_560, seconds(31)), seconds(9));
        assert!(patience.left(u64::MAX, seconds(600)) > seconds(600));
        assert_eq!(Patience { wait_ms_max: 0, bytes_per_second_min: 0 }.left(0, Duration::ZERO), Duration::ZERO);
    }
}
