//! Admission: how many instances of a deployment run at once, and how much memory they may hold together.
//!
//! A replica is a reservation of memory for all its concurrent instances. Each instance enters with what instances of this
//! deployment lately needed, and may grow as long as the sum stays within the reservation. Whoever does not fit waits in a
//! bounded queue, first come first served. An instance may always run alone with all of the memory.
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::oneshot;

pub struct Gate {
    state: Mutex<State>,
    concurrency: u32,
    memory_bytes_max: u64,
    /// What every instance needs from the start.
    memory_bytes_min: u64,
    queue_length_max: usize,
    queue_wait: Duration,
}

#[derive(Default)]
struct State {
    running: u32,
    reserved: u64,
    /// What an instance is expected to need: the largest of late, slowly forgotten.
    expected: u64,
    waiting: VecDeque<oneshot::Sender<Pass>>,
}

/// The right of one instance to run. Dropped, it lets the next one in.
pub struct Pass {
    gate: Arc<Gate>,
    reserved: u64,
    used: u64,
}

#[derive(Debug, PartialEq)]
pub enum Refused {
    QueueFull,
    WaitedTooLong,
}

impl Gate {
    pub fn new(concurrency: u32, memory_bytes: (u64, u64), queue_length_max: usize, queue_wait: Duration) -> Arc<Gate> {
        let (memory_bytes_min, memory_bytes_max) = memory_bytes;
        // Until it is known what an instance needs, each is to have its share.
        let share = memory_bytes_max / u64::from(concurrency.max(1));
        let state = Mutex::new(State { expected: share.max(memory_bytes_min), ..State::default() });
        Arc::new(Gate { state, concurrency, memory_bytes_max, memory_bytes_min, queue_length_max, queue_wait })
    }

    pub async fn enter(self: &Arc<Gate>) -> Result<Pass, Refused> {
        let receiver = {
            let mut state = self.state.lock().unwrap();
            if state.waiting.is_empty() {
                if let Some(pass) = self.admit(&mut state) {
                    return Ok(pass);
                }
            }
            if state.waiting.len() >= self.queue_length_max {
                state.waiting.retain(|sender| !sender.is_closed());
                if state.waiting.len() >= self.queue_length_max {
                    return Err(Refused::QueueFull);
                }
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.push_back(sender);
            receiver
        };
        match tokio::time::timeout(self.queue_wait, receiver).await {
            Ok(Ok(pass)) => Ok(pass),
            _ => Err(Refused::WaitedTooLong),
        }
    }

    /// (running, waiting)
    pub fn load(&self) -> (u32, usize) {
        let state = self.state.lock().unwrap();
        (state.running, state.waiting.iter().filter(|sender| !sender.is_closed()).count())
    }

    fn admit(self: &Arc<Gate>, state: &mut State) -> Option<Pass> {
        let fits = state.reserved + state.expected <= self.memory_bytes_max || state.running == 0;
        if state.running >= self.concurrency || !fits {
            return None;
        }
        let reserved = state.expected.min(self.memory_bytes_max);
        state.running += 1;
        state.reserved += reserved;
        Some(Pass { gate: self.clone(), reserved, used: 0 })
    }

    fn leave(self: &Arc<Gate>, reserved: u64, used: u64) {
        let mut admitted = Vec::new();
        {
            let mut state = self.state.lock().unwrap();
            state.running -= 1;
            state.reserved -= reserved;
            state.expected = used.max(state.expected - state.expected / 64).max(self.memory_bytes_min);
            while let Some(sender) = state.waiting.front() {
                if sender.is_closed() {
                    state.waiting.pop_front();
                } else if let Some(pass) = self.admit(&mut state) {
                    let sender = state.waiting.pop_front();
                    admitted.push((sender, pass));
                } else {
                    break;
                }
            }
        }
        // Outside of the lock: a pass that nobody takes any more comes back through its own drop.
        for (sender, pass) in admitted {
            _ = sender.map(|sender| sender.send(pass));
        }
    }
}

impl Pass {
    /// Asks for `bytes` more memory. Refused when the deployment's reservation would be exceeded.
    pub fn grow(&mut self, bytes: u64) -> bool {
        let used = self.used + bytes;
        if used > self.reserved {
            let mut state = self.gate.state.lock().unwrap();
            let more = used - self.reserved;
            if state.reserved + more > self.gate.memory_bytes_max {
                return false;
            }
            state.reserved += more;
            self.reserved = used;
        }
        self.used = used;
        true
    }

    pub fn used(&self) -> u64 {
        self.used
    }

    /// Whether no sharing could ever have given it this much.
    pub fn beyond_all(&self, bytes: u64) -> bool {
        self.used + bytes > self.gate.memory_bytes_max
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.leave(self.reserved, self.used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(concurrency: u32, memory: u64, queue: usize) -> Arc<Gate> {
        Gate::new(concurrency, (0, memory), queue, Duration::from_millis(50))
    }
    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    #[test]
    fn instances_share_the_memory_of_the_deployment() {
        run(async {
            let gate = gate(10, 100, 0);
            let mut first = gate.enter().await.ok().unwrap();
            let mut second = gate.enter().await.ok().unwrap();
            assert!(first.grow(60));
            assert!(!second.grow(60));
            assert!(second.grow(40));
            drop(first);
            assert!(second.grow(60));
            assert!(!second.grow(1));
        });
    }

    #[test]
    fn who_would_not_fit_waits_instead_of_failing_later() {
        run(async {
            let gate = Gate::new(10, (60, 100), 1, Duration::from_millis(50));
            let mut first = gate.enter().await.ok().unwrap();
            assert!(first.grow(60));
            assert_eq!(gate.enter().await.err(), Some(Refused::WaitedTooLong));
            drop(first);
            // Alone, more than is there may be expected.
            let alone = Gate::new(10, (600, 100), 1, Duration::from_millis(50));
            assert!(!alone.enter().await.ok().unwrap().grow(600));
        });
    }

    #[test]
    fn a_full_queue_refuses_and_a_leaver_lets_the_next_one_in() {
        run(async {
            let gate = gate(1, 100, 1);
            let pass = gate.enter().await.ok().unwrap();
            let waiting = tokio::time::timeout(Duration::from_millis(5), gate.enter()).await;
            assert!(waiting.is_err());
            let waiter = tokio::spawn({
                let gate = gate.clone();
                async move { gate.enter().await }
            });
            tokio::task::yield_now().await;
            assert_eq!(gate.enter().await.err(), Some(Refused::QueueFull));
            drop(pass);
            let next = waiter.await.unwrap();
            assert!(next.is_ok());
            assert_eq!(gate.load(), (1, 0));
            assert_eq!(gate.enter().await.err(), Some(Refused::WaitedTooLong));
        });
    }
}
