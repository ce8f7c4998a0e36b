//! The ingress: connections on the inherited socket, HTTP/1.1 with keep-alive.
use crate::{batch::Batch, plane::Plane};
use hyper::{Request, body::Incoming, header::HOST};
use std::{
    os::fd::AsRawFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use wasmtime_wasi_http::io::TokioIo;

/// Each takes a descriptor and some 20 KiB.
const CONNECTIONS_MAX: usize = 8_000;
/// From the first byte of a head to its last, and between two requests of one connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A client that takes nothing for so long is gone.
const STALLED_CLIENT_TIMEOUT_MS: libc::c_uint = 30_000;
/// Twice the largest headerBytesMax, so that what is over a deployment's limit mostly gets an answer with a reason.
const BUFFER_BYTES_MAX: usize = 128 << 10;
const HEADERS_MAX: usize = 256;
const ACCEPT_RETRY: Duration = Duration::from_millis(10);

pub async fn serve(plane: Arc<Plane>, batch: Arc<Batch>, listener: TcpListener) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(Timer).header_read_timeout(HEAD_TIMEOUT).max_buf_size(BUFFER_BYTES_MAX).max_headers(HEADERS_MAX).pipeline_flush(true);
    loop {
        let Ok(place) = connections.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // No descriptors left, or the client was faster: neither may end the service.
            Err(_) => {
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        prepare(&stream);
        let (plane, batch, http) = (plane.clone(), batch.clone(), http.clone());
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|request| plane.answer(&batch, request));
            _ = http.serve_connection(TokioIo::new(stream), service).await;
            drop(place);
        });
    }
}

/// Lower case, without port and final dot; none when there is not exactly one.
pub(crate) fn host_of(request: &Request<Incoming>) -> Option<String> {
    let host = match request.uri().authority() {
        Some(authority) => authority.as_str(),
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
