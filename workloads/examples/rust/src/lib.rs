//! A service in Rust: greets, and at /world says what a program sees of the computer that it runs on.
use std::{
    collections::HashSet,
    fs, io,
    io::Write,
    net::{TcpStream, UdpSocket},
    time::{Instant, SystemTime},
};
use wasi::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Hello;

impl wasi::exports::http::incoming_handler::Guest for Hello {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let headers = Fields::from_list(&[("content-type".into(), b"text/plain".to_vec())]).expect("a header that HTTP allows");
        let response = OutgoingResponse::new(headers);
        let body = response.body().expect("the first body");
        ResponseOutparam::set(out, Ok(response));
        let mut stream = body.write().expect("the first stream");
        let text = if path == "/world" { world() } else { greet(&path) };
        stream.write_all(text.as_bytes()).expect("somebody who reads");
        drop(stream);
        OutgoingBody::finish(body, None).expect("a body that is whole");
    }
}

fn greet(path: &str) -> String {
    let greeting = std::env::var("GREETING").unwrap_or_else(|_| "Hello".into());
    format!("{greeting} from Rust: {path}\n")
}

fn world() -> String {
    let begun = Instant::now();
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let random: HashSet<u64> = (0..4).map(|_| wasi::random::random::get_random_u64()).collect();
    let forward = begun.elapsed().as_nanos() < 1_000_000_000;
    let mut stdin = String::new();
    _ = io::stdin().read_line(&mut stdin);
    [
        format!("arguments {}", std::env::args().count()),
        format!("variables {}", std::env::vars().map(|(name, _)| name).collect::<Vec<_>>().join(" ")),
        format!("seconds {seconds}"),
        format!("clock forward {forward}"),
        format!("random numbers {}", random.len()),
        format!("stdin {} bytes", stdin.len()),
        format!("folder {}", refused(fs::read_dir("/"))),
        format!("file {}", refused(fs::read("/etc/passwd"))),
        format!("written {}", refused(fs::write("/tmp/x", "x"))),
        format!("connection {}", refused(TcpStream::connect("127.0.0.1:80"))),
        format!("datagram {}", refused(UdpSocket::bind("127.0.0.1:0"))),
        format!("name {}", refused(TcpStream::connect("example.com:80"))),
        String::new(),
    ]
    .join("\n")
}

fn refused<T>(result: io::Result<T>) -> &'static str {
    if result.is_err() { "refused" } else { "there" }
}

wasi::http::proxy::export!(Hello);
