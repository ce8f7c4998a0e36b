//! The runner: the jailed process that serves tenants. `godwit-runner PARENT [--cgroup=FILE…] [--attack WHAT=NAME…]`
//!
//! Descriptor 3 is the control socket, 4 the listening socket, 5 where compiled code comes from, 6 (when it is there) where connected
//! sockets come from, for outgoing requests; there are no others, there is no environment, and no file can be opened. It ends with
//! its control socket or with its parent, whichever goes first.
mod control;
mod dial;
mod tries;

use control::{Lines, Writer};
use dial::AgentDialler;
use godwit_core::{
    attack::{self, Jailed},
    batch::Batch,
    code::Code,
    jail,
    plane::Plane,
    serve::{IngressLimits, serve},
    spaces,
    text,
};
use std::{
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::exit,
    sync::{Arc, Barrier},
};

#[global_allocator]
static ALLOCATOR: godwit_core::wipe::Wiping = godwit_core::wipe::Wiping;

type Failure = Box<dyn std::error::Error>;

const CONTROL: i32 = 3;
const LISTENER: i32 = 4;
const CODE: i32 = 5;
const CONNECTED: i32 = 6;
/// They map components; nothing that guests can call blocks.
const BLOCKING_THREADS_MAX: usize = 2;
/// A third of what others get when the CPU is short: the agent's consensus goes first. Not by a control group, which has its weight
/// whoever is in it runs, and so would put those of our threads that are to be idle before others.
const NICE: i32 = 5;
const DESCRIPTORS_MAX: u64 = 65_536;
/// As many as the table has room for from the start, 128 KiB: those of all components that are mapped at once, and thousands of clients.
const DESCRIPTORS_AT_ONCE: u64 = 16_384;
/// Nothing can be written to a file; memory files, which images of memories are, count as such.
const FILE_BYTES_MAX: u64 = 1 << 30;

fn main() {
    if let Err(error) = run() {
        eprintln!("godwit-runner: {error}");
        exit(1);
    }
}

fn run() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [parent, rest @ ..] = arguments.as_slice() else { return Err("usage: godwit-runner PARENT".into()) };
    let parent = parent.parse()?;
    jail::orphan_check(parent)?;
    jail::close_other_descriptors(CONNECTED as u32)?;
    // SAFETY: plain system call, before anything here has opened a descriptor.
    let is_outgoing = unsafe { libc::fcntl(CONNECTED, libc::F_GETFD) } >= 0;
    jail::clear_environment();
    let groups: Vec<&str> = rest.iter().filter_map(|argument| argument.strip_prefix("--cgroup=")).collect();
    spaces::join_groups(&groups);
    // SAFETY: plain system call, before there are threads, which inherit it.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    let rest = &rest[groups.len()..];
    let mut spaces = spaces::enter()?;
    // Without large pages it is slower, and no less safe.
    _ = text::enlarge();
    jail::limit(libc::RLIMIT_CORE, 0)?;
    jail::limit(libc::RLIMIT_FSIZE, FILE_BYTES_MAX)?;
    let descriptors_max = jail::limit_at_most(libc::RLIMIT_NOFILE, DESCRIPTORS_MAX)?;
    jail::make_room_for_descriptors(DESCRIPTORS_AT_ONCE.min(descriptors_max), CONTROL)?;

    let lines = Lines::new();
    // Opens what it needs of /proc, so before the walls.
    let dialler = AgentDialler::new(lines.clone());
    let plane = Plane::new(lines.clone(), is_outgoing.then(|| dialler.clone() as _))?;
    let threads = std::thread::available_parallelism()?.get();
    let descriptors = spaces::empty_root(&mut spaces);
    jail::undumpable()?;
    jail::drop_capabilities()?;
    let landlock = jail::landlock()?;

    // Every thread there will be stands at the barrier when seccomp comes down on all of them: I/O, batch, log, and this one.
    let barrier = Arc::new(Barrier::new(threads + Batch::threads(threads) + 2));
    let runtime = runtime(threads, barrier.clone())?;
    let started = barrier.clone();
    let batch = Batch::start(threads, runtime.handle().clone(), Arc::new(move || {
        godwit_core::wipe::keep_blocks();
        started.wait();
    }));
    // SAFETY: the agent passes these descriptors, and nobody else here uses them.
    let mut reader = unsafe { UnixStream::from_raw_fd(CONTROL) };
    let listener = unsafe { std::net::TcpListener::from_raw_fd(LISTENER) };
    let code = Code::new(unsafe { OwnedFd::from_raw_fd(CODE) }, descriptors)?;
    let writer = Writer::new(reader.try_clone()?);
    {
        let (lines, writer, plane, barrier) = (lines.clone(), writer.clone(), plane.clone(), barrier.clone());
        std::thread::Builder::new().name("log".into()).spawn(move || {
            barrier.wait();
            lines.pump(&writer, &plane);
        })?;
    }
    barrier.wait();
    let jailed = Jailed { spaces, landlock, listener: Some(LISTENER), agent: parent };
    let walls = attack::walls(&jailed);
    jail::seccomp_serving(LISTENER)?;
    if let [flag, names @ ..] = rest {
        let mut attempts = attack::attempt(&jailed);
        tries::with_code(&mut attempts, &code, if flag == "--attack" { names } else { &[] });
        println!("{}", attack::report(&jailed, &walls, attempts));
        attack::thirty_two_bits();
        exit(0);
    }

    plane.residents.serve_from(code);
    // What is loaded before `start` is there before the first connection is accepted.
    let mut listener = Some(listener);
    let mut start = |mut ingress: IngressLimits| {
        // The rest is for compiled code and for what guests connect to.
        ingress.connections_max = ingress.connections_max.min(descriptors_max as usize / 4 * 3);
        let Some(listener) = listener.take() else { return Err(std::io::Error::other("started already")) };
        listener.set_nonblocking(true)?;
        let _context = runtime.enter();
        runtime.spawn(serve(plane.clone(), batch.clone(), tokio::net::TcpListener::from_std(listener)?, ingress));
        Ok(())
    };
    if is_outgoing {
        // SAFETY: as above.
        runtime.spawn(dialler.clone().receive(unsafe { OwnedFd::from_raw_fd(CONNECTED) }));
    }
    // Trials begin on this thread and have a time limit.
    let _context = runtime.enter();
    while let Ok(message) = control::read(&mut reader) {
        control::carry_out(&plane, &batch, &writer, &dialler, message, &mut start)?;
    }
    exit(0)
}

fn runtime(threads: usize, barrier: Arc<Barrier>) -> std::io::Result<tokio::runtime::Runtime> {
    // Threads for blocking calls, which come later, are not waited for: they inherit the filter.
    let places = std::sync::atomic::AtomicUsize::new(threads);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("io")
        .enable_io()
        .enable_time()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .on_thread_start(move || {
            use std::sync::atomic::Ordering::SeqCst;
            if places.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
                godwit_core::wipe::keep_blocks();
                godwit_core::round::begin();
                barrier.wait();
            }
        })
        .on_thread_park(|| {
            godwit_core::round::end();
            godwit_core::wipe::own_stack();
        })
        .build()
}
