//! Bodies with a limit: a request's on its way into the guest, an answer's on its way out.
use crate::{batch::Handle, cause::Cause, hop::Passed, line::Passing, plane::Call};
use bytes::{Bytes, BytesMut};
use hyper::{
    HeaderMap,
    body::{Body, Frame, Incoming, SizeHint},
    header::CONTENT_LENGTH,
};
use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};
use wasmtime_wasi_http::{Error, p2::body::HyperOutgoingBody};

/// Frames of an answer that are gathered without waiting, to go out in one write.
const FRAMES_GATHERED_MAX: usize = 16;

/// A request's body.
pub struct Counted {
    body: Incoming,
    left: u64,
    call: Arc<Call>,
}

impl Counted {
    pub fn new(body: Incoming, bytes_max: u64, call: Arc<Call>) -> Counted {
        Counted { body, left: bytes_max, call }
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Error;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let bytes =
            frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(|frame| frame.data_ref()).map_or(0, |data| data.len() as u64);
        if bytes > self.left {
            self.left = 0;
            self.call.fail(Cause::BodyTooLarge);
            return Poll::Ready(Some(Err(Error::HttpRequestBodySize(None))));
        }
        self.left -= bytes;
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
    /// Of a runner behind this one.
    Passed(Box<Passed>),
    /// Of another machine.
    Elsewhere(Box<Passing>),
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
            Answer::Elsewhere(passing) => return Pin::new(&mut **passing).poll_frame(cx),
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
            Answer::Elsewhere(passing) => passing.is_end_stream(),
        }
    }
    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Answer::Stream(_) => SizeHint::default(),
            Answer::Passed(passed) => passed.size_hint(),
            Answer::Elsewhere(passing) => passing.size_hint(),
        }
    }
}
