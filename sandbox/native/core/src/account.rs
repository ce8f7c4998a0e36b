//! What a deployment has used: counters that only grow, and what it holds now. Read by the agent, written by whoever runs guests.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[derive(Default)]
pub struct Account {
    pub requests: AtomicU64,
    pub errors: AtomicU64,
    pub fuel: AtomicU64,
    pub cpu_ns: AtomicU64,
    pub memory_bytes: AtomicU64,
    pub memory_bytes_peak: AtomicU64,
    pub log_lines_dropped: AtomicU64,
}

impl Account {
    pub fn memory_grew(&self, bytes: u64) {
        let now = self.memory_bytes.fetch_add(bytes, Relaxed) + bytes;
        self.memory_bytes_peak.fetch_max(now, Relaxed);
    }
    pub fn memory_freed(&self, bytes: u64) {
        self.memory_bytes.fetch_sub(bytes, Relaxed);
    }
}

/// CPU time of the calling thread.
pub fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
