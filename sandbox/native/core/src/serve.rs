//! The ingress: connections on the inherited socket; HTTP/1.1 with keep-alive, HTTP/1.0, and HTTP/2 for who begins with it.
//!
//! A connection that has not sent a byte is a descriptor and a small task. Connections are bounded in all and for each client, and
//! every wait for a client has an end. An answer that its guest did not finish ends with a reset, never as if it were whole.
use crate::{
    batch::Batch,
    body::{Answer, Patience},
    plane::Plane,
    round::Held,
    stall,
    strict::{Refusal, Strict},
};
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
    header::{HOST, HeaderValue},
    rt::ReadBufCursor,
    server::conn::{http1, http2},
    service::Service,
};
use serde::Deserialize;
use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};

/// A client that takes nothing for so long is gone.
const STALLED_CLIENT_TIMEOUT_MS: libc::c_uint = 30_000;
/// Twice the largest headerBytesMax, so that what is over a deployment's limit mostly gets an answer with a reason.
const BUFFER_BYTES_MAX: usize = 128 << 10;
const HEADERS_MAX: usize = 256;
const LOOK_AFTER: Duration = Duration::from_secs(10);
const ACCEPT_RETRY: Duration = Duration::from_millis(10);
/// What a client still sends after it was refused is read for so long, so that it reads why.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
const DRAIN_BYTES_MAX: usize = 256 << 10;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The first byte of a record that begins a handshake; no method begins with it.
const TLS_HANDSHAKE: u8 = 22;
const PREFACE_RETRY: Duration = Duration::from_millis(5);
/// Of one HTTP/2 connection. A stream costs what a request costs, and its limits are the deployment's.
const STREAMS_MAX: u32 = 100;
/// Streams that a client opened and reset again before they were answered (CVE-2023-44487).
const STREAMS_RESET_MAX: usize = 50;
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// The longest that an answer may take: what is under way by then, its client does not take.
const FINISH_TIMEOUT: Duration = Duration::from_secs(640);
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// `IngressLimits` of sandbox/limits.ts.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IngressLimits {
    pub connections_max: usize,
    pub client_connections_max: usize,
    pub head_ms_max: u64,
    pub body_wait_ms_max: u64,
    pub body_bytes_per_second_min: u64,
    /// Whoever connects is the ingress before this one, which has said who the client is.
    #[serde(default)]
    pub is_behind: bool,
}

pub async fn serve(plane: Arc<Plane>, batch: Arc<Batch>, listener: TcpListener, limits: IngressLimits) {
    let connections = Arc::new(Semaphore::new(limits.connections_max));
    let clients = Arc::new(Clients { counts: Mutex::default(), each_max: limits.client_connections_max });
    _ = plane.patience.set(Patience { wait_ms_max: limits.body_wait_ms_max, bytes_per_second_min: limits.body_bytes_per_second_min });
    tokio::spawn(look_after(Arc::downgrade(&plane)));
    let ingress = Arc::new(Ingress::new(plane, batch, limits));
    loop {
        let Ok(place) = connections.clone().acquire_owned().await else { return };
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            // No descriptors left, or the client was faster: neither may end the service.
            Err(_) => {
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let Some(share) = clients.enter(client) else { continue };
        prepare(&stream);
        let ingress = ingress.clone();
        tokio::spawn(async move {
            ingress.connection(stream, client).await;
            drop((place, share));
        });
    }
}

/// What nobody uses any more is given back.
async fn look_after(plane: Weak<Plane>) {
    loop {
        tokio::time::sleep(LOOK_AFTER).await;
        let Some(plane) = plane.upgrade() else { return };
        plane.forget_idle();
        stall::look(Instant::now());
    }
}

/// How many connections each client has: an IPv4 address, or the 64 bits of IPv6 that one subscriber gets.
struct Clients {
    counts: Mutex<HashMap<u64, usize>>,
    each_max: usize,
}
struct Share(Arc<Clients>, u64);

pub(crate) fn key_of_client(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => (u128::from(address) >> 64) as u64,
    }
}

impl Clients {
    fn enter(self: &Arc<Clients>, client: SocketAddr) -> Option<Share> {
        let key = key_of_client(client.ip());
        let mut counts = self.counts.lock().unwrap();
        let count = counts.entry(key).or_default();
        if *count >= self.each_max {
            return None;
        }
        *count += 1;
        Some(Share(self.clone(), key))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = self.0.counts.lock().unwrap();
        if let Some(count) = counts.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.1);
            }
        }
    }
}

/// Who sends requests.
#[derive(Clone)]
pub(crate) struct Client {
    pub address: HeaderValue,
    /// This computer itself.
    pub is_own: bool,
}

impl Client {
    fn new(client: SocketAddr, stream: &TcpStream) -> Option<Client> {
        let address = client.ip().to_canonical();
        let is_own = stream.local_addr().is_ok_and(|own| own.ip().to_canonical() == address);
        Some(Client { address: HeaderValue::from_str(&address.to_string()).ok()?, is_own })
    }
}

struct Ingress {
    plane: Arc<Plane>,
    batch: Arc<Batch>,
    http1: http1::Builder,
    http2: http2::Builder<Spawn>,
    /// Of peers: what another machine's ingress has read strictly needs no second look.
    hop: http1::Builder,
    head_timeout: Duration,
    is_behind: bool,
}

impl Ingress {
    fn new(plane: Arc<Plane>, batch: Arc<Batch>, IngressLimits { head_ms_max, is_behind, .. }: IngressLimits) -> Ingress {
        let head_timeout = Duration::from_millis(head_ms_max);
        let mut http1 = http1::Builder::new();
        // Not pipeline_flush: what is answered would wait for a next request that is not complete, and be lost if it never is. Not
        // header_read_timeout, which is a timer for each request: `Turns`.
        http1.max_buf_size(BUFFER_BYTES_MAX).max_headers(HEADERS_MAX);
        let mut hop = http1::Builder::new();
        hop.timer(Timer).header_read_timeout(head_timeout).max_buf_size(BUFFER_BYTES_MAX).max_headers(HEADERS_MAX);
        let mut http2 = http2::Builder::new(Spawn);
        http2.timer(Timer).keep_alive_interval(PING_INTERVAL).keep_alive_timeout(head_timeout);
        http2.max_concurrent_streams(STREAMS_MAX).max_pending_accept_reset_streams(STREAMS_RESET_MAX).max_local_error_reset_streams(STREAMS_RESET_MAX);
        http2.initial_stream_window_size(STREAM_WINDOW_BYTES).initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        http2.max_header_list_size(BUFFER_BYTES_MAX as u32).max_send_buf_size(BUFFER_BYTES_MAX);
        Ingress { plane, batch, http1, http2, hop, head_timeout, is_behind }
    }

    async fn connection(&self, stream: TcpStream, client: SocketAddr) {
        let client = if self.is_behind { None } else { Client::new(client, &stream) };
        match timeout(self.head_timeout, beginning_of(&stream)).await {
            Ok(Ok(Some(Beginning::Tls))) if self.plane.peers.are_possible() => self.serve_peer(stream).await,
            Ok(Ok(Some(Beginning::Http2))) => self.serve_http2(stream, client).await,
            // One that is neither is told so.
            Ok(Ok(Some(Beginning::Http1 | Beginning::Tls))) => self.serve_http1(stream, client).await,
            // Nothing came, or it went again.
            _ => {}
        }
    }

    /// Another machine, or nobody: clients do not speak TLS here.
    async fn serve_peer(&self, stream: TcpStream) {
        let peers = &self.plane.peers;
        let Some((stream, peer)) = peers.accept(stream).await else { return };
        let Some(_entered) = peer.enter() else {
            peers.counts.too_many.fetch_add(1, Relaxed);
            return;
        };
        let service = hyper::service::service_fn(|request| self.plane.answer_peer(&self.batch, request));
        let mut connection = pin!(self.hop.serve_connection(wasmtime_wasi_http::io::TokioIo::new(stream), service));
        let mut gone = pin!(peer.gone());
        let served = std::future::poll_fn(|cx| match connection.as_mut().poll(cx) {
            Poll::Pending => gone.as_mut().poll(cx).map(|()| Ok(())),
            ended => ended,
        });
        if served.await.is_err_and(|error| error.is_parse()) {
            peers.counts.malformed.fetch_add(1, Relaxed);
        }
    }

    async fn serve_http1(&self, stream: TcpStream, client: Option<Client>) {
        let turns = Turns::new();
        let service = hyper::service::service_fn(|request| {
            let turn = turns.begin();
            let answering = self.plane.answer(&self.batch, request, client.as_ref());
            async move { answering.await.map(|response| response.map(|answer| InTurn { answer, _turn: turn })) }
        });
        let descriptor = stream.as_raw_fd();
        let mut connection = pin!(self.http1.serve_connection(Watched::new(stream, turns.clone()), service));
        let mut late = pin!(tokio::time::sleep(self.head_timeout));
        let end = std::future::poll_fn(|cx| {
            if let Poll::Ready(end) = connection.as_mut().poll(cx) {
                return Poll::Ready(Some(end));
            }
            while late.as_mut().poll(cx).is_ready() {
                let Some(rest) = turns.left(self.head_timeout) else { return Poll::Ready(None) };
                late.as_mut().reset(tokio::time::Instant::now() + rest);
            }
            Poll::Pending
        });
        if end.await.is_some_and(|end| end.is_err_and(|error| error.is_user())) {
            // The answer is cut. Where its end is the end of the connection, a clean one would say that it is whole.
            reset_on_close(descriptor);
        }
    }

    async fn serve_http2(&self, stream: TcpStream, client: Option<Client>) {
        let requests = Arc::new(AtomicU64::new(0));
        let service = Counting { plane: self.plane.clone(), batch: self.batch.clone(), client, requests: requests.clone() };
        let mut connection = pin!(self.http2.serve_connection(wasmtime_wasi_http::io::TokioIo::new(stream), service));
        loop {
            let before = requests.load(Relaxed);
            if timeout(self.head_timeout, connection.as_mut()).await.is_ok() {
                return;
            }
            // Nothing was asked for a while: what is under way is finished, and no more taken.
            if before == requests.load(Relaxed) {
                connection.as_mut().graceful_shutdown();
                _ = timeout(FINISH_TIMEOUT, connection).await;
                return;
            }
        }
    }
}

enum Beginning {
    Http1,
    Http2,
    Tls,
}

/// Of what a connection is, once that can be told; none when it ended before.
async fn beginning_of(stream: &TcpStream) -> io::Result<Option<Beginning>> {
    let mut bytes = [0; PREFACE.len()];
    loop {
        let length = stream.peek(&mut bytes).await?;
        if length == 0 {
            return Ok(None);
        }
        if bytes[0] == TLS_HANDSHAKE {
            return Ok(Some(Beginning::Tls));
        }
        if bytes[..length] != PREFACE[..length] || length == PREFACE.len() {
            return Ok(Some(if bytes == PREFACE { Beginning::Http2 } else { Beginning::Http1 }));
        }
        tokio::time::sleep(PREFACE_RETRY).await;
    }
}

/// Whose turn it is on a connection of HTTP/1: the guest's, or the client's to send a head.
struct Turns {
    begun: Instant,
    under_way: AtomicU64,
    /// When the client's turn began or it last took something, in milliseconds after `begun`.
    client_since_ms: AtomicU64,
    /// Who wants to know when it is the client's turn.
    waits: AtomicBool,
    waiting: Mutex<Option<Waker>>,
}

impl Turns {
    fn new() -> Arc<Turns> {
        Arc::new(Turns { begun: Instant::now(), under_way: AtomicU64::new(0), client_since_ms: AtomicU64::new(0), waits: AtomicBool::new(false), waiting: Mutex::default() })
    }
    fn begin(self: &Arc<Turns>) -> Turn {
        self.under_way.fetch_add(1, Relaxed);
        Turn(self.clone())
    }
    fn client_moved(&self) {
        self.client_since_ms.store(self.begun.elapsed().as_millis() as u64, Relaxed);
    }
    fn is_clients(&self) -> bool {
        self.under_way.load(Relaxed) == 0
    }
    fn poll_clients(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_clients() {
            return Poll::Ready(());
        }
        *self.waiting.lock().unwrap() = Some(cx.waker().clone());
        self.waits.store(true, Relaxed);
        Poll::Pending
    }
    /// Of the time that the client has for a head; none when that is over.
    fn left(&self, time: Duration) -> Option<Duration> {
        if !self.is_clients() {
            return Some(time);
        }
        let since = self.begun + Duration::from_millis(self.client_since_ms.load(Relaxed));
        time.checked_sub(since.elapsed()).filter(|left| !left.is_zero())
    }
}

/// From a request's head until all of its answer has been taken from us.
struct Turn(Arc<Turns>);
impl Drop for Turn {
    fn drop(&mut self) {
        self.0.client_moved();
        self.0.under_way.fetch_sub(1, Relaxed);
        if self.0.waits.load(Relaxed) {
            self.0.waiting.lock().unwrap().take().inspect(Waker::wake_by_ref);
        }
    }
}

struct InTurn {
    answer: Answer,
    _turn: Turn,
}
impl Body for InTurn {
    type Data = <Answer as Body>::Data;
    type Error = <Answer as Body>::Error;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.answer).poll_frame(cx)
    }
    fn is_end_stream(&self) -> bool {
        self.answer.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.answer.size_hint()
    }
}

/// A connection of which only plain requests are read. When it ends it says why, and does not take that back by a reset.
struct Watched {
    /// Before the stream: it is dropped first.
    out: Held,
    /// Of `out`, what did not fit when the round ended.
    unsent: Vec<u8>,
    stream: TcpStream,
    strict: Strict,
    /// What may go on and has not yet: only where a head came in pieces.
    held: Vec<u8>,
    has_ended: bool,
    ending: Ending,
    turns: Arc<Turns>,
}

enum Ending {
    Not,
    Saying { text: String, said: usize },
    Closing,
    Draining { left: usize, late: Pin<Box<tokio::time::Sleep>> },
    Done,
}

impl Watched {
    fn new(stream: TcpStream, turns: Arc<Turns>) -> Watched {
        Watched { out: Held::new(stream.as_raw_fd()), unsent: Vec::new(), stream, strict: Strict::new(), held: Vec::new(), has_ended: false, ending: Ending::Not, turns }
    }

    /// What is still held goes out now.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.unsent.is_empty() {
                self.unsent = self.out.take();
                if self.unsent.is_empty() {
                    return Poll::Ready(Ok(()));
                }
            }
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.unsent))?;
            self.unsent.drain(..sent);
        }
    }

    fn poll_drain(stream: &mut TcpStream, left: &mut usize, cx: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; 4096];
        loop {
            let mut read = ReadBuf::new(&mut bytes);
            let result = ready!(Pin::new(&mut *stream).poll_read(cx, &mut read));
            let length = read.filled().len();
            if result.is_err() || length == 0 || length >= *left {
                return Poll::Ready(());
            }
            *left -= length;
        }
    }
}

fn refusal_text(refusal: Refusal) -> String {
    let (status, reason, code) = match refusal {
        Refusal::Malformed => (400, "Bad Request", "request_malformed"),
        Refusal::HeadTooLarge => (431, "Request Header Fields Too Large", "header_too_large"),
        Refusal::ExpectationUnknown => (417, "Expectation Failed", "expectation_unknown"),
    };
    let body = format!("{{\"status\":{status},\"code\":\"{code}\"}}\n");
    let length = body.len();
    format!("HTTP/1.1 {status} {reason}\r\ncontent-type: application/problem+json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

impl hyper::rt::Read for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let Watched { stream, strict, held, has_ended, turns, .. } = &mut *self;
        loop {
            if !held.is_empty() {
                let length = held.len().min(buffer.remaining());
                buffer.put_slice(&held[..length]);
                held.drain(..length);
                return Poll::Ready(Ok(()));
            }
            if *has_ended {
                return Poll::Ready(Ok(()));
            }
            // Nothing more is read. What was asked before is answered first: an end in the midst of that would take the answer away.
            if strict.is_refused() {
                if strict.refusal_of_head().is_some() {
                    ready!(turns.poll_clients(cx));
                }
                return Poll::Ready(Ok(()));
            }
            // SAFETY: only what was read, and so initialised, is counted as filled.
            let passed = unsafe {
                let mut read = ReadBuf::uninit(buffer.as_mut());
                ready!(Pin::new(&mut *stream).poll_read(cx, &mut read))?;
                *has_ended = read.filled().is_empty();
                let passed = strict.take(read.filled(), held);
                buffer.advance(passed);
                passed
            };
            if passed > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl hyper::rt::Write for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.turns.client_moved();
        if self.unsent.is_empty() && self.out.keep(std::iter::once(bytes), cx) {
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }
    /// What is held is as good as sent: its round ends before this thread waits.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.unsent.is_empty() || self.out.is_stalled() { self.poll_out(cx) } else { Poll::Ready(Ok(())) }
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        let Watched { stream, strict, has_ended, ending, .. } = &mut *self;
        loop {
            *ending = match ending {
                Ending::Not => match strict.refusal_of_head() {
                    Some(refusal) => Ending::Saying { text: refusal_text(refusal), said: 0 },
                    None => Ending::Closing,
                },
                Ending::Saying { text, said } => {
                    *said += ready!(Pin::new(&mut *stream).poll_write(cx, &text.as_bytes()[*said..]))?;
                    if *said < text.len() {
                        continue;
                    }
                    Ending::Closing
                }
                Ending::Closing => {
                    ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
                    if *has_ended {
                        Ending::Done
                    } else {
                        Ending::Draining { left: DRAIN_BYTES_MAX, late: Box::pin(tokio::time::sleep(DRAIN_TIMEOUT)) }
                    }
                }
                Ending::Draining { left, late } => {
                    if late.as_mut().poll(cx).is_pending() {
                        ready!(Watched::poll_drain(stream, left, cx));
                    }
                    Ending::Done
                }
                Ending::Done => return Poll::Ready(Ok(())),
            };
        }
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.turns.client_moved();
        let pieces = parts.iter().map(|part| &**part);
        if self.unsent.is_empty() && self.out.keep(pieces.clone(), cx) {
            return Poll::Ready(Ok(pieces.map(<[u8]>::len).sum()));
        }
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }
}

/// Requests of one HTTP/2 connection, counted: streams outlive each other, so each is a task that needs its own hold of the plane.
#[derive(Clone)]
struct Counting {
    plane: Arc<Plane>,
    batch: Arc<Batch>,
    client: Option<Client>,
    requests: Arc<AtomicU64>,
}

impl Service<Request<Incoming>> for Counting {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, Infallible>> + Send>>;
    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.requests.fetch_add(1, Relaxed);
        let (plane, batch, client) = (self.plane.clone(), self.batch.clone(), self.client.clone());
        Box::pin(async move { plane.answer(&batch, request, client.as_ref()).await })
    }
}

#[derive(Clone)]
struct Spawn;
impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Spawn {
    fn execute(&self, work: F) {
        tokio::spawn(work);
    }
}

fn reset_on_close(descriptor: i32) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the caller holds the socket, and SO_LINGER takes a linger.
    unsafe {
        libc::setsockopt(descriptor, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), size_of_val(&linger) as libc::socklen_t);
    }
}

/// Lower case, without port and final dot; none when there is not exactly one.
pub(crate) fn host_of<B>(request: &Request<B>) -> Option<String> {
    let host = match request.uri().authority() {
        Some(authority) => {
            // Again: of two, one.
            if request.headers().get_all(HOST).iter().any(|host| !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())) {
                return None;
            }
            authority.as_str()
        }
        None => {
            // Of two, someone before us may have believed the other.
            let mut hosts = request.headers().get_all(HOST).iter();
            let host = hosts.next()?.to_str().ok()?;
            if hosts.next().is_some() {
                return None;
            }
            host
        }
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() { None } else { Some(name.to_ascii_lowercase()) }
}

fn prepare(stream: &TcpStream) {
    _ = stream.set_nodelay(true);
    let timeout = STALLED_CLIENT_TIMEOUT_MS;
    // SAFETY: a valid descriptor and a c_uint, as TCP_USER_TIMEOUT wants it.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_USER_TIMEOUT,
            (&raw const timeout).cast(),
            size_of_val(&timeout) as libc::socklen_t,
        );
    }
}

/// hyper's timers, on tokio's.
#[derive(Clone)]
struct Timer;
struct Sleep(Pin<Box<tokio::time::Sleep>>);

impl hyper::rt::Timer for Timer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Sleep(Box::pin(tokio::time::sleep(duration))))
    }
    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Sleep(Box::pin(tokio::time::sleep_until(deadline.into()))))
    }
    fn reset(&self, sleep: &mut Pin<Box<dyn hyper::rt::Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<Sleep>() {
            Some(mut sleep) => sleep.0.as_mut().reset(deadline.into()),
            None => *sleep = self.sleep_until(deadline),
        }
    }
}
impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}
impl hyper::rt::Sleep for Sleep {}
