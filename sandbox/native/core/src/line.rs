//! One connection on which requests are sent on: to a peer, or to a runner behind this one. Whoever uses it drives it: no task of its
//! own, so that an answer takes no way between threads.
use crate::{replay::Replay, stall::Held};
use bytes::Bytes;
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1::{self, Connection, SendRequest},
};
use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, watch},
    time::timeout,
};
use wasmtime_wasi_http::{Error, io::TokioIo};

/// Twice what the largest headerBytesMax is.
const BUFFER_BYTES_MAX: usize = 128 << 10;
const HEADERS_MAX: usize = 256;
/// The longest wall time and the longest queue that a deployment may have, and a little.
const HEAD_TIMEOUT: Duration = Duration::from_secs(640);

/// With TLS or without; behind a pointer, so that HTTP over it is built once.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

type Driven = Connection<TokioIo<Box<dyn Duplex>>, Replay>;
type Gone = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

pub struct Line {
    sender: SendRequest<Replay>,
    /// None once it has ended.
    connection: Option<Pin<Box<Driven>>>,
    gone: Option<Gone>,
    /// It ended because its peer's key did, whatever was under way.
    is_cut: bool,
}

pub enum Sent {
    Answered(Response<Incoming>),
    /// Nothing of it was.
    Not,
    /// Somebody may have begun it.
    Broken,
}

impl fmt::Debug for Line {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("Line")
    }
}

impl Line {
    /// It ends at once when `gone` becomes true.
    pub async fn begin(stream: impl Duplex + 'static, gone: Option<watch::Receiver<bool>>) -> Option<Line> {
        let stream: Box<dyn Duplex> = Box::new(stream);
        let (sender, connection) = http1::Builder::new().max_buf_size(BUFFER_BYTES_MAX).max_headers(HEADERS_MAX).handshake(TokioIo::new(stream)).await.ok()?;
        let gone = gone.map(|mut gone| Box::pin(async move { _ = gone.wait_for(|gone| *gone).await }) as Gone);
        Some(Line { sender, connection: Some(Box::pin(connection)), gone, is_cut: false })
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        let Some(connection) = &mut self.connection else { return };
        if connection.as_mut().poll(cx).is_ready() {
            self.connection = None;
        } else if self.gone.as_mut().is_some_and(|gone| gone.as_mut().poll(cx).is_ready()) {
            // What waits for an answer's head learns it from its own channel.
            (self.connection, self.is_cut) = (None, true);
        }
    }

    /// Whether one that was kept has not ended meanwhile.
    pub async fn is_usable(&mut self) -> bool {
        poll_fn(|cx| {
            self.drive(cx);
            Poll::Ready(self.connection.is_some() && self.sender.is_ready())
        })
        .await
    }

    pub async fn send(&mut self, request: Request<Replay>) -> Sent {
        let mut sent = Box::pin(self.sender.try_send_request(request));
        let head = poll_fn(|cx| {
            self.drive(cx);
            sent.as_mut().poll(cx)
        });
        match timeout(HEAD_TIMEOUT, head).await {
            Ok(Ok(response)) => Sent::Answered(response),
            Ok(Err(mut error)) => match error.take_message() {
                Some(_) => Sent::Not,
                None => Sent::Broken,
            },
            Err(_) => Sent::Broken,
        }
    }
}

/// Who takes a connection whose answer has ended.
pub trait Keeper: Send + Sync {
    fn keep(&self, line: Line);
}

/// The body of an answer on its way through. Dropped before its end, its connection ends and with it the guest.
pub struct Passing {
    way: Held<Way>,
    keeper: Arc<dyn Keeper>,
}

struct Way {
    body: Incoming,
    line: Line,
    _place: OwnedSemaphorePermit,
}

impl Passing {
    pub fn new(body: Incoming, line: Line, keeper: Arc<dyn Keeper>, place: OwnedSemaphorePermit) -> Passing {
        Passing { way: Held::new(Way { body, line, _place: place }), keeper }
    }
}

impl Body for Passing {
    type Data = Bytes;
    type Error = Error;
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.way.ask(|way| {
            let Some(Way { body, line, .. }) = way else { return (Poll::Ready(Some(Err(Error::HttpResponseIncomplete))), false) };
            // To be asked is what makes the connection read on.
            let mut frame = Pin::new(&mut *body).poll_frame(cx);
            if frame.is_pending() {
                line.drive(cx);
                frame = Pin::new(body).poll_frame(cx);
            }
            // The channel of a body that is cut ends as if it were whole.
            if matches!(frame, Poll::Ready(None)) && line.is_cut {
                return (Poll::Ready(Some(Err(Error::HttpResponseIncomplete))), true);
            }
            let is_clients = frame.is_ready();
            (frame.map(|frame| frame.map(|frame| frame.map_err(Error::Hyper))), is_clients)
        })
    }
    fn is_end_stream(&self) -> bool {
        self.way.look(|way| way.is_some_and(|way| way.body.is_end_stream()))
    }
    fn size_hint(&self) -> SizeHint {
        self.way.look(|way| way.map_or(SizeHint::default(), |way| way.body.size_hint()))
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if let Some(way) = self.way.take().filter(|way| way.line.connection.is_some() && way.body.is_end_stream()) {
            self.keeper.keep(way.line);
        }
    }
}
