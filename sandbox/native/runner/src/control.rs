//! The runner's side of sandbox/control.ts: the same messages, read and written here only.
use crate::dial::AgentDialler;
use godwit_core::{
    batch::Batch,
    elsewhere::Places,
    limits::{Limits, OutgoingPlace},
    log::{Line, Sink, Stream},
    peers::{self, PeerKey},
    plane::{Deployment, Load, LoadError, Plane},
    serve::IngressLimits,
    task::{self, TaskEnd, TaskLoad},
    trial,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    sync::{Arc, Condvar, Mutex, atomic::Ordering::Relaxed},
    time::Duration,
};

const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// Log lines wait this long for company, or until there are so many bytes of them.
const BATCH_WAIT: Duration = Duration::from_millis(5);
const BATCH_BYTES: usize = 64 << 10;
/// More than this unsent, and lines are dropped: the agent is slow, and tenants must not be.
const UNSENT_BYTES_MAX: usize = 4 << 20;
/// Of one message's lines. JSON makes six bytes of one that it escapes, and the agent ends a runner whose message is too long.
const MESSAGE_LINES_BYTES_MAX: usize = 1 << 20;
/// What a line counts beside its text.
const LINE_BYTES: usize = 128;
const TICK: Duration = Duration::from_millis(500);

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ToRunner {
    Start { call: u64, ingress: IngressLimits },
    Load { call: u64, load: LoadMessage },
    Unload { call: u64, id: String },
    #[serde(rename_all = "camelCase")]
    Hop { call: u64, id: String, hosts: Vec<String>, requests_max: u32 },
    /// The seed of the key under which this runner hops, in hexadecimal.
    Identity { call: u64, seed: String },
    /// Machines that may hop here and can be hopped to.
    Peers { call: u64, set: Vec<PeerKey>, remove: Vec<String> },
    /// Which of them have replicas, by host.
    Elsewhere { call: u64, set: Vec<Places>, remove: Vec<String> },
    Hops { call: u64 },
    /// Answered when it has ended. stdin is in hexadecimal.
    Task { call: u64, load: LoadMessage, arguments: Vec<String>, stdin: String },
    Stop { call: u64, id: String },
    /// Until when tasks may run: milliseconds of the monotonic clock.
    #[serde(rename_all = "camelCase")]
    Fence { until_ms: u64 },
    Usage { call: u64 },
    /// Of a dial that came to nothing; what came of the others is on descriptor 5.
    Refused { call: u64, code: String },
    /// Certificates in DER, in hexadecimal.
    Trust { call: u64, roots: Vec<String> },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadMessage {
    id: String,
    hosts: Vec<String>,
    code: String,
    limits: Limits,
    concurrency: u32,
    instance_memory_bytes_max: u64,
    cpu_weight: u32,
    reuse: bool,
    outgoing: Vec<OutgoingPlace>,
    environment: Vec<(String, String)>,
    trial_ms: u64,
}

pub fn read(stream: &mut UnixStream) -> io::Result<ToRunner> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(io::Error::other("control message too long"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// The one writer: whole messages, in order.
pub struct Writer(Mutex<UnixStream>);

impl Writer {
    pub fn new(stream: UnixStream) -> Arc<Writer> {
        Arc::new(Writer(Mutex::new(stream)))
    }
    pub fn send(&self, message: &impl Serialize) -> io::Result<()> {
        let mut bytes = vec![0; 4];
        serde_json::to_writer(&mut bytes, message)?;
        let length = bytes.len() as u32 - 4;
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        self.0.lock().unwrap().write_all(&bytes)
    }
}

/// Answers every message, a load whose trial takes long after others.
pub fn carry_out(
    plane: &Arc<Plane>,
    batch: &Arc<Batch>,
    writer: &Arc<Writer>,
    dialler: &AgentDialler,
    message: ToRunner,
    start: &mut dyn FnMut(IngressLimits) -> io::Result<()>,
) -> io::Result<()> {
    match message {
        ToRunner::Start { call, ingress } => {
            start(ingress)?;
            writer.send(&json!({ "type": "started", "call": call, "engine": godwit_core::engine::ENGINE }))
        }
        ToRunner::Load { call, load } => {
            let answer = {
                let writer = writer.clone();
                // When there is nobody to send to, the process is about to end.
                move |result| _ = writer.send(&outcome(call, result))
            };
            match plane.prepare(loaded(load)) {
                Ok(deployment) => trial::load(plane, batch, deployment, answer),
                Err(error) => answer(Err(error)),
            }
            Ok(())
        }
        ToRunner::Unload { call, id } => {
            plane.unload(&id);
            writer.send(&outcome(call, Ok(())))
        }
        ToRunner::Hop { call, id, hosts, requests_max } => writer.send(&outcome(call, plane.hop(id, hosts, requests_max))),
        ToRunner::Identity { call, seed } => {
            let identified = peers::key_of_hex(&seed).ok_or(()).and_then(|seed| plane.peers.identify(&seed).map_err(|_| ()));
            writer.send(&outcome(call, identified.map_err(|()| LoadError("load_failed", "Not the seed of a key".into()))))
        }
        ToRunner::Peers { call, set, remove } => {
            plane.peers.change(set, &remove);
            plane.elsewhere.changed();
            writer.send(&outcome(call, Ok(())))
        }
        ToRunner::Elsewhere { call, set, remove } => {
            plane.elsewhere.change(set, &remove);
            writer.send(&outcome(call, Ok(())))
        }
        ToRunner::Hops { call } => writer.send(&json!({ "type": "hops", "call": call, "counts": plane.peers.counts.now() })),
        ToRunner::Task { call, load, arguments, stdin } => {
            let answer = {
                let writer = writer.clone();
                move |result| _ = writer.send(&ended(call, result))
            };
            task::start(plane, batch, TaskLoad { load: loaded(load), arguments, stdin: bytes_of(&stdin) }, answer);
            Ok(())
        }
        ToRunner::Stop { call, id } => {
            plane.tasks.stop(&id);
            writer.send(&outcome(call, Ok(())))
        }
        ToRunner::Fence { until_ms } => {
            plane.tasks.fence(until_ms);
            Ok(())
        }
        ToRunner::Usage { call } => {
            let usage: serde_json::Map<String, Value> =
                plane.deployments().iter().chain(&plane.tasks.deployments()).map(|(id, deployment)| (id.clone(), usage(deployment))).collect();
            writer.send(&json!({ "type": "usage", "call": call, "usage": usage }))
        }
        ToRunner::Refused { call, code } => {
            dialler.refused(call, &code);
            Ok(())
        }
        ToRunner::Trust { call, roots } => {
            let roots = roots.iter().map(|root| bytes_of(root)).collect();
            let trusted = plane.trust_also(roots).map_err(|error| LoadError("load_failed", format!("Cannot trust a root: {error:#}")));
            writer.send(&outcome(call, trusted))
        }
    }
}

/// What is not hexadecimal is left out.
fn bytes_of(hexadecimal: &str) -> Vec<u8> {
    hexadecimal.as_bytes().chunks(2).filter_map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}

fn outcome(call: u64, result: Result<(), LoadError>) -> Value {
    match result {
        Ok(()) => json!({ "type": "done", "call": call }),
        Err(LoadError(code, message)) => json!({ "type": "failed", "call": call, "code": code, "message": message }),
    }
}

fn ended(call: u64, result: Result<TaskEnd, LoadError>) -> Value {
    match result {
        Ok(TaskEnd { exit_code, code, message, fuel, cpu_ns, wall_ms }) => json!({
            "type": "ended", "call": call, "exitCode": exit_code, "code": code, "message": message, "fuel": fuel, "cpuNs": cpu_ns, "wallMs": wall_ms,
        }),
        Err(error) => outcome(call, Err(error)),
    }
}

fn usage(deployment: &Deployment) -> Value {
    deployment.shelf.sweep();
    let account = &deployment.account;
    let (running, waiting) = deployment.gate.load();
    json!({
        "requests": account.requests.load(Relaxed), "errors": account.errors.load(Relaxed), "fuel": account.fuel.load(Relaxed),
        "cpuNs": account.cpu_ns.load(Relaxed), "memoryBytes": account.memory_bytes.load(Relaxed),
        "memoryBytesPeak": account.memory_bytes_peak.load(Relaxed), "running": running, "waiting": waiting,
        "logLinesDropped": account.log_lines_dropped.load(Relaxed),
    })
}

fn loaded(load: LoadMessage) -> Load {
    let LoadMessage { id, hosts, code: name, limits, concurrency, instance_memory_bytes_max, cpu_weight, reuse, outgoing, environment, trial_ms } = load;
    let trial = (trial_ms > 0).then(|| Duration::from_millis(trial_ms));
    Load { id, hosts, code: name, limits, concurrency, instance_memory_bytes_max, cpu_weight, reuse, outgoing, environment, trial }
}

/// Log lines on their way to the agent, many to a message; and what is asked of it, before all lines.
pub struct Lines {
    unsent: Mutex<Unsent>,
    some: Condvar,
}
#[derive(Default)]
struct Unsent {
    asked: Vec<Value>,
    lines: Vec<Line>,
    bytes: usize,
}

impl Lines {
    pub fn new() -> Arc<Lines> {
        Arc::new(Lines { unsent: Mutex::default(), some: Condvar::new() })
    }

    /// From any thread, without waiting: whoever asks has a limit to how often.
    pub fn ask(&self, message: Value) {
        self.unsent.lock().unwrap().asked.push(message);
        self.some.notify_one();
    }

    /// Runs on a thread of its own, for ever.
    pub fn pump(&self, writer: &Writer, plane: &Plane) {
        loop {
            let mut unsent = self.unsent.lock().unwrap();
            if unsent.lines.is_empty() && unsent.asked.is_empty() {
                unsent = self.some.wait_timeout(unsent, TICK).unwrap().0;
            }
            if !unsent.asked.is_empty() {
                let asked = std::mem::take(&mut unsent.asked);
                drop(unsent);
                if asked.iter().any(|message| writer.send(message).is_err()) {
                    return;
                }
                continue;
            }
            if unsent.lines.is_empty() {
                drop(unsent);
                plane.deployments().iter().chain(&plane.tasks.deployments()).for_each(|(_, deployment)| deployment.log.tick());
                continue;
            }
            if unsent.bytes < BATCH_BYTES {
                unsent = self.some.wait_timeout_while(unsent, BATCH_WAIT, |unsent| unsent.bytes < BATCH_BYTES && unsent.asked.is_empty()).unwrap().0;
            }
            let Unsent { asked, lines, .. } = std::mem::take(&mut *unsent);
            unsent.asked = asked;
            drop(unsent);
            let mut lines = lines.as_slice();
            while !lines.is_empty() {
                let (now, later) = lines.split_at(fitting(lines));
                if writer.send(&Logs { kind: "logs", lines: now.iter().map(describe).collect() }).is_err() {
                    return;
                }
                lines = later;
            }
        }
    }
}

/// How many of these go into one message: at least one.
fn fitting(lines: &[Line]) -> usize {
    let mut bytes = 0;
    let more = lines.iter().take_while(|line| {
        bytes += line.text.len() + LINE_BYTES;
        bytes <= MESSAGE_LINES_BYTES_MAX
    });
    more.count().max(1)
}

/// One request may write many, so they go from what they are to bytes with nothing in between.
#[derive(Serialize)]
struct Logs<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    lines: Vec<LogLine<'a>>,
}
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogLine<'a> {
    id: &'a str,
    request_id: &'a str,
    stream: &'static str,
    time_ms: u64,
    line: &'a str,
}

fn describe(line: &Line) -> LogLine<'_> {
    let stream = match line.stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
        Stream::System => "system",
    };
    LogLine { id: &line.id, request_id: &line.request_id, stream, time_ms: line.time_ms, line: &line.text }
}

impl Sink for Lines {
    fn lost(&self, id: &str, LoadError(code, message): &LoadError) {
        self.ask(json!({ "type": "lost", "id": id, "code": code, "message": message }));
    }
    fn take(&self, line: Line) -> bool {
        let mut unsent = self.unsent.lock().unwrap();
        let bytes = line.text.len() + LINE_BYTES;
        if unsent.bytes + bytes > UNSENT_BYTES_MAX {
            return false;
        }
        let wake = unsent.lines.is_empty() || unsent.bytes < BATCH_BYTES && unsent.bytes + bytes >= BATCH_BYTES;
        unsent.bytes += bytes;
        unsent.lines.push(line);
        drop(unsent);
        if wake {
            self.some.notify_one();
        }
        true
    }
}
