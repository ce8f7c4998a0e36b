//! Requests that a guest sends. Nothing here can connect: whoever holds the process's powers (the agent) dials, by its own rules and
//! the deployment's list, and hands over a connected socket. HTTP/1.1 and TLS over it are spoken here, one request a connection.
//!
//! Connections of a deployment, bytes each way and time are bounded. The guest follows redirects itself, so each is asked for anew.
use crate::limits::{Limits, OutgoingPlace};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1,
};
use std::{
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{Semaphore, oneshot},
    time::{Instant, Sleep, timeout_at},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{self, ClientConfig, RootCertStore, client::Resumption, crypto::ring, pki_types::CertificateDer, pki_types::ServerName},
};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks, io::TokioIo};

/// Of name, connection and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Of an answer's head.
const HEAD_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 128;
const HOST_BYTES_MAX: usize = 253;

type Done = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(Response<WasiBody>, Done), Error>;

/// Where a guest wants to go.
pub struct Destination {
    pub place: OutgoingPlace,
    pub timeout: Duration,
}

impl Destination {
    /// The runner of the deployment itself, where it has one of its own.
    pub fn hop(timeout: Duration) -> Destination {
        Destination { place: OutgoingPlace { scheme: "hop".into(), host: String::new(), port: 0 }, timeout }
    }
}

/// Who dials.
pub trait Dialler: Send + Sync {
    fn dial(&self, deployment: &str, destination: &Destination) -> oneshot::Receiver<Result<OwnedFd, NotDialled>>;
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NotDialled {
    Denied,
    NameUnknown,
    NameTimeout,
    AddressForbidden,
    Refused,
    Timeout,
    Unreachable,
    TooMany,
}

impl NotDialled {
    pub fn parse(code: &str) -> NotDialled {
        match code {
            "denied" => NotDialled::Denied,
            "name_unknown" => NotDialled::NameUnknown,
            "name_timeout" => NotDialled::NameTimeout,
            "address_forbidden" => NotDialled::AddressForbidden,
            "connection_refused" => NotDialled::Refused,
            "connection_timeout" => NotDialled::Timeout,
            "too_many" => NotDialled::TooMany,
            _ => NotDialled::Unreachable,
        }
    }
}

impl From<NotDialled> for Error {
    fn from(why: NotDialled) -> Error {
        match why {
            NotDialled::Denied => Error::HttpRequestDenied,
            NotDialled::NameUnknown => Error::DnsError { rcode: Some("NXDOMAIN".into()), info_code: None },
            NotDialled::NameTimeout => Error::DnsTimeout,
            NotDialled::AddressForbidden => Error::DestinationIpProhibited,
            NotDialled::Refused => Error::ConnectionRefused,
            NotDialled::Timeout => Error::ConnectionTimeout,
            NotDialled::Unreachable => Error::DestinationUnavailable,
            NotDialled::TooMany => Error::ConnectionLimitReached,
        }
    }
}

/// The way out of one deployment, shared by its instances.
pub struct Way {
    deployment: String,
    places: Arc<[OutgoingPlace]>,
    dialler: Arc<dyn Dialler>,
    trust: Arc<ClientConfig>,
    connections: Arc<Semaphore>,
    request_bytes_max: u64,
    response_bytes_max: u64,
    time: Duration,
}

impl Way {
    pub fn new(
        deployment: &str,
        places: Arc<[OutgoingPlace]>,
        dialler: Arc<dyn Dialler>,
        trust: Arc<ClientConfig>,
        limits: &Limits,
    ) -> Arc<Way> {
        Arc::new(Way {
            deployment: deployment.into(),
            places,
            dialler,
            trust,
            connections: Arc::new(Semaphore::new(limits.outgoing_connections_max as usize)),
            request_bytes_max: limits.outgoing_request_bytes_max,
            response_bytes_max: limits.outgoing_response_bytes_max,
            time: Duration::from_millis(limits.outgoing_time_ms_max),
        })
    }
}

/// Mozilla's roots, compiled in, and those that a test adds. Sessions are not resumed: one tenant must not see where another went.
pub fn trust(more: Vec<Vec<u8>>) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
    for root in more {
        roots.add(CertificateDer::from(root))?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// What an instance has: its deployment's way, or none, and every request is denied.
pub struct Outgoing(pub Option<Arc<Way>>);

impl WasiHttpHooks for Outgoing {
    fn send_request(&mut self, request: Request<WasiBody>, options: Option<RequestOptions>, _: Done) -> Box<dyn Future<Output = Sent> + Send> {
        match self.0.clone() {
            Some(way) => Box::new(send(way, request, options.unwrap_or_default())),
            None => Box::new(std::future::ready(Err(Error::HttpRequestDenied))),
        }
    }
}

async fn send(way: Arc<Way>, mut request: Request<WasiBody>, options: RequestOptions) -> Sent {
    let begun = Instant::now();
    let deadline = begun + way.time;
    let connect_timeout = options.connect_timeout.unwrap_or(CONNECT_TIMEOUT).min(CONNECT_TIMEOUT).min(way.time);
    let destination = Destination { place: place_of(&request)?, timeout: connect_timeout };
    // The dialler asks the same, for it does not believe us; so it is not even asked.
    if !way.places.contains(&destination.place) {
        return Err(Error::HttpRequestDenied);
    }
    let permit = way.connections.clone().try_acquire_owned().map_err(|_| Error::ConnectionLimitReached)?;
    let stream = timeout_at(begun + connect_timeout, connect(&way, &destination)).await.map_err(|_| Error::ConnectionTimeout)??;

    // What a server gets is the target as a path; the authority is in Host.
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    *request.uri_mut() = target.parse::<Uri>().map_err(|_| Error::HttpRequestUriInvalid)?;
    let is_over = Arc::new(AtomicBool::new(false));
    let over = is_over.clone();
    let left = way.request_bytes_max;
    let request = request.map(|body| Sending { body, left, over });

    let mut http = http1::Builder::new();
    http.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    let (mut sender, mut connection) = http.handshake(TokioIo::new(stream)).await.map_err(Error::Hyper)?;
    let explain = move |error: hyper::Error| match () {
        () if is_over.load(Relaxed) => Error::HttpRequestBodySize(None),
        () if error.is_parse_too_large() => Error::HttpResponseHeaderSectionSize(None),
        () if error.is_parse() => Error::HttpProtocolError,
        () => Error::ConnectionTerminated,
    };
    let response = {
        let mut answer = std::pin::pin!(sender.send_request(request));
        let mut ended = false;
        let both = std::future::poll_fn(|cx| {
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(answer);
            }
            if !ended && Pin::new(&mut connection).poll(cx).is_ready() {
                ended = true;
                return answer.as_mut().poll(cx);
            }
            Poll::Pending
        });
        let first = options.first_byte_timeout.map_or(deadline, |timeout| (Instant::now() + timeout).min(deadline));
        timeout_at(first, both).await.map_err(|_| Error::HttpResponseTimeout)?.map_err(explain)?
    };
    // Nobody here speaks what a server would like to go on with.
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Error::HttpUpgradeFailed);
    }
    let head_bytes = response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
    if head_bytes > HEAD_BYTES_MAX {
        return Err(Error::HttpResponseHeaderSectionSize(u32::try_from(head_bytes).ok()));
    }
    if response.body().size_hint().lower() > way.response_bytes_max {
        return Err(Error::HttpResponseBodySize(Some(response.body().size_hint().lower())));
    }
    let between = options.between_bytes_timeout.unwrap_or(way.time);
    let response = response.map(|body| Receiving::new(body, way.response_bytes_max, between, deadline).boxed_unsync());
    let rest: Done = Box::new(async move {
        let result = timeout_at(deadline, connection).await;
        drop((sender, permit));
        match result {
            Ok(result) => result.map_err(Error::Hyper),
            Err(_) => Err(Error::HttpResponseTimeout),
        }
    });
    Ok((response, rest))
}

fn place_of(request: &Request<WasiBody>) -> Result<OutgoingPlace, Error> {
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(Error::HttpRequestMethodInvalid);
    }
    let uri = request.uri();
    let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
    let scheme = if uri.scheme_str() == Some("https") { "https" } else { "http" };
    // Someone's password, or a trick.
    if authority.as_str().contains('@') {
        return Err(Error::HttpRequestUriInvalid);
    }
    let host = authority.host().to_ascii_lowercase();
    let is_port_odd = authority.port().is_none() && authority.as_str().len() != authority.host().len();
    if host.is_empty() || host.len() > HOST_BYTES_MAX || is_port_odd {
        return Err(Error::HttpRequestUriInvalid);
    }
    let port = authority.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    Ok(OutgoingPlace { scheme: scheme.into(), host, port })
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn connect(way: &Way, destination: &Destination) -> Result<Box<dyn Stream>, Error> {
    let socket = way.dialler.dial(&way.deployment, destination).await.unwrap_or(Err(NotDialled::Unreachable))?;
    let socket = std::net::TcpStream::from(socket);
    socket.set_nonblocking(true).map_err(Error::Connect)?;
    let stream = TcpStream::from_std(socket).map_err(Error::Connect)?;
    let place = &destination.place;
    if place.scheme != "https" {
        return Ok(Box::new(stream));
    }
    let name = match place.host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => ServerName::from(address),
        Err(_) => ServerName::try_from(place.host.clone()).map_err(|_| Error::HttpRequestUriInvalid)?,
    };
    let stream = TlsConnector::from(way.trust.clone()).connect(name, stream).await.map_err(explain_tls)?;
    Ok(Box::new(stream))
}

fn explain_tls(error: io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
        Some(rustls::Error::AlertReceived(alert)) => {
            Error::TlsAlertReceived { alert_id: Some(u8::from(*alert)), alert_message: Some(format!("{alert:?}")) }
        }
        Some(_) => Error::TlsProtocolError,
        None => Error::ConnectionTerminated,
    }
}

/// The body of a request on its way out.
struct Sending {
    body: WasiBody,
    left: u64,
    over: Arc<AtomicBool>,
}

impl Body for Sending {
    type Data = Bytes;
    type Error = Error;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let bytes = bytes_of(&frame);
        if bytes > self.left {
            self.over.store(true, Relaxed);
            return Poll::Ready(Some(Err(Error::HttpRequestBodySize(None))));
        }
        self.left -= bytes;
        Poll::Ready(frame)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer on its way in.
struct Receiving {
    body: Incoming,
    left: u64,
    between: Duration,
    deadline: Instant,
    late: Pin<Box<Sleep>>,
}

impl Receiving {
    fn new(body: Incoming, bytes_max: u64, between: Duration, deadline: Instant) -> Receiving {
        let next = (Instant::now() + between).min(deadline);
        Receiving { body, left: bytes_max, between, deadline, late: Box::pin(tokio::time::sleep_until(next)) }
    }
}

impl Body for Receiving {
    type Data = Bytes;
    type Error = Error;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            ready!(self.late.as_mut().poll(cx));
            return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
        };
        let bytes = bytes_of(&frame);
        if bytes > self.left {
            self.left = 0;
            return Poll::Ready(Some(Err(Error::HttpResponseBodySize(None))));
        }
        self.left -= bytes;
        let next = (Instant::now() + self.between).min(self.deadline);
        self.late.as_mut().reset(next);
        Poll::Ready(frame.map(|frame| frame.map_err(|_| Error::HttpResponseIncomplete)))
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn bytes_of<E>(frame: &Option<Result<Frame<Bytes>, E>>) -> u64 {
    frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref).map_or(0, |data| data.len() as u64)
}
