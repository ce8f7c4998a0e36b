//! A deployment with a runner of its own, as the ingress sees it: requests are handed on to that runner and its answers back.
//!
//! Connections to it are dialled by the agent, as everything is, kept and used again. That runner holds the tenant's limits; here are
//! only bounds of what may be under way. Who goes while it is answered takes the connection along, and so the guest. An answer that
//! breaks off breaks off the client's, too. A runner that is killed takes its connections along milliseconds later, and until then
//! they look well: what broke before its answer began is sent once more, to the next runner, if that is safe.
use crate::{
    cause::Cause,
    kept::Kept,
    line::{Keeper, Line, Passing, Sent},
    onward::Onward,
    outgoing::{Destination, Dialler},
    replay::Given,
    serve::host_of,
};
use hyper::{Request, Response, header::CONNECTION};
use std::{
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};

/// Its runner may be on its way up again: the connection is in the backlog of its listener meanwhile.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Times that one request which may be begun twice is begun again: one that itself ends the runner ends it no more than this.
const AGAIN_MAX: u32 = 1;
/// Times that one of which nothing was sent is, each over a connection that was just dialled.
const UNSENT_MAX: u32 = 3;

pub struct Hop {
    pub id: String,
    dialler: Arc<dyn Dialler>,
    requests_max: usize,
    kept: Kept<Line>,
    places: Arc<Semaphore>,
}

impl Hop {
    pub fn new(id: String, requests_max: u32, dialler: Arc<dyn Dialler>) -> Hop {
        Hop { id, dialler, requests_max: requests_max as usize, kept: Kept::default(), places: Arc::new(Semaphore::new(requests_max as usize)) }
    }

    pub fn under_way(&self) -> usize {
        self.requests_max - self.places.available_permits()
    }

    /// Connections that were kept and that nobody will use again.
    pub fn forget_idle(&self) {
        self.kept.forget_idle(Instant::now());
    }

    /// `name`: that by which its runner knows it; mostly the request's own host.
    pub async fn forward(self: &Arc<Hop>, name: &str, request: Request<Given>, request_id: &str) -> Result<Response<Passing>, Cause> {
        let Ok(place) = self.places.clone().try_acquire_owned() else { return Err(Cause::QueueFull) };
        // The guest sees the host that its client asked for; a revision's name is told beside it.
        let to = host_of(&request).is_some_and(|host| host != name).then_some(name);
        let onward = Onward::new(request, name, request_id)?;
        let (mut begun, mut unsent) = (0, 0);
        loop {
            let (mut line, is_kept) = match self.kept_line().await {
                Some(line) => (line, true),
                None => (self.dial().await?, false),
            };
            let body = onward.source.replay().ok_or(Cause::RunnerGone)?;
            match line.send(onward.request(body, to)).await {
                Sent::Answered(mut response) => {
                    response.headers_mut().remove(CONNECTION);
                    return Ok(response.map(|body| Passing::new(body, line, self.clone(), place)));
                }
                // Of those that were kept another may do.
                Sent::Not if is_kept => {}
                Sent::Not if unsent < UNSENT_MAX => unsent += 1,
                Sent::Broken if onward.source.is_broken() => return Err(Cause::BodyMalformed),
                Sent::Broken if onward.is_repeatable && begun < AGAIN_MAX => {
                    begun += 1;
                    // They end with the same runner.
                    self.kept.clear();
                }
                Sent::Not | Sent::Broken => return Err(Cause::RunnerGone),
            }
        }
    }

    async fn kept_line(&self) -> Option<Line> {
        while let Some(mut line) = self.kept.take(Instant::now()) {
            // Not if it has ended, or if what the request before left of its own body is still on its way.
            if line.is_usable().await {
                return Some(line);
            }
        }
        None
    }

    async fn dial(&self) -> Result<Line, Cause> {
        let dialled = self.dialler.dial(&self.id, &Destination::hop(DIAL_TIMEOUT));
        let Ok(Ok(Ok(socket))) = timeout(DIAL_TIMEOUT, dialled).await else { return Err(Cause::RunnerGone) };
        let stream = stream_of(socket).map_err(|_| Cause::RunnerGone)?;
        Line::begin(stream, None).await.ok_or(Cause::RunnerGone)
    }
}

impl Keeper for Hop {
    fn keep(&self, line: Line) {
        self.kept.keep(line, Instant::now());
    }
}

pub(crate) fn stream_of(socket: OwnedFd) -> std::io::Result<TcpStream> {
    let stream = std::net::TcpStream::from(socket);
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    TcpStream::from_std(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        body::Answer,
        outgoing::NotDialled,
        plane::problem,
    };
    use hyper::body::Incoming;
    use std::{
        convert::Infallible,
        io::{Read, Write},
        net::{SocketAddr, TcpListener, TcpStream as Socket},
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
        sync::oneshot,
    };

    enum Act {
        Answer,
        AnswerAndClose,
        BreakAfter(Duration),
    }
    use Act::*;

    /// A runner that does one after the other, a request each, and tells what it was asked.
    fn runner(acts: impl IntoIterator<Item = Act> + Send + 'static) -> (SocketAddr, std::thread::JoinHandle<Vec<String>>)
    where
        <Vec<Act> as IntoIterator>::IntoIter: Send,
    {
        let acts: Vec<Act> = acts.into_iter().collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let runs = std::thread::spawn(move || {
            let (mut asked, mut socket) = (Vec::new(), None);
            for act in acts {
                let mut open = match socket.take() {
                    Some(open) => open,
                    None => listener.accept().unwrap().0,
                };
                let Some(text) = read_request(&mut open) else { break };
                asked.push(text);
                match act {
                    BreakAfter(time) => std::thread::sleep(time),
                    Answer | AnswerAndClose => open.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap(),
                }
                socket = matches!(act, Answer).then_some(open);
            }
            asked
        });
        (address, runs)
    }

    fn read_request(socket: &mut Socket) -> Option<String> {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let is_chunked = head.contains("transfer-encoding: chunked");
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
                if if is_chunked { body.ends_with("0\r\n\r\n") } else { body.len() >= length } {
                    return Some(text);
                }
            }
            match socket.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(length) => bytes.extend_from_slice(&buffer[..length]),
            }
        }
    }

    struct Direct(SocketAddr);
    impl Dialler for Direct {
        fn dial(&self, _: &str, _: &Destination) -> oneshot::Receiver<Result<OwnedFd, NotDialled>> {
            let (tell, told) = oneshot::channel();
            _ = tell.send(Socket::connect(self.0).map(OwnedFd::from).map_err(|_| NotDialled::Refused));
            told
        }
    }

    /// The whole answer to one request, as text.
    async fn ask(hop: &Arc<Hop>, request: &str) -> String {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let serving = tokio::spawn(front(hop.clone(), server));
        client.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        serving.await.unwrap();
        text
    }

    async fn front(hop: Arc<Hop>, stream: DuplexStream) {
        let service = hyper::service::service_fn(|request: Request<Incoming>| async {
            Ok::<_, Infallible>(match hop.forward("a", request.map(Given::Fresh), "0011223344556677").await {
                Ok(response) => response.map(|body| Answer::Passed(Box::new(body))),
                Err(cause) => problem(cause, "0011223344556677"),
            })
        });
        _ = hyper::server::conn::http1::Builder::new().serve_connection(wasmtime_wasi_http::io::TokioIo::new(stream), service).await;
    }

    /// What clients got, and what the runner was asked.
    fn play(acts: impl IntoIterator<Item = Act> + Send + 'static, requests: &[&str]) -> (Vec<String>, Vec<String>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (address, runs) = runner(acts);
        let answers = runtime.block_on(async {
            let hop = Arc::new(Hop::new("a".into(), 10, Arc::new(Direct(address))));
            let mut answers = Vec::new();
            for request in requests {
                answers.push(ask(&hop, request).await);
            }
            assert_eq!(hop.under_way(), 0);
            answers
        });
        drop(runtime);
        // Whom it still waits for comes now, and says nothing.
        _ = Socket::connect(address);
        (answers, runs.join().unwrap())
    }

    const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc";
    const DELETE_WITH_BODY: &str = "DELETE / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc";
    const GET_CHUNKED: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    /// Longer than a connection of a runner that was killed takes to break.
    const LATE: Duration = Duration::from_millis(150);

    fn is_well(answer: &str) -> bool {
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok")
    }
    fn is_gone(answer: &str) -> bool {
        answer.starts_with("HTTP/1.1 503") && answer.contains("runner_gone")
    }

    #[test]
    fn who_only_asks_over_a_connection_that_breaks_late_is_answered_by_the_next_runner() {
        let (answers, asked) = play([Answer, BreakAfter(LATE), Answer], &[GET, GET]);
        assert!(answers.iter().all(|answer| is_well(answer)), "{answers:?}");
        assert_eq!(asked.len(), 3);
    }

    #[test]
    fn what_may_have_been_begun_and_is_not_safe_is_not_begun_again() {
        for unsafe_one in [POST, DELETE_WITH_BODY, GET_CHUNKED] {
            let (answers, asked) = play([Answer, BreakAfter(Duration::ZERO), Answer], &[GET, unsafe_one, GET]);
            assert!(is_well(&answers[0]) && is_gone(&answers[1]) && is_well(&answers[2]), "{answers:?}");
            assert_eq!(asked.len(), 3);
        }
    }

    #[test]
    fn what_was_not_sent_is_whatever_it_is_over_a_connection_that_had_ended() {
        let (answers, asked) = play([AnswerAndClose, AnswerAndClose, Answer], &[GET, POST, GET_CHUNKED]);
        assert!(answers.iter().all(|answer| is_well(answer)), "{answers:?}");
        assert!(asked[1].ends_with("abc"), "{asked:?}");
        assert!(asked[2].contains("transfer-encoding: chunked") && asked[2].contains("abc"), "the body of a GET goes along: {asked:?}");
    }

    #[test]
    fn one_that_ends_its_runner_ends_it_twice_and_no_more() {
        let (answers, asked) = play([BreakAfter(Duration::ZERO), BreakAfter(Duration::ZERO), Answer], &[GET]);
        assert!(is_gone(&answers[0]), "{answers:?}");
        assert_eq!(asked.len(), 2);
    }

    #[test]
    fn its_runner_is_told_the_host_the_request_id_and_nothing_that_was_meant_for_us() {
        let named = "GET /x?y HTTP/1.1\r\nhost: A:80\r\nconnection: close, x-mine\r\nx-mine: 1\r\ngodwit-hop-to: b\r\nx-request-id: 1\r\n\r\n";
        let (answers, asked) = play([Answer, Answer], &[named, "GET http://b.example/z HTTP/1.1\r\nhost: b.example\r\nconnection: close\r\n\r\n"]);
        assert!(answers.iter().all(|answer| is_well(answer)), "{answers:?}");
        assert!(asked[0].starts_with("get /x?y http/1.1\r\n") && asked[0].contains("host: a:80\r\n") && asked[0].contains("x-request-id: 0011223344556677\r\n"), "{asked:?}");
        assert!(!asked[0].contains("x-mine") && !asked[0].contains("godwit") && !asked[0].contains("connection"), "{asked:?}");
        // By another name than its runner knows it by: the guest sees what its client asked for.
        assert!(asked[1].starts_with("get /z http/1.1\r\n") && asked[1].contains("host: b.example\r\n") && asked[1].contains("godwit-hop-to: a\r\n"), "{asked:?}");
    }
}
