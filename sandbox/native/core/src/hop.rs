//! A deployment with a runner of its own, as the ingress sees it: requests are handed on to that runner and its answers back.
//!
//! Connections to it are dialled by the agent, as everything is, kept and used again. That runner holds the tenant's limits and gives
//! every answer its request's id; here are only bounds of what may be under way. Who goes while it is answered takes the connection
//! along, and so the guest. An answer that breaks off breaks off the client's, too.
use crate::{
    cause::Cause,
    outgoing::{Destination, Dialler},
    stall::Held,
};
use bytes::Bytes;
use hyper::{
    Method, Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1::{self, SendRequest},
    header::{CONNECTION, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE},
};
use std::{
    os::fd::OwnedFd,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use wasmtime_wasi_http::{Error, io::TokioIo};

/// Its runner may be on its way up again: the connection is in the backlog of its listener meanwhile.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
const READY_TIMEOUT: Duration = Duration::from_millis(10);
/// Twice what the largest headerBytesMax is.
const BUFFER_BYTES_MAX: usize = 128 << 10;
/// A connection that was kept and ended with its runner breaks as soon as it is used. What was under way for longer is not begun again.
const STALE_TIME_MAX: Duration = Duration::from_millis(50);
/// What is meant for the next machine on the way only.
const HOP_BY_HOP: [HeaderName; 6] =
    [CONNECTION, TE, TRANSFER_ENCODING, UPGRADE, HeaderName::from_static("keep-alive"), HeaderName::from_static("proxy-connection")];

pub struct Hop {
    pub id: String,
    dialler: Arc<dyn Dialler>,
    requests_max: usize,
    kept: Mutex<Vec<SendRequest<Onward>>>,
    places: Arc<Semaphore>,
}

impl Hop {
    pub fn new(id: String, requests_max: u32, dialler: Arc<dyn Dialler>) -> Hop {
        Hop { id, dialler, requests_max: requests_max as usize, kept: Mutex::default(), places: Arc::new(Semaphore::new(requests_max as usize)) }
    }

    pub fn under_way(&self) -> usize {
        self.requests_max - self.places.available_permits()
    }

    pub async fn forward(self: &Arc<Hop>, host: &str, mut request: Request<Incoming>) -> Result<Response<Passed>, Cause> {
        let Ok(place) = self.places.clone().try_acquire_owned() else { return Err(Cause::QueueFull) };
        for name in HOP_BY_HOP {
            request.headers_mut().remove(name);
        }
        // hyper sends a GET's body only where its framing is asked for.
        if !request.body().is_end_stream() && request.body().size_hint().exact().is_none() {
            request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        // One that came with its host in the target, or in another form, is sent with it where HTTP/1.1 has it.
        request.headers_mut().insert(HOST, HeaderValue::from_str(host).map_err(|_| Cause::HostMissing)?);
        let target = request.uri().path_and_query().map_or("/", |path| path.as_str()).parse().map_err(|_| Cause::HostMissing)?;
        *request.uri_mut() = target;
        *request.version_mut() = hyper::Version::HTTP_11;
        // One that asks only and has no body may be asked again.
        let again = (matches!(*request.method(), Method::GET | Method::HEAD) && request.body().is_end_stream()).then(|| {
            let mut again = Request::new(Onward(None));
            *again.method_mut() = request.method().clone();
            *again.uri_mut() = request.uri().clone();
            *again.headers_mut() = request.headers().clone();
            again
        });
        let (mut connection, is_kept) = self.connection().await?;
        let begun = Instant::now();
        let sent = connection.try_send_request(request.map(|body| Onward(Some(body)))).await;
        let response = match sent {
            Ok(response) => response,
            // Of what was kept all may have ended with the runner, which is noticed at once; the next one is on its way.
            Err(mut error) => {
                let unsent = error.take_message().or(again.filter(|_| is_kept && begun.elapsed() < STALE_TIME_MAX));
                let Some(request) = unsent else { return Err(Cause::RunnerGone) };
                self.kept.lock().unwrap().clear();
                connection = self.dial().await?;
                connection.send_request(request).await.map_err(|_| Cause::RunnerGone)?
            }
        };
        let mut response = response;
        response.headers_mut().remove(CONNECTION);
        Ok(response.map(|body| Passed { way: Held::new(Way { body, connection, _place: place }), hop: self.clone() }))
    }

    /// And whether it was used before.
    async fn connection(&self) -> Result<(SendRequest<Onward>, bool), Cause> {
        loop {
            let kept = self.kept.lock().unwrap().pop();
            match kept {
                // What the request before left of its own body may still be on its way.
                Some(mut connection) => {
                    if matches!(tokio::time::timeout(READY_TIMEOUT, connection.ready()).await, Ok(Ok(()))) {
                        return Ok((connection, true));
                    }
                }
                None => return Ok((self.dial().await?, false)),
            }
        }
    }

    async fn dial(&self) -> Result<SendRequest<Onward>, Cause> {
        let dialled = self.dialler.dial(&self.id, &Destination::hop(DIAL_TIMEOUT));
        let socket = match tokio::time::timeout(DIAL_TIMEOUT, dialled).await {
            Ok(Ok(Ok(socket))) => socket,
            _ => return Err(Cause::RunnerGone),
        };
        let stream = stream_of(socket).map_err(|_| Cause::RunnerGone)?;
        let (sender, connection) =
            http1::Builder::new().max_buf_size(BUFFER_BYTES_MAX).handshake(TokioIo::new(stream)).await.map_err(|_| Cause::RunnerGone)?;
        tokio::spawn(async move { _ = connection.await });
        Ok(sender)
    }

    fn keep(&self, connection: SendRequest<Onward>) {
        let mut kept = self.kept.lock().unwrap();
        // As many as there can be requests at once, so this is a bound.
        kept.push(connection);
    }
}

fn stream_of(socket: OwnedFd) -> std::io::Result<TcpStream> {
    let stream = std::net::TcpStream::from(socket);
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    TcpStream::from_std(stream)
}

/// The body of a request on its way through; none for one that has none.
struct Onward(Option<Incoming>);

impl Body for Onward {
    type Data = Bytes;
    type Error = hyper::Error;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.0.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(cx))
    }
    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Incoming::is_end_stream)
    }
    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or(SizeHint::with_exact(0), Incoming::size_hint)
    }
}

/// The body of an answer on its way through. Dropped before its end, its connection ends and with it the guest.
pub struct Passed {
    way: Held<Way>,
    hop: Arc<Hop>,
}

struct Way {
    body: Incoming,
    connection: SendRequest<Onward>,
    _place: OwnedSemaphorePermit,
}

impl Body for Passed {
    type Data = Bytes;
    type Error = Error;
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.way.ask(|way| {
            let Some(way) = way else { return (Poll::Ready(Some(Err(Error::HttpResponseIncomplete))), false) };
            let frame = Pin::new(&mut way.body).poll_frame(cx);
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

impl Drop for Passed {
    fn drop(&mut self) {
        if let Some(way) = self.way.take().filter(|way| way.body.is_end_stream()) {
            self.hop.keep(way.connection);
        }
    }
}
