//! A task: one `wasi:cli/run` from begin to end, with its streams joined to JavaScript's.
use crate::pipes::{Input, Pipes, Written};
use godwit_core::{
    account::{Account, CallTime},
    cause::Cause,
    engine,
    gate::Gate,
    guest::{Guest, RANDOM_BYTES_MAX, State, linker},
    limits::{Limits, OutgoingPlace},
    outgoing::{Destination, Dialler, NotDialled, Outgoing, Way, trust},
    stacks::{Frames, Stacks},
};
use napi::bindgen_prelude::*;
use napi_derive::napi;
use std::{
    collections::HashMap,
    os::fd::{FromRawFd, OwnedFd},
    pin::Pin,
    sync::{Arc, Mutex, OnceLock},
    task::Poll,
    time::{Duration, Instant},
};
use tokio::{
    runtime::Runtime,
    sync::{Notify, oneshot},
};
use wasmtime::{
    Engine,
    component::{Component, Linker},
};
use wasmtime_wasi::{I32Exit, WasiCtx, p2::bindings::CommandPre};

const THREADS: usize = 2;
const EXIT_FAILED: i32 = 1;
/// As a shell reports a process that was aborted.
const EXIT_TRAPPED: i32 = 134;

#[napi(object)]
pub struct TaskSettings {
    /// Checked against its signed digest by compile.ts.
    pub code: Buffer,
    pub arguments: Vec<String>,
    /// name, value, name, value…
    pub environment: Vec<String>,
    pub memory_bytes_max: f64,
    pub fuel_max: f64,
    pub cpu_time_ms_max: f64,
    pub wall_time_ms_max: f64,
    pub table_elements_max: f64,
    pub instances_max: f64,
    pub resource_handles_max: f64,
    pub header_count_max: f64,
    pub header_bytes_max: f64,
    pub outgoing_connections_max: f64,
    pub outgoing_request_bytes_max: f64,
    pub outgoing_response_bytes_max: f64,
    pub outgoing_time_ms_max: f64,
    pub outgoing: Vec<Place>,
    /// In DER: beside the public ones.
    pub roots: Vec<Buffer>,
}

#[napi(object)]
pub struct Place {
    pub scheme: String,
    pub host: String,
    pub port: u32,
}

#[napi(object)]
pub struct TaskOutcome {
    pub exit_code: i32,
    /// Empty when the guest ended by itself.
    pub trap_code: String,
    pub trap_message: String,
    pub fuel: f64,
    pub wall_ms: f64,
    pub memory_bytes: f64,
    /// How much was written to stdout and stderr together: the callback may still have to come for some of it.
    pub written_bytes: f64,
}

#[napi]
pub struct RunningTask {
    pipes: Arc<Pipes>,
    abort: Arc<Notify>,
    dialler: Arc<Callback>,
    settings: Option<TaskSettings>,
}

type DialArguments = FnArgs<(u32, String, String, u32, u32)>;
type DialFunction = napi::threadsafe_function::ThreadsafeFunction<DialArguments, (), DialArguments, Status, false, true>;

/// JavaScript dials: `(call, scheme, host, port, timeoutMs)`, and answers by `dialled`.
struct Callback {
    ask: DialFunction,
    waiting: Mutex<(u32, HashMap<u32, oneshot::Sender<std::result::Result<OwnedFd, NotDialled>>>)>,
}

impl Dialler for Callback {
    fn dial(&self, _: &str, destination: &Destination) -> oneshot::Receiver<std::result::Result<OwnedFd, NotDialled>> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap();
        waiting.0 = waiting.0.wrapping_add(1);
        let call = waiting.0;
        waiting.1.insert(call, sender);
        drop(waiting);
        let (place, timeout_ms) = (&destination.place, destination.timeout.as_millis() as u32);
        let arguments = (call, place.scheme.clone(), place.host.clone(), place.port.into(), timeout_ms);
        self.ask.call(arguments.into(), napi::threadsafe_function::ThreadsafeFunctionCallMode::NonBlocking);
        receiver
    }
}

struct Host {
    runtime: Runtime,
    engine: Engine,
    linker: Linker<State>,
}

/// Made when the first task runs: an agent that runs none has none.
fn host() -> std::result::Result<&'static Host, String> {
    static HOST: OnceLock<std::result::Result<Host, String>> = OnceLock::new();
    let make = || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).thread_name("task").enable_io().enable_time().build();
        let engine = engine::on_demand().map_err(|error| format!("{error:#}"))?;
        let linker = linker(&engine).map_err(|error| format!("{error:#}"))?;
        Ok(Host { runtime: runtime.map_err(|error| error.to_string())?, engine, linker })
    };
    HOST.get_or_init(make).as_ref().map_err(Clone::clone)
}

#[napi]
pub fn engine_version() -> &'static str {
    engine::ENGINE
}

#[napi]
impl RunningTask {
    #[napi(constructor)]
    pub fn new(settings: TaskSettings, output: Function<FnArgs<(u32, Buffer)>, ()>, dial: Function<DialArguments, ()>) -> Result<RunningTask> {
        let output = output.build_threadsafe_function().weak::<true>().build()?;
        let pipes = Pipes::new(output);
        let dialler = Arc::new(Callback { ask: dial.build_threadsafe_function().weak::<true>().build()?, waiting: Mutex::default() });
        Ok(RunningTask { pipes, dialler, abort: Arc::new(Notify::new()), settings: Some(settings) })
    }

    /// Once.
    #[napi(ts_return_type = "Promise<TaskOutcome>")]
    pub fn run<'env>(&mut self, env: &'env Env) -> Result<Object<'env>> {
        let settings = self.settings.take().ok_or_else(|| Error::from_reason("a task runs once"))?;
        let host = host().map_err(Error::from_reason)?;
        let (deferred, promise) = env.create_deferred()?;
        let (pipes, abort) = (self.pipes.clone(), self.abort.clone());
        // The bytes of a Buffer may only be let go on JavaScript's thread.
        let (code, settings) = (settings.code.to_vec(), Settings::new(&settings, self.dialler.clone())?);
        host.runtime.spawn(async move {
            let outcome = execute(host, settings, code, pipes, abort).await;
            deferred.resolve(move |_| outcome.map_err(Error::from_reason));
        });
        Ok(promise)
    }

    /// An empty chunk is the end of input.
    #[napi]
    pub fn push_input(&self, chunk: Buffer) {
        self.pipes.push_input(&chunk);
    }

    #[napi]
    pub fn acknowledge(&self, stream: u32, bytes: u32) {
        self.pipes.acknowledge(stream, bytes as usize);
    }

    /// With a connected descriptor, or with -1 and why there is none.
    #[napi]
    pub fn dialled(&self, call: u32, fd: i32, code: String) {
        // SAFETY: it comes from `dial`, and sandbox.ts has no more to do with it.
        let result = if fd >= 3 { Ok(unsafe { OwnedFd::from_raw_fd(fd) }) } else { Err(NotDialled::parse(&code)) };
        let waiting = self.dialler.waiting.lock().unwrap().1.remove(&call);
        _ = waiting.map(|waiting| waiting.send(result));
    }

    #[napi]
    pub fn abort(&self) {
        self.abort.notify_one();
    }
}

struct Settings {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    limits: Limits,
    way: Option<Arc<Way>>,
}

impl Settings {
    fn new(settings: &TaskSettings, dialler: Arc<Callback>) -> Result<Settings> {
        let limits = Limits {
            memory_bytes_max: settings.memory_bytes_max as u64,
            fuel_per_call_max: settings.fuel_max as u64,
            cpu_time_ms_max: settings.cpu_time_ms_max as u64,
            wall_time_ms_max: settings.wall_time_ms_max as u64,
            table_elements_max: settings.table_elements_max as u64,
            instances_max: settings.instances_max as u64,
            resource_handles_max: settings.resource_handles_max as u64,
            header_count_max: settings.header_count_max as u64,
            header_bytes_max: settings.header_bytes_max as u64,
            request_body_bytes_max: 0,
            response_body_bytes_max: 0,
            log_bytes_per_second_max: 0,
            queue_length_max: 0,
            queue_wait_ms_max: 0,
            outgoing_connections_max: settings.outgoing_connections_max as u64,
            outgoing_request_bytes_max: settings.outgoing_request_bytes_max as u64,
            outgoing_response_bytes_max: settings.outgoing_response_bytes_max as u64,
            outgoing_time_ms_max: settings.outgoing_time_ms_max as u64,
        };
        let trust = || trust(settings.roots.iter().map(|root| root.to_vec()).collect());
        let place = |place: &Place| OutgoingPlace { scheme: place.scheme.clone(), host: place.host.clone(), port: place.port as u16 };
        let places: Arc<[OutgoingPlace]> = settings.outgoing.iter().map(place).collect();
        let way = if places.is_empty() {
            None
        } else {
            let trust = trust().map_err(|error| Error::from_reason(error.to_string()))?;
            Some(Way::new("", places, dialler, trust, &limits))
        };
        let environment = settings.environment.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
        Ok(Settings { arguments: settings.arguments.clone(), environment, limits, way })
    }
}

async fn execute(
    host: &'static Host,
    settings: Settings,
    code: Vec<u8>,
    pipes: Arc<Pipes>,
    abort: Arc<Notify>,
) -> std::result::Result<TaskOutcome, String> {
    let limits = settings.limits;
    // SAFETY: compile.ts has checked that our compiler made this code.
    let component = unsafe { Component::deserialize(&host.engine, &code) }.map_err(|error| format!("{error:#}"))?;
    let pre = host.linker.instantiate_pre(&component).and_then(CommandPre::new).map_err(|error| format!("{error:#}"))?;
    let gate = Gate::of_one(limits.memory_bytes_max);
    let Ok(pass) = gate.enter().await else { return Err("the gate of a single task is open".into()) };
    let wasi = WasiCtx::builder()
        .max_random_size(RANDOM_BYTES_MAX)
        .args(&settings.arguments)
        .envs(&settings.environment)
        .stdin(Input(pipes.clone()))
        .stdout(Written(pipes.clone(), 1))
        .stderr(Written(pipes.clone(), 2))
        .build();
    let account = Arc::new(Account::default());
    let mut guest = Guest::new(&host.engine, &limits, account.clone(), pass, move || wasi, Outgoing(settings.way), (Stacks::NONE, Frames::Any)).map_err(|error| format!("{error:#}"))?;
    let begun = Instant::now();
    let time = CallTime::new(limits.cpu_time_ms_max);
    let call = async {
        let command = pre.instantiate_async(&mut guest.store).await?;
        command.wasi_cli_run().call_run(&mut guest.store).await
    };
    let ended = {
        let call = std::pin::pin!(time.within(time.measuring(call)));
        let late = std::pin::pin!(tokio::time::sleep(Duration::from_millis(limits.wall_time_ms_max)));
        let aborted = std::pin::pin!(abort.notified());
        first(call, late, aborted).await
    };
    let (exit_code, trap_code, trap_message) = match ended {
        Ended::Itself(Ok(Ok(()))) => (0, "", String::new()),
        Ended::Itself(Ok(Err(()))) => (EXIT_FAILED, "", String::new()),
        Ended::Itself(Err(error)) => match error.downcast_ref::<I32Exit>() {
            Some(exit) => (exit.0, "", String::new()),
            None => {
                let cause = Cause::of(&error, guest.store.data().meter.refused);
                (EXIT_TRAPPED, cause.code(), format!("{error:?}"))
            }
        },
        Ended::OutOfCpuTime => (EXIT_TRAPPED, Cause::CpuTimeLimit.code(), format!("more than {} ms of CPU time", limits.cpu_time_ms_max)),
        Ended::Late => (EXIT_TRAPPED, Cause::WallTimeLimit.code(), format!("still running after {} ms", limits.wall_time_ms_max)),
        Ended::Aborted => (EXIT_TRAPPED, "aborted", "aborted by the caller".into()),
    };
    let (fuel, memory_bytes) = (guest.fuel_used() as f64, guest.memory_bytes() as f64);
    drop(guest);
    let written_bytes = pipes.written() as f64;
    let wall_ms = begun.elapsed().as_secs_f64() * 1000.0;
    Ok(TaskOutcome { exit_code, trap_code: trap_code.into(), trap_message, fuel, wall_ms, memory_bytes, written_bytes })
}

type CallResult = wasmtime::Result<std::result::Result<(), ()>>;

enum Ended {
    Itself(CallResult),
    OutOfCpuTime,
    Late,
    Aborted,
}

async fn first(
    mut call: Pin<&mut impl Future<Output = Option<CallResult>>>,
    mut late: Pin<&mut impl Future<Output = ()>>,
    mut aborted: Pin<&mut impl Future<Output = ()>>,
) -> Ended {
    std::future::poll_fn(|cx| {
        if aborted.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ended::Aborted);
        }
        if let Poll::Ready(result) = call.as_mut().poll(cx) {
            return Poll::Ready(result.map_or(Ended::OutOfCpuTime, Ended::Itself));
        }
        late.as_mut().poll(cx).map(|()| Ended::Late)
    })
    .await
}
