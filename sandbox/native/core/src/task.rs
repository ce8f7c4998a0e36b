//! Tasks: a tenant's `wasi:cli/run`, from begin to end, within the limits and walls of what serves.
//!
//! A task runs on the batch threads, charged like any long guest, in an instance of its own, with arguments and stdin; what it writes are
//! lines of its log. What is left of it is wiped as with a request. Its component is mapped for it alone and leaves with it.
//!
//! The fence: until when tasks may run, on the computer's monotonic clock. The agent puts it off for as long as its witnesses hear it; once it
//! is over every task ends, whether or not the agent can still say so.
use crate::{
    account::CallTime,
    batch::{Batch, Handle},
    cause::Cause,
    gate::Refused,
    guest::{Guest, HOST_BYTES_MIN, RANDOM_BYTES_MAX},
    log::{Outlet, Stream, Tap, TapStream},
    outgoing::Outgoing,
    plane::{Deployment, Load, LoadError, Plane},
    stacks::Frames,
    wipe,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::Poll,
    time::{Duration, Instant},
};
use wasmtime::{Error, component::Component};
use wasmtime_wasi::{I32Exit, WasiCtx, p2::{bindings::CommandPre, pipe::MemoryInputPipe}};

/// As a shell reports a process that was aborted.
const EXIT_ABORTED: i32 = 134;
const EXIT_FAILED: i32 = 1;
/// How often a guest that waits for something is looked at for the fence.
const FENCE_LOOK: Duration = Duration::from_millis(100);
/// Of why it ended; all of it is in the log.
const REASON_CHARACTERS_MAX: usize = 512;

pub struct TaskLoad {
    pub load: Load,
    /// Without the program's name, which is argument 0.
    pub arguments: Vec<String>,
    pub stdin: Vec<u8>,
}

pub struct TaskEnd {
    pub exit_code: i32,
    /// "exit": the program ended by itself; "stopped", "fenced": it was ended from outside; else the limit it ran into, or "trap".
    pub code: &'static str,
    pub message: String,
    pub fuel: u64,
    pub cpu_ns: u64,
    pub wall_ms: u64,
}

type Done = Box<dyn FnOnce(Result<TaskEnd, LoadError>) + Send>;

/// Told once how it ended, by whoever ends it first.
#[derive(Clone)]
struct Teller(Arc<Mutex<Option<Done>>>);

impl Teller {
    fn tell(&self, result: Result<TaskEnd, LoadError>) {
        let done = self.0.lock().unwrap().take();
        if let Some(done) = done {
            done(result);
        }
    }
}

struct Running {
    number: u64,
    handle: Handle,
    teller: Teller,
    tap: Arc<Tap>,
    deployment: Arc<Deployment>,
}

impl Running {
    /// Not while what runs is locked: its guest is unwound here.
    fn stop(self) {
        drop(self.handle);
        self.tap.finish();
        self.teller.tell(Ok(ended_by("stopped", String::new())));
    }
}

pub struct Tasks {
    running: Mutex<HashMap<String, Running>>,
    numbers: AtomicU64,
    /// Milliseconds of CLOCK_MONOTONIC.
    until_ms: AtomicU64,
}

impl Default for Tasks {
    /// Nobody has spoken of a fence: there is none.
    fn default() -> Tasks {
        Tasks { running: Mutex::default(), numbers: AtomicU64::new(0), until_ms: AtomicU64::new(u64::MAX) }
    }
}

impl Tasks {
    pub fn fence(&self, until_ms: u64) {
        self.until_ms.store(until_ms, SeqCst);
    }

    fn is_fenced(&self) -> bool {
        self.until_ms.load(SeqCst) <= monotonic_ms()
    }

    pub fn deployments(&self) -> Vec<(String, Arc<Deployment>)> {
        self.running.lock().unwrap().iter().map(|(id, running)| (id.clone(), running.deployment.clone())).collect()
    }

    /// Ends it, if it runs: its guest is unwound and its memory is free before this returns, or at the end of its slice.
    pub fn stop(&self, id: &str) {
        let running = self.running.lock().unwrap().remove(id);
        running.map(Running::stop);
    }
}

/// Begins a task; another of the same id is stopped first. `done` is called once, from any thread.
pub fn start(plane: &Arc<Plane>, batch: &Arc<Batch>, task: TaskLoad, done: impl FnOnce(Result<TaskEnd, LoadError>) + Send + 'static) {
    let TaskLoad { load, arguments, stdin } = task;
    let id = load.id.clone();
    let teller = Teller(Arc::new(Mutex::new(Some(Box::new(done)))));
    plane.tasks.stop(&id);
    let deployment = match plane.prepare(Load { trial: None, ..load }) {
        Ok(deployment) => Arc::new(deployment),
        Err(error) => return teller.tell(Err(error)),
    };
    let tap = Tap::new(deployment.log.clone(), String::new());
    let time = Arc::new(CallTime::new(deployment.limits.cpu_time_ms_max));
    let number = plane.tasks.numbers.fetch_add(1, SeqCst);
    let party = deployment.party(time.clone());
    let run = Run { plane: plane.clone(), deployment: deployment.clone(), tap: tap.clone(), time, arguments, stdin };
    let work = {
        let watch = Watch { plane: plane.clone(), teller: teller.clone(), tap: tap.clone(), id: id.clone(), number };
        Box::pin(async move {
            let watch = watch;
            let result = run.to_end().await;
            forget(&watch.plane.tasks, &watch.id, number);
            watch.teller.tell(result);
        })
    };
    // Held while it is spawned: it may end before it is known otherwise.
    let mut running = plane.tasks.running.lock().unwrap();
    let handle = batch.spawn(party, work);
    let before = running.insert(id, Running { number, handle, teller, tap, deployment });
    drop(running);
    before.map(Running::stop);
}

/// Of a task that neither ended nor was stopped but is gone, by a fault of the host: its end is told all the same.
struct Watch {
    plane: Arc<Plane>,
    teller: Teller,
    tap: Arc<Tap>,
    id: String,
    number: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if forget(&self.plane.tasks, &self.id, self.number) {
            self.tap.finish();
            self.teller.tell(Ok(ended_by("trap", "a fault of the host".into())));
        }
    }
}

/// It has ended by itself; whether it was still known. Its handle is let go: it is the task that calls.
fn forget(tasks: &Tasks, id: &str, number: u64) -> bool {
    let mut running = tasks.running.lock().unwrap();
    let is_known = running.get(id).is_some_and(|running| running.number == number);
    if is_known {
        let ended = running.remove(id);
        drop(running);
        ended.map(|ended| ended.handle.detach());
    }
    is_known
}

struct Run {
    plane: Arc<Plane>,
    deployment: Arc<Deployment>,
    tap: Arc<Tap>,
    time: Arc<CallTime>,
    arguments: Vec<String>,
    stdin: Vec<u8>,
}

impl Run {
    async fn to_end(self) -> Result<TaskEnd, LoadError> {
        let begun = Instant::now();
        let failed = |error: Error| LoadError("load_failed", format!("{error:#}"));
        let component = self.component().await?;
        let pre = self.plane.linker.instantiate_pre(&component).and_then(CommandPre::new).map_err(failed)?;
        let memory_bytes_min = component.resources_required().and_then(|required| required.max_initial_memory_size).unwrap_or(0);
        let Run { plane, deployment, tap, time, arguments, stdin } = self;
        let limits = &deployment.limits;
        if deployment.room.instance_bytes_max < HOST_BYTES_MIN {
            return Err(LoadError("load_failed", "less memory than the host needs for an instance".into()));
        }
        deployment.gate.begin_with(memory_bytes_min + HOST_BYTES_MIN);
        let busy = || LoadError("runner_busy", "Every instance that the runner can have is in use".into());
        let pass = deployment.gate.enter().await.map_err(|_: Refused| busy())?;
        let environment = deployment.environment.clone();
        let outlet = Outlet::new(tap.clone());
        let wasi = move || {
            WasiCtx::builder()
                .max_random_size(RANDOM_BYTES_MAX)
                .args(&std::iter::once("task".to_string()).chain(arguments).collect::<Vec<_>>())
                .envs(&environment)
                .stdin(MemoryInputPipe::new(stdin))
                .stdout(TapStream(outlet.clone(), Stream::Stdout))
                .stderr(TapStream(outlet, Stream::Stderr))
                .build()
        };
        let account = deployment.account.clone();
        let traces = (plane.stacks, Frames::Any);
        let mut guest = Guest::new(&plane.engine, limits, account, pass, wasi, Outgoing(deployment.way.clone()), traces).map_err(|_| busy())?;
        let call = async {
            let command = pre.instantiate_async(&mut guest.store).await?;
            command.wasi_cli_run().call_run(&mut guest.store).await
        };
        let wall_time = Duration::from_millis(limits.wall_time_ms_max);
        let result = tokio::time::timeout(wall_time, within_fence(&plane.tasks, time.within(call))).await;
        tap.finish();
        let (exit_code, code, message) = match result {
            Ok(Some(Some(Ok(Ok(()))))) => (0, "exit", String::new()),
            Ok(Some(Some(Ok(Err(()))))) => (EXIT_FAILED, "exit", String::new()),
            Ok(Some(Some(Err(error)))) => match error.downcast_ref::<I32Exit>() {
                Some(exit) => (exit.0, "exit", String::new()),
                None => {
                    wipe::signal_stack();
                    (EXIT_ABORTED, Cause::of(&error, guest.store.data().meter.refused).code(), format!("{error:?}"))
                }
            },
            Ok(Some(None)) => (EXIT_ABORTED, Cause::CpuTimeLimit.code(), format!("more than {} ms of CPU time", limits.cpu_time_ms_max)),
            Ok(None) => (EXIT_ABORTED, "fenced", String::new()),
            Err(_) => (EXIT_ABORTED, Cause::WallTimeLimit.code(), format!("still running after {} ms", limits.wall_time_ms_max)),
        };
        let wall_ms = begun.elapsed().as_millis() as u64;
        if !message.is_empty() {
            tap.system(&format!("{code}: {message}"));
        }
        let message = message.chars().take(REASON_CHARACTERS_MAX).collect();
        Ok(TaskEnd { exit_code, code, message, fuel: guest.fuel_used(), cpu_ns: time.spent_ns(), wall_ms })
    }

    /// Mapped on a thread that may block.
    async fn component(&self) -> Result<Component, LoadError> {
        let (plane, deployment) = (self.plane.clone(), self.deployment.clone());
        let mapped = tokio::task::spawn_blocking(move || plane.residents.component(&plane.engine, deployment.code()));
        mapped.await.unwrap_or_else(|error| Err(LoadError("load_failed", error.to_string())))
    }
}

fn ended_by(code: &'static str, message: String) -> TaskEnd {
    TaskEnd { exit_code: EXIT_ABORTED, code, message, fuel: 0, cpu_ns: 0, wall_ms: 0 }
}

/// `work` until its end, or until the fence is over: then none. Looked at before each slice, and while the guest waits.
async fn within_fence<T>(tasks: &Tasks, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let mut look = tokio::time::interval(FENCE_LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    std::future::poll_fn(|context| {
        while look.poll_tick(context).is_ready() {}
        if tasks.is_fenced() {
            return Poll::Ready(None);
        }
        work.as_mut().poll(context).map(Some)
    })
    .await
}

fn monotonic_ms() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000 + time.tv_nsec as u64 / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{limits::Limits, log};
    use std::sync::mpsc;

    struct Nowhere;
    impl log::Sink for Nowhere {
        fn take(&self, _: log::Line) -> bool {
            true
        }
        fn lost(&self, _: &str, _: &LoadError) {}
    }

    fn load() -> Load {
        let limits = Limits {
            memory_bytes_max: 64 << 20,
            fuel_per_call_max: 1,
            cpu_time_ms_max: 1_000,
            wall_time_ms_max: 1_000,
            table_elements_max: 1,
            instances_max: 1,
            resource_handles_max: 1,
            request_body_bytes_max: 1,
            response_body_bytes_max: 1,
            header_count_max: 1,
            header_bytes_max: 1,
            log_bytes_per_second_max: 1_000,
            queue_length_max: 1,
            queue_wait_ms_max: 1,
            outgoing_connections_max: 1,
            outgoing_request_bytes_max: 1,
            outgoing_response_bytes_max: 1,
            outgoing_time_ms_max: 1,
        };
        Load {
            id: "a".into(),
            hosts: vec![],
            code: "none".into(),
            limits,
            concurrency: 1,
            instance_memory_bytes_max: 64 << 20,
            cpu_weight: 1,
            reuse: false,
            outgoing: vec![],
            environment: vec![],
            trial: None,
        }
    }

    #[test]
    fn a_task_that_a_fault_of_the_host_ends_is_told_as_ended_once_and_is_forgotten() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let plane = Plane::new(Arc::new(Nowhere), None).unwrap();
        let batch = Batch::start(1, runtime.handle().clone(), Arc::new(|| {}));
        let deployment = Arc::new(plane.prepare(load()).ok().unwrap());
        let (told, ends) = mpsc::channel();
        let teller = Teller(Arc::new(Mutex::new(Some(Box::new(move |end: Result<TaskEnd, LoadError>| told.send(end.ok().map(|end| end.code)).unwrap())))));
        let tap = Tap::new(deployment.log.clone(), String::new());
        let watch = Watch { plane: plane.clone(), teller: teller.clone(), tap: tap.clone(), id: "a".into(), number: 7 };
        let party = deployment.party(Arc::new(CallTime::new(1_000)));
        let mut running = plane.tasks.running.lock().unwrap();
        let handle = batch.spawn(party, Box::pin(async move {
            let _watch = watch;
            panic!("a fault of the host");
        }));
        running.insert("a".into(), Running { number: 7, handle, teller: teller.clone(), tap, deployment });
        drop(running);
        assert_eq!(ends.recv_timeout(Duration::from_secs(60)), Ok(Some("trap")));
        assert!(plane.tasks.deployments().is_empty());
        // Whoever stops it now finds nothing, and nobody is told twice.
        plane.tasks.stop("a");
        teller.tell(Ok(ended_by("stopped", String::new())));
        assert!(ends.try_recv().is_err());
    }

    #[test]
    fn a_task_whose_code_is_not_there_is_told_as_not_begun_and_is_forgotten() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let plane = Plane::new(Arc::new(Nowhere), None).unwrap();
        let batch = Batch::start(1, runtime.handle().clone(), Arc::new(|| {}));
        let (told, ends) = mpsc::channel();
        start(&plane, &batch, TaskLoad { load: load(), arguments: vec![], stdin: vec![] }, move |end| told.send(end.err().map(|error| error.0)).unwrap());
        assert!(ends.recv_timeout(Duration::from_secs(60)).unwrap().is_some());
        assert!(plane.tasks.deployments().is_empty());
    }
}
