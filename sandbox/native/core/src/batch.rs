//! Where guests go that outlive their first slice: a few threads of their own, and one queue per tenant.
//!
//! - A call that has had no more than SHORT of CPU time is short, however long it has waited for a body, an answer or its core: it
//!   stays with the threads of the ingress, and has to do with none of what follows.
//! - Most of these threads are idle ones to the kernel: it pre-empts them at once for the I/O threads, so short requests stay short.
//!   Among the tenants, the one that has had the least CPU time for its weight is next; a slice is 1 ms. Weights 1:2:4 give CPU
//!   1:2:4 to whoever wants more than there is.
//! - As many threads have the usual priority and run only tenants that are *due*: whose weight, in thousandths of a core, promises
//!   them more than they have had of late. So what a tenant pays for it gets, however many short requests others have.
//! - CPU time is CPU time: what ran on an I/O thread counts, too, when its tenant next runs here.
//!
//! Measured with 4 endless guests on 2 cores: others keep 94 % of their rate, and a heavy request takes 4 % longer than without
//! slices (a fuel yield is polled again at once, not through a scheduler).
use crate::{
    account::{Account, CallTime, SHORT, thread_cpu_ns},
    wipe,
};
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
/// What is promised and not used is kept for so long: the window over which a deployment has its share.
const WINDOW: Duration = Duration::from_millis(100);
/// How often a thread for those who are due looks whether somebody has become so.
const DUE_LOOK: Duration = Duration::from_millis(5);
/// Of the tenants that have had the least, how many are asked whether they are due.
const DUE_LOOKED_AT_MAX: usize = 64;
/// Virtual time is CPU time for a weight of so much.
const WEIGHT_UNIT: u64 = 1_000;

pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

pub struct Batch {
    /// Of the ingress.
    runtime: tokio::runtime::Handle,
    queues: Mutex<Queues>,
    ready: Condvar,
    /// Of the threads for those who are due.
    due: Condvar,
}

#[derive(Default)]
struct Queues {
    tenants: HashMap<u64, Tenant>,
    /// Tenants that have a task to run, by the CPU time they have had for their weight.
    order: BTreeSet<(u64, u64)>,
    /// That of the tenant that ran last: one that comes back after a pause starts here, not with what it saved up.
    clock_ns: u64,
    /// Tenants without a task, by when their last one ended: what they had is remembered for a window.
    idle: VecDeque<(Instant, u64)>,
}

struct Tenant {
    weight: u64,
    /// CPU time for a weight of WEIGHT_UNIT.
    had_ns: u64,
    /// What is promised and was not had yet; below 0 after more than that.
    credit_ns: i64,
    credited: Instant,
    tasks: usize,
    runnable: VecDeque<Arc<Task>>,
}

/// Whether a task is one of its tenant's.
const APART: u8 = 0;
const ENTERED: u8 = 1;
const OVER: u8 = 2;

const IDLE: u8 = 0;
const QUEUED: u8 = 1;
const RUNNING: u8 = 2;
const WOKEN: u8 = 3;
const ENDED: u8 = 4;

/// Whose work it is, and on whose account.
#[derive(Clone)]
pub struct Party {
    pub tenant: u64,
    /// Thousandths of a core that are paid for.
    pub weight: u32,
    pub account: Arc<Account>,
    pub time: Arc<CallTime>,
}

struct Task {
    batch: Weak<Batch>,
    party: Party,
    state: AtomicU8,
    /// Changes to ENTERED under the lock of the queues only.
    place: AtomicU8,
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

impl Tenant {
    fn new(weight: u64, clock_ns: u64) -> Tenant {
        let mut tenant = Tenant { weight, had_ns: clock_ns, credit_ns: 0, credited: Instant::now(), tasks: 0, runnable: VecDeque::new() };
        // It had nothing in the window before.
        tenant.credit_ns = tenant.credit_ns_max();
        tenant
    }

    fn credit_ns_max(&self) -> i64 {
        (WINDOW.as_nanos() as u64 / 1_000 * self.weight) as i64
    }

    /// Of `had_ns`.
    fn debt_ns_max(&self) -> u64 {
        WINDOW.as_nanos() as u64 * WEIGHT_UNIT / self.weight
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let promised_ns = now.duration_since(self.credited).as_nanos() as u64 * self.weight / 1_000;
        self.credited = now;
        self.credit_ns = (self.credit_ns.saturating_add_unsigned(promised_ns)).min(self.credit_ns_max());
        self.credit_ns > 0
    }

    fn charge(&mut self, ns: u64) {
        self.had_ns += ns * WEIGHT_UNIT / self.weight;
        // A debt is forgotten as a credit is.
        self.credit_ns = self.credit_ns.saturating_sub_unsigned(ns).max(-self.credit_ns_max());
    }
}

impl Queues {
    /// The first task of a tenant that is in `order`.
    fn take(&mut self, key: (u64, u64)) -> Option<Arc<Task>> {
        self.order.remove(&key);
        let tenant = self.tenants.get_mut(&key.1)?;
        let task = tenant.runnable.pop_front();
        if !tenant.runnable.is_empty() {
            self.order.insert(key);
        }
        task
    }

    /// Another task of this tenant.
    fn enter(&mut self, id: u64, weight: u64) {
        self.forget_idle();
        let clock_ns = self.clock_ns;
        let tenant = self.tenants.entry(id).or_insert_with(|| Tenant::new(weight, clock_ns));
        tenant.tasks += 1;
        tenant.weight = weight;
    }

    fn forget_idle(&mut self) {
        while self.idle.front().is_some_and(|(since, _)| since.elapsed() > WINDOW) {
            let Some((_, id)) = self.idle.pop_front() else { return };
            if self.tenants.get(&id).is_some_and(|tenant| tenant.tasks == 0) {
                self.tenants.remove(&id);
            }
        }
    }

    fn first(&mut self) -> Option<Arc<Task>> {
        while let Some(&key) = self.order.first() {
            self.clock_ns = self.clock_ns.max(key.0);
            if let Some(task) = self.take(key) {
                return Some(task);
            }
        }
        None
    }

    fn first_due(&mut self) -> Option<Arc<Task>> {
        let now = Instant::now();
        let Queues { tenants, order, .. } = self;
        let key = *order.iter().take(DUE_LOOKED_AT_MAX).find(|(_, id)| tenants.get_mut(id).is_some_and(|tenant| tenant.is_due(now)))?;
        self.take(key)
    }
}

impl Batch {
    /// How many threads `start` makes for a computer of so many cores.
    pub const fn threads(cores: usize) -> usize {
        2 * cores
    }

    /// Calls `started` once on each of its threads before any guest.
    pub fn start(cores: usize, runtime: tokio::runtime::Handle, started: Arc<dyn Fn() + Send + Sync>) -> Arc<Batch> {
        let batch = Arc::new(Batch { runtime: runtime.clone(), queues: Mutex::default(), ready: Condvar::new(), due: Condvar::new() });
        for number in 0..Batch::threads(cores) {
            let (batch, runtime, started) = (batch.clone(), runtime.clone(), started.clone());
            let for_due = number >= cores;
            let run = move || {
                if !for_due {
                    step_back();
                }
                started();
                let _context = runtime.enter();
                loop {
                    let task = if for_due { batch.next_due() } else { batch.next() };
                    batch.run(&task, SLICE);
                    drop(task);
                    wipe::own_stack();
                }
            };
            let name = if for_due { "due" } else { "batch" };
            std::thread::Builder::new().name(name.into()).spawn(run).expect("a thread for long guests");
        }
        batch
    }

    pub fn spawn(self: &Arc<Batch>, party: Party, work: Work) -> Handle {
        let (state, place) = (AtomicU8::new(QUEUED), AtomicU8::new(APART));
        let task = Arc::new(Task { batch: Arc::downgrade(self), party, state, place, work: Mutex::new(Some(work)), aborted: false.into() });
        self.push(task.clone());
        Handle(Some(task))
    }

    fn push(self: &Arc<Batch>, task: Arc<Task>) {
        // Nor does it meet the lock, which a thread may hold that does not get the core back for long.
        if task.party.time.is_short() {
            let batch = self.clone();
            self.runtime.spawn(async move { batch.run(&task, SHORT) });
            return;
        }
        let mut queues = self.queues.lock().unwrap();
        let id = task.party.tenant;
        if task.place.load(SeqCst) != ENTERED {
            if task.place.compare_exchange(APART, ENTERED, SeqCst, SeqCst).is_err() {
                return;
            }
            queues.enter(id, u64::from(task.party.weight.max(1)));
        }
        let (clock_ns, is_first) = (queues.clock_ns, queues.order.is_empty());
        let Some(tenant) = queues.tenants.get_mut(&id) else { return };
        tenant.runnable.push_back(task);
        let is_due = tenant.is_due(Instant::now());
        if tenant.runnable.len() == 1 {
            // What it had on threads of the ingress counts, but not for longer than a credit is kept.
            tenant.had_ns = tenant.had_ns.clamp(clock_ns, clock_ns + tenant.debt_ns_max());
            let had_ns = tenant.had_ns;
            queues.order.insert((had_ns, id));
        }
        drop(queues);
        self.ready.notify_one();
        // Whoever becomes so by time alone they find by themselves.
        if is_due || is_first {
            self.due.notify_one();
        }
    }

    fn next(&self) -> Arc<Task> {
        let mut queues = self.queues.lock().unwrap();
        loop {
            if let Some(task) = queues.first() {
                return task;
            }
            queues = self.ready.wait(queues).unwrap();
        }
    }

    fn next_due(&self) -> Arc<Task> {
        let mut queues = self.queues.lock().unwrap();
        loop {
            if let Some(task) = queues.first_due() {
                return task;
            }
            // Who waits becomes due by time alone.
            queues = if queues.order.is_empty() { self.due.wait(queues).unwrap() } else { self.due.wait_timeout(queues, DUE_LOOK).unwrap().0 };
        }
    }

    fn charge(&self, id: u64, ns: u64) {
        let mut queues = self.queues.lock().unwrap();
        let Some(tenant) = queues.tenants.get_mut(&id) else { return };
        let before = tenant.had_ns;
        tenant.charge(ns);
        let after = tenant.had_ns;
        if queues.order.remove(&(before, id)) {
            queues.order.insert((after, id));
        }
    }

    fn run(self: &Arc<Batch>, task: &Arc<Task>, slice: Duration) {
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
            if start.elapsed() >= slice {
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
        let Party { account, time, tenant, .. } = &task.party;
        time.spend(ns);
        account.spent_inline(ns);
        if task.place.load(SeqCst) == ENTERED {
            self.charge(*tenant, account.uncharged_ns.swap(0, Relaxed));
        }
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
        if self.place.swap(OVER, SeqCst) != ENTERED {
            return;
        }
        let Some(batch) = self.batch.upgrade() else { return };
        let mut queues = batch.queues.lock().unwrap();
        if let Some(tenant) = queues.tenants.get_mut(&self.party.tenant) {
            tenant.tasks -= 1;
            if tenant.tasks == 0 {
                queues.idle.push_back((Instant::now(), self.party.tenant));
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

/// Runs only when nobody else wants the core, and a core that does nothing else counts as idle for who wakes up.
fn step_back() {
    // SAFETY: plain system calls on the calling thread. A failure leaves it at the usual priority.
    unsafe {
        let thread = libc::syscall(libc::SYS_gettid) as libc::id_t;
        libc::setpriority(libc::PRIO_PROCESS, thread, NICE);
        libc::sched_setscheduler(0, libc::SCHED_IDLE, &std::mem::zeroed());
    }
}

/// Polls once where we are; what is not finished then goes to the batch threads.
pub fn poll_once(work: &mut Work) -> Poll<()> {
    work.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}
