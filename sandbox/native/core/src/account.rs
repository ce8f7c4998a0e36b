//! What a deployment has used: counters that only grow, and what it holds now. Read by the agent, written by whoever runs guests.
use std::{
    cell::Cell,
    future::Future,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    task::Poll,
    time::{Duration, Instant},
};

#[derive(Default)]
pub struct Account {
    pub requests: AtomicU64,
    pub errors: AtomicU64,
    pub fuel: AtomicU64,
    pub cpu_ns: AtomicU64,
    pub memory_bytes: AtomicU64,
    pub memory_bytes_peak: AtomicU64,
    pub log_lines_dropped: AtomicU64,
    /// Of cpu_ns, what threads of the ingress spent and the batch threads have not set against the deployment's share yet.
    pub uncharged_ns: AtomicU64,
}

/// CPU time with which a call is still a short one: what a guest's first slice of fuel takes, several times.
pub const SHORT: Duration = Duration::from_micros(100);

/// What counts towards that of a time that only the wall clock measured: who lost the core meanwhile has had less.
pub const SHORT_UNSURE_NS: u64 = SHORT.as_nanos() as u64 / 2;

/// CPU time of one call, added to by whoever runs it.
pub struct CallTime {
    spent_ns: AtomicU64,
    max_ns: u64,
}

impl CallTime {
    pub fn new(max_ms: u64) -> CallTime {
        CallTime { spent_ns: AtomicU64::new(0), max_ns: max_ms.saturating_mul(1_000_000) }
    }
    pub fn spend(&self, ns: u64) {
        self.spent_ns.fetch_add(ns, Relaxed);
    }
    pub fn is_short(&self) -> bool {
        self.spent_ns.load(Relaxed) < SHORT.as_nanos() as u64
    }
    pub fn spent_ns(&self) -> u64 {
        self.spent_ns.load(Relaxed)
    }
    pub fn is_over(&self) -> bool {
        self.spent_ns.load(Relaxed) > self.max_ns
    }
    /// `work`, its CPU time counted at each of its steps: for who has no thread that does so.
    pub async fn measuring<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|context| {
            let begun_ns = thread_cpu_ns();
            let polled = work.as_mut().poll(context);
            self.spend(thread_cpu_ns() - begun_ns);
            polled
        })
        .await
    }
    /// `work` until its end, or until the time is used up: then none.
    pub async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|context| if self.is_over() { Poll::Ready(None) } else { work.as_mut().poll(context).map(Some) }).await
    }
}

impl Account {
    /// Time on a thread of the ingress: counted now, and against the deployment's share when it next runs beside others.
    pub fn spent_inline(&self, ns: u64) {
        self.cpu_ns.fetch_add(ns, Relaxed);
        self.uncharged_ns.fetch_add(ns, Relaxed);
    }
    pub fn memory_grew(&self, bytes: u64) {
        let now = self.memory_bytes.fetch_add(bytes, Relaxed) + bytes;
        self.memory_bytes_peak.fetch_max(now, Relaxed);
    }
    pub fn memory_freed(&self, bytes: u64) {
        self.memory_bytes.fetch_sub(bytes, Relaxed);
    }
}

/// Longer, and another thread may have had the core meanwhile.
const SHORT_NS: u64 = 200_000;
thread_local! {
    /// The thread's CPU time when it was last looked at.
    static SEEN_NS: Cell<u64> = const { Cell::new(0) };
}

/// At least the CPU time that this thread has had since `begun`. Of a short time the wall clock's will do, which takes no system call.
pub fn spent_ns(begun: Instant) -> u64 {
    let wall_ns = begun.elapsed().as_nanos() as u64;
    if wall_ns < SHORT_NS {
        return wall_ns;
    }
    let now_ns = thread_cpu_ns();
    wall_ns.min(now_ns - SEEN_NS.replace(now_ns))
}

/// CPU time of the calling thread.
pub fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
