//! One connection to a peer. Whoever uses it drives it: no task of its own, so that an answer takes no way between threads.
use crate::replay::Replay;
use bytes::Bytes;
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::{
        TrySendError,
        http1::{self, Connection, SendRequest},
    },
};
use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, watch},
};
use tokio_rustls::client::TlsStream;
use wasmtime_wasi_http::{Error, io::TokioIo};

use crate::{peers::Peer, stall::Held};

/// Twice what the largest headerBytesMax is.
const BUFFER_BYTES_MAX: usize = 128 << 10;
const HEADERS_MAX: usize = 256;

type Driven = Connection<TokioIo<TlsStream<TcpStream>>, Replay>;
type Gone = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

pub struct Line {
    sender: SendRequest<Replay>,
    /// None once it has ended.
    connection: Option<Pin<Box<Driven>>>,
    gone: Gone,
    /// It ended because its peer's key did, whatever was under way.
    is_cut: bool,
}

impl fmt::Debug for Line {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("Line")
    }
}

impl Line {
    pub async fn begin(stream: TlsStream<TcpStream>, mut gone: watch::Receiver<bool>) -> Option<Line> {
        let (sender, connection) = http1::Builder::new().max_buf_size(BUFFER_BYTES_MAX).max_headers(HEADERS_MAX).handshake(TokioIo::new(stream)).await.ok()?;
        let gone = Box::pin(async move { _ = gone.wait_for(|gone| *gone).await });
        Some(Line { sender, connection: Some(Box::pin(connection)), gone, is_cut: false })
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        let Some(connection) = &mut self.connection else { return };
        if connection.as_mut().poll(cx).is_ready() {
            self.connection = None;
        } else if self.gone.as_mut().poll(cx).is_ready() {
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

    pub async fn send(&mut self, request: Request<Replay>) -> Result<Response<Incoming>, TrySendError<Request<Replay>>> {
        let mut sent = Box::pin(self.sender.try_send_request(request));
        poll_fn(|cx| {
            self.drive(cx);
            sent.as_mut().poll(cx)
        })
        .await
    }
}

/// The body of an answer on its way through. Dropped before its end, its connection ends and with it the guest.
pub struct Passing {
    way: Held<Way>,
    peer: Arc<Peer>,
}

struct Way {
    body: Incoming,
    line: Line,
    _place: OwnedSemaphorePermit,
}

impl Passing {
    pub fn new(body: Incoming, line: Line, peer: Arc<Peer>, place: OwnedSemaphorePermit) -> Passing {
        Passing { way: Held::new(Way { body, line, _place: place }), peer }
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
            self.peer.keep(way.line);
        }
    }
}
